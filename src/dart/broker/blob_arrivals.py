"""Writes blobs that results name: beside the loop, piece after piece, each an upload of the agent that has it."""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable

from dart.broker.core.commands import LeaveAllBlobs, LeaveBlob, OpenBlob, WriteBlob
from dart.broker.core.events import BlobGrew, BlobKept, BlobRefused
from dart.broker.service import Service
from dart.broker.store.blobs import Blobs, Upload
from dart.errors import DartError, InvalidRequestError
from dart.ids import AgentId

log = logging.getLogger("dart.broker.blobs")

Order = OpenBlob | WriteBlob | LeaveBlob | LeaveAllBlobs
Answer = BlobGrew | BlobKept | BlobRefused
_OPEN_MAX = 256
"""Files open at a time; the core asks again for what was closed beyond that."""


class BlobArrivals:
    """Carries out orders for blobs that agents have, in the order given; the core bounds how many wait.

    Args:
        blobs: Where they are to lie.
        service: Takes the answers.
    """

    def __init__(self, blobs: Blobs, service: Service) -> None:
        self._blobs = blobs
        self._service = service
        self._orders: deque[Order] = deque()
        self._uploads: OrderedDict[tuple[AgentId, bytes], tuple[OpenBlob, Upload]] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def do(self, order: Order) -> None:
        """Carry it out; the event follows."""
        self._orders.append(order)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Write nothing more; what is here is gone on with after the next start."""
        self._orders.clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._carry_out, LeaveAllBlobs())

    async def _work(self) -> None:
        while self._orders:
            order = self._orders.popleft()
            try:
                answers = await asyncio.to_thread(self._carry_out, order)
            except Exception:
                log.exception("A blob of an agent could not be written in a way that should not be.")
                continue
            if answers:
                self._service.post(answers)
        self._task = None

    # ---- in a thread ----

    def _carry_out(self, order: Order) -> list[Answer]:
        if isinstance(order, LeaveAllBlobs):
            for key in list(self._uploads):
                self._close(key)
            return []
        key = order.agent_id, order.sha256
        if isinstance(order, WriteBlob):
            self._service.measures.blob_bytes["from_agents"] += len(order.data)
            opened, upload = self._uploads.get(key, (None, None))
            if opened is None or upload is None or (opened.session, opened.number) != (order.session, order.number):
                return []
            return self._tried(opened, lambda: self._written(opened, upload, order))
        self._close(key)
        if isinstance(order, LeaveBlob):
            return []
        return self._tried(order, lambda: self._opened(order))

    def _tried(self, order: OpenBlob, attempt: Callable[[], list[Answer]]) -> list[Answer]:
        try:
            return attempt()
        except InvalidRequestError:
            self._close((order.agent_id, order.sha256))
            reason, later = "what came has another hash", False
        except DartError as error:
            self._close((order.agent_id, order.sha256))
            reason, later = error.message, True
        return [BlobRefused(order.session, order.number, order.sha256, reason, later)]

    def _opened(self, order: OpenBlob) -> list[Answer]:
        kept = BlobKept(order.session, order.number, order.sha256)
        if self._blobs.size(order.sha256) == order.size:
            return [kept]
        who = f"agent {order.agent_id}"
        here = self._blobs.uploaded(order.sha256, who)
        if here > order.size:
            here = 0
        upload = self._blobs.begin(order.sha256, who, offset=here, total=order.size)
        self._uploads[order.agent_id, order.sha256] = order, upload
        closed = [] if len(self._uploads) <= _OPEN_MAX else [self._close_oldest()]
        if here < order.size:
            return [*closed, BlobGrew(order.session, order.number, order.sha256, here)]
        return [*closed, *self._finished(order, upload)]

    def _close_oldest(self) -> Answer:
        key, (order, _) = next(iter(self._uploads.items()))
        self._close(key)
        reason = "The server writes many blobs at this moment."
        return BlobRefused(order.session, order.number, order.sha256, reason, later=True)

    def _written(self, opened: OpenBlob, upload: Upload, order: WriteBlob) -> list[Answer]:
        data = order.data
        upload.write(data if isinstance(data, bytes) else bytes(data))
        here = order.offset + len(data)
        if here < opened.size:
            return [BlobGrew(opened.session, opened.number, opened.sha256, here)]
        return self._finished(opened, upload)

    def _finished(self, order: OpenBlob, upload: Upload) -> list[Answer]:
        upload.finish()
        self._close((order.agent_id, order.sha256))
        return [BlobKept(order.session, order.number, order.sha256)]

    def _close(self, key: tuple[AgentId, bytes]) -> None:
        _, upload = self._uploads.pop(key, (None, None))
        if upload is not None:
            upload.close()
