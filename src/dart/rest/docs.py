"""`/docs`: a page for the OpenAPI document.

Its files say nothing of this server; what it shows, the page asks for with a key.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import web

from dart.rest.static_files import add_file

_OURS: Final = Path(__file__).with_name("docs_page")
_FILES: Final = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_THEIRS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of Swagger UI, from the package `swagger-ui-py`, which is never imported."""


def swagger_ui() -> Path | None:
    """The folder with its files, if it is installed."""
    found = find_spec("swagger_ui")
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places)), "static") if places else None


def add_to(router: web.UrlDispatcher, their_folder: Callable[[], Path | None] = swagger_ui) -> None:
    """Serve the page and its few files; no name of a file comes from a request."""
    for name, (file, media_type) in _FILES.items():
        for path in ("/docs", "/docs/") if not name else (f"/docs/{name}",):
            add_file(router, path, (_OURS / file).read_bytes(), media_type)
    folder = their_folder()
    for name, media_type in _THEIRS.items() if folder is not None else ():
        if folder is not None and (folder / name).is_file():
            add_file(router, f"/docs/{name}", (folder / name).read_bytes(), media_type)
