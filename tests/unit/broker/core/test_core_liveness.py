"""Time: heartbeats, silence, leases, expiry."""

from dart.broker.core.events import TimePassed
from dart.broker.core.leases import text_value
from dart.broker.core.model import TaskState
from dart.broker.core.records import TaskFinished
from dart.errors import TaskErrorCode
from dart.wire.messages import Cancel, Heartbeat
from harness.recorder import Recorder


def test_nothing_to_wait_for():
    """A core without agents and tasks needs no timer."""
    r = Recorder()
    assert r.reactor.next_deadline() is None
    assert r.do(TimePassed()) == []


def test_heartbeat_on_a_quiet_link():
    """The broker speaks when it has said nothing for the interval, not sooner."""
    r = Recorder(heartbeat_seconds=5.0, silence_seconds=100.0)
    agent = r.agent()
    assert r.reactor.next_deadline() == r.now + 5
    r.wait(4.9)
    assert agent.take(Heartbeat) == []
    agent.heartbeat(8)
    assert agent.take(Heartbeat) == [Heartbeat(8, reply=True, load=0.0)]
    r.wait(4.9)
    assert agent.take(Heartbeat) == []
    r.wait(0.2)
    assert agent.take(Heartbeat) == [Heartbeat(0, reply=False, load=0.0)]


def test_silence_ends_the_session_not_the_leases():
    """A silent agent loses its session; its leases last until `lease_seconds` after it was last heard."""
    r = Recorder(silence_seconds=15.0, lease_seconds=60.0)
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    r.wait(14.9)
    assert agent.session is not None
    r.wait(0.2)
    assert agent.session is None
    assert r.core.sessions == {}
    r.wait(44.8)
    assert r.state(task_id) is TaskState.LEASED
    r.wait(0.2)
    assert (r.state(task_id), r.task(task_id).losses) == (TaskState.QUEUED, 1)
    assert r.core.agents == {}
    assert r.reactor.next_deadline() is None


def test_any_message_revives():
    """Whatever an agent says puts off silence and the end of its leases, even a repeated frame."""
    r = Recorder(silence_seconds=15.0)
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    for _ in range(10):
        r.wait(14)
        agent.start(agent.given[0])
        r.wait(14)
        agent.say(Heartbeat(0, False, 0.0), sequence=1)
    assert r.state(task_id) is TaskState.RUNNING
    assert agent.session is not None


def test_lease_time_counts_from_when_it_was_heard():
    """The time of leases begins with the last word, not with the end of the session."""
    r = Recorder(silence_seconds=15.0, lease_seconds=60.0)
    agent = r.agent(credit=1)
    r.define()
    (task_id,) = r.submit(1)
    r.wait(10)
    agent.lose()
    r.wait(49.9)
    assert r.state(task_id) is TaskState.LEASED
    r.wait(0.2)
    assert r.state(task_id) is TaskState.QUEUED


def test_lost_leases_come_back_in_order():
    """What a lost agent held is queued first, oldest first."""
    r = Recorder()
    agent = r.agent(slots=3, credit=3)
    r.define()
    tasks = r.submit(5)
    agent.lose()
    r.wait(61)
    assert [task.id for task in r.core.ready.get(("", ()))] == tasks


def test_expiry():
    """A task that is not finished in time is EXPIRED, wherever it is; what runs is interrupted."""
    r = Recorder(now=1000.0)
    agent = r.agent(credit=1)
    r.define()
    running, waiting = r.submit(2, expires_at_ms=1_002_500, location="w")
    (later,) = r.submit(1, expires_at_ms=1_009_999)
    assert r.reactor.next_deadline() == 1002.5
    r.wait(2.4)
    assert r.state(waiting) is TaskState.QUEUED
    r.wait(0.1)
    finished = r.records(TaskFinished)
    assert [(f.id, f.state, f.worker, f.host) for f in finished] == [
        (running, TaskState.EXPIRED, "w", ""),
        (waiting, TaskState.EXPIRED, "w", ""),
    ]
    assert [f.attempts for f in finished] == [1, 0]
    assert finished[0].error_code == TaskErrorCode.EXPIRED
    assert b"expired" in finished[0].payload
    assert agent.take(Cancel) == [Cancel((agent.given[0],))]
    assert r.state(later) is TaskState.QUEUED


def test_expired_before_it_was_submitted():
    """A task that comes too late is never given."""
    r = Recorder(now=1000.0)
    agent = r.agent(credit=9)
    r.define()
    (task_id,) = r.submit(1, expires_at_ms=5)
    assert agent.given == []
    assert r.state(task_id) is TaskState.EXPIRED


def test_deadlines_at_any_time_are_met():
    """A turn at the named deadline does what the deadline was for, whatever the rounding of the clock."""
    for millisecond in range(1_700_000_000_001, 1_700_000_000_200, 7):
        r = Recorder(now=1_699_999_999.0)
        r.define()
        (task_id,) = r.submit(1, expires_at_ms=millisecond)
        r.now = r.reactor.next_deadline()
        r.do(TimePassed())
        assert r.state(task_id) is TaskState.EXPIRED


def test_expiries_of_finished_tasks_are_swept():
    """Tasks that finish long before they expire leave nothing behind that grows."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    for _ in range(300):
        r.submit(1, expires_at_ms=9_000_000_000)
        agent.finish(agent.given[-1], credit=1)
    assert len(r.core.expiries) < 100
    (task_id,) = r.submit(1, expires_at_ms=1_500_000)
    assert r.reactor.next_deadline() <= 1500
    r.wait(600)
    assert r.state(task_id) is TaskState.EXPIRED


def test_expiry_of_a_task_that_finished_first():
    """The time of a finished task passes without effect."""
    r = Recorder(now=1000.0)
    agent = r.agent(credit=1)
    r.define()
    r.submit(1, expires_at_ms=1_002_000)
    agent.finish(agent.given[0])
    r.wait(3)
    assert r.core.expiries == []
    assert len(r.store.outcomes) == 1


def test_expiry_survives_a_restart():
    """Tasks expire at their time though the broker was started again meanwhile."""
    r = Recorder(now=1000.0)
    r.define()
    (task_id,) = r.submit(1, expires_at_ms=1_002_000)
    r.restart()
    assert r.reactor.next_deadline() == 1002.0
    r.wait(2)
    assert r.state(task_id) is TaskState.EXPIRED


def test_timer_of_an_agent_that_is_gone():
    """A deadline of somebody who left in the meantime passes without effect."""
    r = Recorder()
    agent = r.agent()
    agent.bye()
    r.wait(100)
    assert r.core.agent_timers == []
    assert r.core.armed == {}


def test_rearming_for_an_earlier_time():
    """A new session may need its heartbeat before an older timer would ring; the older one is then stale."""
    r = Recorder(heartbeat_seconds=5.0, silence_seconds=15.0, lease_seconds=60.0)
    agent = r.agent(credit=1)
    r.define()
    r.submit(1)
    r.wait(15)
    assert r.core.agents[agent.id].session is None
    agent.hello(attempts=agent.given)
    assert r.reactor.next_deadline() == r.now + 5
    r.wait(5)
    assert len(agent.take(Heartbeat)) == 1
    for _ in range(10):
        agent.heartbeat()
        r.wait(10)
    assert agent.session is not None


def test_texts_are_portable_values():
    """The texts of outcomes are MessagePack strings of every length class."""
    import msgpack

    for size in (0, 1, 31, 32, 255, 256, 65535, 65536, 70000):
        assert msgpack.unpackb(text_value("x" * size)) == "x" * size
    assert msgpack.unpackb(text_value("\ud800 é")) == "? é"


def test_a_broker_that_did_not_run_blames_nobody():
    """Time by which `TimePassed` is late is nobody's silence: sessions and leases last that much longer, once."""
    r = Recorder(heartbeat_seconds=5.0, silence_seconds=15.0, lease_seconds=60.0)
    connected, away = r.agent(credit=1), r.agent("other", credit=1)
    r.define()
    tasks = r.submit(2)
    away.lose()
    r.now += 105  # 100 s after the first deadline
    r.do(TimePassed())
    assert connected.session is not None
    assert connected.take(Heartbeat) == [Heartbeat(0, reply=False, load=0.0)]
    assert [r.state(task_id) for task_id in tasks] == [TaskState.LEASED] * 2
    r.do(TimePassed())
    r.wait(9.9)
    assert connected.session is not None
    r.wait(0.2)
    assert connected.session is None
    r.wait(44.8)
    assert [r.state(task_id) for task_id in tasks] == [TaskState.LEASED] * 2
    r.wait(0.2)
    assert [r.state(task_id) for task_id in tasks] == [TaskState.QUEUED] * 2


def test_a_little_late_is_not_stopped():
    """A busy broker is late by less than a heartbeat; nobody gains time by that."""
    r = Recorder(heartbeat_seconds=5.0, silence_seconds=15.0)
    agent = r.agent()
    r.wait(5)
    for _ in range(2):
        r.now += 9.9
        r.do(TimePassed())
    assert agent.session is None


def herd(amount, **limits):
    """So many agents with a task each, of which nobody has been heard since the start."""
    r = Recorder(lease_seconds=60.0, **limits)
    r.define()
    agents = [r.agent(f"w{number}", credit=1) for number in range(amount)]
    tasks = [r.submit(1, location=agent.name)[0] for agent in agents]
    r.wait(1)
    r.restart()
    for agent in agents:
        agent.session = None
    return r, agents, tasks


def come_back(agent):
    """With all that it holds."""
    agent.hello(attempts=agent.given)


def pass_by(r, seconds, agents):
    """Time in which these agents are heard."""
    for _ in range(seconds // 5):
        r.wait(5)
        for agent in agents:
            agent.heartbeat()


def test_who_stands_in_line_keeps_its_leases():
    """After a start a lease ends when for a lease time no agent has come back, not before: others may stand in line."""
    r, agents, tasks = herd(5)
    for number, agent in enumerate(agents[:4]):
        pass_by(r, 50, agents[:number])
        come_back(agent)
    pass_by(r, 55, agents[:4])
    assert [r.task(task).losses for task in tasks] == [0] * 5
    pass_by(r, 10, agents[:4])
    assert [r.task(task).losses for task in tasks] == [0, 0, 0, 0, 1]


def test_only_who_comes_for_the_first_time_counts():
    """An agent whose link breaks again and again does not keep the others' leases."""
    r, agents, tasks = herd(3)
    come_back(agents[0])
    for _ in range(7):
        r.wait(9)
        agents[0].lose()
        come_back(agents[0])
    assert [r.task(task).losses for task in tasks] == [0, 1, 1]


def test_agents_without_leases_count_too():
    """They stand in the same line."""
    r, _, tasks = herd(1)
    r.wait(59)
    r.agent("idle")
    r.wait(59)
    assert r.state(tasks[0]) is TaskState.LEASED
    r.wait(2)
    assert r.task(tasks[0]).losses == 1


def test_nobody_waits_for_ever_for_those_who_do_not_come():
    """However many still come back: `return_seconds_max` after the start the time runs."""
    r, _, tasks = herd(1, return_seconds_max=100.0)
    lost_at = None
    for number in range(20):
        r.agent(f"new{number}").lose()
        r.wait(10)
        if lost_at is None and r.task(tasks[0]).losses:
            lost_at = 10 * (number + 1)
    assert lost_at == 160
