"""Files of the pages that the server has for browsers: served to anybody, the same on every server."""

from pathlib import Path
from typing import Final

from aiohttp import web

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, in no frame."""


def add_file(router: web.UrlDispatcher, path: str, file: Path, media_type: str, *, policy: str = POLICY) -> None:
    """Answer this path with this file. No name of a file comes from a request.

    Browsers ask each time whether it has changed: after an upgrade nobody has half of the old page.
    """
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }

    async def answer(_: web.Request) -> web.StreamResponse:
        response = web.FileResponse(file, headers=headers)
        response.content_type = media_type
        response.charset = "utf-8"
        return response

    router.add_get(path, answer)
