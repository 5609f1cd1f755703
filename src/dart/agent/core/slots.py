"""Tasks on their way through this agent: taken, given, recalled, cancelled, ended, killed."""

from collections.abc import Iterable

from dart.agent.core import auditing, blobs, outcomes, result_blobs
from dart.agent.core.credit import is_full, note_duration
from dart.agent.core.dispatch import begin_next, take_back
from dart.agent.core.state import Fate, Held, Phase, SlotState, State
from dart.agent.events import Kill, RunnerDied, RunnerFailed, RunnerReady, RunnerResult, Slot, TakenBack, TasksEnded
from dart.agent.policy import Refusal
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef
from dart.wire.blob_references import references_in
from dart.wire.messages import Lease, Released, Tasks

# ---- what the broker wants ----


def on_tasks(state: State, tasks: Tasks) -> None:
    """Take leases into the queue; give them back where the agent takes nothing now."""
    taking = not (state.leaving or is_full(state))
    for lease in tasks.leases:
        if lease.ref in state.held or lease.ref in state.kept:
            state.say(
                "warning",
                f"task {lease.ref.task_id} was given twice for one attempt; the second is ignored",
                bounded=True,
            )
            continue
        held = Held(lease, state.store_id)
        state.held[lease.ref] = held
        state.held_bytes += len(lease.parameter)
        named = references_in(lease.parameter, state.limits.blobs_per_task_max) if taking else ()
        refusal = _refusal(state, lease, len(named)) if taking else None
        if refusal is not None:
            state.free(lease.ref)
            outcomes.keep_error(state, held, *refusal, start=state.now, duration=0.0)
        else:
            blobs.take(state, lease.ref, named)
    if not taking:
        release_waiting(state)


def _refusal(state: State, lease: Lease, blobs_named: int) -> Refusal | None:
    """Why this is not even given to a runner; nothing that a broker says reaches one past this."""
    size = len(lease.parameter)
    if size > state.limits.value_bytes_max:
        return Refusal(
            TaskErrorCode.TOO_LARGE,
            f"the parameter has {size} bytes, this agent takes {state.limits.value_bytes_max} (value_bytes_max); "
            "raise DART_LIMIT_VALUE_BYTES_MAX on the worker or send less",
        )
    if blobs_named > state.limits.blobs_per_task_max:
        return Refusal(
            TaskErrorCode.REFUSED,
            f"the parameter names more than {state.limits.blobs_per_task_max} blobs (blobs_per_task_max)",
        )
    return state.identity.policy.refusal(lease.module_path, lease.method, parameter_bytes=size)


def abandon(state: State, refs: Iterable[AttemptRef]) -> None:
    """Nobody wants these any more: drop what waits, take back what is ahead, kill what runs."""
    gone = {ref for ref in refs if ref in state.held}
    slots: set[Slot] = set()
    for ref in gone:
        held = state.held[ref]
        if held.slot is None:
            state.free(ref)
        else:
            held.fate = Fate.ABANDONED
            slots.add(held.slot)
    if any(ref not in state.held for ref in gone):
        state.queue = type(state.queue)(ref for ref in state.queue if ref not in gone)
    for number in sorted(slots):
        if state.slots[number].pipeline[0] in gone:
            kill(state, number)
        else:
            take_back(state, number)


def recall(state: State, refs: Iterable[AttemptRef]) -> None:
    """Give back what is not begun; the rest goes on."""
    wanted = {ref for ref in refs if ref in state.held}
    waiting = [ref for ref in (*state.queue, *state.waiting) if ref in wanted]
    if waiting:
        state.queue = type(state.queue)(ref for ref in state.queue if ref not in wanted)
        release(state, waiting)
    for ref in sorted(wanted.difference(waiting)):
        held = state.held[ref]
        if held.fate is Fate.WANTED and held.slot is not None and state.slots[held.slot].pipeline[0] != ref:
            held.fate = Fate.RECALLED
            take_back(state, held.slot)


def release(state: State, refs: list[AttemptRef]) -> None:
    """Tell the broker that these were not begun; without a session the next HELLO tells it by not naming them."""
    for ref in refs:
        state.free(ref)
    if state.session.welcome is not None and state.phase is Phase.LIVE:
        step = state.session.welcome.batch_items_max
        for first in range(0, len(refs), step):
            state.send(Released(tuple(refs[first : first + step])))


def release_waiting(state: State) -> None:
    """Give back everything that is in no pipeline."""
    if state.queue or state.waiting:
        waiting = [*state.queue, *state.waiting]
        state.queue.clear()
        release(state, waiting)


def on_audit_stuck(state: State, reason: str) -> None:
    """What could not be written down must not run: only what is begun may end."""
    state.audit_stuck = True
    state.say("error", f"the audit log cannot be written: {reason}; no task begins until it can")
    for number, slot in enumerate(state.slots):
        if len(slot.pipeline) > 1:
            take_back(state, number)


def hold_back_if_stuck(state: State) -> None:
    """Give back what waits, and what came back from the runners, while the audit log is stuck."""
    if state.audit_stuck:
        release_waiting(state)


# ---- what the runners say ----


def on_runner_ready(state: State, event: RunnerReady) -> None:
    """A slot can work."""
    slot = state.slots[event.slot]
    slot.ready, slot.failed, slot.killed, slot.stale = True, False, False, False
    state.facts.update(event.facts)


def on_runner_failed(state: State, event: RunnerFailed) -> None:
    """A slot cannot work now; if none can, others may have what waits here."""
    slot = state.slots[event.slot]
    slot.ready, slot.killed = False, False
    if not slot.failed:
        state.say("error", f"the runner of slot {event.slot} cannot be started: {event.reason}; it is tried again")
    slot.failed = True
    if all(slot.failed for slot in state.slots):
        release_waiting(state)


def on_tasks_ended(state: State, event: TasksEnded) -> None:
    """Results of a runner, in order."""
    slot = state.slots[event.slot]
    for result in event.results:
        held = state.held.get(result.ref)
        if held is None or held.slot != event.slot:
            state.say("warning", f"slot {event.slot} answered for task {result.ref.task_id}, which it does not have")
            continue
        _keep(state, held, result)
        state.free(result.ref)
        slot.pipeline.remove(result.ref)
        begin_next(state, slot)
        note_duration(state, result.duration_seconds)


def _keep(state: State, held: Held, result: RunnerResult) -> None:
    start, duration = result.start_time_ms / 1000, result.duration_seconds
    if held.fate is Fate.TIMED_OUT:
        _keep_timed_out(state, held, start=start, duration=duration)
    elif held.fate is Fate.ABANDONED:
        auditing.note_end(state, held, "dropped", start, duration)
    else:
        # A runner cuts its errors; one that is longer was not written by it.
        text_bytes = 0 if result.success else 4 * state.limits.error_chars_max + 5
        size = len(result.payload) + sum(blob.size for blob in result_blobs.named(state, held, result))
        refusal = state.identity.policy.result_refusal(size, least=text_bytes)
        if refusal is None:
            outcomes.keep(state, held, result)
        else:
            outcomes.keep_error(state, held, *refusal, start=start, duration=duration)


def _keep_timed_out(state: State, held: Held, *, start: float, duration: float) -> None:
    timeout, most = held.lease.timeout_seconds, _seconds_max(state, held)
    whose = "the task's timeout" if most == timeout else "the most that the policy of this worker's owner allows"
    text = f"ran longer than {most:g} s, {whose}, and was interrupted"
    outcomes.keep_error(state, held, TaskErrorCode.TIMED_OUT, text, start=start, duration=duration)


def on_taken_back(state: State, event: TakenBack) -> None:
    """What a runner had not begun is ours again."""
    slot = state.slots[event.slot]
    slot.taking = False
    _put_back(state, event.slot, event.refs)
    for ref in slot.pipeline:
        held = state.held[ref]
        if held.fate is Fate.RECALLED:
            held.fate = Fate.WANTED
    if any(state.held[ref].fate is Fate.ABANDONED for ref in slot.pipeline):
        kill(state, event.slot)


def _put_back(state: State, number: Slot, refs: tuple[AttemptRef, ...]) -> None:
    """Untouched attempts of a slot go to the front of the queue, or where their fate says."""
    slot = state.slots[number]
    returned = [ref for ref in refs if ref in state.held and state.held[ref].slot == number]
    back: list[AttemptRef] = []
    given_back: list[AttemptRef] = []
    for ref in returned:
        slot.pipeline.remove(ref)
        held = state.held[ref]
        if held.fate is Fate.ABANDONED:
            state.free(ref)
        elif held.fate is Fate.RECALLED or state.leaving:
            given_back.append(ref)
        else:
            held.slot = None
            back.append(ref)
    if given_back:
        release(state, given_back)
    state.queue.extendleft(reversed(back))


def on_runner_died(state: State, event: RunnerDied) -> None:
    """A runner ended, by our hand or its own."""
    slot = state.slots[event.slot]
    by_our_hand = slot.killed
    _put_back(state, event.slot, event.untouched)
    # What is neither answered nor untouched was begun, whether or not the supervisor could name it.
    begun = list(slot.pipeline)
    slot.pipeline.clear()
    slot.ready, slot.killed, slot.taking = False, False, False
    for ref in reversed(begun):
        _end_with_runner(state, slot, ref, event.reason, by_our_hand=by_our_hand)


def _end_with_runner(state: State, slot: SlotState, ref: AttemptRef, reason: str, *, by_our_hand: bool) -> None:
    held = state.held[ref]
    state.progress.pop(ref, None)
    if by_our_hand and held.fate in {Fate.WANTED, Fate.RECALLED}:
        # It began between our decision to kill its predecessor and the signal: no fault of its own, so it runs
        # again. On the way out it is left to the broker, which sees at BYE that it has no result.
        held.slot, held.fate = None, Fate.WANTED
        state.unmake(held)
        auditing.note_end(state, held, "interrupted", slot.began_at, max(0.0, state.now - slot.began_at))
        if state.leaving:
            state.free(ref)
        else:
            state.queue.appendleft(ref)
        return
    state.free(ref)
    duration = max(0.0, state.now - slot.began_at)
    if held.fate is Fate.TIMED_OUT:
        _keep_timed_out(state, held, start=slot.began_at, duration=duration)
    elif held.fate is Fate.ABANDONED:
        auditing.note_end(state, held, "dropped", slot.began_at, duration)
    else:
        text = f"the runner process ended while it ran this task: {reason}"
        outcomes.keep_error(state, held, TaskErrorCode.RUNNER_DIED, text, start=slot.began_at, duration=duration)


# ---- time and force ----


def kill(state: State, number: Slot) -> None:
    """End what a slot runs; what waits behind it is taken back first."""
    slot = state.slots[number]
    if slot.killed:
        return
    if len(slot.pipeline) > 1:
        take_back(state, number)
    slot.killed = True
    state.commands.append(Kill(number, state.limits.kill_grace_seconds))


def _seconds_max(state: State, held: Held) -> float:
    return state.identity.policy.seconds_max(held.lease.timeout_seconds)


def _ends_at(state: State, slot: SlotState) -> float | None:
    """When what the slot runs will have run too long."""
    if not slot.pipeline or slot.killed:
        return None
    held = state.held[slot.pipeline[0]]
    timeout = _seconds_max(state, held)
    return slot.began_at + timeout if timeout > 0 and held.fate is not Fate.TIMED_OUT else None


def end_overdue(state: State) -> None:
    """Kill tasks that ran longer than their timeout, or than the owner allows."""
    for number, slot in enumerate(state.slots):
        end = _ends_at(state, slot)
        if end is not None and end <= state.now:
            state.held[slot.pipeline[0]].fate = Fate.TIMED_OUT
            kill(state, number)


def timeout_deadline(state: State) -> float | None:
    """The next end of a task's timeout."""
    return min((end for slot in state.slots if (end := _ends_at(state, slot)) is not None), default=None)
