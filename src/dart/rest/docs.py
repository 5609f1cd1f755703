"""`/docs`: a page for the OpenAPI document.

Its files say nothing of this server; what it shows, the page asks for with a key.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from aiohttp import web

_OURS: Final = Path(__file__).with_name("docs_page")
_FILES: Final = {
    "": ("index.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}
_THEIRS: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
"""Of Swagger UI, from the package `swagger-ui-py`, which is never imported."""
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def swagger_ui() -> Path | None:
    """The folder with its files, if it is installed."""
    found = find_spec("swagger_ui")
    places = found.submodule_search_locations if found is not None else None
    return Path(next(iter(places)), "static") if places else None


def add_to(router: web.UrlDispatcher, their_folder: Callable[[], Path | None] = swagger_ui) -> None:
    """Serve the page and its few files; no name of a file comes from a request."""
    for name, (file, media_type) in _FILES.items():
        _add(router, name, _OURS / file, media_type)
    folder = their_folder()
    for name, media_type in _THEIRS.items() if folder is not None else ():
        if folder is not None and (folder / name).is_file():
            _add(router, name, folder / name, media_type)


def _add(router: web.UrlDispatcher, name: str, file: Path, media_type: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.FileResponse(file, headers=_HEADERS)
        response.content_type = media_type
        response.charset = "utf-8"
        return response

    for path in ("/docs", "/docs/") if not name else (f"/docs/{name}",):
        router.add_get(path, answer)
