"""The checks themselves: each of them can fail."""

import pytest

from dart.broker.core.capabilities import Capabilities
from dart.broker.core.invariants import BrokenInvariantError, check
from dart.broker.core.leases import holder_of
from dart.broker.core.model import JobStatus, TaskState
from dart.broker.core.state import next_sequence
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder(slice_tasks_max=5)
    recorder.define()
    agent = recorder.agent(slots=2, credit=3)
    recorder.submit(4, location="w", expires_at_ms=9_000_000)
    agent.start(agent.given[0])
    recorder.define_standing("init", worker_regex="s")
    stands = recorder.agent("s", credit=1)
    stands.finish(stands.given[0])
    delayed = recorder.agent("d", credit=1)
    recorder.submit(1, location="d", retries=1)
    delayed.fail(delayed.given[0])
    recorder.submit(100, location="v")
    check(recorder.core)
    return recorder


def tamper_state(core):
    next(task for task in core.tasks.values() if task.state is TaskState.QUEUED).state = TaskState.RUNNING


def tamper_staged(core):
    core.admitting[0].staged[0].state = TaskState.QUEUED


def agent(core):
    return next(iter(core.agents.values()))


def tamper_holder(core):
    next(iter(agent(core).leases.values())).task.agent_id = None


def tamper_job(core):
    core.jobs["job"].counts[TaskState.QUEUED] += 1


def tamper_delay(core):
    next(task for task in core.tasks.values() if task.state is TaskState.DELAYED).delayed_until += 1


def tamper_enrolment(core, **members):
    known = core.enrolments[agent(core).id]
    core.enrolments[known.agent_id] = known._replace(**members)


def tamper_revoked(core):
    known = core.enrolments[agent(core).id]
    core.enrolments["away"] = known._replace(agent_id="away", revoked_at_ms=1)
    return "away"


TAMPERINGS = {
    "revoked at work": lambda core: tamper_enrolment(core, revoked_at_ms=1),
    "name not fixed": lambda core: tamper_enrolment(core, name_is_pattern=True),
    "connected and away": lambda core: core.heard_at.update({agent(core).id: 1.0}),
    "revoked and away": lambda core: core.heard_at.update({tamper_revoked(core): 1.0}),
    "forgotten standing job": lambda core: core.standing.clear(),
    "token not told": lambda core: setattr(next(iter(core.connected["s"].values())), "capabilities", Capabilities()),
    "job kept for ever": lambda core: setattr(core.jobs["job"], "status", JobStatus.STOPPED),
    "results kept for ever": lambda core: setattr(core.jobs["job"], "bounding", True),
    "a delay without end": tamper_delay,
    "delayed tasks": lambda core: setattr(core, "delayed", 0),
    "old jobs": lambda core: core.upkeep.extend([(9e9, 0, "", False)] * 99),
    "old delays": lambda core: core.delays.extend([(9e9, 0)] * 99),
    "a task in no final state": tamper_state,
    "a staged task that is not": tamper_staged,
    "a task of nobody": tamper_holder,
    "counts": tamper_job,
    "queue size": lambda core: setattr(next(iter(core.ready)), "size", 99),
    "ready size": lambda core: setattr(core.ready, "size", 99),
    "forgotten task": lambda core: core.tasks.pop(next(iter(core.tasks))),
    "forgotten job": lambda core: core.jobs.pop("job"),
    "unreserved id": lambda core: setattr(core, "highest_id", 1),
    "reserved": lambda core: setattr(core, "reserved", 0),
    "forgotten lease": lambda core: agent(core).leases.popitem(),
    "forgotten row": lambda core: core.lease_counts.clear(),
    "forgotten givers": lambda core: core.givers.clear(),
    "empty givers": lambda core: core.givers.update(x={}),
    "forgotten spares": lambda core: agent(core).spares.clear(),
    "a spare lease that is not": lambda core: setattr(list(agent(core).leases.values())[-1], "recalled", True),
    "a lease that is not spare": lambda core: setattr(list(agent(core).leases.values())[-1], "spare", False),
    "asked for nobody": lambda core: core.asked.update(x=1),
    "in flight": lambda core: setattr(agent(core).session, "in_flight_tasks", 0),
    "forgotten session": lambda core: core.sessions.clear(),
    "forgotten name": lambda core: core.connected.update(x={}),
    "hungry and away": lambda core: core.hungry.update(x=None),
    "no timer": lambda core: core.armed.clear(),
    "no expiry": lambda core: core.expiries.clear(),
    "unfinished turn": lambda core: core.ripe.update(x=None),
    "unseen queue": lambda core: core.ready.changed.update(x=None),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found(r, name):
    """Whatever is changed behind the core's back is found."""
    TAMPERINGS[name](r.core)
    with pytest.raises(BrokenInvariantError):
        check(r.core)


def test_nobody_sends_to_the_absent(r):
    """A frame to an agent without a session is a fault of the program."""
    absent = agent(r.core)
    absent.session = None
    with pytest.raises(RuntimeError, match="is not connected"):
        next_sequence(absent, 0.0)


def test_nobody_holds_a_queued_task(r):
    """Asking who holds a task that nobody holds is a fault of the program, told with the task's story."""
    queued = next(task for task in r.core.tasks.values() if task.state is TaskState.QUEUED)
    with pytest.raises(RuntimeError, match=f"nobody holds task {queued.id} of job 'job', QUEUED"):
        holder_of(r.core, queued)
