"""What 10,000 tasks of one submission cost on their way, counted in frames, commits and commands, never in time."""

from collections import Counter

from dart.agent import events
from dart.broker.store.memory import MemoryStore
from dart.wire.messages import Ack, Credit, Lease, Results, Tasks
from harness.agent_recorder import Recorder, runner_result
from harness.broker_stack import CONFIG, broker, specs

TASKS = 10_000
AHEAD = 1024
"""What an agent of one slot holds of short tasks."""


class CountingStore(MemoryStore):
    """Counts its commits, and the records in them by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.records: Counter[str] = Counter()

    def commit(self, records) -> None:
        self.commits += 1
        self.records.update(type(record).__name__ for record in records)
        super().commit(records)


async def test_the_broker_answers_batches_with_batches():
    """A frame of results gets a frame of leases, a frame of ACKs, one commit; a submission one record a slice."""
    store = CountingStore()
    async with broker(store) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        before = store.commits
        ids = await stack.gateway.submit("job", specs(*[b"\x01"] * TASKS, location="w"))
        slices = -(-TASKS // agent.limits.slice_tasks_max)
        assert store.commits - before <= slices
        assert store.records["TasksAdded"] == slices
        before, frames = store.commits, 0
        agent.credit(AHEAD)
        done: list[Lease] = []
        while len(done) < TASKS:
            leases = await agent.leases(min(AHEAD, TASKS - len(done)))
            done += leases
            agent.answer(*leases, credit=Credit(AHEAD, 1 << 26, agent.tasks_seen))
            frames += 1
            await agent.receive(Ack)
        assert [lease.ref.task_id for lease in done] == list(ids)
        heard = Counter(type(frame.message) for frame in agent.received)
        # A batch on the wire holds as much as the agent gave credit for; the first frames and the last may be smaller.
        assert heard[Tasks] <= 2 * frames
        assert heard[Ack] <= frames
        assert store.commits - before <= 2 * frames + 2
        assert store.records["TaskFinished"] == TASKS
        assert store.records["LeaseAdded"] <= heard[Tasks]


def test_the_agent_keeps_batches_together():
    """What arrives together goes on together: one call a runner, one frame, one write each to spool and audit."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2)
    agent.ends(0, 1, duration=1e-5)
    agent.ends(1, 2, duration=1e-5)
    turns, counted = 0, Counter()
    waiting = list(range(3, TASKS + 3))
    held: dict[int, list[int]] = {0: [], 1: []}
    while waiting or any(held.values()):
        room = AHEAD - sum(map(len, held.values()))
        happened: list[events.Event] = []
        if waiting:
            agent.tasks(*waiting[:room])
            del waiting[:room]
            counted.update(kinds(agent))
            take(agent, held)
            turns += 1
        ends = {slot: ids[: len(ids) // 2 + 1] for slot, ids in held.items() if ids}
        for slot, ids in ends.items():
            happened.append(events.TasksEnded(slot, tuple(runner_result(task_id, duration=1e-5) for task_id in ids)))
            held[slot] = held[slot][len(ids) :]
        agent.do(*happened)
        counted.update(kinds(agent))
        take(agent, held)
        turns += 1
    assert turns < 150, "pipelines are deep enough that a turn carries a hundred tasks"
    assert counted[Results] <= turns
    assert counted[events.SpoolWrite] <= turns
    assert counted[events.Audit] <= turns
    assert counted[events.Give] <= 2 * turns
    assert counted[Credit] <= turns


def kinds(agent: Recorder) -> list[type]:
    """Kinds of the last commands; of what is sent, the messages'."""
    return [type(command.message) if isinstance(command, events.Send) else type(command) for command in agent.commands]


def take(agent: Recorder, held: dict[int, list[int]]) -> None:
    """The runners have what the core gives them."""
    for slot, ids in agent.given().items():
        held[slot] += ids
