"""Requests that carry an `Idempotency-Key`: done once, answered as often as asked."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from dart.broker.core.model import Idempotency
from dart.broker.known_keys import KnownKeys
from dart.errors import IdempotencyConflictError
from dart.undisturbed import Undisturbed


class RequestsInFlight:
    """Joins what the store remembers of answered requests with those that are being answered now.

    Args:
        stored: Digest and answer that the store has for a key, or None.
        keys: The next of the keys that it remembers, with their running numbers, all above the one given; empty: no
            more.
        keys_max: How many it remembers.
    """

    def __init__(
        self,
        stored: Callable[[str], Awaitable[tuple[bytes, int] | None]],
        keys: Callable[[int], Awaitable[Sequence[tuple[int, str]]]],
        *,
        keys_max: int,
    ) -> None:
        self._stored = stored
        self._keys = keys
        self._known = KnownKeys(keys_max)
        self._read_to = 0
        self._all_read = False
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
        stored = await self._look_up(idempotency.key)
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
            stored = await self._look_up(idempotency.key)
            if stored is None:
                self._known.add([idempotency.key])
                return await do()
            _same(idempotency, stored[0])
            return stored[1]
        finally:
            del self._in_flight[idempotency.key]
            done.set()

    async def _look_up(self, key: str) -> tuple[bytes, int] | None:
        """What the store has, which is not asked where it cannot have anything.

        The first requests after a start bring the keys of earlier runs in, a page each.
        """
        if not self._all_read:
            page = await self._keys(self._read_to)
            self._known.add(key for _, key in page)
            if page:
                self._read_to = max(self._read_to, page[-1][0])
            else:
                self._all_read = True
        elif not self._known.may_have(key):
            return None
        return await self._stored(key)


def _same(idempotency: Idempotency, digest: bytes) -> None:
    if digest != idempotency.digest:
        raise IdempotencyConflictError(
            f"The Idempotency-Key {idempotency.key!r} was used before for another request, or with"
            " another API key; take a new one."
        )
