"""Has blobs read and written for agents, and lets those go that nothing refers to, some time after their last use."""

import asyncio
import logging

from dart.broker.blob_arrivals import BlobArrivals
from dart.broker.blob_pieces import BlobPieces
from dart.broker.core.arrivals import awaited
from dart.broker.core.commands import BlobOrder, ReadBlob
from dart.broker.service import Service
from dart.broker.store.blobs import Blobs
from dart.errors import DartError

log = logging.getLogger("dart.broker.blobs")


class BlobKeeper:
    """Looks from time to time.

    Whoever names a blob in a task uses it, so one that became idle and is named in nothing that is durable is not
    about to be named either, unless it was used meanwhile; then `Blobs.remove` leaves it.

    Args:
        blobs: Asked which were not used for long.
        service: Its store tells which are referred to.
        seconds: Between two looks.
    """

    def __init__(self, blobs: Blobs, service: Service, *, seconds: float) -> None:
        self._blobs = blobs
        self._service = service
        self._seconds = seconds
        self._pieces = BlobPieces(blobs, service)
        self._arrivals = BlobArrivals(blobs, service)
        self._task: asyncio.Task[None] | None = None

    def do(self, order: BlobOrder) -> None:
        """What agents get of blobs and what they send of them; the events follow."""
        if isinstance(order, ReadBlob):
            self._pieces.read(order)
        else:
            self._arrivals.do(order)

    def start(self) -> None:
        """Look from now on."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._pieces.close()
        await self._arrivals.close()
        await asyncio.to_thread(self._blobs.keep_times)

    async def sweep(self) -> int:
        """Look once; how many blobs went. Raises `StoreError` if the store cannot be read."""
        idle = self._blobs.idle()
        named = await self._named() if idle else set()
        gone = await asyncio.to_thread(self._blobs.remove, [sha256 for sha256 in idle if sha256 not in named])
        if gone:
            log.info("%d blobs were removed: nothing refers to them, and nobody used them for long.", gone)
        await asyncio.to_thread(self._blobs.keep_times)
        return gone

    async def _named(self) -> set[bytes]:
        """In results that wait for others of their blobs, and in all that was recorded before that was looked at."""
        waiting = awaited(self._service.reactor.state)
        await self._service.durable()
        return waiting | await self._service.read(self._service.store.named_blobs)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self.sweep()
            except (DartError, OSError) as error:
                log.warning("Blobs could not be looked through: %s", error)
