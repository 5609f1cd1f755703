"""How much work to ask for: enough that no slot waits for the network, no more, since others may have time for it."""

from collections.abc import Sequence

from dart.agent.core.state import Phase, State
from dart.wire.messages import Credit, Lease

DURATION_WEIGHT = 0.1
"""Of the newest task in the moving average of durations."""


def note_duration(state: State, seconds: float) -> None:
    """Learn from a task that ended."""
    if state.duration_seconds is None:
        state.duration_seconds = seconds
    else:
        state.duration_seconds += DURATION_WEIGHT * (seconds - state.duration_seconds)


def prefetch(state: State, slots: int) -> int:
    """How many tasks to have waiting beyond those that `slots` run."""
    limits = state.limits
    if state.duration_seconds is None:
        return min(slots, limits.prefetch_max)
    duration = max(state.duration_seconds, 1e-6)
    waiting = int(slots * (limits.prefetch_seconds + 2 * state.round_trip_seconds) / duration + 0.5)
    if state.round_trip_seconds > 0.02 * duration:
        # The slots may all end at the same moment, and the answer is a notable part of a task away.
        waiting = max(waiting, slots)
    return min(waiting, limits.prefetch_max)


def is_full(state: State) -> bool:
    """Whether disk or spool take nothing more: a file cannot be written, or too many results wait for their ACK."""
    return state.spool_full or state.audit_stuck or _waiting_too_much(state)


def _waiting_too_much(state: State) -> bool:
    """Blobs that wait leave room in the cache for those that tasks need and make."""
    limits = state.limits
    return state.kept_bytes >= limits.spool_bytes_max or state.offered_bytes > limits.blob_cache_bytes_max // 2


def wanted(state: State) -> int:
    """How many more tasks the agent takes now."""
    if state.leaving or is_full(state):
        return 0
    slots = sum(1 for slot in state.slots if slot.ready)
    if slots == 0:
        return 0
    # HELLO must be able to name all that is held.
    # Those that wait for a blob must not keep others from running.
    beside = min(len(state.waiting), state.limits.blob_tasks_max)
    most = min(slots + prefetch(state, slots) + beside, state.limits.hello_items_max)
    return max(0, most - len(state.held))


def tell(state: State) -> Credit:
    """The credit of now, noted as told."""
    tasks = wanted(state)
    payload_bytes = max(0, state.limits.credit_bytes_max - state.held_bytes)
    state.session.credit_told = True
    state.session.credit_left = tasks
    state.session.tasks_allowed = max(state.session.tasks_allowed, state.session.tasks_taken + tasks)
    return Credit(tasks, payload_bytes, state.session.tasks_seen)


def tell_if_notable(state: State) -> None:
    """Send credit alone when slots would idle for want of it, when it grew notably, or when it ended."""
    if state.phase is not Phase.LIVE:
        return
    tasks = wanted(state)
    left = max(0, state.session.credit_left)
    if state.session.credit_told:
        if tasks == 0:
            if left == 0:
                return
        else:
            idle = sum(1 for slot in state.slots if slot.ready and not slot.pipeline)
            starving = left < idle - len(state.queue)
            # A quarter of what is held when all is well: few messages, and never near the end of the credit.
            if not (tasks > left and (starving or tasks - left >= max(2, (tasks + len(state.held)) // 4))):
                return
    state.send(tell(state))


def covers(state: State, leases: Sequence[Lease]) -> bool:
    """Whether an agent takes these leases, which are counted as taken: not many more than it gave credit for.

    What it could hold at the begin of a session is granted whatever was told, and of bytes what it can hold at most,
    since a single parameter may be larger than the credit.
    """
    session, limits = state.session, state.limits
    session.tasks_taken += len(leases)
    held_bytes = state.held_bytes + sum(len(lease.parameter) for lease in leases)
    return (
        session.tasks_taken <= max(session.tasks_allowed, len(state.slots) + limits.prefetch_max)
        and held_bytes <= limits.credit_bytes_max + limits.value_bytes_max + limits.batch_bytes_max
    )


def say_when_full(state: State) -> None:
    """Tell people once when the results that wait for their ACK stop this agent."""
    full = _waiting_too_much(state)
    if full and not state.full_said:
        limits = state.limits
        state.say(
            "warning",
            f"results of {state.kept_bytes} bytes and blobs of {state.offered_bytes} wait for the broker; the limits "
            f"are {limits.spool_bytes_max} (spool_bytes_max) and half of {limits.blob_cache_bytes_max} "
            "(blob_cache_bytes_max): no more tasks are taken until some are acknowledged",
        )
    state.full_said = full
