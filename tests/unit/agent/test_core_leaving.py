"""Stopping in good order, at once, drained; always with the results safe."""

from dart.agent import events
from dart.agent.core import SpoolMode
from dart.wire import messages
from harness.agent_recorder import Recorder, ref, result


def short(agent: Recorder) -> Recorder:
    agent.state.duration_seconds = 0.001
    return agent


def test_an_idle_agent_leaves_at_once():
    """DRAIN and BYE, the socket gets time for them, exit code 0."""
    agent = Recorder().live()
    assert agent.do(events.StopAsked()) == [
        events.Send(4, messages.Drain("stopped")),
        events.Send(5, messages.Credit(0, agent.limits.credit_bytes_max, 0)),
        events.Send(6, messages.Bye("stopped")),
        events.Disconnect(1.0),
        events.Exit(0),
    ]
    assert agent.do(events.StopAsked(), events.TimePassed()) == []


def test_stop_releases_what_is_not_begun_and_waits_for_what_is():
    """The queue at once, pipelines by taking back; the result is delivered before BYE."""
    agent = short(Recorder(pipeline_max=1).live())
    agent.tasks(1, 2, 3)
    agent.do(events.StopAsked())
    assert agent.sent(messages.Released) == [messages.Released((ref(3),))]
    assert agent.of(events.TakeBack) == [events.TakeBack(0)]
    agent.takes_back(0, 2)
    assert agent.sent(messages.Released) == [messages.Released((ref(2),))]
    agent.tasks(4)
    assert agent.sent(messages.Released) == [messages.Released((ref(4),))]
    assert agent.of(events.Exit) == []
    agent.ends(0, 1)
    assert agent.sent(messages.Results)
    assert agent.of(events.Exit) == []
    agent.hears(messages.Ack((ref(1),)))
    assert agent.of(events.Exit) == [events.Exit(0)]


def test_stop_does_not_wait_for_ever_for_an_ack():
    """The spool keeps what the broker does not confirm in time."""
    agent = Recorder(spool=SpoolMode.LAZY).live()
    agent.tasks(1)
    agent.do(events.StopAsked())
    agent.ends(0, 1)
    assert agent.of(events.SpoolWrite) == [events.SpoolWrite(1, "a" * 32, (result(1),))]
    agent.passes(1.9)
    assert agent.of(events.Exit) == []
    agent.passes(0.1)
    assert agent.of(events.Exit) == [events.Exit(0)]


def test_stop_interrupts_what_outlasts_the_grace():
    """No result then: BYE tells the broker that the attempt is lost."""
    agent = Recorder(grace=5.0).live()
    agent.tasks(1)
    agent.do(events.StopAsked())
    agent.passes(4.9)
    assert agent.of(events.Kill) == []
    agent.passes(0.1)
    assert agent.of(events.Kill) == [events.Kill(0, agent.limits.kill_grace_seconds)]
    assert "interrupted: 1" in agent.texts()
    agent.dies(0, 1)
    assert agent.sent(messages.Results) == []
    assert agent.of(events.Exit) == [events.Exit(0)]


def test_asked_twice_it_ends_at_once():
    """No grace, no waiting for ACKs."""
    agent = Recorder(slots=2, grace=float("inf")).live()
    agent.tasks(1, 2)
    agent.do(events.StopAsked())
    assert agent.of(events.Kill) == []
    agent.ends(1, 2)
    agent.do(events.StopAsked())
    assert agent.of(events.Kill) == [events.Kill(0, 0.0)]
    agent.dies(0, 1)
    assert agent.of(events.Exit) == [events.Exit(0)]


def test_drain_has_no_limit_of_time():
    """What is begun ends, then the agent leaves; a repeated DRAIN changes nothing."""
    agent = short(Recorder().live())
    agent.tasks(1, 2)
    agent.hears(messages.Drain("upgrade"))
    assert "drains this agent (upgrade)" in agent.texts()
    assert agent.sent(messages.Drain) == [messages.Drain("drained")]
    agent.takes_back(0, 2)
    assert agent.hears(messages.Drain("upgrade")) == []
    agent.passes(4.0)
    agent.hears(messages.Heartbeat(0, reply=False, load=0.0))
    agent.passes(4.0)
    assert agent.of(events.Kill) == []
    agent.ends(0, 1)
    agent.hears(messages.Ack((ref(1),)))
    assert agent.of(events.Exit) == [events.Exit(0)]


def test_stop_while_draining_sets_the_grace_and_then_ends_at_once():
    """The owner's wish is the stronger one."""
    agent = Recorder(grace=5.0).live()
    agent.tasks(1)
    agent.hears(messages.Drain("upgrade"))
    agent.do(events.StopAsked())
    assert agent.of(events.Kill) == []
    agent.do(events.StopAsked())
    assert agent.of(events.Kill) == [events.Kill(0, 0.0)]


def test_stop_without_a_link_keeps_results_on_disk():
    """Nobody to say BYE to; the next life delivers."""
    agent = Recorder(spool=SpoolMode.LAZY).live()
    agent.tasks(1)
    agent.do(events.LinkDown("gone", 0.9))
    agent.do(events.StopAsked())
    assert agent.sent(messages.Drain) == []
    agent.ends(0, 1)
    assert agent.of(events.SpoolWrite)
    assert agent.of(events.Exit) == [events.Exit(0)]
    assert agent.of(events.Disconnect) == []


def test_stop_without_a_link_drops_what_waits():
    """The next HELLO does not name it, so the broker gives it to others."""
    agent = Recorder().live()
    agent.tasks(1, 2, 3)
    agent.do(events.LinkDown("gone", 0.9))
    agent.do(events.StopAsked())
    assert agent.sent(messages.Released) == []
    agent.takes_back(0, 2)
    assert list(agent.state.held) == [ref(1)]


def test_stop_while_connecting_closes_the_socket():
    """HELLO may be on its way; nothing hangs on it."""
    agent = Recorder().start()
    agent.hello()
    agent.do(events.StopAsked())
    assert agent.commands == [events.Disconnect(0.0), events.Exit(0)]


def test_an_agent_that_comes_back_while_stopping_says_so():
    """HELLO and DRAIN tell the broker not to give anything."""
    agent = Recorder(grace=60.0).live()
    agent.tasks(1)
    agent.do(events.StopAsked())
    agent.do(events.LinkDown("gone", 0.0))
    assert agent.hello().draining
    agent.welcome(keep=(ref(1),))
    assert agent.sent(messages.Drain) == [messages.Drain("stopping")]
