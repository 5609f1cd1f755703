"""Spans of the tasks that ran here, of those whose client traces."""

from collections.abc import Sequence

from dart.agent import events
from dart.ids import AttemptRef
from dart.traces import Traces
from dart.wire.messages import Lease


class TaskSpans:
    """Remembers what was given to runners with a `traceparent`, until it ended; nothing where nobody collects."""

    def __init__(self, traces: Traces, worker: str) -> None:
        self._traces = traces
        self._worker = worker
        self._open: dict[AttemptRef, tuple[str, str, str]] = {}

    def given(self, leases: Sequence[Lease]) -> None:
        """These are a runner's now."""
        if self._traces.on:
            for lease in leases:
                if lease.traceparent:
                    name = f"{lease.module_path}:{lease.method}"
                    self._open[lease.ref] = (name, lease.traceparent, lease.job)

    def happened(self, event: events.Event) -> None:
        """What has ended is told, what was taken back forgotten."""
        if not self._open:
            return
        match event:
            case events.TasksEnded(_, results):
                for result in results:
                    error = "" if result.success else f"error code {result.error_code}"
                    self._end(result.ref, result.start_time_ms, result.duration_seconds, error)
            case events.TakenBack(_, refs):
                for ref in refs:
                    self._open.pop(ref, None)
            case events.RunnerDied(_, _, running, untouched):
                for ref in (*untouched, *(() if running is None else (running,))):
                    self._open.pop(ref, None)

    def _end(self, ref: AttemptRef, start_ms: int, seconds: float, error: str) -> None:
        found = self._open.pop(ref, None)
        if found is not None:
            name, traceparent, job = found
            told = {"dart.job": job, "dart.task": str(ref.task_id), "dart.worker": self._worker}
            self._traces.task(name, traceparent, start_ms, seconds, error, **told)
