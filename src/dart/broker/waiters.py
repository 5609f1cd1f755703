"""Long polls: callers that wait for outcomes of a job, bounded in number."""

import asyncio

from dart.errors import LimitError
from dart.ids import JobId


class Waiters:
    """Wakes those who wait for a job."""

    def __init__(self, *, waiters_max: int) -> None:
        self._waiters_max = waiters_max
        self._waiting: dict[JobId, set[asyncio.Event]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def join(self, job_id: JobId) -> asyncio.Event:
        """An event that is set whenever outcomes of this job are durable. Leave when done. May be `LimitError`."""
        if self._count >= self._waiters_max:
            raise LimitError(
                f"{self._count} requests wait already (limit waiters_max); ask without waiting, or later.",
                retry_after=5,
            )
        event = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(event)
        self._count += 1
        return event

    def leave(self, job_id: JobId, event: asyncio.Event) -> None:
        """Wait no more."""
        waiting = self._waiting[job_id]
        waiting.remove(event)
        self._count -= 1
        if not waiting:
            del self._waiting[job_id]

    def wake(self, job_id: JobId) -> None:
        """Outcomes of this job are durable."""
        for event in self._waiting.get(job_id, ()):
            event.set()

    def wake_all(self) -> None:
        """The server ends."""
        for waiting in self._waiting.values():
            for event in waiting:
                event.set()


async def set_in_time(event: asyncio.Event, ends_at: float) -> bool:
    """Whether the event was set in time."""
    try:
        async with asyncio.timeout_at(ends_at):
            await event.wait()
    except TimeoutError:
        return False
    return True
