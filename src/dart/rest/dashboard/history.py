"""Numbers of the last minutes, a sample a second, so that a page which is opened now shows how it came to this."""

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Final, NamedTuple

from dart.broker.core.model import TaskState
from dart.broker.gateway import Gateway
from dart.broker.measures import Histogram
from dart.errors import DartError

LOOK_SECONDS: Final = 1.0
SAMPLES_KEPT: Final = 900
LOADS_EVERY: Final = 10
"""Looks between two points of a worker's load."""
FRESH_MILLISECONDS: Final = 200
"""What is shown as now may be so old."""
_FAILURES: Final = (TaskState.FAILED, TaskState.LOST, TaskState.EXPIRED)


class Sample(NamedTuple):
    """One look. Rates are of the time since the look before, latencies of what was seen in it."""

    at: int
    """Unix ms."""
    submitted: int
    finished: int
    failed: int
    """Part of `finished`: not succeeded, nor cancelled."""
    open: int
    slots: int
    busy: int
    wait_p50: float
    """Seconds from a submission to the first sending; -1: there was none, as for the others."""
    wait_p95: float
    run_p50: float
    """Seconds that tasks ran."""
    run_p95: float


class History:
    """Looks once a second at one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        self._timer: asyncio.TimerHandle | None = None
        self._looks = 0
        self._before = self._totals()
        self._shown: dict[str, Any] = {}

    def start(self) -> None:
        """Look from now on, in the running loop."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._again)

    def close(self) -> None:
        """Look no more; harmless when repeated."""
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> dict[str, Any]:
        """The server as it is; several readers at once cost one look."""
        now = self._gateway.overview.now_ms
        if not 0 <= now - self._shown.get("at", 0) < FRESH_MILLISECONDS:
            self._shown = self._look_closely(now)
        return self._shown

    def _look_closely(self, now: int) -> dict[str, Any]:
        snapshot = self._gateway.snapshot(lambda _: False)
        tasks = {state.name.lower(): amount for state, amount in snapshot.tasks.items() if state}
        tasks["queued"] += snapshot.tasks[TaskState.STAGED]
        pulse = self._gateway.overview.pulse()
        trouble = self._gateway.ready()
        return {
            "at": now,
            "tasks": tasks,
            "finished": {state.name.lower(): amount for state, amount in snapshot.measures.finished.items()},
            "jobs": {status.name.lower(): amount for status, amount in snapshot.jobs.items()},
            "workers": pulse.workers,
            "agents": pulse.agents,
            "draining": snapshot.draining,
            "slots": pulse.slots,
            "busy": pulse.busy,
            **({"trouble": trouble} if trouble else {}),
        }

    def since(self, at_ms: int) -> dict[str, list[Any]]:
        """The samples after this time, a list for each number."""
        found = [sample for sample in self._samples if sample.at > at_ms]
        columns = zip(*found, strict=True) if found else ([] for _ in Sample._fields)
        return {name: list(column) for name, column in zip(Sample._fields, columns, strict=True)}

    def look(self) -> None:
        """Take one sample."""
        if self._looks % LOADS_EVERY == 0:
            self._gateway.overview.note_loads()
        self._looks += 1
        before, now = self._before, self._totals()
        self._before = now
        pulse = self._gateway.overview.pulse()
        self._samples.append(
            Sample(
                self._gateway.overview.now_ms,
                now.submitted - before.submitted,
                now.finished - before.finished,
                now.failed - before.failed,
                pulse.open_tasks,
                pulse.slots,
                pulse.busy,
                *_middle_and_most(now.waits, before.waits),
                *_middle_and_most(now.runs, before.runs),
            )
        )

    def _again(self) -> None:
        self.start()
        with suppress(DartError):  # while the store cannot be written there is nothing to look at
            self.look()

    def _totals(self) -> "_Totals":
        measures = self._gateway.overview.measures
        return _Totals(
            measures.submitted,
            sum(measures.finished.values()),
            sum(measures.finished[state] for state in _FAILURES),
            _copy(measures.waits),
            _copy(measures.task_seconds),
        )


class _Counts(NamedTuple):
    bounds: tuple[float, ...]
    counts: tuple[int, ...]


class _Totals(NamedTuple):
    submitted: int
    finished: int
    failed: int
    waits: _Counts
    runs: _Counts


def _copy(histogram: Histogram) -> _Counts:
    return _Counts(histogram.bounds, tuple(histogram.counts))


def _middle_and_most(now: _Counts, before: _Counts) -> tuple[float, float]:
    """What half of the observations between two looks, and 95 % of them, were not above."""
    new = [count - earlier for count, earlier in zip(now.counts, before.counts, strict=True)]
    return quantile(now.bounds, new, 0.5), quantile(now.bounds, new, 0.95)


def quantile(bounds: tuple[float, ...], counts: list[int], share: float) -> float:
    """As Prometheus reads it off a histogram: evenly spread between two bounds; -1 if there is nothing.

    Args:
        bounds: Upper bounds, growing.
        counts: Of each, not summed up, and one more: of what lies above all of them.
        share: 0..1.
    """
    wanted = share * sum(counts)
    if wanted <= 0:
        return -1.0
    below, seen = 0.0, 0
    for bound, count in zip(bounds, counts, strict=False):
        if count and seen + count >= wanted:
            return round(below + (bound - below) * (wanted - seen) / count, 6)
        seen += count
        below = bound
    return bounds[-1]
