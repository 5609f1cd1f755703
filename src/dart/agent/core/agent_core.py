"""The agent's state machine: events in, commands out, one timer."""

from collections.abc import Sequence

from dart.agent.blob_events import BlobCrowded, BlobFault, BlobGone, BlobHere, BlobMade, BlobReady, PieceRead
from dart.agent.core import (
    auditing,
    blobs,
    credit,
    dispatch,
    leaving,
    outcomes,
    questions,
    reports,
    result_blobs,
    session,
    slots,
)
from dart.agent.core.state import Identity, State, new_state
from dart.agent.events import (
    Answered,
    AuditGoesOn,
    AuditStuck,
    Command,
    Event,
    FrameArrived,
    LinkDown,
    LinkUp,
    RunnerDied,
    RunnerFailed,
    RunnerReady,
    SpoolFull,
    SpoolRoom,
    SpoolSynced,
    Started,
    TakenBack,
    TaskPrinted,
    TaskProgressed,
    TasksEnded,
    TimePassed,
)
from dart.limits import Limits


class AgentCore:
    """Decides everything an agent does.

    The caller hands in events as they happen, carries the commands out in their order, and hands in `TimePassed`
    when `next_deadline` has come. The first event is `Started`. Several events that happened together should come
    in one call: their results travel in one message.

    Args:
        identity: Who the agent is.
        limits: All bounds.
        now: Seconds of the clock that all later calls use too.
    """

    def __init__(self, identity: Identity, limits: Limits, now: float) -> None:
        self.state: State = new_state(identity, limits)
        self.state.now = now

    def handle(self, event: Event, now: float) -> list[Command]:
        """What is to be done about one event."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Sequence[Event], now: float) -> list[Command]:
        """What is to be done about events that happened together, in order."""
        state = self.state
        state.now = max(now, state.now)
        state.commands = []
        for event in events:
            if not state.exited:
                self._on(event)
        if not state.exited:
            _settle(state)
        return state.commands

    def next_deadline(self) -> float | None:
        """When to hand in `TimePassed`, if nothing happens before; None: never."""
        state = self.state
        if state.exited:
            return None
        deadlines = (
            session.deadline(state),
            slots.timeout_deadline(state),
            dispatch.steal_deadline(state),
            outcomes.spool_deadline(state),
            reports.deadline(state),
            blobs.deadline(state),
            leaving.deadline(state),
        )
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def _on(self, event: Event) -> None:
        state = self.state
        match event:
            case FrameArrived():
                session.on_frame(state, event)
            case TasksEnded():
                slots.on_tasks_ended(state, event)
            case TakenBack():
                slots.on_taken_back(state, event)
            case TimePassed():
                pass
            case SpoolSynced(number):
                state.synced = number
            case TaskProgressed():
                reports.on_progress(state, event)
            case TaskPrinted():
                reports.on_printed(state, event)
            case _:
                self._on_change(event)

    def _on_change(self, event: Event) -> None:
        """Events that are seldom."""
        state = self.state
        match event:
            case LinkUp():
                session.on_link_up(state, event)
            case LinkDown():
                session.on_link_down(state, event)
            case RunnerReady():
                slots.on_runner_ready(state, event)
                session.on_first_runner(state)
            case RunnerFailed():
                slots.on_runner_failed(state, event)
                session.on_first_runner(state)
            case RunnerDied():
                slots.on_runner_died(state, event)
            case BlobHere() | BlobReady() | BlobFault() | BlobCrowded() | BlobGone() | BlobMade() | PieceRead():
                _on_blob(state, event)
            case Answered():
                questions.on_answered(state, event)
            case SpoolFull() | SpoolRoom() | AuditStuck() | AuditGoesOn():
                _on_disk(state, event)
            case Started():
                outcomes.on_started(state, event)
                session.on_started(state)
            case _:  # StopAsked
                leaving.on_stop_asked(state)


def _on_disk(state: State, event: SpoolFull | SpoolRoom | AuditStuck | AuditGoesOn) -> None:
    match event:
        case SpoolFull(reason):
            state.spool_full = True
            state.say("error", f"the spool cannot write: {reason}; no more tasks are taken until it can")
        case SpoolRoom():
            state.spool_full = False
            state.say("info", "the spool writes again")
        case AuditStuck(reason):
            slots.on_audit_stuck(state, reason)
        case _:  # AuditGoesOn
            state.audit_stuck = False
            state.say("info", "the audit log is written again")


def _on_blob(
    state: State, event: BlobHere | BlobReady | BlobFault | BlobCrowded | BlobGone | BlobMade | PieceRead
) -> None:
    match event:
        case BlobGone():
            blobs.on_gone(state, event)
        case BlobMade():
            result_blobs.on_made(state, event)
        case PieceRead():
            outcomes.on_piece_read(state, event)
        case _:
            if event.sha256 not in state.blobs_going:
                _on_blob_that_stays(state, event)


def _on_blob_that_stays(state: State, event: BlobHere | BlobReady | BlobFault | BlobCrowded) -> None:
    match event:
        case BlobHere():
            blobs.on_here(state, event)
        case BlobReady():
            blobs.on_ready(state, event)
        case BlobFault():
            blobs.on_fault(state, event)
        case _:  # BlobCrowded
            blobs.on_crowded(state, event)


def _settle(state: State) -> None:
    """Everything that follows from the new state: work to the runners first, then network, then disk."""
    slots.end_overdue(state)
    slots.hold_back_if_stuck(state)
    session.keep_alive(state)
    questions.renew_runners(state)
    blobs.look_again(state)
    dispatch.dispatch(state)
    reports.tell_lines_before_results(state)
    outcomes.flush(state)
    auditing.hand_over(state)
    outcomes.spool(state)
    credit.tell_if_notable(state)
    credit.say_when_full(state)
    reports.tell_when_due(state)
    blobs.ask_on(state)
    leaving.end_when_due(state)
    session.connect_when_due(state)
