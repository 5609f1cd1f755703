"""What running tasks tell: STARTED, PROGRESS and LOG, gathered, bounded, dropped when there is no session."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from dart.agent.core.state import Fate, Phase, State
from dart.agent.events import TaskPrinted, TaskProgressed
from dart.wire.messages import Log, Progress, ProgressReport, Start, Started

Item = TypeVar("Item")

REPORT_SECONDS = 0.05
"""Reports travel at most so often."""
LOG_LINES_MAX = 1000
"""Lines waiting to be sent; the oldest go first."""


def on_progress(state: State, event: TaskProgressed) -> None:
    """The latest report of a task replaces its earlier ones."""
    if state.phase is Phase.LIVE and event.ref in state.held:
        text = event.text[: state.limits.progress_chars_max]
        fraction = min(1.0, max(0.0, event.fraction))
        state.progress[event.ref] = ProgressReport(event.ref, fraction, text)


def on_printed(state: State, event: TaskPrinted) -> None:
    """Lines of a task; what no task printed stays in the worker's log file."""
    if state.phase is Phase.LIVE and event.ref is not None:
        state.log.extend((event.ref, line) for line in event.lines[-LOG_LINES_MAX:])
        too_many = max(0, len(state.log) - LOG_LINES_MAX)
        for _ in range(too_many):
            state.log.popleft()
        state.log_left_out += too_many + max(0, len(event.lines) - LOG_LINES_MAX)


def clear(state: State) -> None:
    """No session: nobody to tell."""
    state.progress.clear()
    state.log.clear()
    state.log_left_out = 0


def tell_lines_before_results(state: State) -> None:
    """Lines travel before the results of their tasks: afterwards the broker would not know whose they are."""
    if state.to_send and state.log and state.session.welcome is not None and state.phase is Phase.LIVE:
        _send_lines(state, state.session.welcome.batch_items_max)


def tell_when_due(state: State) -> None:
    """Send what has gathered."""
    welcome = state.session.welcome
    if state.phase is not Phase.LIVE or welcome is None:
        return
    step = welcome.batch_items_max
    after = state.limits.started_after_seconds
    starts = []
    for slot in state.slots:
        if slot.pipeline and not slot.start_told and slot.began_at + after <= state.now:
            slot.start_told = True
            if state.held[slot.pipeline[0]].fate is not Fate.ABANDONED:
                starts.append(Start(slot.pipeline[0], int(slot.began_at * 1000)))
    for batch in _batches(starts, step):
        state.send(Started(batch))
    if (state.progress or state.log) and state.reports_sent_at + REPORT_SECONDS <= state.now:
        state.reports_sent_at = state.now
        for reports in _batches(state.progress.values(), step):
            state.send(Progress(reports))
        state.progress.clear()
        _send_lines(state, step)


def _send_lines(state: State, step: int) -> None:
    if state.log_left_out:
        text = f"[{state.log_left_out} lines left out here; they are in the worker's log file]"
        state.log.appendleft((state.log[0][0], text))
        state.log_left_out = 0
    for lines in _batches(state.log, step):
        state.send(Log(lines))
    state.log.clear()


def _batches(items: Iterable[Item], step: int) -> Iterator[tuple[Item, ...]]:
    """As many at a time as the broker takes in one message."""
    remaining = iter(items)
    while batch := tuple(islice(remaining, step)):
        yield batch


def deadline(state: State) -> float | None:
    """When the next report is due."""
    if state.phase is not Phase.LIVE:
        return None
    after = state.limits.started_after_seconds
    times = [slot.began_at + after for slot in state.slots if slot.pipeline and not slot.start_told]
    if state.progress or state.log:
        times.append(state.reports_sent_at + REPORT_SECONDS)
    return min(times, default=None)
