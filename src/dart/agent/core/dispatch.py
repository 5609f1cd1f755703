"""Which waiting task goes to which slot, how many ahead, and when an idle slot takes over what waits at another."""

from dart.agent.core.state import SlotState, State
from dart.agent.events import Give, TakeBack
from dart.wire.messages import Lease

STEAL_AFTER_SECONDS = 0.01
"""A task that runs for so long may hold up what waits behind it: an idle slot takes that over."""
AHEAD_SECONDS = 0.1
"""Work handed to a runner ahead. Longer tasks get none: waiting for the next one costs them nothing."""


def dispatch(state: State) -> None:
    """Give waiting tasks to runners: idle slots first, then ahead, evenly and no deeper than is of use."""
    given: dict[int, list[Lease]] = {}
    usable = [(number, slot) for number, slot in enumerate(state.slots) if _usable(slot)]
    if state.queue:
        for number, slot in usable:
            if state.queue and not slot.pipeline:
                given[number] = [_move(state, number, slot)]
    if state.queue:
        _give_ahead(state, usable, given)
    state.commands.extend(Give(number, tuple(leases)) for number, leases in given.items())
    if not state.queue:
        _take_over(state, usable)


def _usable(slot: SlotState) -> bool:
    return slot.ready and not slot.killed and not slot.taking and not slot.stale


def _move(state: State, number: int, slot: SlotState) -> Lease:
    ref = state.queue.popleft()
    held = state.held[ref]
    held.slot = number
    if not slot.pipeline:
        begin_next(state, slot)
    slot.pipeline.append(ref)
    return held.lease


def begin_next(state: State, slot: SlotState) -> None:
    """The first of the slot's pipeline begins now."""
    slot.began_at = state.now
    slot.steal_at = state.now + STEAL_AFTER_SECONDS
    slot.start_told = False


def _give_ahead(state: State, usable: list[tuple[int, SlotState]], given: dict[int, list[Lease]]) -> None:
    depth = _depth(state)
    # A pipeline is refilled when half of it is gone, so that many tasks travel in one Give.
    wanting = [(number, slot) for number, slot in usable if len(slot.pipeline) - 1 <= depth // 2]
    share = -(-len(state.queue) // max(1, len(wanting)))
    for number, slot in wanting:
        amount = min(share, depth + 1 - len(slot.pipeline), len(state.queue))
        if amount > 0:
            given.setdefault(number, []).extend(_move(state, number, slot) for _ in range(amount))


def _depth(state: State) -> int:
    if state.duration_seconds is None:
        return min(1, state.limits.pipeline_max)
    return min(state.limits.pipeline_max, int(AHEAD_SECONDS / max(state.duration_seconds, 1e-6)))


def _take_over(state: State, usable: list[tuple[int, SlotState]]) -> None:
    if any(not slot.pipeline for _, slot in usable) and not any(slot.taking for slot in state.slots):
        held_up = [entry for entry in usable if len(entry[1].pipeline) > 1 and entry[1].steal_at <= state.now]
        if held_up:
            number, slot = max(held_up, key=lambda entry: len(entry[1].pipeline))
            slot.steal_at = state.now + STEAL_AFTER_SECONDS
            take_back(state, number)


def take_back(state: State, number: int) -> None:
    """Ask for what the runner has not begun; TakenBack answers (or RunnerDied, if it is being killed)."""
    slot = state.slots[number]
    if not slot.taking and not slot.killed:
        slot.taking = True
        state.commands.append(TakeBack(number))


def steal_deadline(state: State) -> float | None:
    """When an idle slot may take over what waits behind a long task; None: nothing of that kind."""
    usable = [slot for slot in state.slots if _usable(slot)]
    if any(slot.taking for slot in state.slots) or all(slot.pipeline for slot in usable):
        return None
    return min((slot.steal_at for slot in usable if len(slot.pipeline) > 1), default=None)
