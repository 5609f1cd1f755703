"""An agent whose results pile up: it stops taking tasks, says so, and goes on when they are acknowledged."""

from pathlib import Path

from chaos.scene import Scene, quick_limits
from dart.wire import messages, values
from harness.agent_process import agent_process, lease
from harness.cluster import cluster
from harness.raw_broker import raw_broker, ref
from harness.waiting import wait_until

SAYS = "no more tasks are taken until some are acknowledged"
RESULT_BYTES = 20_000
LIMIT = 50_000


def test_it_takes_none_until_there_is_room(tmp_path: Path):
    """At `spool_bytes_max` of results without ACK its credit is none; with the ACK it is as before."""
    results: list[messages.Result] = []
    with (
        raw_broker() as broker,
        agent_process(tmp_path / "home", broker, DART_LIMIT_SPOOL_BYTES_MAX=str(LIMIT)) as agent,
    ):
        credit: list[int] = []

        def hear(until_tasks: int) -> None:
            """Read on until the agent's credit is this, at least 1 or none."""
            while not credit or (credit[-1] > 0) != (until_tasks > 0):
                message = broker.receive(15.0)
                assert message is not None, (credit, agent.text)
                told = message.credit if isinstance(message, messages.Results) else message
                if isinstance(message, messages.Results):
                    results.extend(message.results)
                if isinstance(told, messages.Credit):
                    credit.append(told.tasks)

        broker.let_in()
        hear(1)
        number = 0
        while credit[-1] > 0:
            number += 1
            assert number <= 10, "it takes more than it may keep"
            broker.send(messages.Tasks((lease(ref(number), "double", "x" * (RESULT_BYTES // 2)),)))
            wanted = len(results) + 1
            while len(results) < wanted:
                message = broker.expect(messages.Results)
                results.extend(message.results)
                if message.credit is not None:
                    credit.append(message.credit.tasks)
            if number * RESULT_BYTES > LIMIT:
                hear(0)
        assert number == LIMIT // RESULT_BYTES + 1
        wait_until(lambda: SAYS in agent.text, explain=lambda: agent.text)
        assert agent.text.count(SAYS) == 1
        broker.send(messages.Ack(tuple(result.ref for result in results)))
        hear(1)
        assert {values.decode(result.payload) for result in results} == {"x" * RESULT_BYTES}


def test_all_are_delivered_when_the_server_is_back(tmp_path: Path):
    """What an agent had taken before it runs all the same, and nothing of it is lost."""
    names = [f"t{number}" for number in range(30)]
    environment = quick_limits(lease=30.0, prefetch_seconds=1.0, spool_bytes_max=LIMIT)
    with cluster(tmp_path, environment=environment) as running:
        scene = Scene(running)
        running.start_agent("w", config=scene.config)
        scene.submit(*names, seconds=0.1, size=RESULT_BYTES)
        scene.wait_for_lines("end t2")
        running.kill_server()
        log = next(running.folder.glob("agent-*.log"))
        wait_until(lambda: SAYS in log.read_text(), timeout=20, explain=log.read_text)
        running.start_server()
        assert scene.finish() == {name: name + "x" * RESULT_BYTES for name in names}
        assert len(scene.lines()) == 2 * len(names), "none ran twice"
