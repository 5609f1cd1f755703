"""Results until ACK: the three ways of spooling, batches, the window, sizes, credit."""

import pytest

from dart.agent import events
from dart.agent.core import SpoolMode
from dart.agent.core.outcomes import portable_text
from dart.errors import TaskErrorCode
from dart.wire import messages, values
from harness.agent_recorder import OTHER_STORE, STORE, Recorder, lease, ref, result, runner_result


def test_a_full_spool_is_told_at_once():
    """The broker hears of it with a HEARTBEAT, and again when there is room; a new session is told anew."""
    agent = Recorder(spool_bytes_max=300).live()
    agent.tasks(1)
    assert not agent.sent(messages.Heartbeat)
    agent.ends(0, 1, duration=0.5)
    assert not agent.sent(messages.Heartbeat)  # 257 bytes
    agent.tasks(2)
    agent.ends(0, 2)
    assert [beat.spool_full for beat in agent.sent(messages.Heartbeat)] == [True]
    agent.hears(messages.Heartbeat(5, reply=False, load=0.0))
    (beat,) = agent.sent(messages.Heartbeat)
    assert (beat.spool_full, beat.spooled, beat.spooled_bytes) == (True, 2, agent.state.kept_bytes)
    agent.do(events.LinkDown("gone", 0.5))
    agent.hello()
    agent.welcome(send=(ref(1), ref(2)))
    assert agent.sent(messages.Heartbeat)[0].spool_full
    agent.hears(messages.Ack((ref(1), ref(2))))
    (beat,) = agent.sent(messages.Heartbeat)
    assert (beat.spool_full, beat.spooled, beat.spooled_bytes) == (False, 0, 0)


def test_eager_results_go_to_disk_and_out_at_the_same_time():
    """One SpoolWrite and one RESULTS; after ACK both are forgotten."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.ends(0, 1)
    assert agent.of(events.SpoolWrite) == [events.SpoolWrite(1, STORE, (result(1),))]
    assert agent.sent(messages.Results)[0].results == (result(1),)
    agent.hears(messages.Ack((ref(1), ref(9))))
    assert agent.of(events.SpoolForget) == [events.SpoolForget((ref(1),))]
    assert agent.state.kept == {}


def test_lazy_results_are_written_only_without_ack():
    """An SD card is spared when the broker answers within the time."""
    agent = Recorder(spool=SpoolMode.LAZY, spool_lazy_seconds=0.5).live()
    agent.tasks(1, 2)
    agent.ends(0, 1)
    agent.now += 0.2
    agent.ends(0, 2)
    assert agent.of(events.SpoolWrite) == []
    agent.hears(messages.Ack((ref(1),)))
    assert agent.of(events.SpoolForget) == []
    agent.passes(0.4)
    assert agent.of(events.SpoolWrite) == []
    agent.passes(0.1)
    assert agent.of(events.SpoolWrite) == [events.SpoolWrite(1, STORE, (result(2),))]


def test_lazy_results_are_written_when_the_link_is_lost_or_the_agent_stops():
    """Then no ACK can come."""
    agent = Recorder(spool=SpoolMode.LAZY, slots=2).live()
    agent.tasks(1, 2)
    agent.ends(0, 1)
    agent.do(events.LinkDown("gone", 0.9))
    assert agent.of(events.SpoolWrite) == [events.SpoolWrite(1, STORE, (result(1),))]
    agent.hello()
    agent.welcome(keep=(ref(2),))
    agent.do(events.StopAsked())
    agent.ends(1, 2)
    assert agent.of(events.SpoolWrite) == [events.SpoolWrite(2, STORE, (result(2),))]


def test_before_send_waits_for_the_disk():
    """RESULTS follow SpoolSynced, the credit does not wait."""
    agent = Recorder(spool=SpoolMode.BEFORE_SEND).live()
    agent.tasks(1)
    agent.ends(0, 1)
    assert agent.of(events.SpoolWrite)
    assert agent.sent(messages.Results) == []
    agent.do(events.SpoolSynced(1))
    assert agent.sent(messages.Results)[0].results == (result(1),)


def test_before_send_sends_what_earlier_boots_left():
    """It is on disk."""
    agent = Recorder(spool=SpoolMode.BEFORE_SEND).start((STORE, result(5)))
    agent.hello()
    agent.welcome(send=(ref(5),))
    assert agent.sent(messages.Results)[0].results == (result(5),)
    agent.hears(messages.Ack((ref(5),)))
    assert agent.of(events.SpoolForget) == [events.SpoolForget((ref(5),))]


def test_results_made_offline_wait_for_welcome():
    """They are named in HELLO and sent after WELCOME, the oldest first."""
    agent = Recorder().live()
    agent.tasks(1, 2)
    agent.do(events.LinkDown("gone", 0.9))
    agent.ends(0, 1, 2)
    assert agent.sent(messages.Results) == []
    assert agent.hello().results == (ref(1), ref(2))
    agent.welcome(send=(ref(1), ref(2)))
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1), ref(2)]


def test_results_that_end_between_hello_and_welcome_are_sent_once():
    """They were attempts in HELLO and are results now."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.do(events.LinkDown("gone", 0.9))
    assert agent.hello().attempts == (ref(1),)
    agent.ends(0, 1)
    agent.welcome(keep=(ref(1),))
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1)]


def test_results_are_split_by_items_and_bytes():
    """The broker's terms hold; one value may be larger than a batch."""
    stored = [(STORE, result(n, b"x" * 10)) for n in range(1, 6)] + [(STORE, result(6, b"x" * 50))]
    agent = Recorder().start(*stored)
    agent.hello()
    agent.welcome(batch_items_max=4, batch_bytes_max=30)
    assert [[r.ref.task_id for r in m.results] for m in agent.sent(messages.Results)] == [[1, 2, 3], [4, 5], [6]]


def test_only_a_window_of_results_is_on_its_way():
    """After days offline the socket is not filled with all of it at once."""
    stored = [(STORE, result(n, b"x" * 10)) for n in range(1, 11)]
    agent = Recorder().start(*stored)
    agent.hello()
    agent.welcome(batch_bytes_max=10)
    assert [r.ref.task_id for m in agent.sent(messages.Results) for r in m.results] == [1, 2, 3, 4]
    agent.hears(messages.Ack((ref(2),)))
    assert [r.ref.task_id for m in agent.sent(messages.Results) for r in m.results] == [5]


def test_results_forgotten_while_they_wait_are_not_sent():
    """An ACK may come for what a former session had sent."""
    stored = [(STORE, result(n, b"x" * 10)) for n in range(1, 7)]
    agent = Recorder().start(*stored)
    agent.hello()
    agent.welcome(batch_bytes_max=10)
    agent.hears(messages.Ack((ref(5), ref(6))))
    agent.hears(messages.Ack((ref(1),)))
    assert agent.sent(messages.Results) == []


def test_a_result_that_the_broker_would_not_take_becomes_an_error():
    """Naming both sizes; the books are kept right."""
    agent = Recorder().start()
    agent.hello()
    agent.welcome(value_bytes_max=2000)
    agent.tasks(1)
    agent.do(events.TasksEnded(0, (runner_result(1, b"x" * 2001),)))
    ((found,),) = [m.results for m in agent.sent(messages.Results)]
    assert (found.error_code, found.success) == (TaskErrorCode.TOO_LARGE, False)
    assert "2001" in values.decode(found.payload)
    assert "2000 (value_bytes_max)" in values.decode(found.payload)


def test_results_without_ack_stop_the_agent_at_the_bound():
    """No credit, one word to people, and on it goes after ACK."""
    agent = Recorder(spool_bytes_max=1000).live()
    agent.tasks(1, 2)
    agent.do(events.TasksEnded(0, (runner_result(1, b"x" * 900),)))
    assert agent.sent(messages.Results)[0].credit.tasks == 0
    assert "spool_bytes_max" in agent.texts()
    agent.ends(0, 2)
    assert agent.texts() == ""
    agent.hears(messages.Ack((ref(1),)))
    assert agent.sent(messages.Credit)[0].tasks > 0


def test_a_full_disk_stops_taking_tasks_until_there_is_room():
    """SpoolFull ends the credit at once, SpoolRoom gives it again."""
    agent = Recorder().live()
    agent.do(events.SpoolFull("no space left"))
    assert agent.sent(messages.Credit)[0].tasks == 0
    assert "no space left" in agent.texts()
    agent.do(events.SpoolRoom())
    assert agent.sent(messages.Credit)[0].tasks == 2


def test_results_held_back_do_not_hold_up_those_of_later_tasks():
    """After a restore ids have a gap: what the broker asks for by name is sent, whatever lies below it is held."""
    agent = Recorder(store_id=STORE).start(*((STORE, result(n)) for n in (3, 100, 5)))
    assert agent.hello().results == (ref(3), ref(100), ref(5))
    agent.welcome(hold=(ref(5),), send=(ref(3), ref(100)))
    assert [r.ref for m in agent.sent(messages.Results) for r in m.results] == [ref(3), ref(100)]
    assert "1 results belong to another store" in agent.texts()


def test_what_is_held_back_is_said_once_and_named_last():
    """A link that comes and goes does not fill the log; what HELLO has no room for are the results held back."""
    stored = [(STORE, result(n)) for n in (7, 8, 1, 2)]
    agent = Recorder(store_id=STORE, hello_items_max=3).start(*stored)
    assert agent.hello().results == (ref(7), ref(8), ref(1))
    agent.welcome(hold=(ref(7), ref(8)), forget=(ref(1),))
    assert [r.ref for m in agent.sent(messages.Results) for r in m.results] == [ref(2)]
    assert "2 results belong" in agent.texts()
    agent.do(events.LinkDown("gone", 0.5))
    assert agent.hello().results == (ref(2), ref(7), ref(8))
    agent.welcome(hold=(ref(7), ref(8)), forget=(ref(2),))
    assert agent.texts() == ""


def test_results_of_two_stores_are_spooled_apart():
    """A result carries the store it belongs to."""
    agent = Recorder(spool=SpoolMode.LAZY, slots=2).live()
    agent.tasks(1, 2)
    agent.ends(0, 1)
    agent.state.held[ref(2)].store_id = OTHER_STORE
    agent.ends(1, 2)
    agent.do(events.LinkDown("gone", 0.9))
    assert agent.of(events.SpoolWrite) == [
        events.SpoolWrite(1, STORE, (result(1),)),
        events.SpoolWrite(2, OTHER_STORE, (result(2),)),
    ]


@pytest.mark.parametrize("text", ["", "plain", "é中\U0001f600", "x" * 70_000])
def test_portable_text_is_a_portable_value(text):
    """The core writes texts by hand; every reader understands them."""
    assert values.decode(portable_text(text)) == text


def test_unknown_durations_ask_for_one_ahead_of_each_slot():
    """Enough to begin with."""
    agent = Recorder(slots=3)
    agent.start()
    agent.hello()
    agent.welcome()
    assert agent.sent(messages.Credit)[0].tasks == 6


@pytest.mark.parametrize(
    ("duration", "round_trip", "waiting"),
    [
        (0.001, 0.0, 1000),
        (0.0001, 0.0, 1024),
        (0.1, 0.0, 10),
        (60.0, 0.0, 0),
        (1.0, 0.2, 4),
        (1.0, 0.001, 1),
        (10.0, 0.5, 4),
        (0.0, 0.0, 1024),
    ],
)
def test_prefetch_follows_durations_and_round_trip(duration, round_trip, waiting):
    """A quarter of a second of work waits, more over slow networks, nothing behind long tasks."""
    agent = Recorder(slots=4).live()
    agent.state.duration_seconds = duration
    agent.state.round_trip_seconds = round_trip
    agent.hears(messages.Ack(()))
    credit = agent.sent(messages.Credit)
    assert (credit[0].tasks if credit else 8) == 4 + waiting or (waiting < 4 and not credit)


def test_durations_are_learned():
    """A moving average, so that one odd task changes little."""
    agent = Recorder().live()
    agent.tasks(1, 2)
    agent.ends(0, 1, duration=1.0)
    assert agent.state.duration_seconds == 1.0
    agent.ends(0, 2, duration=2.0)
    assert agent.state.duration_seconds == pytest.approx(1.1)


def test_credit_counts_bytes_and_names_the_last_tasks_seen():
    """Parameters held are subtracted; `seen` is the running number of TASKS."""
    agent = Recorder(slots=2, credit_bytes_max=100).live()
    agent.tasks(lease(1, parameter=b"x" * 30), lease(2, parameter=b"x" * 80))
    agent.ends(0, 1)
    credit = agent.sent(messages.Results)[0].credit
    assert (credit.payload_bytes, credit.seen) == (20, 2)
    agent.tasks(lease(3, parameter=b"x" * 80))
    agent.ends(1, 2)
    credit = agent.sent(messages.Results)[0].credit
    assert (credit.payload_bytes, credit.seen) == (20, 3)


def test_credit_never_lets_in_more_than_hello_can_name():
    """However many slots there are."""
    agent = Recorder(slots=10, hello_items_max=5).live()
    assert agent.sent(messages.Credit)[0].tasks == 5


def test_credit_goes_alone_when_slots_would_idle():
    """A cancelled task leaves a slot empty and no result to carry the credit."""
    agent = Recorder().live()
    agent.tasks(1, 2)
    agent.hears(messages.Cancel((ref(1), ref(2))))
    assert agent.sent(messages.Credit) == []
    agent.takes_back(0, 2)
    agent.dies(0, 1)
    agent.do(events.RunnerReady(0, {}))
    assert agent.sent(messages.Credit)[0].tasks == 2


def test_small_growth_of_credit_waits_for_a_result():
    """One task more is not worth a message while all slots work."""
    agent = Recorder(slots=4).live()
    agent.tasks(*range(1, 9))
    agent.hears(messages.Recall((ref(8),)))
    assert agent.sent(messages.Credit) == []
