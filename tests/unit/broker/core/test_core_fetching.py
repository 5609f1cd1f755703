"""Results that name blobs: fetched piece by piece, recorded and acknowledged when all of them are durable."""

import pytest

from dart.broker.core.arrivals import awaited
from dart.broker.core.coming import ComingStage
from dart.broker.core.commands import LeaveBlob, Send, WriteBlob
from dart.broker.core.events import AgentsRevoked, BlobGrew, BlobKept, BlobRefused, SessionLost, TaskCancelled
from dart.broker.core.model import TaskState
from dart.broker.core.records import LeaseAdded, TaskFinished
from dart.errors import TaskErrorCode
from dart.ids import Attempt, AttemptRef
from dart.wire.messages import Ack, Results
from harness.fetched_blobs import A, B, C, asked, coming, grew, kept, orders, piece, refused, returns
from harness.recorder import Recorder


@pytest.fixture
def r():
    r = Recorder(blob_piece_bytes=10, blob_fetch_bytes_max=40, blob_bytes_max=1000)
    r.define()
    return r


@pytest.fixture
def agent(r):
    """With two leases."""
    agent = r.agent("w", slots=2, credit=2)
    r.submit(2)
    agent.take()
    return agent


def test_a_result_counts_when_its_blob_is_durable(r, agent):
    """Opened, asked for in pieces, written; then the outcome is recorded, and acknowledged."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    assert (order.session, order.agent_id, order.sha256, order.size) == (agent.session, agent.id, A, 25)
    assert not agent.take(Ack)
    assert r.state(agent.given[0].task_id) is TaskState.RUNNING
    grew(r, order, 0)
    assert asked(agent) == [(A, 0, 10), (A, 10, 10)]
    piece(agent, 0, 25)
    (write,) = orders(r, WriteBlob)
    assert (write.number, write.agent_id, write.offset, write.data) == (order.number, agent.id, 0, b"x" * 10)
    grew(r, order, 10)
    assert asked(agent) == [(A, 20, 5)]
    piece(agent, 10, 25)
    piece(agent, 20, 25)
    assert orders(r, WriteBlob)[0].data == b"x" * 5
    assert not r.records(TaskFinished)
    kept(r, order)
    (record,) = r.records(TaskFinished)
    assert (record.id, record.state) == (agent.given[0].task_id, TaskState.SUCCEEDED)
    assert agent.take(Ack) == [Ack((agent.given[0],))]
    assert not coming(r, agent)


def test_results_without_blobs_do_not_wait(r, agent):
    """They overtake it."""
    returns(agent, 0, (A, 25))
    agent.finish(agent.given[1])
    assert agent.take(Ack) == [Ack((agent.given[1],))]


def test_an_error_needs_no_blobs(r, agent):
    """Whatever it names."""
    returns(agent, 0, (A, 25), success=False)
    assert not orders(r)
    assert agent.take(Ack)


def test_a_result_waits_for_all_of_its_blobs_and_several_for_one(r, agent):
    """Each blob is fetched once."""
    returns(agent, 0, (A, 25), (B, 25))
    first, second = orders(r)
    returns(agent, 1, (A, 25))
    assert not orders(r)
    kept(r, first)
    assert agent.take(Ack) == [Ack((agent.given[1],))]
    kept(r, second)
    assert agent.take(Ack) == [Ack((agent.given[0],))]


def test_the_next_blob_follows_one_that_fails_or_waits():
    """Where few are fetched at a time, none is left behind."""
    r = Recorder(blob_fetches_max=1)
    r.define()
    agent = r.agent("w", slots=3, credit=3)
    r.submit(3)
    returns(agent, 0, (A, 5))
    (first,) = orders(r)
    for number, blob in ((1, B), (2, C)):
        returns(agent, number, (blob, 5))
        assert not orders(r), "not before the first has come, or waits"
    refused(r, first, later=True)
    (second,) = orders(r)
    grew(r, second, 0)
    assert asked(agent) == [(B, 0, 5)]
    r.cancel(agent.given[1].task_id)
    (third,) = orders(r)
    grew(r, third, 0)
    assert asked(agent) == [(C, 0, 5)]


def test_blobs_that_nobody_opened_are_not_left():
    """Those that came after others end without a word to the disk: cancelled, and with their session."""
    r = Recorder(blob_fetches_max=1)
    r.define()
    agent = r.agent("w", slots=3, credit=3)
    r.submit(3)
    for number, blob in enumerate((A, B, C)):
        returns(agent, number, (blob, 5))
    assert awaited(r.core) == {A, B, C}
    r.cancel(agent.given[1].task_id)
    assert not orders(r, LeaveBlob)
    agent.lose()
    assert orders(r, LeaveBlob) == [LeaveBlob(agent.id, A)]
    assert awaited(r.core) == set()


def test_what_is_here_already_is_kept_while_the_rest_comes(r, agent):
    """The result names both of its blobs, though one has come."""
    returns(agent, 0, (A, 25), (B, 25))
    kept(r, orders(r)[0])
    assert awaited(r.core) == {A, B}


def test_a_result_that_is_said_twice_waits_once(r, agent):
    """Whatever it names the second time: an agent can make the server open each blob once a lease."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    returns(agent, 0, (B, 25))
    assert not orders(r)
    kept(r, order)
    assert agent.take(Ack) == [Ack((agent.given[0],))]


def test_the_result_of_an_earlier_attempt_changes_nothing(r, agent):
    """It is acknowledged, and the one that counts waits on."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    task_id, (incarnation, number) = agent.given[0]
    earlier = AttemptRef(task_id, Attempt(incarnation - 1, number))
    agent.say(Results((agent.result(earlier),), None))
    assert agent.take(Ack) == [Ack((earlier,))]
    kept(r, order)
    assert agent.take(Ack) == [Ack((agent.given[0],))]


def test_results_that_wait_are_bounded_in_bytes():
    """An agent keeps to its window, which is smaller; of another one the server takes no more into its memory."""
    r = Recorder(frame_bytes_max=60, batch_bytes_max=10)
    r.define()
    agent = r.agent("w", slots=3, credit=3)
    r.submit(3)
    returns(agent, 0, (A, 5), payload=b"x" * 60)
    returns(agent, 1, (B, 5), payload=b"x" * 60)
    assert len(orders(r)) == 1
    returns(agent, 2, (C, 5))
    assert not orders(r)
    assert not agent.take(Ack)
    assert any("come again in its next session" in text for text in r.notes())


def test_blobs_share_what_may_be_under_way(r, agent):
    """A small one does not wait for a large one."""
    returns(agent, 0, (A, 900), (B, 900))
    first, second = orders(r)
    grew(r, first, 0)
    assert len(asked(agent)) == 2
    grew(r, second, 890)
    assert asked(agent) == [(B, 890, 10)]


def test_slow_pieces_make_room_for_other_messages(r, agent):
    """One at a time then."""
    returns(agent, 0, (A, 900))
    (order,) = orders(r)
    grew(r, order, 0)
    asked(agent)
    r.now += 5.0
    for offset in (0, 10):
        piece(agent, offset, 900)
        grew(r, order, offset + 10)
    assert asked(agent) == [(A, 20, 10), (A, 30, 10)]
    r.now += 5.0
    for offset in (20, 30):
        r.now += 5.0
        piece(agent, offset, 900)
        grew(r, order, offset + 10)
    assert asked(agent) == [(A, 40, 10)]


def test_what_was_not_asked_for_is_ignored(r, agent):
    """A blob that nobody waits for, another size, another place, nothing, too much, and before it was opened."""
    piece(agent, 0, 25)
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    piece(agent, 0, 25)
    grew(r, order, 0)
    for offset, total, size in ((0, 24, 10), (10, 25, 10), (0, 25, 0), (0, 25, 21)):
        piece(agent, offset, total, size=size)
        assert not orders(r, WriteBlob)
    piece(agent, 0, 25, sha256=B)
    assert not orders(r, WriteBlob)
    piece(agent, 0, 25)
    assert orders(r, WriteBlob)


def test_smaller_pieces_are_followed_by_their_rest(r, agent):
    """An agent may have a lower limit than the broker."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    grew(r, order, 0)
    asked(agent)
    piece(agent, 0, 25, size=4)
    grew(r, order, 4)
    assert asked(agent) == [(A, 4, 10), (A, 14, 10), (A, 24, 1)]


def test_progress_is_told_now_and_then(r, agent):
    """In the task's words, and in the events."""
    returns(agent, 0, (A, 900))
    (order,) = orders(r)
    grew(r, order, 450)
    for offset in (450, 460):
        piece(agent, offset, 900)
    task = r.task(agent.given[0].task_id)
    assert task.told.text == "sending its result: 50 % of 900 bytes"
    grew(r, order, 460)
    assert "50 %" in task.told.text
    r.now += 1.0
    grew(r, order, 470)
    assert "52 %" in task.told.text
    texts = [happening.text for happening in r.reactor.happened() if type(happening).__name__ == "TaskProgressed"]
    assert len(texts) == 2


def test_answers_to_void_orders_are_ignored(r, agent):
    """Of another session, of a blob that is not waited for, of an earlier order."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    for event in (BlobGrew(order.session, order.number + 1, A, 5), BlobGrew(99, order.number, A, 5)):
        r.do(event)
        assert coming(r, agent)[A].stage is ComingStage.OPENING
    r.do(BlobKept(order.session, order.number, B))
    r.do(BlobRefused(order.session, order.number + 1, A, "why", later=True))
    assert coming(r, agent)[A].stage is ComingStage.OPENING


def test_without_room_it_waits_and_is_tried_again(r, agent):
    """With the next message after a while; the task says what it waits for, and the log does."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    refused(r, order, later=True)
    assert r.task(agent.given[0].task_id).told.text == "its result waits: why"
    assert any("waits: why" in text for text in r.notes())
    agent.heartbeat()
    assert not orders(r)
    r.now += 5.0
    agent.heartbeat()
    (again,) = orders(r)
    assert again.number == order.number + 1
    kept(r, again)
    assert agent.take(Ack)


def test_several_without_room_are_told_once_and_tried_together(r, agent):
    """A full disk is one trouble, however many blobs wait for it; one that comes is not disturbed."""
    returns(agent, 0, (A, 25), (B, 25), (C, 25))
    first, second, third = orders(r)
    grew(r, third, 0)
    refused(r, first, later=True)
    refused(r, second, later=True)
    assert sum("waits: why" in text for text in r.notes()) == 0, "it was told before"
    r.now += 5.0
    agent.heartbeat()
    assert [order.sha256 for order in orders(r)] == [A, B]


def test_a_session_may_end_in_the_turn_that_settles_its_results(r, agent):
    """Then there is nobody to tell that, or to ask for more."""
    returns(agent, 0, (A, 25))
    cancelled = TaskCancelled(99, "job", agent.given[0].task_id)
    commands = r.reactor.handle_all((cancelled, SessionLost(agent.session, "cut")), r.now)
    assert LeaveBlob(agent.id, A) in commands
    assert not [command for command in commands if isinstance(command, Send) and isinstance(command.message, Ack)]


def test_what_came_damaged_is_fetched_once_more(r, agent):
    """Then the task fails with a word of the blob."""
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    grew(r, order, 0)
    refused(r, order, later=False)
    (again,) = orders(r)
    grew(r, again, 0)
    assert (A, 0, 10) in asked(agent)
    refused(r, again, later=False)
    (record,) = r.records(TaskFinished)
    assert (record.state, record.error_code) == (TaskState.FAILED, TaskErrorCode.BLOB_UNAVAILABLE)
    assert A.hex().encode() in record.payload
    assert agent.take(Ack) == [Ack((agent.given[0],))]
    assert not orders(r, LeaveBlob), "its file is closed and gone"


def test_a_blob_over_the_limit_is_an_error(r, agent):
    """Nothing of it is fetched."""
    returns(agent, 0, (A, 1001))
    (record,) = r.records(TaskFinished)
    assert record.error_code == TaskErrorCode.TOO_LARGE
    assert agent.take(Ack) == [Ack((agent.given[0],))]
    assert not orders(r)


def test_another_result_takes_the_place_of_one_that_waits(r, agent):
    """The agent has lost the blob, and says so."""
    returns(agent, 0, (A, 25))
    agent.fail(agent.given[0], error_code=TaskErrorCode.BLOB_UNAVAILABLE)
    assert orders(r, LeaveBlob) == [LeaveBlob(agent.id, A)]
    (record,) = r.records(TaskFinished)
    assert record.error_code == TaskErrorCode.BLOB_UNAVAILABLE
    assert agent.take(Ack) == [Ack((agent.given[0],))]


def test_a_task_that_is_cancelled_meanwhile(r, agent):
    """Its result is acknowledged, so that the agent forgets it, and its blob is left."""
    returns(agent, 0, (A, 25))
    r.cancel(agent.given[0].task_id)
    assert orders(r, LeaveBlob) == [LeaveBlob(agent.id, A)]
    assert agent.take(Ack) == [Ack((agent.given[0],))]


def test_a_blob_that_others_wait_for_is_not_left(r, agent):
    """One of two tasks is cancelled; a blob that has room is not opened anew with each message."""
    returns(agent, 0, (A, 25))
    returns(agent, 1, (A, 25))
    r.cancel(agent.given[0].task_id)
    assert not orders(r, LeaveBlob)
    agent.heartbeat()
    assert not orders(r)
    assert list(coming(r, agent)[A].tasks) == [agent.given[1].task_id]


def test_a_result_whose_lease_has_ended_is_the_agents_again(r, agent):
    """HELLO had no room to name it, and nobody else has its task yet."""
    agent.lose()
    r.wait(r.limits.lease_seconds)
    agent.hello()
    assert r.state(agent.given[0].task_id) is TaskState.QUEUED
    returns(agent, 0, (A, 25))
    assert r.state(agent.given[0].task_id) is TaskState.RUNNING
    assert [record.attempts for record in r.records(LeaseAdded)] == [(agent.given[0],)]
    kept(r, orders(r)[0])
    assert agent.take(Ack) == [Ack((agent.given[0],))]


def test_a_revoked_agent_is_told_nothing_more(r, agent):
    """There is nobody to acknowledge to."""
    returns(agent, 0, (A, 25))
    r.ask(AgentsRevoked, "w")
    assert not agent.take(Ack)


def test_the_end_of_a_session_leaves_what_came(r, agent):
    """The agent names the result again, and what is here is gone on with."""
    returns(agent, 0, (A, 25), (B, 5))
    agent.lose()
    assert orders(r, LeaveBlob) == [LeaveBlob(agent.id, A), LeaveBlob(agent.id, B)]
    welcome = agent.hello(results=agent.given[:1], attempts=agent.given[1:])
    assert welcome.send == (agent.given[0],)
    assert welcome.blob_bytes_max == 1000
    returns(agent, 0, (A, 25))
    (order,) = orders(r)
    grew(r, order, 20)
    assert asked(agent) == [(A, 20, 5)]


def test_leaving_gives_up_what_waits(r, agent):
    """BYE gives up its leases."""
    returns(agent, 0, (A, 25))
    agent.bye()
    assert orders(r, LeaveBlob)
    assert r.state(agent.given[0].task_id) is not TaskState.RUNNING
