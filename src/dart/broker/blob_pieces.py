"""Reads pieces of blobs for agents: beside the loop, one after the other, and only what a task of theirs names."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable

from dart.broker.core.commands import ReadBlob
from dart.broker.core.events import BlobRead
from dart.broker.pings import new_nonce
from dart.broker.service import Service
from dart.broker.store.blobs import Blobs
from dart.errors import DartError
from dart.ids import TaskId
from dart.wire.blob_references import named_in
from dart.wire.messages import Blob

log = logging.getLogger("dart.broker.blobs")

_TASKS_MAX = 1000
"""Tasks of which it is remembered what their parameters name."""


class BlobPieces:
    """Answers `ReadBlob` with `BlobRead`, in the order asked; the core bounds how many each agent has waiting.

    Args:
        blobs: Where they lie.
        service: Its store has the parameters; it takes the answers.
        nonce: Not to be guessed, but by a simulation.
    """

    def __init__(self, blobs: Blobs, service: Service, nonce: Callable[[], int] = new_nonce) -> None:
        self._blobs = blobs
        self._service = service
        self._nonce = nonce
        self._named: OrderedDict[TaskId, set[bytes]] = OrderedDict()
        self._orders: deque[ReadBlob] = deque()
        self._task: asyncio.Task[None] | None = None

    def read(self, order: ReadBlob) -> None:
        """Read a piece; the event follows."""
        self._orders.append(order)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Read nothing more."""
        self._orders.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while self._orders:
            self._service.post([await self._answer(self._orders.popleft())])
        self._task = None

    async def _answer(self, order: ReadBlob) -> BlobRead:
        refused, blob = False, None
        try:
            named = await self._names(order.task_id)
            if named is not None:
                refused = order.sha256 not in named
                total, data = (0, b"") if refused else await asyncio.to_thread(self._piece, order)
                blob = Blob(order.sha256, order.offset, total, data)
                self._service.measures.blob_bytes["to_agents"] += len(data)
        except (OSError, DartError) as error:
            log.warning("A piece of a blob cannot be read; it is asked for again: %s", error)
        except Exception:
            log.exception("A piece of a blob could not be read in a way that should not be.")
        return BlobRead(order.session, blob, order.size, self._nonce(), refused=refused)

    async def _names(self, task_id: TaskId) -> set[bytes] | None:
        """What a task's parameter names, which never changes; None: it ended just now."""
        named = self._named.get(task_id)
        if named is None:
            found = await self._service.read(self._service.store.parameters, [task_id])
            if task_id not in found:
                return None
            named = self._named[task_id] = named_in(found[task_id])
            if len(self._named) > _TASKS_MAX:
                self._named.popitem(last=False)
        return named

    def _piece(self, order: ReadBlob) -> tuple[int, bytes]:
        """Size of the blob and what lies there; size 0: it is not here, or damaged."""
        size = self._blobs.size(order.sha256)
        file = self._blobs.open(order.sha256)
        if size is None or file is None:
            return 0, b""
        with file:
            file.seek(order.offset)
            data = file.read(order.size)
        whole = len(data) >= min(order.size, size - order.offset)
        return (size, data) if whole else (0, b"")
