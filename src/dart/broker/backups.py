"""Backups while the server runs: one at a time, in a thread of its own, given up when the server stops."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from dart.broker.store.base import Store
from dart.errors import ConflictError


class Backups:
    """Makes copies of a store beside all that goes on.

    Args:
        store: Its `backup` is called.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._making = False

    @asynccontextmanager
    async def make(self) -> AsyncIterator[BinaryIO]:
        """A copy of everything as of now, as an open file; gone afterwards.

        Raises:
            ConflictError: One is being made, or this store cannot be kept.
            StoreError: It cannot be made.
            UnavailableError: The server stops.
        """
        if self._making:
            raise ConflictError("A backup is being made at this moment; wait until it is done.")
        self._making = True
        # A caller that goes away must not leave the thread alone with the file: it is waited for.
        making = asyncio.ensure_future(asyncio.to_thread(self._store.backup, self._stop))
        making.add_done_callback(self._made)
        try:
            file = await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(_close)
            raise
        with file:
            yield file

    def stop(self) -> None:
        """Give up what is being made."""
        self._stop.set()

    def _made(self, _: "asyncio.Future[BinaryIO]") -> None:
        self._making = False


def _close(making: "asyncio.Future[BinaryIO]") -> None:
    if not making.cancelled() and making.exception() is None:
        making.result().close()
