"""Files of the pages that the server has for browsers: served to anybody, the same on every server."""

import hashlib
from typing import Final

from aiohttp import ETag, hdrs, web

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, in no frame."""


def add_file(router: web.UrlDispatcher, path: str, data: bytes, media_type: str, *, policy: str = POLICY) -> None:
    """Answer this path with these bytes of a file. No name of a file comes from a request.

    They are kept in memory: a page must come up also while the disk and all threads are busy, and belongs to the
    program that runs, whatever is installed meanwhile. Browsers ask each time whether it has changed, so that nobody
    has half of the page of before.
    """
    tag = ETag(hashlib.sha256(data).hexdigest()[:32])
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        hdrs.CACHE_CONTROL: "no-cache",
    }

    async def answer(request: web.Request) -> web.StreamResponse:
        if tag in (request.if_none_match or ()):
            response = web.Response(status=304, headers=headers)
        else:
            response = web.Response(body=data, headers=headers, content_type=media_type, charset="utf-8")
        response.etag = tag
        return response

    router.add_get(path, answer)
