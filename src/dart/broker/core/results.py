"""Outcomes and what agents tell of their leases: RESULTS, STARTED, PROGRESS, LOG, RELEASED, CREDIT."""

from itertools import groupby
from operator import itemgetter

from dart.broker.core.arrivals import drop
from dart.broker.core.events import TasksShortened
from dart.broker.core.fetching import expect
from dart.broker.core.foreign import denounce, is_foreign
from dart.broker.core.happenings import TaskPrinted, TaskProgressed
from dart.broker.core.leases import give_back, lose
from dart.broker.core.model import Agent, HeldLease, TaskState
from dart.broker.core.outcomes import began, take
from dart.broker.core.spares import recall_answered
from dart.broker.core.state import Core, is_beyond, send, session_of
from dart.ids import AttemptRef
from dart.wire.messages import Ack, Credit, Log, Progress, Released, Results, Started


def on_results(core: Core, agent: Agent, message: Results, now: float) -> None:
    """Record the outcomes that count; acknowledge all that this store can judge, or the agent would keep them."""
    foreign: list[AttemptRef] = []
    kept: set[AttemptRef] = set()
    """By the agent: no word of them."""
    arrivals = session_of(agent).arrivals
    for result in message.results:
        task = core.tasks.get(result.ref.task_id)
        if is_foreign(core, agent, result.ref):
            foreign.append(result.ref)
        elif task is None or task.attempt != result.ref.attempt or task.agent_id is None:
            core.late_results += 1
            if task is None and is_beyond(core, result.ref.task_id):
                kept.add(result.ref)  # not ours to judge
        elif result.blobs and result.success:
            kept.add(result.ref)
            expect(core, agent, task, result, now)
        else:
            if task.id in arrivals:
                drop(core, agent, task.id)  # this takes its place
            take(core, agent, task, result, now)
    denounce(core, agent, foreign, "RESULTS")
    if message.credit is not None:
        on_credit(core, agent, message.credit, now)
    known = tuple(result.ref for result in message.results if result.ref not in kept)
    if known:
        send(core, agent, Ack(known), now)


def on_credit(core: Core, agent: Agent, credit: Credit, _now: float) -> None:
    """Note what the agent takes beyond the TASKS frames that it has not seen yet."""
    session = session_of(agent)
    session.credit_tasks = credit.tasks
    session.credit_bytes = min(credit.payload_bytes, core.limits.credit_bytes_max)
    session.credit_seen = min(credit.seen, session.sent)
    in_flight = session.in_flight
    while in_flight and in_flight[0][0] <= session.credit_seen:
        _, tasks, payload_bytes = in_flight.popleft()
        session.in_flight_tasks -= tasks
        session.in_flight_bytes -= payload_bytes
    core.ripe[agent.id] = None


def on_tasks_shortened(core: Core, event: TasksShortened, _now: float) -> None:
    """Give back the credit of what was left out: the agent, which never saw it, will not tell of it."""
    agent = core.sessions.get(event.session)
    if agent is None:
        return
    session = session_of(agent)
    for index, (sequence, tasks, payload_bytes) in enumerate(session.in_flight):
        if sequence == event.sequence:
            session.in_flight[index] = (sequence, event.tasks, event.payload_bytes)
            session.in_flight_tasks -= tasks - event.tasks
            session.in_flight_bytes -= payload_bytes - event.payload_bytes
            core.ripe[agent.id] = None


def on_started(core: Core, agent: Agent, message: Started, _now: float) -> None:
    """Note which leases run."""
    denounce(core, agent, [start.ref for start in message.starts], "STARTED")
    for start in message.starts:
        held = _held(agent, start.ref)
        if held is not None:
            began(core, agent, held, start.start_time_ms)


def on_progress(core: Core, agent: Agent, message: Progress, _now: float) -> None:
    """Note how far leases are."""
    denounce(core, agent, [report.ref for report in message.reports], "PROGRESS")
    for report in message.reports:
        held = _held(agent, report.ref)
        if held is not None:
            task, text = held.task, report.text[: core.limits.progress_chars_max]
            task.told = task.told._replace(fraction=report.fraction, text=text)
            told = TaskProgressed(task.job.name, task.policy.location, agent.name, task.id, report.fraction, text)
            core.happened.append(told)


def on_log(core: Core, agent: Agent, message: Log, _now: float) -> None:
    """Tell the lines that tasks printed, those of one task together; of attempts that are over they are dropped."""
    denounce(core, agent, dict.fromkeys(ref for ref, _ in message.lines), "LOG")
    for ref, group in groupby(message.lines, key=itemgetter(0)):
        held = _held(agent, ref)
        if held is not None:
            task, lines = held.task, tuple(line for _, line in group)
            core.happened.append(TaskPrinted(task.job.name, task.policy.location, agent.name, task.id, lines))


def on_released(core: Core, agent: Agent, message: Released, now: float) -> None:
    """Queue again what was not begun, in its old order and before all others of its job."""
    denounce(core, agent, message.attempts, "RELEASED")
    released = [held for held in (_held(agent, ref) for ref in message.attempts) if held is not None]
    for held in sorted(released, key=lambda held: held.task.id, reverse=True):
        if held.task.id not in agent.leases:
            continue  # named twice
        if held.task.state is TaskState.LEASED:
            give_back(core, held.task, now)
        else:
            lose(core, held.task, now, f"its agent {agent.name!r} gave it back after it had begun")
    recall_answered(core, agent)


def _held(agent: Agent, ref: AttemptRef) -> HeldLease | None:
    """The lease of exactly this attempt."""
    held = agent.leases.get(ref.task_id)
    return held if held is not None and held.attempt == ref.attempt else None
