"""A real agent with real runners against a broker made of a plain ROUTER."""

import signal
import time

import pytest

from dart.errors import TaskErrorCode
from dart.wire import messages, values
from harness.agent_process import agent_process, lease
from harness.raw_broker import RawBroker, raw_broker, ref
from harness.waiting import wait_until


@pytest.fixture
def broker():
    with raw_broker() as broker:
        yield broker


def first_credit(broker: RawBroker, tasks: int = 1) -> messages.Credit:
    credit = broker.expect(messages.Credit)
    while credit.tasks < tasks:
        credit = broker.expect(messages.Credit)
    return credit


def test_joins_runs_tasks_and_leaves_in_good_order(tmp_path, broker):
    """HELLO says who it is, tasks come back as results, SIGTERM ends in BYE and exit code 0."""
    with agent_process(tmp_path / "home", broker, "--slots", "2", "--capability", "gpu", "--capability", "") as agent:
        hello = broker.let_in()
        assert (hello.name, hello.slots, hello.capabilities, hello.host) == ("edge-1", 2, ("gpu",), "box")
        assert hello.facts["byte_order"] in {"little", "big"}
        assert "python" in hello.facts
        assert first_credit(broker, 4).tasks == 4
        broker.send(messages.Tasks(tuple(lease(ref(n), "double", n) for n in range(1, 4))))
        results = broker.results(3)
        assert {result.ref.task_id: values.decode(result.payload) for result in results} == {1: 2, 2: 4, 3: 6}
        assert all(result.success and result.worker == "edge-1" and result.host == "box" for result in results)
        wait_until(lambda: agent.out == ["joined edge-1 slots 2"], explain=lambda: (agent.out, agent.text))
        agent.process.send_signal(signal.SIGTERM)
        broker.expect(messages.Bye)
        assert agent.wait() == 0, agent.text
        assert not (agent.home / "agent.json").exists()
    assert not list((tmp_path / "home" / "spool").iterdir())


def test_a_task_that_raises_dies_or_takes_too_long_is_a_result(tmp_path, broker):
    """Whatever a task does to its runner, its result says so and the agent goes on."""
    with agent_process(tmp_path / "home", broker, "--slots", "1"):
        broker.let_in()
        first_credit(broker)
        broker.send(
            messages.Tasks(
                (
                    lease(ref(1), "fail", "no luck"),
                    lease(ref(2), "die", None),
                    lease(ref(3), "nap", 60.0, timeout_seconds=0.3),
                    lease(ref(4), "double", "ab"),
                )
            )
        )
        results = {result.ref.task_id: result for result in broker.results(4)}
    assert "ValueError: no luck" in values.decode(results[1].payload)
    assert results[2].error_code == TaskErrorCode.RUNNER_DIED
    assert "code 3" in values.decode(results[2].payload)
    assert results[3].error_code == TaskErrorCode.TIMED_OUT
    assert "ran longer than 0.3 s" in values.decode(results[3].payload)
    assert values.decode(results[4].payload) == "abab"


def test_a_broker_that_dies_is_noticed_fast_and_finds_its_results_again(tmp_path):
    """The loss is seen within 0.3 s; a result made meanwhile is named in the next HELLO and delivered."""
    with raw_broker() as first, agent_process(tmp_path / "home", first, "--slots", "1") as agent:
        hello = first.let_in()
        first_credit(first)
        first.send(messages.Tasks((lease(ref(1), "nap", 0.5),)))
        first.expect(messages.Started)
        port, keys = first.port, first.keys
        first.close()
        died = time.monotonic()
        wait_until(lambda: "no link to the broker" in agent.text, timeout=5, interval=0.005)
        assert time.monotonic() - died < 0.3
        wait_until(lambda: list((agent.home / "spool").glob("*.spool")), explain="the result is spooled")
        with raw_broker(port, keys) as second:
            again = second.expect(messages.Hello)
            assert (again.boot_id, again.results, again.attempts) == (hello.boot_id, (ref(1),), ())
            second.welcome(again)
            assert second.results(1)[0].ref == ref(1)
            agent.process.send_signal(signal.SIGTERM)
            second.expect(messages.Bye)
            assert agent.wait() == 0, agent.text


def test_results_survive_a_killed_agent(tmp_path, broker):
    """A result without ACK is on disk; the agent's next life names and sends it, and forgets it after the ACK."""
    home = tmp_path / "home"
    with agent_process(home, broker) as agent:
        broker.let_in()
        first_credit(broker)
        broker.send(messages.Tasks((lease(ref(7), "double", "x"),)))
        broker.expect(messages.Results)
        wait_until(
            lambda: any(path.stat().st_size > 20 for path in (home / "spool").glob("*.spool")), explain="spooled"
        )
        agent.process.kill()
        agent.wait()
    with agent_process(home, broker) as agent:
        hello = broker.let_in()
        assert hello.results == (ref(7),)
        assert values.decode(broker.results(1)[0].payload) == "xx"
        agent.process.send_signal(signal.SIGTERM)
        broker.expect(messages.Bye)
        assert agent.wait() == 0, agent.text
    assert not list((home / "spool").iterdir())


def test_cancel_recall_and_reports(tmp_path, broker):
    """A running task is interrupted, an untouched one given back, what a task tells is passed on."""
    with agent_process(tmp_path / "home", broker, "--slots", "1"):
        broker.let_in()
        first_credit(broker)
        broker.send(messages.Tasks((lease(ref(1), "talk", 60.0), lease(ref(2), "double", 1))))
        broker.expect(messages.Started)
        wait_until(lambda: broker.receive(0.2) or any(isinstance(m, messages.Progress) for m in broker.heard))
        broker.send(messages.Recall((ref(1), ref(2))))
        assert broker.expect(messages.Released).attempts == (ref(2),)
        broker.send(messages.Cancel((ref(1),)))
        broker.send(messages.Tasks((lease(ref(3), "double", 4),)))
        assert [result.ref for result in broker.results(1)] == [ref(3)]
