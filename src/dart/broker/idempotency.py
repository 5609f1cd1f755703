"""Requests that carry an `Idempotency-Key`: done once, answered as often as asked."""

import asyncio
from collections.abc import Awaitable, Callable

from dart.broker.core.model import Idempotency
from dart.errors import IdempotencyConflictError
from dart.undisturbed import Undisturbed


class RequestsInFlight:
    """Joins what the store remembers of answered requests with those that are being answered now.

    Args:
        stored: Digest and answer that the store has for a key, or None.
    """

    def __init__(self, stored: Callable[[str], Awaitable[tuple[bytes, int] | None]]) -> None:
        self._stored = stored
        self._in_flight: dict[str, tuple[bytes, asyncio.Event]] = {}
        self._undisturbed = Undisturbed()

    async def answer(self, idempotency: Idempotency) -> int | None:
        """The answer given before, after waiting for one that is being made; None: the request is new.

        Raises:
            IdempotencyConflictError: The key came with another body.
        """
        while (current := self._in_flight.get(idempotency.key)) is not None:
            digest, done = current
            _same(idempotency, digest)
            await done.wait()
        stored = await self._stored(idempotency.key)
        if stored is None:
            return None
        _same(idempotency, stored[0])
        return stored[1]

    async def once(self, idempotency: Idempotency | None, do: Callable[[], Awaitable[int]]) -> int:
        """Do it, unless it was done before: then give its answer again.

        Once begun it goes on to its end even if the caller goes away.
        """
        if idempotency is None:
            return await do()
        while (current := self._in_flight.get(idempotency.key)) is not None:
            digest, done = current
            _same(idempotency, digest)
            await done.wait()
        done = asyncio.Event()
        self._in_flight[idempotency.key] = (idempotency.digest, done)
        return await self._undisturbed.finish(self._settle(idempotency, do, done))

    async def _settle(self, idempotency: Idempotency, do: Callable[[], Awaitable[int]], done: asyncio.Event) -> int:
        try:
            stored = await self._stored(idempotency.key)
            if stored is None:
                return await do()
            _same(idempotency, stored[0])
            return stored[1]
        finally:
            del self._in_flight[idempotency.key]
            done.set()


def _same(idempotency: Idempotency, digest: bytes) -> None:
    if digest != idempotency.digest:
        raise IdempotencyConflictError(
            f"The Idempotency-Key {idempotency.key!r} was used before for another request, or with"
            " another API key; take a new one."
        )
