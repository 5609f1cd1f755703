"""Answers on their way out: JSON or MessagePack, as the request's Accept header asks."""

from typing import Any, Final

import msgspec
from aiohttp import web

from dart.errors import DartError
from dart.rest.bodies import JSON, MESSAGEPACK
from dart.rest.errors import members_of, status_of

SERVER_NAME: Final = "DART"
"""For the header `Server`: which library and Python this is concerns nobody."""
_encode_json = msgspec.json.Encoder().encode
_encode_messagepack = msgspec.msgpack.Encoder().encode


def wants_messagepack(request: web.BaseRequest) -> bool:
    """Whether the answer should be MessagePack."""
    accept = request.headers.get("Accept", "")
    return "msgpack" in accept and any(
        part.partition(";")[0].strip().lower() in (MESSAGEPACK, "application/x-msgpack", "application/vnd.msgpack")
        for part in accept.split(",")
    )


def answer_of(members: Any, *, messagepack: bool, status: int = 200) -> web.Response:
    """A complete answer."""
    body = _encode_messagepack(members) if messagepack else _encode_json(members)
    return web.Response(body=body, status=status, content_type=MESSAGEPACK if messagepack else JSON)


def error_answer(error: DartError, *, messagepack: bool) -> web.Response:
    """The one shape of all errors."""
    response = answer_of(members_of(error), messagepack=messagepack, status=status_of(error))
    retry_after = error.details.get("retry_after")
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(float(retry_after))))
    if response.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
