"""`/`: the page that shows what the work is doing.

Its files say nothing of this server; what it shows, the page asks for in a session.
"""

from pathlib import Path
from typing import Final

from aiohttp import web

from dart.rest.static_files import POLICY, add_file

FOLDER: Final = Path(__file__).with_name("page")
PLOTS: Final = Path(__file__).with_name("uplot")
"""Files of uPlot, put here when the package was built (`tools/build_hook.py`)."""
_POLICY: Final = f"{POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"
"""Also: no text ever becomes markup. The browser refuses `innerHTML` and its like, whatever the script wants."""
_MEDIA_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


def add_to(router: web.UrlDispatcher, plots: Path = PLOTS) -> None:
    """Serve the page and its files. Where there is no uPlot the page does not name it: it says what is missing."""
    lines = (FOLDER / "index.html").read_text(encoding="utf-8").splitlines(keepends=True)
    has_plots = plots.is_dir()
    index = "".join(line for line in lines if has_plots or "/dashboard/uPlot." not in line)
    add_file(router, "/", index.encode(), "text/html", policy=_POLICY)
    for file in [*sorted(FOLDER.iterdir()), *(sorted(plots.iterdir()) if has_plots else ())]:
        if file.suffix in _MEDIA_TYPES and file.name != "index.html":
            add_file(router, f"/dashboard/{file.name}", file.read_bytes(), _MEDIA_TYPES[file.suffix], policy=_POLICY)
