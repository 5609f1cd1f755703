"""Connecting, HELLO and WELCOME, running numbers, heartbeats, complaints."""

import pytest

from dart.agent import events
from dart.agent.core.state import Phase
from dart.wire import messages
from dart.wire.messages import ErrorCode
from harness.agent_recorder import BOOT, OTHER_STORE, STORE, Recorder, ref, result


def test_connects_when_the_first_runner_is_ready():
    """HELLO names the owner's Python, so the first connection waits for a runner, but not for all."""
    agent = Recorder(slots=2)
    assert agent.do(events.Started(())) == []
    assert agent.do(events.RunnerReady(1, {"python": "3.9"})) == [events.Connect()]
    assert agent.do(events.LinkUp(0.5)) == [
        events.Send(
            1,
            messages.Hello(
                versions=(1,),
                name="edge-1",
                slots=2,
                capabilities=("gpu",),
                host="box",
                boot_id=BOOT,
                store_id="",
                attempts=(),
                results=(),
                facts={"architecture": "test", "python": "3.9"},
                draining=False,
                questions=True,
            ),
        )
    ]
    assert agent.do(events.LinkUp(0.5)) == [], "HELLO is said once a socket"


def test_connects_without_a_runner_after_a_while():
    """An agent whose runner does not start is seen all the same."""
    agent = Recorder()
    agent.do(events.Started(()))
    assert agent.passes(1.9) == []
    assert agent.passes(0.1) == [events.Connect()]


def test_connects_when_a_runner_cannot_start():
    """A broken Python is no reason to wait."""
    agent = Recorder()
    agent.do(events.Started(()))
    agent.do(events.RunnerFailed(0, "no such file"))
    assert agent.of(events.Connect)
    assert "cannot be started: no such file" in agent.texts()


def test_welcome_joins_and_tells_credit():
    """WELCOME makes the session: the agent asks for the round trip and gives credit."""
    agent = Recorder(slots=2).start()
    agent.hello()
    assert agent.welcome() == [
        events.Joined("edge-1", 2),
        events.Send(2, messages.Heartbeat(1, reply=False, load=0.0)),
        events.Send(3, messages.Credit(4, agent.limits.credit_bytes_max, 0)),
    ]
    assert agent.state.store_id == STORE


def test_a_second_welcome_and_a_welcome_before_hello_mean_nothing():
    """Only the answer to HELLO begins a session."""
    agent = Recorder().start()
    assert agent.welcome() == []
    agent.sequence = 0
    agent.do(events.LinkUp(0.5))
    agent.sequence = 1
    agent.welcome()
    assert agent.of(events.Joined)
    assert agent.welcome() == []


def test_messages_before_welcome_are_not_acted_upon():
    """Without terms there are no tasks."""
    agent = Recorder().start()
    agent.hello()
    assert agent.tasks(1) == []


def test_welcome_of_an_unknown_version_ends_the_agent():
    """A broker that chooses what was not offered is not understood: exit code 4."""
    agent = Recorder().start()
    agent.hello()
    agent.welcome(version=9)
    assert agent.of(events.Exit) == [events.Exit(4)]
    assert "version 9" in agent.texts()


def test_backoff_grows_and_ends_with_a_session():
    """The first retry is quick, later ones double with jitter up to the limit, a session that lasts starts anew."""
    agent = Recorder(reconnect_seconds_min=0.1, reconnect_seconds_max=1.0).start()
    waits = []
    for _ in range(7):
        agent.do(events.LinkDown("refused", 0.5))
        assert agent.of(events.Disconnect) == [events.Disconnect(0.0)]
        waits.append(round(agent.core.next_deadline() - agent.now, 3))
        agent.until_deadline()
        assert agent.of(events.Connect)
    assert waits == [0.05, 0.15, 0.3, 0.6, 0.75, 0.75, 0.75]
    agent.sequence = 0
    agent.do(events.LinkUp(0.5))
    agent.welcome()
    agent.passes(1.0)
    agent.do(events.LinkDown("gone", 0.0))
    assert agent.core.next_deadline() - agent.now == pytest.approx(0.0) or agent.of(events.Connect)


def test_a_reason_is_said_once():
    """A server that is away for days does not fill the log; a new reason is told."""
    agent = Recorder().start()
    agent.do(events.LinkDown("refused", 0.5))
    assert "refused" in agent.texts()
    agent.until_deadline()
    agent.do(events.LinkDown("refused", 0.5))
    assert agent.texts() == ""
    assert agent.do(events.LinkDown("refused", 0.5)) == [], "not twice for one socket"
    agent.until_deadline()
    agent.do(events.LinkDown("no server file", 0.5))
    assert "no server file" in agent.texts()
    agent.hello()
    agent.welcome()
    agent.passes(1.0)
    agent.do(events.LinkDown("no server file", 0.5))
    assert "no server file" in agent.texts()


def test_silence_ends_the_session():
    """A link on which nothing is heard is rebuilt, before and after WELCOME."""
    agent = Recorder(silence_seconds=15.0).start()
    agent.hello()
    agent.passes(15.0)
    assert agent.of(events.Disconnect)
    agent.hello()
    agent.welcome(silence_seconds=3.0, heartbeat_seconds=60.0)
    agent.passes(2.9)
    assert agent.commands == []
    agent.passes(0.1)
    assert "nothing was heard" in agent.texts()


def test_a_broker_that_others_want_too_is_given_time():
    """Whatever is not the first attempt waits twice as long for WELCOME: to begin anew would cost the broker more."""
    agent = Recorder(silence_seconds=15.0).start()
    agent.hello()
    agent.do(events.LinkDown("refused", 0.5))
    agent.passes(1.0)
    agent.hello()
    agent.passes(29.9)
    assert not agent.of(events.Disconnect)
    agent.passes(0.1)
    assert agent.of(events.Disconnect)
    agent.passes(1.0)
    agent.hello()
    agent.passes(29.9)
    agent.welcome()
    agent.passes(5.0)
    assert not agent.of(events.Disconnect)


def test_a_quiet_link_gets_heartbeats_and_the_answer_gives_the_round_trip():
    """HEARTBEAT asks back; its answer measures, another's does not."""
    agent = Recorder().live()
    agent.passes(5.0)
    assert agent.sent(messages.Heartbeat) == [messages.Heartbeat(2, reply=False, load=0.0)]
    agent.now += 0.25
    agent.hears(messages.Heartbeat(1, reply=True, load=0.0))
    assert agent.state.round_trip_seconds == 0.0
    agent.hears(messages.Heartbeat(2, reply=True, load=0.0))
    assert agent.state.round_trip_seconds == 0.25


def test_heartbeats_that_ask_are_answered():
    """A nonce is answered at once, with the load; without one nothing is to be said."""
    agent = Recorder(slots=2).live()
    agent.tasks(1)
    agent.hears(messages.Heartbeat(77, reply=False, load=0.0))
    assert agent.sent(messages.Heartbeat) == [messages.Heartbeat(77, reply=True, load=0.5)]
    assert agent.hears(messages.Heartbeat(0, reply=False, load=0.0)) == []


def test_duplicates_are_dropped_and_gaps_end_the_session():
    """Running numbers: twice is once, a missing one voids the session."""
    agent = Recorder().live()
    agent.tasks(1)
    assert agent.hears(messages.Tasks(()), sequence=2) == []
    agent.hears(messages.Ack(()), sequence=4)
    assert "frame 3 of the broker is missing" in agent.texts()
    assert agent.hears(messages.Ack(()), sequence=5) == []
    hello = agent.hello()
    assert hello.attempts == (ref(1),)


def test_frames_without_number_are_complaints_only():
    """Sequence 0 is for ERROR."""
    agent = Recorder().live()
    assert agent.hears(messages.Drain("x"), sequence=0) == []
    agent.hears(messages.Error(ErrorCode.MALFORMED, "what?"), sequence=0)
    assert "what?" in agent.texts()
    assert not agent.of(events.Disconnect)


@pytest.mark.parametrize("text", ["frames are missing", ""])
def test_say_hello_begins_a_new_session(text):
    """The broker's wish for a HELLO is granted with a new socket."""
    agent = Recorder().live()
    agent.hears(messages.Error(ErrorCode.SAY_HELLO, text), sequence=0)
    assert agent.of(events.Disconnect) == [events.Disconnect(0.0)]
    agent.hello()


def test_bye_of_the_server_is_no_end():
    """The server stops; the agent works on and tries again."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.hears(messages.Bye("stopping"))
    assert "the server leaves (stopping)" in agent.texts()
    agent.ends(0, 1)
    assert agent.of(events.SpoolWrite)
    assert agent.hello().results == (ref(1),)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (ErrorCode.SUPERSEDED, "newer"),
        (ErrorCode.REVOKED, "revoked"),
        (ErrorCode.NAME_REFUSED, "name"),
        (ErrorCode.UNSUPPORTED_VERSION, "upgrade"),
    ],
)
def test_an_agent_that_is_turned_away_ends_with_code_4(code, word):
    """It kills what runs, keeps its results and never connects again."""
    agent = Recorder().live()
    agent.tasks(1, 2)
    agent.hears(messages.Error(code, "because"), sequence=0)
    assert word in agent.texts()
    assert bool(agent.of(events.Revoked)) is (code == ErrorCode.REVOKED)
    assert agent.of(events.Kill) == [events.Kill(0, agent.limits.kill_grace_seconds)]
    assert agent.of(events.Exit) == []
    assert agent.hears(messages.Ack(())) == []
    agent.dies(0, 1, 2)
    assert agent.of(events.Exit) == [events.Exit(4)]
    assert not agent.of(events.Send)
    assert agent.core.next_deadline() is None
    assert agent.do(events.StopAsked()) == []


def test_a_full_broker_is_asked_again_later():
    """OVER_LIMIT: no end, but a longer wait."""
    agent = Recorder(reconnect_seconds_min=0.1).start()
    agent.hello()
    agent.hears(messages.Error(ErrorCode.OVER_LIMIT, "10000 agents"), sequence=0)
    assert "10000 agents" in agent.texts()
    assert agent.core.next_deadline() - agent.now > 1.0


def test_welcome_says_what_to_do_with_attempts_and_results():
    """Keep goes on, drop is killed or forgotten, forget is forgotten, the rest is sent."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2, 3, 4)
    agent.do(events.LinkDown("gone", 0.0))
    agent.ends(0, 1, 3)
    hello = agent.hello()
    assert (hello.attempts, hello.results) == ((ref(2), ref(4)), (ref(1), ref(3)))
    agent.welcome(keep=(ref(4),), drop=(ref(2), ref(3)), send=(ref(1),))
    assert agent.of(events.Kill) == [events.Kill(1, agent.limits.kill_grace_seconds)]
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1)]
    assert agent.of(events.SpoolForget) == [events.SpoolForget((ref(3),))]


def test_abandoned_attempts_are_not_named_again():
    """What was dropped is nobody's business, though its runner still dies."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.hears(messages.Cancel((ref(1),)))
    agent.do(events.LinkDown("gone", 0.0))
    assert agent.hello().attempts == ()


def test_results_of_another_store_are_kept_and_not_sent():
    """Another database behind the same address gets nothing that is not its own; tasks of the old one are void."""
    agent = Recorder(slots=1).live()
    agent.tasks(1, 2)
    agent.ends(0, 1)
    agent.do(events.LinkDown("gone", 0.0))
    assert agent.hello().store_id == STORE
    agent.welcome(store_id=OTHER_STORE, hold=(ref(1),), keep=(ref(2),))
    assert "1 results belong to another store" in agent.texts()
    assert agent.sent(messages.Results) == []
    assert agent.of(events.Kill)
    agent.ends(0, 2)
    assert agent.sent(messages.Results) == []
    agent.do(events.LinkDown("gone", 0.0))
    hello = agent.hello()
    assert (hello.store_id, hello.results) == (OTHER_STORE, ())
    agent.welcome(store_id=STORE)
    assert "its results are to be named" in agent.texts()
    hello = agent.hello()
    assert (hello.store_id, hello.results) == (STORE, (ref(1),))
    agent.welcome(send=(ref(1),))
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1)]


def test_results_above_the_highest_id_are_held():
    """A restored backup does not know them; what HELLO had no room to name does not slip past that."""
    stored = [(STORE, result(n)) for n in (1, 8, 9)]
    agent = Recorder(hello_items_max=2).start(*stored)
    hello = agent.hello()
    assert (hello.store_id, hello.results) == (STORE, (ref(1), ref(8)))
    agent.welcome(send=(ref(1),), hold=(ref(8),))
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1)]
    assert "2 results" in agent.texts()


def test_the_enrolled_store_is_known_from_the_start():
    """Enrolment tells the store; what the spool kept of another one does not change that."""
    agent = Recorder(store_id=STORE).start((OTHER_STORE, result(1)))
    hello = agent.hello()
    assert (hello.store_id, hello.results) == (STORE, ())


def test_the_clock_never_goes_back():
    """A caller's time that is behind counts as the latest known."""
    agent = Recorder().live()
    agent.core.handle(events.TimePassed(), 0.0)
    assert agent.state.now == 1000.0


def test_follows_the_server_to_its_next_key():
    """It keeps where to go, goes there at once with what it has, and does not run in a circle where that fails."""
    coming = messages.NextServer(7779, b"n" * 32)
    agent = Recorder().live()
    agent.tasks(1)
    agent.do(events.LinkDown("cut", 0.0))
    agent.hello()
    agent.welcome(next=coming, keep=(ref(1),))
    assert agent.of(events.Remember) == [events.Remember(coming)]
    assert "port 7779" in agent.texts()
    while agent.state.phase is not Phase.CONNECTING:
        agent.until_deadline()
    agent.sequence = 0
    agent.do(events.LinkUp(0.5, coming))
    assert agent.sent(messages.Hello)[0].attempts == (ref(1),)
    agent.welcome(next=coming, keep=(ref(1),))
    assert not agent.of(events.Remember)
    assert agent.state.phase is Phase.LIVE
    agent.do(events.LinkDown("cut", 0.0))
    agent.hello()
    agent.welcome(next=coming, keep=(ref(1),))
    assert agent.state.phase is Phase.LIVE, "it was tried already, and did not answer"


def test_a_void_change_is_forgotten():
    """A server that was put back to before the change says so by saying nothing; who came by the new key stays."""
    coming = messages.NextServer(7779, b"n" * 32)
    agent = Recorder().start()
    agent.do(events.LinkUp(0.5, coming))
    agent.welcome(next=coming)
    assert (agent.of(events.Remember), agent.state.phase) == ([events.Remember(coming)], Phase.LIVE)
    agent.do(events.LinkDown("cut", 0.0))
    agent.hello()
    agent.welcome()
    assert agent.of(events.Remember) == [events.Remember(None)]
    assert agent.state.phase is Phase.LIVE
