"""A broker that lies, rushes or floods: the agent keeps its own bounds, its pace and its temper."""

import pytest

from dart.agent import events
from dart.agent.core.state import Phase
from dart.limits import KIB, Limits
from dart.wire import messages
from harness.agent_recorder import Recorder, lease, ref

HUGE = (1 << 63) - 1


@pytest.mark.parametrize("seconds", [0.0, 5e-324, 1e300])
def test_absurd_times(seconds):
    """Neither a flood of heartbeats nor a silence for ever: the agent beats and gives up within its own bounds."""
    agent = Recorder().start()
    agent.hello()
    agent.welcome(heartbeat_seconds=seconds, silence_seconds=seconds, lease_seconds=seconds)
    until = agent.core.next_deadline() - agent.now
    assert 0.049 <= until <= 300
    agent.hears(messages.Heartbeat(0, reply=False, load=0.0))
    agent.passes(3601)
    assert "nothing was heard" in agent.texts()


@pytest.mark.parametrize("number", [0, 1, HUGE])
def test_absurd_limits(number):
    """Results still leave, a few at least and no more at once than the agent itself can encode."""
    agent = Recorder(slots=4).start()
    agent.hello()
    agent.welcome(
        frame_bytes_max=number, value_bytes_max=number, batch_items_max=max(1, number), batch_bytes_max=number
    )
    agent.tasks(*range(1, 5))
    results = []
    for slot, task_id in enumerate(range(1, 5)):
        agent.ends(slot, task_id)
        results += [result for message in agent.sent(messages.Results) for result in message.results]
        agent.hears(messages.Ack((ref(task_id),)))
        results += [result for message in agent.sent(messages.Results) for result in message.results]
    assert [result.ref for result in results] == [ref(task_id) for task_id in range(1, 5)]
    terms = agent.state.session.welcome
    limits = Limits()
    assert KIB <= terms.value_bytes_max <= limits.value_bytes_max
    assert 64 * KIB <= terms.frame_bytes_max <= limits.frame_bytes_max
    assert terms.batch_items_max <= limits.batch_items_max
    assert 1 <= terms.batch_bytes_max <= limits.batch_bytes_max


def test_acknowledgements_of_what_was_never_sent():
    """ACKs and verdicts on unknown attempts change nothing; those on known ones are the broker's right."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2)
    agent.hears(messages.Ack(tuple(ref(task_id) for task_id in (1, 2, 77, HUGE))))
    assert set(agent.state.held) == {ref(1), ref(2)}
    agent.ends(0, 1)
    assert set(agent.state.kept) == {ref(1)}
    agent.hears(messages.Ack((ref(1), ref(1))))
    assert not agent.state.kept


def test_cancel_of_everything():
    """What runs is killed, what waits is dropped, once; the agent is ready for more."""
    agent = Recorder(slots=2).live()
    agent.tasks(*range(1, 10))
    refs = tuple(ref(task_id) for task_id in range(1, 1000))
    agent.hears(messages.Cancel(refs))
    assert len(agent.of(events.Kill)) == 2
    agent.hears(messages.Cancel(refs))
    assert agent.of(events.Kill) == []
    agent.takes_back(0)
    agent.takes_back(1)
    agent.dies(0, agent.state.slots[0].pipeline[0].task_id if agent.state.slots[0].pipeline else None)
    agent.dies(1, agent.state.slots[1].pipeline[0].task_id if agent.state.slots[1].pipeline else None)
    assert not agent.state.held
    assert not agent.state.kept


def test_tasks_beyond_credit():
    """A broker that gives more than was asked for loses the session; what it gave too much was never taken."""
    agent = Recorder(slots=2, prefetch_max=3).live()
    agent.tasks(*range(1, 6))
    assert len(agent.state.held) == 5
    agent.tasks(6)
    assert "more tasks than this agent asked for" in agent.texts()
    assert agent.state.phase is Phase.WAITING
    assert len(agent.state.held) == 5


def test_credit_that_was_told_is_honoured():
    """However much work passes through a session: what was asked for is taken."""
    agent = Recorder(slots=1, prefetch_max=1).live()
    for task_id in range(1, 50):
        agent.tasks(task_id)
        agent.ends(0, task_id)
        agent.hears(messages.Ack((ref(task_id),)))
    assert agent.state.phase is Phase.LIVE


def test_more_bytes_than_an_agent_can_hold():
    """So in bytes: the credit and one value more, not any number of them."""
    agent = Recorder(slots=2, credit_bytes_max=1000, value_bytes_max=2000, batch_bytes_max=500).live()
    agent.tasks(lease(1, parameter=b"x" * 1800), lease(2, parameter=b"x" * 1700))
    assert agent.state.phase is Phase.LIVE
    agent.tasks(lease(3, parameter=b"x" * 1800))
    assert agent.state.phase is Phase.WAITING
    assert agent.state.held_bytes == 3500


def test_tasks_for_a_full_spool_are_given_back():
    """A broker that ignores that the spool is full cannot fill it further, neither with results nor with refusals."""
    agent = Recorder(slots=1, spool_bytes_max=300, value_bytes_max=KIB).live()
    agent.tasks(1, 2)
    agent.ends(0, 1)
    agent.ends(0, 2)
    kept = agent.state.kept_bytes
    assert kept >= 300
    for task_id in range(3, 40):
        agent.tasks(task_id, lease(task_id + 1000, parameter=b"x" * 2 * KIB))
        assert agent.sent(messages.Released) == [messages.Released((ref(task_id), ref(task_id + 1000)))]
    assert (agent.state.kept_bytes, agent.state.held) == (kept, {})


def test_a_broker_that_throws_out_is_asked_ever_more_seldom():
    """WELCOME alone earns no quick return: a session must have lasted for that."""
    agent = Recorder(reconnect_seconds_max=30.0).start()
    began, said = agent.now, 0
    for _ in range(20):
        agent.hello()
        agent.welcome()
        agent.hears(messages.Bye("again"))
        said += len(agent.of(events.Say))
    assert agent.now - began > 200
    assert said <= 1


def test_a_flood_of_complaints_is_bounded_by_the_shell():
    """All that a broker can have written again and again is marked, so that the process writes few of it."""
    agent = Recorder().live()
    for message in (
        messages.Error(99, "no"),
        messages.Tasks((lease(1), lease(1))),
        messages.Error(messages.ErrorCode.OVER_LIMIT, "full"),
    ):
        agent.hears(message, sequence=0 if isinstance(message, messages.Error) else None)
        said = agent.of(events.Say)
        assert said, message
        assert all(say.bounded for say in said), said


def test_frames_out_of_order():
    """Old numbers are ignored, a gap ends the session, number 0 is for complaints alone."""
    agent = Recorder().live()
    for sequence in (0, 1, 1):
        assert agent.hears(messages.Tasks((lease(9),)), sequence=sequence) == []
    assert not agent.state.held
    agent.hears(messages.Heartbeat(0, reply=False, load=0.0), sequence=HUGE)
    assert agent.state.phase is Phase.WAITING
