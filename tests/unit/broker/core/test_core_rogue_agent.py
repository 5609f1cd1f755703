"""An agent that is enrolled and lies: what it says of others changes nothing, is counted and is told."""

import pytest

from dart.broker.core.commands import EndSession, Note
from dart.broker.core.events import FrameArrived
from dart.broker.core.model import TaskState, Told
from dart.ids import Attempt, AttemptRef, TaskId
from dart.wire.messages import Ack, Bye, Credit, Drain, Error, ErrorCode, Heartbeat, Released, Results, Start, Started
from harness.recorder import PLENTY, Recorder


@pytest.fixture
def r():
    r = Recorder()
    r.define()
    return r


@pytest.fixture
def scene(r):
    """An honest agent with one task that runs and one that waits, and a rogue of another name."""
    honest = r.agent("honest", credit=2)
    rogue = r.agent("rogue", credit=5)
    running, waiting = r.submit(2, location="honest")
    honest.start(honest.given[0])
    rogue.take()
    return honest, rogue, running, waiting


def _guesses(ref):
    """The right attempt and others near it."""
    incarnation, number = ref.attempt
    for attempt in ((incarnation, number), (incarnation, number + 1), (incarnation + 1, 1), (0, 0), (incarnation, 0)):
        yield AttemptRef(ref.task_id, Attempt(*attempt))


def _told(r):
    """Warnings of the last turn."""
    return [(c.agent_id, c.text) for c in r.commands if isinstance(c, Note) and c.level == "warning"]


def test_another_name(r):
    """A key is enrolled for one name; HELLO with another is refused, whoever carries that one."""
    honest = r.agent("honest", credit=1)
    rogue = r.agent("rogue", hello=False)
    rogue.name = "honest"
    assert rogue.hello() == Error(ErrorCode.NAME_REFUSED, rogue_text("rogue", "honest"))
    assert any(isinstance(command, EndSession) for command in r.commands)
    assert [agent_id for agent_id, _ in _told(r)] == [rogue.id]
    assert list(r.core.connected) == ["honest"]
    assert honest.take(Error) == []
    r.submit(1, location="honest")
    assert len(honest.given) == 1
    assert rogue.given == []


def rogue_text(enrolled, claimed):
    return f"The key is enrolled for {enrolled!r}, not for {claimed!r}; enroll another key for that name."


def test_answers_to_others_tasks(r, scene):
    """With the right attempt or a guessed one, of a task that runs or waits: nothing is recorded."""
    honest, rogue, *ids = scene
    for ref in honest.given:
        for guess in _guesses(ref):
            rogue.finish(guess, payload=b"\xa6forged")
            rogue.fail(guess)
            assert r.records() == []
    assert [r.state(task_id) for task_id in ids] == [TaskState.RUNNING, TaskState.LEASED]
    assert r.core.foreign_attempts == 2 * 2 * 3
    honest.finish(*honest.given)
    assert [r.store.outcomes[task_id].worker for task_id in ids] == ["honest", "honest"]
    assert all(r.store.outcomes[task_id].payload == b"\xc0" for task_id in ids)


def test_answers_to_tasks_that_nobody_has(r):
    """A queued task has no answer yet: not before anybody was given it, nor with numbers made up."""
    rogue = r.agent("rogue")
    (task_id,) = r.submit(1, location="honest")
    for attempt in (Attempt(1, 1), Attempt(7, 1), Attempt(0, 1)):
        rogue.finish(AttemptRef(TaskId(task_id), attempt))
        assert r.records() == []
    assert r.state(task_id) is TaskState.QUEUED


def test_answers_to_tasks_that_are_over(r):
    """What was recorded stays as it is, however often a whole spool is replayed."""
    honest, rogue = r.agent("honest", credit=1), r.agent("rogue")
    (task_id,) = r.submit(1, location="honest")
    honest.finish(honest.given[0], payload=b"\xa4true")
    for agent in (rogue, honest) * 3:
        agent.finish(honest.given[0], payload=b"\xa6forged")
        assert agent.take(Ack)
        assert r.records() == []
    rogue.hello(results=honest.given)
    assert r.records() == []
    assert r.store.outcomes[task_id].payload == b"\xa4true"
    assert r.core.late_results == 7


@pytest.mark.parametrize("restarted", [False, True], ids=["same", "after a restart"])
def test_hello_that_names_others_attempts(r, scene, restarted):
    """As running or as answered: they are neither kept nor asked for, and their agent keeps them."""
    honest, rogue, *ids = scene
    refs = [guess for ref in honest.given for guess in _guesses(ref)]
    if restarted:
        r = Recorder(store=r.store)
        honest.recorder = rogue.recorder = r
    rogue.boot = "c" * 32
    welcome = rogue.hello(attempts=refs, results=refs)
    assert (welcome.keep, welcome.send) == ((), ())
    assert set(welcome.drop) == set(welcome.forget) == set(refs)
    assert "that it was never given" in "".join(text for agent_id, text in _told(r) if agent_id == rogue.id)
    assert honest.hello(attempts=honest.given).keep == tuple(honest.given)
    honest.finish(*honest.given)
    assert all(r.store.outcomes[task_id].worker == "honest" for task_id in ids)


def test_what_is_not_its_own(r, scene):
    """STARTED, PROGRESS, RELEASED for others' tasks change nothing; each message is told of once."""
    honest, rogue, running, waiting = scene
    refs = list(honest.given)
    r.task(running).told = Told(text="mine")
    for say in (
        lambda: rogue.start(*refs),
        lambda: rogue.progress(refs[0], 0.9, "forged"),
        lambda: rogue.release(*refs),
    ):
        say()
        assert len(_told(r)) == 1
        assert r.records() == []
    assert r.state(waiting) is TaskState.LEASED
    assert r.state(running) is TaskState.RUNNING
    assert r.task(running).told.text == "mine"
    assert set(r.core.agents[honest.id].leases) == {running, waiting}
    assert honest.take(Error) == []


def test_other_ways_to_leave(r, scene):
    """BYE, DRAIN and ERROR of one agent are of no concern to others; its complaint is logged as its own."""
    honest, rogue, *ids = scene
    rogue.drain()
    rogue.say(Error(ErrorCode.REVOKED, "x\nforged"))
    assert [agent_id for agent_id, _ in _told(r)] == [rogue.id]
    rogue.say(Bye("gone"))
    assert [r.state(task_id) for task_id in ids] == [TaskState.RUNNING, TaskState.LEASED]
    assert honest.take(Drain) == honest.take(Bye) == []


def test_answers_to_pings_of_others(r, scene):
    """A round trip is told with the agent that made it: nobody answers for another."""
    _, rogue, *_ = scene
    r.do(FrameArrived(rogue.session, rogue.id, rogue.sequence + 1, Heartbeat(77, reply=True, load=0.0)))
    (answered,) = [c for c in r.commands if type(c).__name__ == "Answered"]
    assert answered.agent_id == rogue.id


def test_boundless_credit(r):
    """An agent that takes everything gets what slots and prefetch allow; the rest stays for others."""
    r = Recorder(prefetch_max=10)
    r.define()
    rogue = r.agent("rogue", slots=2)
    r.submit(100)
    rogue.credit((1 << 63) - 1, (1 << 63) - 1)
    assert len(rogue.given) == 12
    rogue.credit((1 << 63) - 1, (1 << 63) - 1, seen=(1 << 63) - 1)
    assert len(rogue.given) == 12
    assert len(r.agent("honest", slots=5, credit=5).given) == 5
    rogue.finish(*rogue.given[:4], credit=100)
    assert len(rogue.given) == 16


def test_boundless_credit_in_bytes(r):
    """What is on its way to one agent is bounded in bytes, whatever it says."""
    r = Recorder(credit_bytes_max=1000)
    r.define()
    rogue = r.agent("rogue", slots=50)
    r.submit(100, size=100)
    rogue.credit(100, (1 << 63) - 1)
    assert len(rogue.given) == 10


def test_frames_never_sent_are_not_seen(r):
    """An agent that says it saw what does not exist gets no more for that later."""
    rogue = r.agent("rogue", slots=4)
    rogue.credit(1, PLENTY, seen=1 << 60)
    r.submit(3)
    assert len(rogue.given) == 1
    rogue.credit(1, PLENTY, seen=0)
    assert len(rogue.given) == 1


def test_hoarding_by_hello_after_a_restart(r):
    """What an agent claims to have been given just before the broker died is believed within its bounds only."""
    r.submit(100, location="rogue")
    again = Recorder(store=r.store, prefetch_max=10)
    rogue = again.agent("rogue", slots=2, hello=False)
    refs = [AttemptRef(task_id, Attempt(1, 1)) for task_id in again.core.tasks]
    welcome = rogue.hello(attempts=refs[:50], results=refs[50:])
    assert len(welcome.keep) + len(welcome.send) == 12
    assert len(again.core.agents[rogue.id].leases) == 12


def test_capabilities_do_not_open_a_location(r):
    """An agent may claim any capability, and gets what requires no more than that; never what names another worker."""
    claims = [f"c{n}" for n in range(200)]
    rogue = r.agent("rogue", capabilities=claims, credit=100)
    r.submit(3, location="honest")
    r.submit(3, location="honest", requires=("c1",))
    assert rogue.given == []
    r.submit(1, requires=("c1", "c199"))
    assert len(rogue.given) == 1


def test_replayed_frames(r):
    """Frames of an earlier session, whole or in part, are ignored or end the one session; nobody else notices."""
    honest = r.agent("honest", credit=1)
    rogue = r.agent("rogue", credit=1)
    r.submit(1, location="rogue")
    old = [(1, Credit(1, PLENTY, 0)), (2, Results((rogue.result(rogue.given[0]),), None)), (3, Released(()))]
    rogue.finish(rogue.given[0])
    rogue.hello()
    for sequence, message in old:
        rogue.say(message, sequence)
        assert r.records() == []
    assert r.core.late_results == 1
    rogue.say(old[2][1], 9)
    assert list(r.core.sessions.values()) == [r.core.agents[honest.id]]


def test_two_sessions_with_one_key(r):
    """The newer boot wins, the older is told and cannot push it out again; frames of the older count for nothing."""
    old = r.agent("w", credit=1)
    (task_id,) = r.submit(1)
    old_session, old_sequence = old.session, old.sequence
    new = r.agent("w", hello=False)
    new.hello(boot="n" * 32, attempts=old.given)
    assert r.core.agents[new.id].session.id == new.session
    r.do(FrameArrived(old_session, old.id, old_sequence + 1, Started((Start(old.given[0], 7),))))
    assert r.state(task_id) is TaskState.LEASED
    old.hello()
    assert old.take(Error)[0].code == ErrorCode.SUPERSEDED
    assert r.core.agents[new.id].session.id == new.session
