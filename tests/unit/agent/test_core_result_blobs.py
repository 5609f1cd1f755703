"""Blobs that tasks make: kept for the result that names them, read for the broker, let go when it is acknowledged."""

from dart.agent import events
from dart.agent.blob_events import BlobCrowded, BlobFind, BlobFree, BlobLack, BlobMade, BlobPin, BlobRead, PieceRead
from dart.agent.policy import Policy
from dart.errors import TaskErrorCode
from dart.wire import messages, values
from dart.wire.messages import BlobAsk, BlobPiece, Named
from harness.agent_recorder import STORE, Recorder, lease, ref, result

A, B = b"a" * 32, b"b" * 32


def naming(*blobs: bytes) -> bytes:
    """What a task returns that names these."""
    return values.encode([values.BlobReference(sha256, 25) for sha256 in blobs])


def agent_with(**changes) -> Recorder:
    """A live one with a task that runs."""
    agent = Recorder(blob_piece_bytes=10, **changes)
    agent.start()
    agent.hello()
    agent.welcome(blob_bytes_max=1000)
    agent.tasks(1)
    return agent


def ends(agent: Recorder, task_id: int = 1, payload: bytes = b"\x02", *, success: bool = True) -> None:
    """The runner has ended a task."""
    agent.do(events.TasksEnded(0, (events.RunnerResult(ref(task_id), 1_000, 0.5, success, 0, payload),)))


def offering(**changes) -> Recorder:
    """An agent that has sent a result which names a blob of 25 bytes."""
    agent = agent_with(**changes)
    agent.do(BlobMade(ref(1), A, 25))
    ends(agent, payload=naming(A))
    return agent


def test_a_result_offers_the_blob_that_it_names():
    """It goes to the spool and out with the blob's name; with ACK both are let go."""
    agent = offering()
    named = result(1, naming(A))._replace(blobs=(Named(A, 25),))
    assert agent.sent(messages.Results)[0].results == (named,)
    assert agent.of(events.SpoolWrite) == [events.SpoolWrite(1, STORE, (named,))]
    assert not agent.of(BlobFree)
    agent.hears(messages.Ack((ref(1),)))
    assert agent.of(BlobFree) == [BlobFree(A)]
    assert agent.of(events.SpoolForget) == [events.SpoolForget((ref(1),))]


def test_pieces_are_read_and_sent():
    """As many bytes as were asked for, but never more than a piece."""
    agent = offering()
    agent.hears(BlobAsk(A, 10, 1000))
    assert agent.of(BlobRead) == [BlobRead(A, 10, 10)]
    agent.do(PieceRead(A, 10, 25, b"x" * 10))
    assert agent.sent(BlobPiece) == [BlobPiece(A, 10, 25, b"x" * 10)]


def test_nothing_is_read_that_no_result_names():
    """Whatever the broker asks for."""
    agent = agent_with()
    agent.hears(BlobAsk(A, 0, 10))
    assert not agent.commands


def test_a_broker_that_asks_for_too_much_ends_the_session():
    """Pieces that are read take memory; after the new HELLO it may ask again."""
    agent = offering(blob_pieces_max=2)
    for offset in (0, 10, 20):
        agent.hears(BlobAsk(A, offset, 10))
    assert not agent.of(BlobRead)
    assert agent.of(events.Disconnect)
    for offset in (0, 10):
        agent.do(PieceRead(A, offset, 25, b"x" * 10))
        assert not agent.commands
    agent.hello()
    agent.welcome(send=(ref(1),), blob_bytes_max=1000)
    agent.hears(BlobAsk(A, 0, 10))
    assert agent.of(BlobRead) == [BlobRead(A, 0, 10)]


def test_what_a_task_made_and_does_not_return_is_let_go():
    """Also what it made twice, and what nobody returns since it failed."""
    agent = agent_with()
    agent.do(BlobMade(ref(1), A, 25))
    agent.do(BlobMade(ref(1), A, 25))
    assert agent.of(BlobFree) == [BlobFree(A)]
    agent.do(BlobMade(ref(1), B, 25))
    ends(agent, payload=naming(A))
    assert agent.of(BlobFree) == [BlobFree(B)]
    agent.tasks(2)
    agent.do(BlobMade(ref(2), B, 25))
    ends(agent, 2, naming(B), success=False)
    assert agent.of(BlobFree) == [BlobFree(B)]
    assert agent.sent(messages.Results)[0].results[0].blobs == ()


def test_a_blob_of_nobody_is_let_go():
    """Its task has ended meanwhile, or waits to be run again."""
    agent = agent_with()
    agent.do(BlobMade(ref(7), A, 25))
    assert agent.of(BlobFree) == [BlobFree(A)]
    agent.do(BlobMade(ref(1), A, 25))
    agent.dies(0, 1)
    assert agent.of(BlobFree) == [BlobFree(A)]


def test_a_task_that_runs_again_makes_its_blobs_anew():
    """It was killed in the place of another one."""
    agent = Recorder().live()
    agent.tasks(lease(1, timeout=1.0), 2)
    agent.passes(1.0)
    agent.ends(0, 1)
    agent.do(BlobMade(ref(2), A, 25))
    agent.dies(0, 2)
    assert agent.of(BlobFree) == [BlobFree(A)]
    assert ref(2) in agent.state.held


def test_a_reference_that_was_not_made_here_is_only_passed_on():
    """It came with the parameter, or stands there by chance."""
    agent = agent_with()
    agent.do(BlobMade(ref(1), A, 25))
    ends(agent, payload=naming(B))
    assert agent.sent(messages.Results)[0].results[0].blobs == ()


def test_two_results_may_name_one_blob():
    """It is let go once for each."""
    agent = offering()
    agent.tasks(2)
    agent.do(BlobMade(ref(2), A, 25))
    ends(agent, 2, naming(A))
    agent.hears(messages.Ack((ref(1),)))
    assert agent.of(BlobFree) == [BlobFree(A)]
    agent.hears(BlobAsk(A, 0, 10))
    assert agent.of(BlobRead)
    agent.hears(messages.Ack((ref(2),)))
    assert agent.of(BlobFree) == [BlobFree(A)]


def test_results_of_an_earlier_boot_offer_theirs_again():
    """The cache keeps it from the start on."""
    stored = result(1, naming(A))._replace(blobs=(Named(A, 25),))
    agent = Recorder(store_id=STORE)
    agent.do(events.Started(((STORE, stored),)))
    assert agent.of(BlobPin) == [BlobPin(A, 25)]
    agent.hello()
    agent.welcome(send=(ref(1),), blob_bytes_max=1000)
    assert agent.sent(messages.Results)[0].results == (stored,)
    agent.hears(BlobAsk(A, 0, 10))
    assert agent.of(BlobRead)


def test_a_lost_blob_makes_its_result_an_error():
    """The piece says that it is lost, and the error follows, which needs no blob."""
    agent = offering()
    agent.hears(BlobAsk(A, 0, 10))
    agent.do(PieceRead(A, 0, 0, b""))
    assert agent.sent(BlobPiece) == [BlobPiece(A, 0, 0, b"")]
    (message,) = agent.sent(messages.Results)
    (error,) = message.results
    assert (error.success, error.error_code, error.blobs) == (False, TaskErrorCode.BLOB_UNAVAILABLE, ())
    assert A.hex() in values.decode(error.payload)
    assert agent.of(BlobFree) == [BlobFree(A)]
    agent.hears(messages.Ack((ref(1),)))
    assert not agent.state.kept


def test_a_blob_that_is_found_lost_between_sessions():
    """The next session gets the error."""
    agent = offering()
    agent.hears(BlobAsk(A, 0, 10))
    agent.do(events.LinkDown("gone", 0.5))
    agent.hello()
    agent.do(PieceRead(A, 0, 0, b""))
    assert not agent.sent(BlobPiece)
    agent.welcome(send=(ref(1),), blob_bytes_max=1000)
    (message,) = agent.sent(messages.Results)
    assert [entry.success for entry in message.results] == [False]


def test_a_broker_that_takes_no_such_blob_gets_an_error():
    """One of before there were any, or one with a lower limit."""
    for most in (0, 24):
        agent = Recorder()
        agent.start()
        agent.hello()
        agent.welcome(blob_bytes_max=most)
        agent.tasks(1)
        agent.do(BlobMade(ref(1), A, 25))
        ends(agent, payload=naming(A))
        (error,) = agent.sent(messages.Results)[0].results
        assert error.error_code == TaskErrorCode.TOO_LARGE
        assert f"25 bytes, the broker takes {most} (blob_bytes_max)" in values.decode(error.payload)
        assert agent.of(BlobFree) == [BlobFree(A)]


def test_the_owner_bounds_blobs_as_results():
    """What is let out is the blob, too."""
    agent = Recorder(policy=Policy(result_bytes_max=100)).live()
    agent.tasks(1)
    agent.do(BlobMade(ref(1), A, 90))
    ends(agent, payload=naming(A))
    (error,) = agent.sent(messages.Results)[0].results
    assert error.error_code == TaskErrorCode.POLICY_REFUSED
    assert agent.of(BlobFree) == [BlobFree(A)]


def test_nothing_more_is_taken_while_half_of_the_cache_waits():
    """Otherwise tasks would find no room for what they need and make."""
    agent = offering(blob_cache_bytes_max=49)
    assert [beat.spool_full for beat in agent.sent(messages.Heartbeat)] == [True]
    assert "blobs of 25 wait" in next(say.text for say in agent.of(events.Say))
    agent.hears(messages.Ack((ref(1),)))
    assert [beat.spool_full for beat in agent.sent(messages.Heartbeat)] == [False]


def test_blobs_that_tasks_need_wait_for_the_room_of_those_made():
    """They do not give up while some are about to be let go, and are looked for again then."""
    agent = offering()
    agent.tasks(lease(2, parameter=naming(B)))
    agent.do(BlobCrowded(B))
    assert not agent.of(BlobLack)
    agent.hears(messages.Ack((ref(1),)))
    assert agent.of(BlobFind) == [BlobFind(B, 25)]


def test_leaving_keeps_the_lease_of_a_result_that_waits():
    """No BYE: whoever starts the agent again within the time of its leases finds the result still wanted."""
    agent = offering()
    agent.do(events.StopAsked())
    agent.passes(2.0)
    assert not agent.sent(messages.Bye)
    assert agent.of(events.Disconnect)
    assert agent.of(events.Exit) == [events.Exit(0)]
