"""Work that goes on to its end although whoever asked for it has gone away."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class Undisturbed:
    """Such work that has not ended yet.

    A request with an `Idempotency-Key` is of this kind: once begun it may be recorded any moment, and until it is
    settled nobody can tell whether the same request that comes again was done.
    """

    def __init__(self) -> None:
        self.tasks: set[asyncio.Future[Any]] = set()

    async def finish(self, doing: Awaitable[T]) -> T:
        """Do it and give what it gives; a caller that is cancelled here cancels its waiting only."""
        task = asyncio.ensure_future(doing)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Future[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, for the caller may be gone
