"""`Idempotency-Key`: what a request is known by, and the answers of calls that the store does not remember.

Definitions and submissions are remembered durably by the broker. Other calls that change something are harmless when
repeated but for what their answer says, so their answers are kept in memory only (ADR 0021).
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web

from dart.broker.core.model import Idempotency
from dart.errors import IdempotencyConflictError, InvalidRequestError
from dart.limits import Limits

KEY_CHARS_MAX = 255
_LARGE_BYTES = 1 << 20


def idempotency_key(request: web.Request) -> str | None:
    """The caller's key, or None; `InvalidRequestError` if it is none that could be kept."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not key or len(key) > KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        raise InvalidRequestError(
            f"The header Idempotency-Key must be 1..{KEY_CHARS_MAX} printable ASCII characters.",
            field="Idempotency-Key",
        )
    return key


async def idempotency_of(
    request: web.Request, body: bytes | bytearray, limits: Limits, *, caller_id: str
) -> Idempotency | None:
    """What makes this request and its repetitions one; None: the caller sent no `Idempotency-Key`.

    The caller is part of it: whoever guesses or repeats the key of another is not given what that one was answered.
    """
    key = idempotency_key(request)
    if key is None:
        return None
    where = f"{request.rel_url.raw_path.rstrip('/')}/?{request.rel_url.raw_query_string}"
    head = f"{caller_id}\n{request.method} {where}\n".encode()
    if len(body) > _LARGE_BYTES:
        digest = await asyncio.to_thread(_digest, head, body)
    else:
        digest = _digest(head, body)
    return Idempotency(key, digest, int((time.time() + limits.idempotency_seconds) * 1000))


def _digest(head: bytes, body: bytes | bytearray) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(body)
    return digest.digest()


class _Remembered(NamedTuple):
    digest: bytes
    answer: "asyncio.Future[Any]"
    expires_at_ms: int


class Answers:
    """Answers given to idempotency keys by this process, the latest of them."""

    def __init__(self, amount_max: int) -> None:
        self._amount_max = amount_max
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    def check(self, idempotency: Idempotency) -> None:
        """Raise `IdempotencyConflictError` if the key stands for another request."""
        known = self._remembered.get(idempotency.key)
        if known is not None and known.digest != idempotency.digest:
            raise IdempotencyConflictError(
                "This Idempotency-Key was used before, with another request or API key; use a new one."
            )

    async def once(self, idempotency: Idempotency | None, make: Callable[[], Awaitable[Any]]) -> Any:
        """The answer that this key had before, or one made now. Failures are not remembered."""
        if idempotency is None:
            return await make()
        self.check(idempotency)
        known = self._remembered.get(idempotency.key)
        # A repetition waits for the first; if that failed or was cancelled, it tries itself.
        while known is not None and known.expires_at_ms > time.time() * 1000:
            await asyncio.wait([known.answer])
            if not known.answer.cancelled():
                return known.answer.result()
            known = self._remembered.get(idempotency.key)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._remembered[idempotency.key] = _Remembered(idempotency.digest, answer, idempotency.expires_at_ms)
        if len(self._remembered) > self._amount_max:
            self._remembered.popitem(last=False)
        try:
            made = await make()
        except BaseException:
            self._remembered.pop(idempotency.key, None)
            answer.cancel()
            raise
        answer.set_result(made)
        return made
