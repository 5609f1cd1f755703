"""Blobs that tasks name: found, fetched once, waited for by nobody else, and what becomes of it when that fails."""

from dart.agent import events
from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobGone,
    BlobHere,
    BlobLack,
    BlobLet,
    BlobReady,
    BlobWrite,
)
from dart.agent.policy import Policy
from dart.ids import AttemptRef
from dart.wire import messages, values
from harness.agent_recorder import Recorder, lease, ref

A, B = b"a" * 32, b"b" * 32
KIB = 1024


def parameter(*blobs: tuple[bytes, int]) -> bytes:
    """A parameter that names these."""
    return values.encode([values.BlobReference(sha256, size) for sha256, size in blobs])


def task(task_id: int, *blobs: tuple[bytes, int]) -> messages.Lease:
    """A task that needs these."""
    return lease(task_id, parameter=parameter(*blobs))


def asked(agent: Recorder) -> list[tuple[int, int]]:
    """Offsets and sizes of the pieces asked for in the last step."""
    return [(message.offset, message.size) for message in agent.sent(messages.BlobGet)]


def agent_with(**limits: float) -> Recorder:
    """A live one; pieces are of 10 bytes, 40 may be under way."""
    return Recorder(**{"blob_piece_bytes": 10, "blob_fetch_bytes_max": 40, **limits}).live()


def piece(agent: Recorder, offset: int, total: int, sha256: bytes = A, size: int = 10) -> list[events.Command]:
    """A piece comes from the broker."""
    return agent.hears(messages.Blob(sha256, offset, total, b"x" * min(size, total - offset)))


def test_a_task_waits_for_its_blob_and_others_do_not():
    """The cache is asked first; what it has not is fetched piece by piece, and written; then the task runs."""
    agent = agent_with()
    assert BlobFind(A, 25) in agent.tasks(task(1, (A, 25)), 2)
    assert agent.given() == {0: [2]}
    assert agent.ends(0, 2)
    agent.do(BlobHere(A, 0))
    assert asked(agent) == [(0, 10), (10, 10)]
    assert [message.ref for message in agent.sent(messages.BlobGet)] == [ref(1), ref(1)]
    piece(agent, 0, 25)
    assert agent.of(BlobWrite) == [BlobWrite(A, 0, b"x" * 10)]
    assert asked(agent) == [(20, 5)], "what comes soon widens the window"
    agent.do(BlobHere(A, 10))
    piece(agent, 10, 25)
    piece(agent, 20, 25)
    assert agent.of(BlobWrite) == [BlobWrite(A, 20, b"x" * 5)]
    agent.do(BlobReady(A))
    assert agent.given() == {0: [1]}
    assert agent.ends(0, 1)
    assert agent.of(BlobLet) == [BlobLet(A)]


def test_a_blob_is_fetched_once_for_many_tasks():
    """Those that come later join, before and after it is here; it is let go with the last of them."""
    agent = agent_with()
    agent.tasks(task(1, (A, 10)), task(2, (A, 10)))
    assert agent.of(BlobFind) == [BlobFind(A, 10)]
    agent.do(BlobHere(A, 0))
    agent.tasks(task(3, (A, 10)))
    piece(agent, 0, 10)
    agent.do(BlobReady(A))
    agent.tasks(task(4, (A, 10)))
    assert not agent.of(BlobFind)
    for number in (1, 2, 3):
        agent.ends(0, number)
        assert not agent.of(BlobLet)
    agent.ends(0, 4)
    assert agent.of(BlobLet) == [BlobLet(A)]


def test_a_task_may_need_several():
    """It runs with the last of them; those that are found in the cache need no word to the broker."""
    agent = agent_with()
    agent.tasks(task(1, (A, 10), (B, 10)))
    agent.do(BlobReady(B))
    assert not agent.given()
    agent.do(BlobReady(A))
    assert agent.given() == {0: [1]}
    assert not agent.sent(messages.BlobGet)


def test_two_blobs_share_what_may_be_under_way():
    """A small one does not wait behind a large one; no more than so many are fetched at once."""
    agent = agent_with(blob_fetches_max=2)
    agent.tasks(task(1, (A, 1000), (B, 30), (b"c" * 32, 30)))
    agent.do(BlobHere(A, 0), BlobHere(B, 0), BlobHere(b"c" * 32, 0))
    assert [(m.sha256, m.offset) for m in agent.sent(messages.BlobGet)] == [(A, 0), (B, 0)]
    for sha256, total in ((A, 1000), (B, 30)):
        piece(agent, 0, total, sha256)
    assert agent.sent(messages.BlobGet)


def test_a_slow_link_carries_few_pieces():
    """Each piece that took long halves what may be under way, down to one."""
    agent = agent_with()
    agent.tasks(task(1, (A, 1000)))
    agent.do(BlobHere(A, 0))
    for number in range(4):
        agent.now += 1.0
        piece(agent, 10 * number, 1000)
        agent.do(BlobHere(A, 10 * number + 10))
    assert agent.state.session.pieces == 1
    assert agent.state.blobs[A].asked - agent.state.blobs[A].here <= 10


def test_pieces_wait_for_the_disk():
    """No more is in memory than may be under way, also if a broker sends what nobody asked for."""
    agent = agent_with()
    agent.tasks(task(1, (A, 1000)))
    agent.do(BlobHere(A, 0))
    written = []
    for number in range(20):
        piece(agent, 10 * number, 1000)
        written += agent.of(BlobWrite)
    assert len(written) <= 5


def test_what_was_not_asked_for_is_ignored():
    """Unknown blobs, other places, nothing, more than there is, and a blob that is not being fetched."""
    agent = agent_with()
    piece(agent, 0, 25)
    agent.tasks(task(1, (A, 25)))
    piece(agent, 0, 25)
    agent.do(BlobHere(A, 0))
    for message in (
        messages.Blob(A, 10, 25, b"x" * 10),
        messages.Blob(A, 0, 25, b""),
        messages.Blob(A, 0, 25, b"x" * 26),
        messages.Blob(B, 0, 25, b"x" * 10),
    ):
        agent.hears(message)
        assert not agent.of(BlobWrite)
    for event in (BlobHere(B, 1), BlobReady(B), BlobFault(B, "no"), BlobCrowded(B), BlobCrowded(A)):
        agent.do(event)
        assert not agent.commands
    agent.do(BlobReady(A))
    for event in (BlobHere(A, 1), BlobReady(A), BlobFault(A, "no"), BlobCrowded(A)):
        assert not agent.do(event)


def test_the_last_word_of_the_cache_counts():
    """What it said before the blob was looked for again may come late; then it is asked for from where it stands."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)))
    agent.do(BlobHere(A, 40))
    agent.do(BlobHere(A, 0))
    assert asked(agent)[0] == (0, 10)


def test_what_is_told_of_a_blob_that_was_let_go_is_of_the_past():
    """Until the cache says that it is gone; who names it meanwhile has it looked for then, once."""
    agent = agent_with()
    agent.tasks(task(1, (A, 25)))
    agent.hears(messages.Cancel((ref(1),)))
    assert agent.of(BlobLet) == [BlobLet(A)]
    agent.tasks(task(2, (A, 25)))
    assert not agent.of(BlobFind)
    agent.hears(messages.Cancel((ref(2),)))
    assert not agent.of(BlobLet)
    agent.tasks(task(3, (A, 25)))
    for event in (BlobHere(A, 10), BlobCrowded(A), BlobFault(A, "no"), BlobReady(A)):
        assert not agent.do(event)
    assert agent.do(BlobGone(A)) == [BlobFind(A, 25)]
    agent.do(BlobReady(A))
    assert agent.given() == {0: [3]}
    assert agent.ends(0, 3)
    assert not agent.do(BlobGone(A))


def test_what_does_not_come_is_asked_for_again():
    """After the time in which silence ends a link; what lies in the cache is not."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)))
    agent.do(BlobHere(A, 20))
    assert asked(agent) == [(20, 10), (30, 10)]
    end = agent.now + 15.0
    while agent.now < end:
        deadline = agent.core.next_deadline()
        assert deadline is not None
        assert deadline <= end
        agent.now = deadline
        agent.hears(messages.Heartbeat(0, reply=True, load=0.0))
    assert asked(agent)[0] == (20, 10)


def test_a_new_session_goes_on_where_the_last_one_ended():
    """What was asked for before is asked for again, from what lies in the cache."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)))
    agent.do(BlobHere(A, 0))
    piece(agent, 0, 100)
    agent.do(events.LinkDown("gone", 0.0))
    assert not agent.do(BlobHere(A, 10))
    assert ref(1) in agent.hello().attempts
    agent.welcome(keep=(ref(1),))
    assert asked(agent)[0] == (10, 10)


def test_when_the_task_that_asked_is_cancelled_another_one_asks():
    """The broker may not answer in the name of a lease that is gone."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)), task(2, (A, 100)))
    agent.do(BlobHere(A, 0))
    agent.hears(messages.Cancel((ref(2),)))
    assert not asked(agent)
    agent.tasks(task(3, (A, 100)))
    agent.hears(messages.Cancel((ref(1),)))
    assert asked(agent) == [(0, 10), (10, 10)]
    assert {message.ref for message in agent.sent(messages.BlobGet)} == {ref(3)}
    agent.hears(messages.Cancel((ref(3),)))
    assert agent.of(BlobLet) == [BlobLet(A)]
    assert agent.core.next_deadline() is not None


def test_what_the_broker_does_not_have_is_left_to_the_runner():
    """The parameter is not decoded here: it may be chance. The runner learns why it is not there."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)))
    agent.do(BlobHere(A, 0))
    piece(agent, 0, 0)
    (lack,) = agent.of(BlobLack)
    assert (lack.sha256, lack.code) == (A, 109)
    assert "the server does not have it" in lack.reason
    assert agent.given() == {0: [1]}


def test_a_wrong_size_in_a_reference_harms_only_its_own_task():
    """The broker's word counts, and the runner compares; a broker that says one thing and another is not followed."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)), task(2, (A, 50)))
    agent.do(BlobHere(A, 0))
    piece(agent, 0, 50)
    assert agent.of(BlobFind) == [BlobFind(A, 50)]
    agent.do(BlobHere(A, 0))
    piece(agent, 0, 50)
    assert agent.of(BlobWrite)
    piece(agent, 10, 70)
    assert [lack.code for lack in agent.of(BlobLack)] == [109]


def test_a_damaged_blob_is_fetched_once_more():
    """Then its tasks end with an error that is final."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)))
    agent.do(BlobFault(A, "it has another hash", damaged=True))
    assert agent.of(BlobFind) == [BlobFind(A, 100)]
    assert "fetched again" in agent.texts()
    agent.do(BlobFault(A, "it has another hash", damaged=True))
    assert agent.of(BlobLack) == [BlobLack(A, 109, "it has another hash")]
    assert agent.given() == {0: [1]}


def test_a_blob_that_cannot_be_kept_is_said_to_be_unavailable_here():
    """Another worker may have room for it: the task may be retried."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)))
    agent.do(BlobFault(A, "no space"))
    assert agent.of(BlobLack) == [BlobLack(A, 112, "no space")]


def test_a_crowded_cache_is_waited_for():
    """As long as something runs that may let a blob go; then the blob is looked for again."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)), task(2, (B, 100)))
    agent.do(BlobReady(A), BlobCrowded(B))
    assert not agent.of(BlobLack)
    agent.ends(0, 1)
    assert agent.of(BlobFind) == [BlobFind(B, 100)]
    agent.do(BlobCrowded(B))
    assert [lack.code for lack in agent.of(BlobLack)] == [112]
    assert agent.given() == {0: [2]}


def test_the_owner_bounds_parameters_with_their_blobs():
    """As soon as it is known that there is such a blob; the runner says whose rule it is."""
    agent = Recorder(policy=Policy(parameter_bytes_max=90)).live()
    agent.tasks(task(1, (A, 100)), task(2, (B, 100)))
    agent.do(BlobHere(A, 0), BlobReady(B))
    piece(agent, 0, 100)
    assert [(lack.sha256, lack.code) for lack in agent.of(BlobLack)] == [(A, 106)]
    assert not agent.of(BlobWrite)


def test_too_many_blobs_are_refused():
    """Before anything is looked for."""
    agent = agent_with(blobs_per_task_max=1)
    agent.tasks(task(1, (A, 1), (B, 1)))
    (results,) = agent.sent(messages.Results)
    assert results.results[0].error_code == 103
    assert not agent.of(BlobFind)


def test_tasks_that_wait_do_not_use_up_the_credit():
    """Up to a bound: an agent does not gather all tasks of a job whose blob comes slowly."""
    agent = agent_with(blob_tasks_max=2, prefetch_max=1)
    agent.tasks(task(1, (A, 100)), task(2, (A, 100)))
    assert agent.sent(messages.Credit)[-1].tasks == 2
    agent.tasks(task(3, (A, 100)), task(4, (A, 100)))
    assert not agent.sent(messages.Credit)
    assert agent.state.session.credit_left == 0


def test_how_far_a_blob_is_is_told():
    """As a report of the tasks that wait for it, once a second; nothing of it stays behind."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)), task(2, (A, 100), (B, 10)))
    agent.do(BlobHere(A, 0))
    agent.passes(0.1)
    agent.now += 1.0
    agent.do(BlobHere(A, 40))
    reports = [report for message in agent.sent(messages.Progress) for report in message.reports]
    assert {report.ref: report.text for report in reports} == {
        ref(number): "fetching blob 616161616161: 40 % of 100 bytes" for number in (1, 2)
    }
    assert {report.fraction for report in reports} == {0.0}
    agent.now += 1.0
    agent.do(BlobHere(A, 50), BlobReady(A))
    assert agent.given() == {0: [1]}
    agent.hears(messages.Cancel((ref(2),)))
    assert not agent.state.progress


def test_recall_and_end_give_back_what_waits():
    """A task that waits for its blob is not begun."""
    agent = agent_with()
    agent.tasks(task(1, (A, 100)), task(2, (A, 100)))
    agent.hears(messages.Recall((ref(1),)))
    assert agent.sent(messages.Released) == [messages.Released((ref(1),))]
    agent.hears(messages.Drain("enough"))
    assert released(agent) == [ref(2)]
    assert agent.of(BlobLet) == [BlobLet(A)]


def released(agent: Recorder) -> list[AttemptRef]:
    """What was given back in the last step."""
    return [entry for message in agent.sent(messages.Released) for entry in message.attempts]
