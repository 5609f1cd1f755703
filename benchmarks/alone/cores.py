"""The parts alone, without sockets, files and threads: broker's core, agent's core and codec, us of CPU a task.

`make bench-cores`; it drives the cores as the tests do, so PYTHONPATH has to name `tests`.
"""

import time
from collections.abc import Callable

from dart.agent import events
from dart.broker.core.commands import Send, SendTasks
from dart.ids import Attempt, AttemptRef, TaskId
from dart.limits import Limits
from dart.wire import codec
from dart.wire.messages import Credit, Frame, Lease, Result, Results, Tasks
from harness.agent_recorder import Recorder as AgentRecorder
from harness.recorder import Recorder as BrokerRecorder

TASKS = 50_000
BATCH = 250
LIMITS = Limits()
ROWS: list[dict[str, object]] = []
"""What was measured, for `parts.py`."""


def leases(first: int) -> tuple[Lease, ...]:
    """A batch as it comes from the broker."""
    return tuple(
        Lease(AttemptRef(TaskId(number), Attempt(1, 1)), "job", "module", "run", 0.0, b"\x07")
        for number in range(first, first + BATCH)
    )


def results(given: tuple[Lease, ...]) -> Results:
    """And its answer."""
    return Results(tuple(Result(each.ref, "w", "host", 1, 1e-5, True, 0, b"\x07") for each in given), Credit(1, 1, 1))


def measure(label: str, call: Callable[[], int]) -> None:
    """The CPU that `call` takes for as many tasks as it says."""
    began = time.process_time()
    tasks = call()
    seconds = time.process_time() - began
    ROWS.append({"part": label, "cpu_us": round(seconds / tasks * 1e6, 2)})
    print(f"{label:<44}{seconds / tasks * 1e6:8.2f} us a task{tasks / seconds:12.0f}/s")


def coding() -> None:
    """Leases and results to bytes and back."""
    batch = leases(1)
    tasks, answer = Frame(1, Tasks(batch)), Frame(1, results(batch))
    rounds = TASKS // BATCH
    told, said = codec.encode(tasks, limits=LIMITS), codec.encode(answer, limits=LIMITS)
    for label, call in (
        ("codec: leases to bytes", lambda: codec.encode(tasks, limits=LIMITS)),
        ("codec: leases from bytes", lambda: codec.decode_from_broker(told, LIMITS)),
        ("codec: results to bytes", lambda: codec.encode(answer, limits=LIMITS)),
        ("codec: results from bytes", lambda: codec.decode_from_agent(said, LIMITS)),
    ):
        measure(label, lambda call=call: [call() for _ in range(rounds)] and rounds * BATCH)


def agent_core() -> None:
    """An agent of one slot: leases in, Give out, results in, frames and audit out."""
    recorder = AgentRecorder().live()
    core = recorder.core

    def run() -> int:
        sequence, now = recorder.sequence, recorder.now
        for first in range(1, TASKS, BATCH):
            batch = leases(first)
            sequence += 1
            now += 0.001
            held = [
                each.ref.task_id
                for command in core.handle(events.FrameArrived(sequence, Tasks(batch)), now)
                if isinstance(command, events.Give)
                for each in command.leases
            ]
            while held:
                ended = tuple(
                    events.RunnerResult(AttemptRef(TaskId(number), Attempt(1, 1)), 1, 1e-5, True, 0, b"\x07")
                    for number in held
                )
                held = [
                    each.ref.task_id
                    for command in core.handle(events.TasksEnded(0, ended), now)
                    if isinstance(command, events.Give)
                    for each in command.leases
                ]
            core.state.kept.clear()
            core.state.kept_bytes = 0
            core.state.session.in_flight = core.state.session.in_flight_bytes = 0
        return TASKS

    measure("agent's core: leases to results", run)


class Quick(BrokerRecorder):
    """Carries out what concerns agents; checks nothing and keeps nothing."""

    def do(self, event):
        self.commands = self.reactor.handle(event, self.now)
        for command in self.commands:
            if isinstance(command, Send | SendTasks):
                self.puppets[command.session].hear(command)
        return self.commands


def broker_core(queued: int) -> None:
    """With so many tasks queued: a batch of results in, a batch of leases out."""
    recorder = Quick()
    recorder.define()
    agent = recorder.agent()
    for _ in range(queued // LIMITS.slice_tasks_max):
        recorder.submit(LIMITS.slice_tasks_max)
    recorder.submit(TASKS)
    agent.credit(BATCH)

    def run() -> int:
        for _ in range(TASKS // BATCH):
            given, agent.given = agent.given, []
            agent.finish(*given, credit=BATCH)
            agent.heard.clear()
        return TASKS

    measure(f"broker's core: one batch on, {queued:,} queued", run)


def heartbeats(agents: int) -> None:
    """What the core needs for a heartbeat; an agent sends one every 5 s."""
    recorder = Quick()
    recorder.define()
    puppets = [recorder.agent(f"w{number}") for number in range(agents)]

    def run() -> int:
        for puppet in puppets * 10:
            puppet.heartbeat()
        return agents * 10

    measure(f"broker's core: a heartbeat, {agents:,} agents", run)


def main(queues: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)) -> None:
    """All of them."""
    coding()
    agent_core()
    for queued in queues:
        broker_core(queued)
    heartbeats(2000)


if __name__ == "__main__":
    main()
