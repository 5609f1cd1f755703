"""Who gets which task, and when."""

from dart.broker.core.commands import SendTasks
from dart.broker.core.events import Stopping, TasksShortened
from dart.broker.core.model import TaskState
from dart.broker.core.records import LeaseAdded, LeasesClosed, TaskFinished
from dart.ids import Attempt, AttemptRef
from dart.wire.messages import Ack
from harness.recorder import CONFIG, Recorder


def ids(refs):
    return [ref.task_id for ref in refs]


def test_plain_path():
    """Define, submit, lease, result, acknowledge: one record each, in order, and nothing is left."""
    r = Recorder()
    agent = r.agent(slots=2, credit=4)
    r.define()
    (first, second) = r.submit(2)
    (order,) = (c for c in r.commands if isinstance(c, SendTasks))
    ref = AttemptRef(first, Attempt(1, 1))
    assert order.leases[0] == (type(order.leases[0]))(ref, "job", CONFIG.module_path, CONFIG.method, 0.0)
    (lease,) = r.records(LeaseAdded)
    assert lease == LeaseAdded((1 << 32) | 2, agent.id, (ref, AttemptRef(second, Attempt(1, 1))))
    assert r.state(first) is TaskState.LEASED
    agent.finish(*agent.given)
    finished = r.records(TaskFinished)
    assert [record.id for record in finished] == [first, second]
    assert finished[0].worker == "w"
    assert (finished[0].host, finished[0].attempts, finished[0].payload) == ("host-w", 1, b"\xc0")
    assert (finished[0].start_time_ms, finished[0].duration_seconds) == (5, 0.5)
    assert r.records(LeasesClosed) == [LeasesClosed((lease.lease_id,))]
    assert agent.take(Ack) == [Ack(tuple(agent.given))]
    assert not r.core.tasks
    assert not r.core.jobs["job"].open


def test_lease_row_closes_with_its_last_lease():
    """A TASKS frame's row stays until nothing of it is out."""
    r = Recorder()
    agent = r.agent(slots=2, credit=2)
    r.define()
    r.submit(2)
    agent.finish(agent.given[0])
    assert r.records(LeasesClosed) == []
    agent.finish(agent.given[1])
    assert len(r.records(LeasesClosed)) == 1


def test_credit_bounds_tasks():
    """No more leases than credit, whatever the number of free slots."""
    r = Recorder()
    agent = r.agent(slots=10, credit=3)
    r.define()
    r.submit(10)
    assert len(agent.given) == 3
    agent.credit(1)
    assert len(agent.given) == 4


def test_credit_counts_what_was_not_seen():
    """TASKS sent after the frame that CREDIT names count against it."""
    r = Recorder()
    agent = r.agent(slots=10, credit=4)
    r.define()
    r.submit(3)
    first_seen = agent.seen
    agent.credit(2, seen=0)
    assert len(agent.given) == 3, "three are on their way, two is all it takes"
    agent.credit(2, seen=first_seen)
    r.submit(3)
    assert len(agent.given) == 5
    assert agent.recorder.core.agents[agent.id].session.in_flight_tasks == 2


def test_no_credit_no_lease():
    """An agent that has given no credit gets nothing."""
    r = Recorder()
    agent = r.agent(slots=4)
    r.define()
    r.submit(1)
    assert agent.given == []


def test_credit_bounds_bytes_and_nothing_passes():
    """A task that does not fit waits, smaller ones behind it too; what fits exactly goes."""
    r = Recorder()
    agent = r.agent(slots=4)
    agent.credit(10, 100)
    r.define()
    (exact, *_) = r.submit(1, size=60) + r.submit(1, size=40)
    (large,) = r.submit(1, size=1)
    (small,) = r.submit(1, size=1)
    assert len(agent.given) == 2
    assert r.state(large) is r.state(small) is TaskState.QUEUED
    agent.finish(agent.given[0])
    agent.credit(10, 60)
    assert ids(agent.given) == [exact, exact + 1, large, small]


def test_credit_in_bytes_is_used_up_within_a_turn():
    """Tasks that come together share the credit in bytes, within a frame and over frames."""
    r = Recorder(batch_items_max=1)
    agent = r.agent(slots=9)
    agent.credit(10, 100)
    r.define()
    r.submit(4, size=40)
    assert len(agent.given) == 2
    agent.credit(10, 40)
    assert len(agent.given) == 3


def test_oversized_task_goes_to_an_agent_that_holds_nothing():
    """A task larger than all credit in bytes goes alone to an empty agent, not behind other leases."""
    r = Recorder()
    agent = r.agent(slots=4)
    agent.credit(10, 100)
    r.define()
    (huge,) = r.submit(1, size=500)
    assert ids(agent.given) == [huge]
    (second,) = r.submit(1, size=500)
    (third,) = r.submit(1, size=500)
    agent.credit(10, 100)
    assert ids(agent.given) == [huge], "it holds something"
    agent.finish(agent.given[0], credit=10)
    assert ids(agent.given) == [huge, second, third], "the credit is plenty now"


def test_frames_are_split_by_items_and_bytes():
    """A TASKS frame holds at most `batch_items_max` leases and `batch_bytes_max` bytes, but for a single larger one."""
    r = Recorder(batch_items_max=3, batch_bytes_max=100)
    agent = r.agent(slots=20, credit=20)
    r.define()
    r.submit(7)
    assert [len(frame.leases) for frame in agent.take(SendTasks)] == [3, 3, 1]
    assert len(r.records(LeaseAdded)) == 3
    r.submit(3, size=50)
    assert [len(frame.leases) for frame in agent.take(SendTasks)] == [2, 1]
    r.submit(2, size=300)
    assert [len(frame.leases) for frame in agent.take(SendTasks)] == [1, 1]


def test_idle_slots_of_all_before_prefetch():
    """Four tasks on two agents with room for many: each gets one for its slot and one ahead."""
    r = Recorder()
    a, b = r.agent(key=b"a" * 32, credit=10), r.agent(key=b"b" * 32, credit=10)
    r.define()
    r.submit(2)
    assert (len(a.given), len(b.given)) == (1, 1)
    r.submit(2)
    assert (len(a.given), len(b.given)) == (2, 2)


def test_idle_slots_come_before_prefetch_of_a_busy_agent():
    """An agent that works gets nothing ahead while another has an idle slot, whoever's credit came first."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, credit=100)
    r.define()
    r.submit(1)
    b = r.agent(key=b"b" * 32, slots=3, credit=100)
    r.submit(3)
    assert (len(a.given), len(b.given)) == (1, 3)


def test_prefetch_is_spread():
    """What goes beyond slots is shared out, not given to the first."""
    r = Recorder()
    agents = [r.agent(key=bytes([n]) * 32, credit=100) for n in range(4)]
    r.define()
    r.submit(40)
    assert [len(agent.given) for agent in agents] == [10] * 4


def test_spread_counts_only_what_an_agent_may_run():
    """A long queue of somebody else does not make one agent take all that two could share."""
    r = Recorder()
    a, b = r.agent(key=b"a" * 32, credit=100), r.agent(key=b"b" * 32, credit=100)
    r.define()
    r.submit(500, location="elsewhere")
    r.submit(20, location="w")
    assert (len(a.given), len(b.given)) == (10, 10)


def test_location_and_capabilities_decide():
    """A task goes only to an agent of its location that has all it requires."""
    r = Recorder()
    plain = r.agent("w", key=b"a" * 32, slots=9, credit=9)
    able = r.agent("w", key=b"b" * 32, slots=9, credit=9, capabilities=("gpu", "big"))
    other = r.agent("v", slots=9, credit=9, capabilities=("gpu",))
    r.define()
    (t1,) = r.submit(1, location="w", requires=("big", "gpu"))
    (t2,) = r.submit(1, location="v")
    (t3,) = r.submit(1, requires=("big",))
    (t4,) = r.submit(1, location="nobody")
    assert ids(able.given) == [t1, t3]
    assert ids(other.given) == [t2]
    assert plain.given == []
    assert r.state(t4) is TaskState.QUEUED


def test_priority_across_queues():
    """Of several queues that an agent serves the one with the most urgent task comes first, then they take turns."""
    r = Recorder()
    r.define()
    here = r.submit(3, location="w")
    anywhere = r.submit(3)
    (urgent,) = r.submit(1, priority=9)
    agent = r.agent(slots=9, credit=9)
    assert ids(agent.given) == [urgent, here[0], anywhere[0], here[1], anywhere[1], here[2], anywhere[2]]


def test_draining_agents_get_nothing():
    """An agent that says DRAIN keeps what it has and gets no more."""
    r = Recorder()
    agent = r.agent(slots=4, credit=10)
    r.define()
    r.submit(1)
    agent.drain()
    r.submit(2)
    agent.credit(10)
    assert len(agent.given) == 1


def test_nothing_is_given_while_stopping():
    """After Stopping nobody gets a lease, whatever credit comes."""
    r = Recorder()
    r.define()
    r.submit(1)
    r.ask(Stopping)
    agent = r.agent(slots=4, credit=10)
    assert agent.given == []


def test_results_make_room_at_once():
    """Credit in RESULTS brings the next leases in the same turn, after the ACK."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    tasks = r.submit(2)
    agent.heard.clear()
    agent.finish(agent.given[0], credit=1)
    assert [type(message) for message in agent.heard] == [Ack, SendTasks]
    assert ids(agent.given) == tasks


def test_requeued_tasks_go_first():
    """What was given back is given again before younger tasks, with a new attempt number."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, slots=2, credit=2)
    r.define()
    old = r.submit(4)
    a.release(*a.given)
    assert [task.id for task in r.core.ready.get(("", ()))] == old, "there is no credit left"
    b = r.agent(key=b"b" * 32, slots=2, credit=2)
    assert b.given == [AttemptRef(task_id, Attempt(1, 1_000_001)) for task_id in old[:2]]


def test_what_a_large_task_held_up_goes_when_that_is_cancelled():
    """A task behind one that waits for its bytes is given as soon as that one is gone."""
    r = Recorder()
    agent = r.agent(slots=3)
    agent.credit(10, 100)
    r.define()
    first, large, small = (r.submit(1, size=size)[0] for size in (50, 500, 10))
    assert ids(agent.given) == [first]
    r.cancel(large)
    assert ids(agent.given) == [first, small]


def test_what_a_large_task_held_up_goes_when_another_agent_takes_that():
    """Whether both agents are looked at in that turn or only the one that takes the large task."""
    r = Recorder()
    r.define()
    full = r.agent("w", key=b"a" * 32, slots=9)
    full.credit(9, payload_bytes=60)
    r.submit(1, size=50)
    large, small = (r.submit(1, size=size)[0] for size in (500, 10))
    other = r.agent("w", key=b"b" * 32)
    other.credit(1)
    assert (ids(full.given)[1:], ids(other.given)) == ([small], [large])
    other.credit(0)
    larger = r.submit(1, size=600)[0]
    small = r.submit(1, size=0)[0]
    assert r.state(small) is TaskState.QUEUED
    r.submit(3, size=700)
    other.credit(1)
    assert (ids(full.given)[2:], ids(other.given)[1:]) == ([small], [larger])


def test_what_was_left_out_of_a_frame_uses_no_credit():
    """The agent never saw it, so it would never tell of it: the next task takes its place."""
    r = Recorder()
    agent = r.agent(slots=1, credit=1)
    r.define()
    (first,) = r.submit(1)
    (sent,) = (c for c in r.commands if isinstance(c, SendTasks))
    r.cancel(first)
    r.do(TasksShortened(sent.session, sent.sequence, 0, 0))
    r.submit(1)
    assert len(agent.given) == 2


def test_a_shortened_frame_that_was_answered_or_whose_session_is_over_changes_nothing():
    """Credit named it already, or there is none left to give back."""
    r = Recorder()
    agent = r.agent(slots=1, credit=1)
    r.define()
    r.submit(2)
    (sent,) = (c for c in r.commands if isinstance(c, SendTasks))
    r.do(TasksShortened(sent.session, sent.sequence + 1, 0, 0))
    assert len(agent.given) == 1
    agent.lose()
    r.do(TasksShortened(sent.session, sent.sequence, 0, 0))
    assert len(agent.given) == 1
