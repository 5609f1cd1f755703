"""Who is let in, under which name, and how somebody is cut off."""

from hashlib import sha256

import pytest

from dart.broker.core.access import JoinToken
from dart.broker.core.commands import EndSession, Send, ShutOut
from dart.broker.core.events import (
    AgentEnrolled,
    AgentJoined,
    AgentsRevoked,
    JoinTokenMade,
    JoinTokenWithdrawn,
    ServerMoves,
)
from dart.broker.core.model import Enrolment, OnLost, TaskState
from dart.broker.core.records import (
    EnrolmentAdded,
    EnrolmentForgotten,
    EnrolmentNamed,
    EnrolmentRevoked,
    TokenAdded,
    TokenForgotten,
    TokenRevoked,
    TokenSpent,
)
from dart.broker.core.views import enrolled
from dart.errors import (
    ConflictError,
    ForbiddenError,
    LimitError,
    UnauthorizedError,
    UnknownTokenError,
    UnknownWorkerError,
)
from dart.wire.messages import Error, ErrorCode, Heartbeat, NextServer, Welcome
from harness.recorder import Recorder

KEY, OTHER_KEY = b"k" * 32, b"l" * 32
SECRET = sha256(b"secret").digest()


def made(recorder, label="t1", *, name="edge-*", seconds=60, uses_max=1):
    """A join token that the core knows."""
    at_ms = int(recorder.now * 1000)
    token = JoinToken(label, SECRET, name, "*" in name, at_ms, at_ms + seconds * 1000, uses_max, 0, 0, "admin")
    recorder.ask(JoinTokenMade, token)
    return token


def join(recorder, key=KEY, name="edge-1", label="t1", digest=SECRET):
    return recorder.ask(AgentJoined, key, name, label, digest)


@pytest.fixture
def r():
    return Recorder(join_tokens_max=2)


def test_a_token_lets_one_key_in(r):
    """The key is enrolled under the name that it chose, and the token is used up, both in one turn."""
    made(r)
    agent_id = join(r)
    assert agent_id == sha256(KEY).hexdigest()
    assert r.records() == [
        EnrolmentAdded(Enrolment(agent_id, KEY, "edge-1", 1_000_000, 0, "t1")),
        TokenSpent("t1"),
    ]
    with pytest.raises(ForbiddenError, match="used 1 times"):
        join(r, OTHER_KEY, "edge-2")
    assert r.records() == []
    assert any("not let in as 'edge-2' by token t1" in text for text in r.notes())


def test_the_same_key_is_answered_the_same_again(r):
    """The answer may have been lost: also after the token expired, after a restart, and without using it twice."""
    made(r, uses_max=2)
    agent_id = join(r)
    r.wait(3600)
    r.restart(crash=False)
    assert join(r) == agent_id
    assert r.records() == []
    assert r.core.join_tokens["t1"].uses == 1


def test_another_key_needs_a_use_of_its_own(r):
    """As many keys as the token is good for."""
    made(r, uses_max=2)
    assert join(r) != join(r, OTHER_KEY)
    with pytest.raises(ForbiddenError):
        join(r, b"m" * 32)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"label": "t2"}, UnauthorizedError, "does not know this join token"),
        ({"digest": sha256(b"guess").digest()}, UnauthorizedError, "does not know this join token"),
        ({"name": "core-1"}, ForbiddenError, "for the name 'edge-\\*', not for 'core-1'"),
    ],
)
def test_strangers_are_refused(r, change, error, word):
    """What does not fit the token changes nothing and is logged."""
    made(r)
    with pytest.raises(error, match=word):
        join(r, **change)
    assert r.records() == []
    assert len(r.notes()) == 1
    assert r.core.enrolments == {}


def test_an_expired_token_lets_nobody_in(r):
    """From that very millisecond on."""
    made(r, seconds=60)
    r.wait(59.999)
    join(r, OTHER_KEY, "edge-0")
    made(r, "t2", seconds=60)
    r.wait(60)
    with pytest.raises(ForbiddenError, match="has expired"):
        join(r, label="t2")


def test_a_revoked_token_lets_nobody_in(r):
    """Nor does it answer again whom it let in before; that agent stays."""
    made(r, uses_max=5)
    agent_id = join(r)
    r.ask(JoinTokenWithdrawn, "t1")
    assert r.records() == [TokenRevoked("t1", 1_000_000)]
    for key in (KEY, OTHER_KEY):
        with pytest.raises(ForbiddenError, match="was revoked"):
            join(r, key)
    r.ask(JoinTokenWithdrawn, "t1")
    assert r.records() == []
    with pytest.raises(UnknownTokenError):
        r.ask(JoinTokenWithdrawn, "t9")
    assert [view.id for view in enrolled(r.core)] == [agent_id]


def test_a_key_has_one_name(r):
    """Whoever lets it in."""
    made(r, uses_max=5)
    r.enroll("edge-1", KEY)
    assert join(r) == sha256(KEY).hexdigest()
    assert r.records() == []
    with pytest.raises(ConflictError, match="'edge-1' already"):
        join(r, name="edge-2")
    join(r, OTHER_KEY, "edge-2")
    with pytest.raises(ConflictError, match="'edge-2' already"):
        r.ask(AgentEnrolled, OTHER_KEY, "edge-1")


def test_a_pattern_is_fixed_by_the_first_hello(r):
    """Until then the key has no name; afterwards it has this one, also after a restart."""
    made(r)
    agent_id = join(r, name="edge-*")
    assert r.core.enrolments[agent_id].name_is_pattern
    assert r.ask(AgentEnrolled, KEY, "edge-5") == join(r, name="edge-*") == agent_id
    agent = r.agent("edge-5", key=KEY, hello=False)
    for wrong in ("core-1", "edge-/", "edge-\u200b"):
        assert agent.hello(name=wrong).code == ErrorCode.NAME_REFUSED
    assert isinstance(agent.hello(), Welcome)
    assert r.records(EnrolmentNamed) == [EnrolmentNamed(agent_id, "edge-5")]
    r.restart(crash=False)
    assert agent.hello(name="edge-6").code == ErrorCode.NAME_REFUSED
    assert isinstance(agent.hello(), Welcome)
    assert r.records(EnrolmentNamed) == []


def test_a_pattern_lets_nobody_in_among_others(r):
    """A name whose agents came in another way is theirs until they are gone, also where a key says it later."""
    r.enroll("edge-1", KEY)
    made(r, uses_max=5)
    with pytest.raises(ForbiddenError, match="Other agents have the name 'edge-1'"):
        join(r, OTHER_KEY, "edge-1")
    assert r.core.join_tokens["t1"].uses == 0
    join(r, OTHER_KEY, "edge-*")
    late = r.agent("edge-1", key=OTHER_KEY, hello=False)
    assert late.hello().code == ErrorCode.NAME_REFUSED
    assert r.core.enrolments[late.id].name_is_pattern
    r.ask(AgentsRevoked, "edge-1")
    assert isinstance(late.hello(), Welcome)
    join(r, b"m" * 32, "edge-1")


def test_who_may_share_a_name(r):
    """Agents of one token, and who has a token for just this name."""
    made(r, uses_max=2)
    made(r, "t2", name="edge-1")
    assert join(r) != join(r, OTHER_KEY)
    join(r, b"m" * 32, label="t2")
    assert len(enrolled(r.core, "edge-1")) == 3


def test_dead_tokens_make_room(r):
    """The oldest of those that let nobody in any more; living ones are never forgotten."""
    made(r, "t1", seconds=10)
    r.wait(1)
    made(r, "t2", uses_max=1)
    token = made_or_error(r, "t3")
    assert isinstance(token, LimitError)
    join(r, label="t2")
    r.wait(20)
    assert not isinstance(made_or_error(r, "t3"), LimitError)
    assert r.records(TokenForgotten) == [TokenForgotten("t1")]
    assert [record.token.id for record in r.records(TokenAdded)] == ["t3"]
    with pytest.raises(UnauthorizedError):
        join(r, label="t1")


def made_or_error(recorder, label):
    try:
        return made(recorder, label)
    except LimitError as error:
        return error


# ---- revocation ----


def test_a_revoked_agent_is_cut_off_at_once(r):
    """It is told so after the record; nothing that it still sends is taken, and its HELLO is refused for good."""
    agent = r.agent("w", credit=1)
    assert r.ask(AgentsRevoked, "w") == 1
    assert r.records() == [EnrolmentRevoked(agent.id, 1_000_000)]
    assert ShutOut(agent.id) in r.commands
    assert agent.session is None
    assert r.core.agents == {}
    assert r.core.heard_at == {}
    session = 77
    r.puppets[session] = agent
    agent.session = session
    agent.next_sequence = 1
    agent.say(Heartbeat(0, reply=False, load=0.0), sequence=2)
    assert [type(command) for command in r.commands] == [Send, EndSession]
    assert agent.hello().code == ErrorCode.REVOKED
    r.restart(crash=False)
    assert agent.hello().code == ErrorCode.REVOKED
    with pytest.raises(ForbiddenError, match="does not come back"):
        r.ask(AgentEnrolled, b"w".ljust(32, b"."), "w")
    made(r, name="w")
    with pytest.raises(ForbiddenError, match="does not come back"):
        join(r, b"w".ljust(32, b"."), "w")
    with pytest.raises(UnknownWorkerError):
        r.ask(AgentsRevoked, "w")


def test_keys_that_were_revoked_long_ago_are_forgotten():
    """The oldest beyond the bound, for good; nobody comes in by that, and all that count stay."""
    r = Recorder(revoked_agents_max=2)
    stays = [r.ask(AgentEnrolled, f"{n}".encode() * 32, "stays") for n in range(3)]
    agent = r.agent("w", credit=1)
    r.ask(AgentsRevoked, "w")
    assert agent.hello().code == ErrorCode.REVOKED
    for n in range(3, 6):
        r.wait(1)
        r.ask(AgentEnrolled, f"{n}".encode() * 32, f"later{n}")
        r.ask(AgentsRevoked, f"later{n}")
    first = sha256(b"3" * 32).hexdigest()
    assert r.records(EnrolmentForgotten) == [EnrolmentForgotten(first)]
    for crash in (None, False, True):
        if crash is not None:
            r.restart(crash=crash)
        assert agent.hello().code == ErrorCode.REVOKED
        assert {one.agent_id for one in r.core.enrolments.values() if not one.revoked_at_ms} == set(stays)
        assert len(r.core.enrolments) == 5


@pytest.mark.parametrize(
    ("policy", "state"),
    [
        ({"on_lost": OnLost.REQUEUE}, TaskState.LEASED),
        ({"on_lost": OnLost.WAIT}, TaskState.LEASED),
        ({"on_lost": OnLost.FAIL}, TaskState.LOST),
        ({"lost_retries": 0}, TaskState.LOST),
    ],
)
def test_what_it_held_is_lost_at_once(r, policy, state):
    """As the policy says; whoever waits for that very agent waits in vain, so that counts as lost too."""
    r.define()
    agent = r.agent("w", credit=1)
    (task_id,) = r.submit(1, **policy)
    agent.start(agent.given[0])
    other = r.agent("v", credit=1)
    r.ask(AgentsRevoked, "w")
    assert r.state(task_id) is state
    if state is TaskState.LEASED:
        assert (r.task(task_id).agent_id, r.task(task_id).losses) == (other.id, 1)


def test_a_silent_agent_is_revoked_with_its_leases(r):
    """It need not be there; a lease that a store kept is nobody's after the restart."""
    r.define()
    agent = r.agent("w", credit=1)
    (task_id,) = r.submit(1)
    r.restart(crash=False)
    assert r.state(task_id) is TaskState.LEASED
    r.ask(AgentsRevoked, "w")
    assert r.state(task_id) is TaskState.QUEUED
    assert r.task(task_id).losses == 1
    r.restart(crash=False)
    assert r.state(task_id) is TaskState.QUEUED
    assert agent.hello(attempts=agent.given).code == ErrorCode.REVOKED


def test_one_of_several_is_revoked(r):
    """By the beginning of its id; the others of the name go on."""
    first = r.agent("w", key=KEY)
    second = r.agent("w", key=OTHER_KEY)
    with pytest.raises(UnknownWorkerError, match="No agent"):
        r.ask(AgentsRevoked, "v", first.id)
    assert r.ask(AgentsRevoked, "w", first.id[:12]) == 1
    assert (first.session, second.session is None) == (None, False)
    assert [(view.id, view.connected) for view in enrolled(r.core, "w")] == [(second.id, True)]


def test_enrolled_agents_are_listed_with_their_last_contact(r):
    """Those that were never there too."""
    agent = r.agent("w")
    r.wait(1)
    r.enroll("w", KEY)
    agent.say(Heartbeat(0, reply=False, load=0.0))
    r.wait(2)
    seen = [(view.id, view.connected, view.heard_at_ms) for view in enrolled(r.core, "w")]
    assert seen == [(agent.id, True, 1_001_000), (sha256(KEY).hexdigest(), False, 0)]
    r.wait(100)
    assert (enrolled(r.core)[0].connected, enrolled(r.core)[0].heard_at_ms) == (False, 1_001_000)
    agent.hello()
    assert (enrolled(r.core)[0].connected, enrolled(r.core)[0].heard_at_ms) == (True, 1_103_000)


# ---- the broker's key ----


def test_agents_are_told_of_another_key(r):
    """Those that are there begin anew to hear of it; afterwards nobody is told any more."""
    agent = r.agent("w")
    coming = NextServer(7779, b"n" * 32)
    r.ask(ServerMoves, coming)
    (error,) = agent.take(Error)
    assert error.code == ErrorCode.SAY_HELLO
    assert r.core.sessions == {}
    assert agent.hello().next == coming
    r.ask(ServerMoves, None)
    assert agent.session is not None
    assert agent.hello().next is None
