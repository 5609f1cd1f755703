"""Sessions: HELLO, numbering, who gives way, what ends a session."""

import pytest

from dart.broker.core.commands import Answered, EndSession, Send
from dart.broker.core.events import (
    AgentEnrolled,
    FrameArrived,
    SessionLost,
    Stopping,
    WorkersAsked,
    WorkersDrained,
    WorkersPinged,
)
from dart.broker.core.model import Enrolment, TaskState
from dart.broker.core.records import EnrolmentAdded
from dart.errors import ConflictError, UnknownWorkerError
from dart.wire.messages import Ask, Bye, Credit, Drain, Error, ErrorCode, Heartbeat, Hello, Log, Told, Welcome
from harness.recorder import Recorder


def errors(commands):
    return [
        command.message.code for command in commands if isinstance(command, Send) and isinstance(command.message, Error)
    ]


def test_welcome_names_the_terms():
    """WELCOME is the first frame of a session and carries its limits."""
    r = Recorder(heartbeat_seconds=3.0)
    agent = r.agent(hello=False)
    welcome = agent.hello()
    assert isinstance(welcome, Welcome)
    assert (welcome.version, welcome.session, welcome.incarnation) == (1, agent.session, 1)
    assert (welcome.store_id, welcome.heartbeat_seconds) == (r.store.store_id, 3.0)
    assert (welcome.keep, welcome.drop, welcome.send, welcome.forget, welcome.hold) == ((),) * 5
    assert welcome.server.startswith("dart ")


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"versions": (2, 7)}, ErrorCode.UNSUPPORTED_VERSION),
        ({"versions": ()}, ErrorCode.UNSUPPORTED_VERSION),
        ({"name": "other"}, ErrorCode.NAME_REFUSED),
        ({"slots": 0}, ErrorCode.OVER_LIMIT),
        ({"slots": 11}, ErrorCode.OVER_LIMIT),
        ({"capabilities": ("a", "b", "c")}, ErrorCode.OVER_LIMIT),
    ],
)
def test_hello_refused(members, code):
    """A HELLO that cannot be accepted is answered by one ERROR, the session ends, and people are told."""
    r = Recorder(slots_max=10, capabilities_max=2)
    agent = r.agent(hello=False)
    assert agent.hello(**members).code == code
    assert agent.session is None
    assert [type(command) for command in r.commands][-1] is EndSession
    assert len(r.notes()) == 1
    assert r.core.sessions == r.core.agents == {}


def test_hello_at_the_limits():
    """Exactly the limits are accepted, and of several versions the newest common one is chosen."""
    r = Recorder(slots_max=10, capabilities_max=2)
    agent = r.agent(hello=False)
    assert agent.hello(slots=10, capabilities=("a", "b"), versions=(9, 1, 0)).version == 1


def test_unenrolled_key_is_refused():
    """A key that is not enrolled has no session."""
    r = Recorder()
    agent = r.agent(hello=False)
    agent.id = "0" * 64
    assert agent.hello().code == ErrorCode.REVOKED


def test_agents_are_limited():
    """One agent more than `agents_max` is refused; one that is connected may say HELLO again."""
    r = Recorder(agents_max=1)
    first = r.agent("a")
    second = r.agent("b", hello=False)
    assert second.hello().code == ErrorCode.OVER_LIMIT
    assert isinstance(first.hello(), Welcome)
    first.lose()
    assert isinstance(second.hello(), Welcome)


def test_enrolment():
    """A key is enrolled once for one name; the same again answers the same."""
    r = Recorder(now=12.5)
    agent_id = r.enroll("w", b"k" * 32)
    assert r.records() == [EnrolmentAdded(Enrolment(agent_id, b"k" * 32, "w", 12500))]
    assert len(agent_id) == 64
    assert r.enroll("w", b"k" * 32) == agent_id
    assert r.records() == []
    with pytest.raises(ConflictError, match="'w' already"):
        r.ask(AgentEnrolled, b"k" * 32, "v")
    assert r.enroll("w", b"l" * 32) != agent_id


def test_frames_without_session():
    """Anything but a first HELLO is answered by SAY_HELLO outside the numbering, and the address is forgotten."""
    r = Recorder()
    agent_id = r.enroll()
    for message, sequence in [(Credit(1, 1, 0), 1), (Hello((1,), "w", 1, (), "", "b", "", (), (), {}, False), 2)]:
        commands = r.do(FrameArrived(5, agent_id, sequence, message))
        assert errors(commands) == [ErrorCode.SAY_HELLO]
        assert commands[0].sequence == 0
        assert commands[1] == EndSession(5)
    assert r.do(FrameArrived(5, agent_id, 1, Error(1, "what?"))) == []


def test_duplicates_are_dropped():
    """A frame whose number was taken already has no effect, HELLO's included."""
    r = Recorder()
    agent = r.agent(slots=9, credit=1)
    r.define()
    agent.say(Credit(9, 9, 0), sequence=2)
    r.submit(5)
    assert len(agent.given) == 1
    assert r.do(FrameArrived(agent.session, agent.id, 1, Hello((1,), "w", 1, (), "", "b", "", (), (), {}, False))) == []


def test_a_gap_voids_the_session():
    """A missing frame ends the session with SAY_HELLO; leases stay until HELLO or the end of their time."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    commands = agent.say(Credit(9, 9, 0), sequence=4)
    assert errors(commands) == [ErrorCode.SAY_HELLO]
    assert r.core.sessions == {}
    assert r.state(task_id) is TaskState.LEASED
    assert agent.hello(attempts=agent.given).keep == tuple(agent.given)


def test_hello_within_a_session_voids_it():
    """HELLO belongs on a new socket."""
    r = Recorder()
    agent = r.agent()
    commands = agent.say(Hello((1,), "w", 1, (), "", "b" * 32, "", (), (), {}, False))
    assert errors(commands) == [ErrorCode.SAY_HELLO]
    assert r.core.sessions == {}


def test_same_boot_replaces_its_session_silently():
    """An agent whose link broke unnoticed comes back; the old address is forgotten without a word."""
    r = Recorder()
    agent = r.agent()
    old = agent.session
    agent.hello()
    assert r.commands[0] == EndSession(old)
    assert errors(r.commands) == []
    assert list(r.core.sessions) == [agent.session]


def test_newer_boot_wins():
    """Of two agents with one key the one that came later stays; the earlier one is told, then and whenever it asks."""
    r = Recorder()
    agent = r.agent()
    old = agent.session
    agent.hello(boot="c" * 32)
    assert errors(r.commands) == [ErrorCode.SUPERSEDED]
    assert r.commands[1] == EndSession(old)
    assert agent.session in r.core.sessions
    live = agent.session
    assert agent.hello(boot="b" * 32).code == ErrorCode.SUPERSEDED
    assert list(r.core.sessions) == [live]
    agent.hello(boot="d" * 32)
    assert agent.hello(boot="b" * 32).code == ErrorCode.SUPERSEDED
    assert agent.hello(boot="c" * 32).code == ErrorCode.SUPERSEDED


def test_superseded_boot_may_return_once_the_newer_is_gone():
    """The earlier boot is refused while the newer one is connected or within its lease, not for ever."""
    r = Recorder()
    r.define()
    agent = r.agent()
    agent.hello(boot="c" * 32)
    agent.credit(1)
    r.submit(1, on_lost="wait", lost_retries=9)
    agent.lose()
    assert agent.hello(boot="b" * 32).code == ErrorCode.SUPERSEDED
    agent.hello(boot="c" * 32, attempts=agent.given)
    agent.finish(agent.given[0])
    agent.lose()
    assert isinstance(agent.hello(boot="b" * 32), Welcome)


def test_newer_boot_while_the_older_is_silent():
    """A newer boot begins at once while the older is away with its leases; those are lost, the older is refused."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    agent.lose()
    assert isinstance(agent.hello(boot="c" * 32), Welcome)
    assert errors(r.commands) == []
    assert r.task(task_id).losses == 1
    assert agent.hello(boot="b" * 32).code == ErrorCode.SUPERSEDED


def test_superseded_boots_are_remembered_boundedly():
    """Many boots of one key cost little memory."""
    r = Recorder()
    agent = r.agent()
    for number in range(50):
        agent.hello(boot=f"{number:032x}")
    assert len(r.core.superseded[agent.id]) < 10


def test_session_lost_keeps_leases():
    """A broken link is no death."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    agent.lose()
    assert "unplugged" in r.notes()[0]
    assert r.state(task_id) is TaskState.LEASED
    assert r.do(SessionLost(99, "nobody")) == []


def test_bye_gives_everything_up_at_once():
    """Who leaves has lost what it held; it is queued first, and the loss is counted."""
    r = Recorder()
    agent = r.agent(slots=2, credit=2)
    r.define()
    tasks = r.submit(3)
    agent.bye()
    assert any(isinstance(command, EndSession) for command in r.commands)
    assert [task.id for task in r.core.ready.get(("", ()))] == tasks
    assert [r.task(task_id).losses for task_id in tasks] == [1, 1, 0]
    assert r.core.agents == {}
    idle = r.agent("v")
    idle.bye()
    assert r.core.agents == {}


def test_heartbeats():
    """A nonce is answered; an answer is passed on; a plain one just shows life."""
    r = Recorder()
    agent = r.agent()
    agent.heartbeat(7)
    assert agent.take(Heartbeat) == [Heartbeat(7, reply=True, load=0.0)]
    assert agent.heartbeat(9, reply=True) == [Answered(agent.id, 9)]
    assert agent.heartbeat() == []


def test_pings():
    """Each agent of a name is asked; nobody of the name is an error."""
    r = Recorder()
    a, b = r.agent(key=b"a" * 32), r.agent(key=b"b" * 32)
    assert r.ask(WorkersPinged, "w", 42) == (a.session, b.session)
    assert a.take(Heartbeat) == b.take(Heartbeat) == [Heartbeat(42, reply=False, load=0.0)]
    with pytest.raises(UnknownWorkerError):
        r.ask(WorkersPinged, "v", 42)
    with pytest.raises(UnknownWorkerError):
        r.ask(WorkersDrained, "v")


def test_questions():
    """Each agent of a name is asked; what one tells is passed on."""
    r = Recorder()
    a, b = r.agent(key=b"a" * 32), r.agent(key=b"b" * 32)
    for agent in (a, b):
        agent.hello(questions=True)
    question = Ask(42, "modules", "", b"")
    assert r.ask(WorkersAsked, "w", question) == (a.session, b.session)
    assert a.take(Ask) == b.take(Ask) == [question]
    told = Told(42, "", {"m": "1"})
    assert a.say(told) == [Answered(a.id, 42, told)]
    with pytest.raises(UnknownWorkerError):
        r.ask(WorkersAsked, "v", question)


def test_an_older_agent_is_asked_nothing():
    """It would end its session on a message that it does not know; the broker answers for it."""
    r = Recorder()
    old = r.agent()
    r.ask(WorkersAsked, "w", Ask(42, "push", "", b"x"))
    assert old.take(Ask) == []
    (answer,) = (command for command in r.commands if isinstance(command, Answered))
    assert (answer.agent_id, answer.nonce, answer.told.nonce) == (old.id, 42, 42)
    assert "upgrade" in answer.told.error


def test_drain_is_repeated_to_an_agent_that_missed_it():
    """Within one boot a drain holds over sessions; another boot begins afresh."""
    r = Recorder()
    agent = r.agent()
    r.ask(WorkersDrained, "w")
    agent.hello()
    assert len(agent.take(Drain)) == 1
    agent.hello(draining=True)
    assert agent.take(Drain) == []
    assert r.core.agents[agent.id].draining
    agent.hello(boot="e" * 32)
    assert agent.take(Drain) == []
    assert not r.core.agents[agent.id].draining


def test_complaints_and_logs_are_harmless():
    """ERROR of an agent becomes a log line, LOG takes its number and nothing else."""
    r = Recorder()
    agent = r.agent()
    agent.say(Error(1, "odd frame"))
    assert "odd frame" in r.notes()[0]
    assert agent.say(Log(())) == []
    assert agent.heartbeat(3) != []


def test_stopping_says_bye():
    """All agents are told, the caller is answered, leases stay where they are."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    assert r.ask(Stopping) is None
    assert len(agent.take(Bye)) == 1
    assert r.state(task_id) is TaskState.LEASED
    agent.finish(agent.given[0])
    assert r.state(task_id) is TaskState.SUCCEEDED
