"""What must hold between turns: every index is derived again from scratch and compared."""

from collections import Counter
from collections.abc import Iterable

from dart.broker.core.id_table import PAGE
from dart.broker.core.lifecycle import HELD_STATES, OPEN_STATES, story
from dart.broker.core.model import Agent, Job, JobStatus, Session, Task, TaskState
from dart.broker.core.placement import urgency
from dart.broker.core.ready_queue import QueueKey, is_doomed, key_of
from dart.broker.core.room import room_of
from dart.broker.core.spares import may_be_asked
from dart.broker.core.state import Core
from dart.broker.core.tokens import earned, standing_jobs
from dart.ids import AgentId, LeaseId, TaskId


class BrokenInvariantError(RuntimeError):
    """A fault of this program: two parts of the state contradict each other."""


def check(core: Core) -> None:
    """Raise `BrokenInvariantError` with what is wrong, if anything is."""
    _check_tasks(core)
    _check_standing(core)
    _check_submissions(core)
    _check_stops(core)
    _check_ready(core)
    _check_leases(core)
    _check_spares(core)
    _check_agents(core)
    _check_placement(core)
    _check_timers(core)
    _require(
        not (
            core.commands
            or core.ripe
            or core.freed
            or core.closed_leases
            or core.finished_jobs
            or core.cancels
            or core.settled
            or core.fetchers
        ),
        "something of the last turn was left undone",
    )


def _require(condition: object, text: str) -> None:
    if not condition:
        raise BrokenInvariantError(text)


def _same(what: str, kept: object, derived: object) -> None:
    _require(kept == derived, f"{what}: kept {kept!r}, derived {derived!r}")


def _check_tasks(core: Core) -> None:
    for task_id, task in core.tasks.items():
        tale = story(task)
        _same(f"id of {tale}", task_id, task.id)
        _require(0 < task_id <= core.highest_id, f"{tale} is above the highest id {core.highest_id}")
        _require(task.state in OPEN_STATES, f"{tale} is kept as open")
        _require(core.jobs.get(task.job.name) is task.job, f"{tale} belongs to a job that is not there")
        _require(task.job.open.get(task_id) is task, f"{tale} is missing in its job")
        _require(task.losses <= task.policy.lost_retries or task.losses == 0, f"{tale} was lost too often")
        _require(task.errors <= task.policy.retries, f"{tale} failed too often")
        if task.state in HELD_STATES:
            held = core.agents[task.agent_id].leases.get(task_id) if task.agent_id in core.agents else None
            _require(held is not None and held.task is task, f"{tale} is held by nobody")
    _same("open tasks", sum(len(job.open) for job in core.jobs.values()), len(core.tasks))
    for name, job in core.jobs.items():
        _same("name of a job", name, job.name)
        _check_counts(job)


def _check_standing(core: Core) -> None:
    _require(len(core.upkeep) <= 4 * len(core.jobs) + 65, "too many forgotten jobs are to be looked after")
    standing = {job.id: job for job in core.jobs.values() if job.config.standing is not None}
    _same("standing jobs", {job_id: known.job for job_id, known in core.standing.items()}, standing)
    for agents in core.connected.values():
        for agent in agents.values():
            tokens = {name for name in agent.capabilities.names if standing_jobs((name,))}
            _require(tokens >= earned(core, agent.name), f"agent {agent.id} was not told what its name has done")
    for job in core.jobs.values():
        if job.status is JobStatus.STOPPED and core.limits.stopped_job_seconds:
            entries = [entry for entry in core.upkeep if entry[1:] == (job.id, job.name, False)]
            _same(f"times at which job {job.name!r} may be forgotten", len(entries), 1)
        bounding = [entry for entry in core.upkeep if entry[1:] == (job.id, job.name, True)]
        _same(f"times at which results of job {job.name!r} are looked at", len(bounding), int(job.bounding))


def _check_stops(core: Core) -> None:
    for task in core.tasks.values():
        if is_doomed(task):
            stop = core.stops.get(task.job.id)
            _require(stop is not None and task.id // PAGE in stop.pages, f"{story(task)} would never be cancelled")
    for job_id, stop in core.stops.items():
        _same("job of a stop", stop.job.id, job_id)
        _require(core.jobs.get(stop.job.name) is stop.job, "a stop belongs to a forgotten job")


def _check_counts(job: Job) -> None:
    counted = Counter(task.state for task in job.open.values())
    for (_, state), amount in job.tally.items():
        counted[state] += amount
    _same(f"counts of job {job.name!r}", job.counts, [counted.get(state, 0) for state in TaskState])


def _check_submissions(core: Core) -> None:
    reserved = 0
    for submission in (*core.submissions.values(), *core.admitting):
        _require(core.jobs.get(submission.job.name) is submission.job, "a submission belongs to a forgotten job")
        _require(submission.last_id <= core.highest_id, "a submission has ids that are not reserved")
        for task in submission.staged:
            _require(task.state is not TaskState.STAGED or task.id not in core.tasks, f"{story(task)} is there twice")
            _require(submission.first_id <= task.id < submission.next_id, f"{story(task)} is staged out of its range")
    for submission in core.submissions.values():
        reserved += submission.last_id - submission.first_id + 1
        _same("staged tasks", len(submission.staged), submission.next_id - submission.first_id)
    for submission in core.admitting:
        reserved += submission.waiting
        early = sum(task.state is not TaskState.STAGED for task in submission.staged)
        _same("tasks let in early", submission.early, early)
        _require(submission.staged, "a submission without tasks is being let in")
        _same("end of a submission", submission.next_id, submission.last_id + 1)
    _same("reserved ids", core.reserved, reserved)


def _check_ready(core: Core) -> None:
    queued: set[int] = set()
    size = 0
    for queue in core.ready:
        tasks = list(queue)
        _require(tasks, f"the queue {queue.key} is empty")
        _same(f"size of queue {queue.key}", queue.size, len(tasks))
        _require(queue.head() is tasks[0], f"the head of queue {queue.key} is not its first task")
        _same(f"priority of queue {queue.key}", queue.priority(), max(task.policy.priority for task in tasks))
        for task in tasks:
            _same(story(task), key_of(task), queue.key)
        queued.update(task.id for task in tasks)
        size += queue.size
    _same("tasks in all queues", (core.ready.size, len(queued)), (size, size))
    waiting = {task.id for task in core.tasks.values() if task.state is TaskState.QUEUED and not is_doomed(task)}
    _same("queued tasks", queued, waiting)
    _require(not core.ready.changed, "placement did not look at a queue that changed")


def _check_leases(core: Core) -> None:
    out: Counter[LeaseId] = Counter()
    for agent, task in _held(core):
        held = agent.leases[task.id]
        _require(task.state in HELD_STATES, f"agent {agent.id} holds {story(task)}")
        _require(core.tasks.get(task.id) is task, f"agent {agent.id} holds {story(task)}, which is not open")
        _same(f"holder of {story(task)}", (task.agent_id, task.attempt), (agent.id, held.attempt))
        _require(task.policy.location in ("", agent.name), f"agent {agent.name!r} holds {story(task)}")
        out[held.lease_id] += 1
    _same("leases out of each frame", core.lease_counts, dict(out))


def _check_spares(core: Core) -> None:
    """Whatever could be asked for is found, and nothing that could not, but for what moved up into the slots."""
    givers: set[tuple[str, tuple[str, ...], AgentId]] = set()
    for agent in core.agents.values():
        spares: Counter[QueueKey] = Counter()
        for place, held in enumerate(agent.leases.values()):
            waits = held.task.state is TaskState.LEASED and not held.recalled
            _require(waits or not held.spare, f"{story(held.task)} is spare")
            beyond = agent.session is not None and place >= agent.slots
            _require(held.spare or not (waits and beyond), f"{story(held.task)} is not spare")
            spares[key_of(held.task)] += held.spare
        _same(f"spare leases of {agent.id}", agent.spares, dict(+spares))
        if may_be_asked(core, agent):
            givers |= {(*key, agent.id) for key in agent.spares}
    kept = {
        (location, requires, agent_id)
        for location, by_requires in core.givers.items()
        for requires, holders in by_requires.items()
        for agent_id in holders
    }
    _same("givers", kept, givers)
    _require(
        all(by_requires and all(by_requires.values()) for by_requires in core.givers.values()),
        "givers keeps empty entries",
    )
    asked: Counter[AgentId] = Counter()
    for agent_id, amount in core.recalls.values():
        asked[agent_id] += amount
    _same("leases asked for", core.asked, dict(asked))


def _held(core: Core) -> Iterable[tuple[Agent, Task]]:
    return [(agent, held.task) for agent in core.agents.values() for held in agent.leases.values()]


def _check_agents(core: Core) -> None:
    for agent_id, agent in core.agents.items():
        _same("id of an agent", agent_id, agent.id)
        _require(agent.session is not None or agent.leases, f"agent {agent_id} is kept for nothing")
        enrolment = core.enrolments[agent_id]
        _same(f"name of agent {agent_id}", (agent.name, False), (enrolment.name, enrolment.name_is_pattern))
        _require(not enrolment.revoked_at_ms, f"agent {agent_id} was revoked, yet is at work")
        if agent.session is not None:
            session = agent.session
            _require(core.sessions.get(session.id) is agent, f"session {session.id} of agent {agent_id} is unknown")
            _require(core.connected[agent.name][agent_id] is agent, f"agent {agent_id} is not under its name")
            flying = (sum(row[1] for row in session.in_flight), sum(row[2] for row in session.in_flight))
            _same(f"in flight to {agent_id}", (session.in_flight_tasks, session.in_flight_bytes), flying)
            _check_arrivals(agent, session)
    live = sum(agent.session is not None for agent in core.agents.values())
    _same("sessions", len(core.sessions), live)
    _same("connected agents", sum(map(len, core.connected.values())), live)
    _require(all(core.connected.values()), "a name without agents is kept")
    for agent_id in (*core.hungry, *core.held_up, *core.recalls):
        _require(agent_id in core.agents and core.agents[agent_id].session, f"{agent_id} is away, yet waited for")
    for agent_id in core.heard_at:
        known = core.agents.get(agent_id)
        _require(known is None or known.session is None, f"{agent_id} is connected, yet kept as away")
        _require(not core.enrolments[agent_id].revoked_at_ms, f"{agent_id} was revoked, yet kept as away")
    for agent_id in core.hungry:
        _require(not core.agents[agent_id].draining, f"{agent_id} drains, yet takes work")


def _check_arrivals(agent: Agent, session: Session) -> None:
    missing: dict[bytes, set[TaskId]] = {}
    for task_id, arrival in session.arrivals.items():
        held = agent.leases.get(task_id)
        _require(held is not None and held.attempt == arrival.result.ref.attempt, f"result of {task_id} is nobody's")
        _require(arrival.missing, f"the result of {task_id} waits for nothing")
        for sha256 in arrival.missing:
            missing.setdefault(sha256, set()).add(task_id)
    _same(f"blobs from {agent.id}", {sha256: set(blob.tasks) for sha256, blob in session.coming.items()}, missing)
    for blob in session.coming.values():
        _require(0 <= blob.here <= blob.received <= blob.asked <= blob.size, f"{blob} has come in a wrong order")


def _check_placement(core: Core) -> None:
    """Nothing waits that an agent could take now."""
    for agent in core.agents.values():
        room = room_of(core, agent)
        queues = core.ready.matching(agent.name, agent.capabilities)
        if room is not None and queues:
            task = max(queues, key=urgency).head()
            _require(
                agent.leases and task.parameter_bytes > room.payload_bytes,
                f"{story(task)} waits, though agent {agent.id} has room",
            )

    for (location, requires), waiting in core.takers.items():
        for agent_id, known in (*waiting.idle.items(), *waiting.spare.items()):
            _require(core.agents.get(agent_id) is known and known.session, f"agent {agent_id} is away, yet listed")
        for agent in core.agents.values():
            room = room_of(core, agent)
            if room is None or core.stopping or location not in ("", agent.name):
                continue
            listed = agent.id in (waiting.idle if room.idle > 0 else waiting.spare) or agent.id in core.held_up
            _require(listed or not agent.capabilities.cover(requires), f"agent {agent.id} has room and is not listed")


def _check_timers(core: Core) -> None:
    expiring = {task.id for task in core.tasks.values() if task.policy.expires_at_ms}
    _same("tasks that expire", core.expiring, len(expiring))
    _require(expiring <= {task_id for _, task_id in core.expiries}, "a task would never expire")
    _require(len(core.expiries) <= 2 * core.expiring + 65, "too many entries of finished tasks wait to expire")
    delayed = [task for task in core.tasks.values() if task.state is TaskState.DELAYED]
    _same("tasks that are delayed", core.delayed, len(delayed))
    _require(all((task.delayed_until, task.id) in core.delays for task in delayed), "a task would be delayed for ever")
    _require(len(core.delays) <= 2 * core.delayed + 65, "too many entries of tasks wait that are not delayed")
    for agent in core.agents.values():
        if agent.session is not None or agent.lease_expires_at < float("inf"):
            armed = core.armed.get(agent.id)
            _require(armed is not None and (armed, agent.id) in core.agent_timers, f"agent {agent.id} has no timer")
