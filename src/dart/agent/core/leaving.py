"""How an agent ends: asked once or twice to stop, drained by the broker, or turned away by it."""

from dart.agent.core import outcomes, slots
from dart.agent.core.dispatch import take_back
from dart.agent.core.state import Fate, Phase, State
from dart.agent.events import Disconnect, Exit, Kill
from dart.wire.messages import Bye, Drain

FLUSH_SECONDS = 2.0
"""How long the last results wait for their ACK; the spool keeps the rest."""
GOODBYE_SECONDS = 1.0
"""How long the socket has to get BYE out."""
NOT_ALLOWED = 4
"""Exit code of an agent that the broker turns away."""


def on_stop_asked(state: State) -> None:
    """The first time in good order, the second time at once."""
    if state.leaving and state.kill_at is not None:
        state.kill_at = state.now
        state.flush_until = state.now
        _kill_all(state, 0.0)
        return
    state.kill_at = state.now + state.identity.stop_grace_seconds
    if not state.leaving:
        _begin(state, "stopped")


def on_drain(state: State, drain: Drain) -> None:
    """Finish what is begun, without limit of time, and leave."""
    if not state.leaving:
        state.say("info", f"the broker drains this agent ({drain.reason}): what is begun ends, nothing more is taken")
        _begin(state, "drained")


def _begin(state: State, reason: str) -> None:
    state.leaving = True
    slots.release_waiting(state)
    for number, slot in enumerate(state.slots):
        if len(slot.pipeline) > 1:
            take_back(state, number)
    if state.phase is Phase.LIVE:
        state.send(Drain(reason))


def refuse(state: State, text: str) -> None:
    """The broker turns this agent away: end at once; results stay in the spool."""
    state.say("error", text)
    state.exit_code = NOT_ALLOWED
    state.leaving = True
    state.phase = Phase.CLOSED
    state.commands.append(Disconnect(0.0))
    slots.release_waiting(state)
    _kill_all(state, state.limits.kill_grace_seconds)


def _kill_all(state: State, grace_seconds: float) -> None:
    state.killing = True
    for number, slot in enumerate(state.slots):
        if slot.pipeline:
            for ref in slot.pipeline:
                state.held[ref].fate = Fate.ABANDONED
            slot.killed = True
            state.commands.append(Kill(number, grace_seconds))


def end_when_due(state: State) -> None:
    """Kill what outlasts the grace; leave when nothing runs and the results are delivered or have had their time."""
    if not state.leaving or state.exited:
        return
    if state.kill_at is not None and state.kill_at <= state.now and not state.killing:
        state.say("warning", f"tasks still running are interrupted: {state.running()}")
        _kill_all(state, state.limits.kill_grace_seconds)
    if state.running():
        return
    if state.phase is Phase.LIVE:
        if state.flush_until is None:
            state.flush_until = state.now + FLUSH_SECONDS
        if not outcomes.all_acknowledged(state) and state.now < state.flush_until:
            return
        # BYE would give up the tasks whose results wait for their blobs: there are those few, and they may be large.
        if not state.offered:
            state.send(Bye("stopped"))
        state.commands.append(Disconnect(GOODBYE_SECONDS))
    elif state.phase is Phase.CONNECTING:
        state.commands.append(Disconnect(0.0))
    state.phase = Phase.CLOSED
    state.exited = True
    state.commands.append(Exit(state.exit_code))


def deadline(state: State) -> float | None:
    """When the grace or the time of waiting for ACKs ends."""
    if not state.leaving or state.exited:
        return None
    if state.running():
        return None if state.killing else state.kill_at
    return state.flush_until
