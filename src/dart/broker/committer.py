"""The one thread that writes: groups of records become durable, strictly in order.

It takes whatever waits as one group and never waits for more, so that a quiet server answers at once and a busy
one pays for one sync a group. After a failed group everything that waits is void until the store was recovered.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from dart.broker.core.records import Record, TasksAdded
from dart.broker.store.base import Store
from dart.errors import StoreError

T = TypeVar("T")

log = logging.getLogger("dart.broker.committer")


class _Turn(NamedTuple):
    number: int
    records: Sequence[Record]


class _Call(NamedTuple):
    function: Callable[[], None]


class Committer:
    """Commits turns of one store.

    Args:
        store: Used for writing by this thread alone.
        group_records_max: Rows after which a group is closed although more waits.
        on_committed: Called in the loop with the number of the last durable turn.
        on_failed: Called in the loop once when a group fails; all later turns are void until `recovered`.
        measure: Called in the writing thread with each durable group and the seconds it took.
    """

    def __init__(
        self,
        store: Store,
        *,
        group_records_max: int,
        on_committed: Callable[[int], None],
        on_failed: Callable[[StoreError], None],
        measure: Callable[[Sequence[Record], float], None] = lambda _records, _seconds: None,
    ) -> None:
        self._store = store
        self._group_records_max = group_records_max
        self._on_committed = on_committed
        self._on_failed = on_failed
        self._measure = measure
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Turn | _Call | None] = queue.SimpleQueue()
        self._following: list[_Turn | _Call | None] = []
        """What was taken from the queue and does not belong to the group before it: at most one."""
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="dart-committer", daemon=True)
        self._start()

    def _start(self) -> None:
        self._thread.start()

    def _enqueue(self, item: _Turn | _Call) -> None:
        self._queue.put(item)

    def put(self, number: int, records: Sequence[Record]) -> None:
        """Have a turn committed; numbers grow."""
        self._enqueue(_Turn(number, records))

    async def call(self, function: Callable[[], T]) -> T:
        """Run something else with the store in this thread, after what waits. Raises what it raises."""
        future: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - carried to the caller
                self._tell(_settle, future, None, error)
            else:
                self._tell(_settle, future, result, None)

        self._enqueue(_Call(run))
        return await future

    def recovered(self) -> None:
        """Accept turns again. Only within `call`."""
        self._failed = False

    async def close(self) -> None:
        """Commit what waits and end the thread."""
        if self._thread.is_alive():
            await self.call(lambda: None)
            self._queue.put(None)
            self._thread.join()

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: nobody listens any more
            log.debug("The loop has ended before the committer.")

    def _run(self) -> None:
        while self._step():
            pass

    def _step(self) -> bool:
        """Do the next group or call; False: this was the end."""
        item = self._following.pop() if self._following else self._queue.get()
        if item is None:
            return False
        if isinstance(item, _Call):
            item.function()
            return True
        records: list[Record] = list(item.records)
        rows, number = _rows(item.records), item.number
        while rows < self._group_records_max:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(following, _Turn):
                self._following.append(following)
                break
            records.extend(following.records)
            rows, number = rows + _rows(following.records), following.number
        self._commit(number, records)
        return True

    def _commit(self, number: int, records: list[Record]) -> None:
        if self._failed:
            return
        began = time.perf_counter()
        try:
            self._store.commit(records)
        except StoreError as error:
            self._failed = True
            self._tell(self._on_failed, error)
        except Exception as error:
            log.exception("The store failed in a way it should not.")
            self._failed = True
            self._tell(self._on_failed, StoreError(f"The store failed: {type(error).__name__}."))
        else:
            self._measure(records, time.perf_counter() - began)
            self._tell(self._on_committed, number)
            self._store.settle()


def _rows(records: Sequence[Record]) -> int:
    return sum(len(record.rows) if isinstance(record, TasksAdded) else 1 for record in records)


def _settle(future: "asyncio.Future[T]", result: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
