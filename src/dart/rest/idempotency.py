"""`Idempotency-Key`: what a request is known by, and the answers of calls that the store does not remember.

Definitions and submissions are remembered durably by the broker. Other calls that change something are harmless when
repeated but for what their answer says, so their answers are kept in memory only (ADR 0021).
"""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from dart.broker.core.model import Idempotency
from dart.errors import IdempotencyConflictError, InvalidRequestError
from dart.limits import Limits

KEY_CHARS_MAX = 255
TASKS_REMEMBERED_MAX = 1_000_000
"""Some 150 MB: submissions with `each` are answered with ids and names."""
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


@dataclass(slots=True)
class _Remembered:
    digest: bytes
    answer: "asyncio.Future[Any]"
    expires_at_ms: int
    tasks: int = 0
    """Ids of tasks in it: what makes an answer large."""


class Answers:
    """Answers given to idempotency keys by this process, the latest of them.

    Args:
        amount_max: So many.
        tasks_max: Ids of tasks in all of them together; at least the latest answer is kept.
    """

    def __init__(self, amount_max: int, *, tasks_max: int = TASKS_REMEMBERED_MAX) -> None:
        self._amount_max = amount_max
        self._tasks_max = tasks_max
        self._tasks = 0
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
        self._forget(idempotency.key)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        own = self._remembered[idempotency.key] = _Remembered(idempotency.digest, answer, idempotency.expires_at_ms)
        if len(self._remembered) > self._amount_max:
            self._forget(next(iter(self._remembered)))
        try:
            made = await make()
        except BaseException:
            if self._remembered.get(idempotency.key) is own:
                self._forget(idempotency.key)
            answer.cancel()
            raise
        answer.set_result(made)
        if self._remembered.get(idempotency.key) is own:
            own.tasks = len(made.get("tasks", ())) if isinstance(made, dict) else 0
            self._tasks += own.tasks
            while self._tasks > self._tasks_max and len(self._remembered) > 1:
                self._forget(next(iter(self._remembered)))
        return made

    def _forget(self, key: str) -> None:
        gone = self._remembered.pop(key, None)
        if gone is not None:
            self._tasks -= gone.tasks
