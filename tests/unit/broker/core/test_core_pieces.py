"""Pieces of blobs: for leases that their agent holds, in order, and no more under way than the bound."""

import pytest

from dart.broker.core.commands import Answered, Note, ReadBlob
from dart.broker.core.events import BlobRead
from dart.wire.messages import Blob, BlobGet, Heartbeat
from harness.recorder import Recorder

SHA256 = b"h" * 32


@pytest.fixture
def r():
    r = Recorder(blob_piece_bytes=10, blob_pieces_bytes_max=40, blob_pieces_max=5)
    r.define()
    return r


@pytest.fixture
def agent(r):
    """With a lease."""
    agent = r.agent("w", credit=1)
    r.submit()
    agent.take()
    return agent


def orders(r):
    return [command for command in r.commands if isinstance(command, ReadBlob)]


def read(r, order, *, nonce=77, blob=True, refused=False):
    """The shell has read it."""
    data = b"x" * order.size
    r.do(BlobRead(order.session, Blob(SHA256, order.offset, 100, data) if blob else None, order.size, nonce, refused))


def test_a_piece_is_read_and_sent(r, agent):
    """For the lease that asks; never more than a piece; a HEARTBEAT behind it asks whether it has come."""
    agent.say(BlobGet(SHA256, 20, 1000, agent.given[0]))
    (order,) = orders(r)
    assert (order.task_id, order.sha256, order.offset, order.size) == (agent.given[0].task_id, SHA256, 20, 10)
    read(r, order)
    assert agent.take(Blob) == [Blob(SHA256, 20, 100, b"x" * 10)]
    assert agent.take(Heartbeat) == [Heartbeat(77, reply=False, load=0.0)]


def test_no_more_is_under_way_than_the_bound(r, agent):
    """What was sent counts until the HEARTBEAT behind it was answered, by a nonce that cannot be guessed."""
    for number in range(6):
        agent.say(BlobGet(SHA256, 10 * number, 10, agent.given[0]))
    assert not orders(r)
    session = r.core.sessions[agent.session].session
    assert (session.pieces_read_bytes, len(session.pieces)) == (40, 2)
    for number in range(4):
        order = ReadBlob(agent.session, agent.given[0].task_id, SHA256, 10 * number, 10)
        read(r, order, nonce=77 + number)
    assert not orders(r)
    agent.heartbeat(79, reply=True)
    assert not orders(r)
    assert any(isinstance(command, Answered) for command in r.commands)
    assert agent.take(Heartbeat) == [Heartbeat(77, reply=False, load=0.0)]
    agent.heartbeat(77, reply=True)
    # The other three went after that question, so it is asked again.
    assert agent.take(Heartbeat) == [Heartbeat(80, reply=False, load=0.0)]
    assert [order.offset for order in orders(r)] == [40]
    assert not any(isinstance(command, Answered) for command in r.commands)


def test_who_asks_for_too_much_is_not_answered(r, agent):
    """Beyond so many that wait they are dropped."""
    for number in range(20):
        agent.say(BlobGet(SHA256, 10 * number, 10, agent.given[0]))
    assert len(r.core.sessions[agent.session].session.pieces) == 5


def test_only_for_leases_that_it_holds(r, agent):
    """Not without a lease, nor for another agent's, which is told, nor for one that is over meanwhile."""
    other = r.agent("other", credit=0)
    other.say(BlobGet(SHA256, 0, 10))
    assert not orders(r)
    other.say(BlobGet(SHA256, 0, 10, agent.given[0]))
    assert not orders(r)
    assert r.core.foreign_attempts == 1
    assert "BLOB_GET" in r.notes()[0]
    for number in range(5):
        agent.say(BlobGet(SHA256, 10 * number, 10, agent.given[0]))
    order = ReadBlob(agent.session, agent.given[0].task_id, SHA256, 0, 10)
    agent.finish(agent.given[0])
    read(r, order)
    assert agent.take(Blob)
    agent.heartbeat(77, reply=True)
    assert not orders(r)
    assert not r.core.sessions[agent.session].session.pieces


def test_what_the_parameter_does_not_name_is_told_to_people(r, agent):
    """The agent hears that it is not there."""
    agent.say(BlobGet(SHA256, 0, 10, agent.given[0]))
    r.do(BlobRead(agent.session, Blob(SHA256, 0, 0, b""), 10, 77, refused=True))
    assert agent.take(Blob) == [Blob(SHA256, 0, 0, b"")]
    assert not agent.take(Heartbeat)
    (told,) = (command for command in r.commands if isinstance(command, Note))
    assert told.agent_id == agent.id
    assert "does not name" in told.text


def test_when_nothing_can_be_said_nothing_is_sent(r, agent):
    """The agent asks again; and a session that is over gets nothing."""
    agent.say(BlobGet(SHA256, 0, 10, agent.given[0]))
    (order,) = orders(r)
    read(r, order, blob=False)
    assert not agent.take(Blob)
    agent.lose()
    read(r, order)
    assert not agent.take(Blob)
