"""The broker's core as its shell sees it: events in, commands out, one deadline."""

from collections.abc import Callable, Sequence
from typing import Any

from dart.broker.core.audit import on_noted, write_down
from dart.broker.core.commands import Command, ResultsRecorded
from dart.broker.core.delays import resume_tasks
from dart.broker.core.enrolments import (
    on_agent_enrolled,
    on_agent_joined,
    on_agents_revoked,
    on_join_token_made,
    on_join_token_withdrawn,
)
from dart.broker.core.events import (
    AgentEnrolled,
    AgentJoined,
    AgentsRevoked,
    BlobGrew,
    BlobKept,
    BlobRead,
    BlobRefused,
    Event,
    FrameArrived,
    JobDefined,
    JobsPurged,
    JobStopped,
    JoinTokenMade,
    JoinTokenWithdrawn,
    KeyIssued,
    KeysSeen,
    KeyWithdrawn,
    Noted,
    ResultDeleted,
    ServerMoves,
    SessionLost,
    Signed,
    Stopping,
    SubmissionAbandoned,
    TaskCancelled,
    TasksShortened,
    TasksSubmitted,
    TimePassed,
    WorkersAsked,
    WorkersDrained,
    WorkersPinged,
)
from dart.broker.core.fetching import ask_on, on_blob_grew, on_blob_kept, on_blob_refused
from dart.broker.core.happenings import Happening
from dart.broker.core.interactive import look_at_clock
from dart.broker.core.jobs import on_job_defined, on_job_stopped, on_jobs_purged, on_result_deleted, on_task_cancelled
from dart.broker.core.keys import on_key_issued, on_key_withdrawn, on_keys_seen
from dart.broker.core.liveness import excuse, expire_tasks, next_deadline, on_time_passed
from dart.broker.core.model import Recovered
from dart.broker.core.pieces import on_blob_read
from dart.broker.core.placement import place
from dart.broker.core.records import LeasesClosed
from dart.broker.core.recovery import recover
from dart.broker.core.results import on_tasks_shortened
from dart.broker.core.retention import keep_up, note_outcomes
from dart.broker.core.sessions import on_frame_arrived, on_session_lost
from dart.broker.core.state import Core, persist, send
from dart.broker.core.stops import cancel_some
from dart.broker.core.submissions import admit_some, on_submission_abandoned, on_tasks_submitted
from dart.broker.core.workers import (
    on_server_moves,
    on_stopping,
    on_workers_asked,
    on_workers_drained,
    on_workers_pinged,
)
from dart.limits import Limits
from dart.wire.messages import Ack, Cancel


class Reactor:
    """A state machine without I/O.

    Args:
        recovered: What the store knows.
        limits: All bounds.
        now: Unix time in seconds; it must never run backwards from call to call.
    """

    def __init__(self, recovered: Recovered, limits: Limits, now: float) -> None:
        self.state = recover(recovered, limits, now)
        self._now = now

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take in what happened, and tell what is to be done about it, in order."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Sequence[Event], now: float) -> list[Command]:
        """The same for what happened together. What is done in slices goes on by one, however much that was."""
        core = self.state
        self._now = now
        excuse(core, now)
        look_at_clock(core, now)
        core.slice_left = core.limits.slice_tasks_max
        earlier: list[Command] = []
        for event in events:
            earlier += core.commands
            core.commands = []
            if isinstance(event, Signed):
                _HANDLERS[type(event.event)](core, event.event, now)
                write_down(core, event, now)
            else:
                _HANDLERS[type(event)](core, event, now)
        admit_some(core, now)
        cancel_some(core, now)
        expire_tasks(core, now)
        resume_tasks(core, now)
        keep_up(core, now)
        place(core, now)
        _send_cancels(core, now)
        _acknowledge(core, now)
        ask_on(core, now)
        if core.closed_leases:
            persist(core, LeasesClosed(tuple(core.closed_leases)))
            core.closed_leases = []
        if core.finished_jobs:
            note_outcomes(core, now)
            core.commands += map(ResultsRecorded, core.finished_jobs)
            core.finished_jobs = {}
        commands, core.commands = core.commands, []
        return earlier + commands

    def happened(self) -> list[Happening]:
        """What people may watch, of all turns since the last call; to be told when these are durable."""
        happened, self.state.happened = self.state.happened, []
        return happened

    def next_deadline(self) -> float | None:
        """When `TimePassed` is next due, by the clock of `now`; None: nothing will happen by itself."""
        return next_deadline(self.state, self._now)


def _send_cancels(core: Core, now: float) -> None:
    """Tell each agent what to interrupt; one that is away is told when it says HELLO."""
    if not core.cancels:
        return
    most = core.limits.batch_items_max
    for agent_id, refs in core.cancels.items():
        agent = core.agents.get(agent_id)
        if agent is not None and agent.session is not None:
            for start in range(0, len(refs), most):
                send(core, agent, Cancel(tuple(refs[start : start + most])), now)
    core.cancels = {}


def _acknowledge(core: Core, now: float) -> None:
    """Tell each agent which results it may forget that had waited for their blobs."""
    for agent_id, refs in core.settled.items():
        agent = core.agents.get(agent_id)
        if agent is not None and agent.session is not None:
            for start in range(0, len(refs), core.limits.batch_items_max):
                send(core, agent, Ack(tuple(refs[start : start + core.limits.batch_items_max])), now)
    core.settled.clear()


_HANDLERS: dict[type, Callable[[Core, Any, float], None]] = {
    FrameArrived: on_frame_arrived,
    TasksSubmitted: on_tasks_submitted,
    TimePassed: on_time_passed,
    JobDefined: on_job_defined,
    JobStopped: on_job_stopped,
    JobsPurged: on_jobs_purged,
    TaskCancelled: on_task_cancelled,
    ResultDeleted: on_result_deleted,
    SubmissionAbandoned: on_submission_abandoned,
    SessionLost: on_session_lost,
    TasksShortened: on_tasks_shortened,
    AgentEnrolled: on_agent_enrolled,
    KeyIssued: on_key_issued,
    KeyWithdrawn: on_key_withdrawn,
    KeysSeen: on_keys_seen,
    AgentJoined: on_agent_joined,
    JoinTokenMade: on_join_token_made,
    JoinTokenWithdrawn: on_join_token_withdrawn,
    AgentsRevoked: on_agents_revoked,
    ServerMoves: on_server_moves,
    WorkersDrained: on_workers_drained,
    WorkersPinged: on_workers_pinged,
    WorkersAsked: on_workers_asked,
    BlobRead: on_blob_read,
    BlobGrew: on_blob_grew,
    BlobKept: on_blob_kept,
    BlobRefused: on_blob_refused,
    Stopping: on_stopping,
    Noted: on_noted,
}
