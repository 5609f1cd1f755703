"""The agent's process: arguments, enrolment, signals, exit codes, a server that moves."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dart.agent import enrol
from dart.agent.app import main
from dart.wire import curve, messages
from dart.wire.messages import ErrorCode
from harness.agent_process import agent_process, arguments, lease, prepare, started
from harness.enrolment_server import fake_server
from harness.raw_broker import RawBroker, raw_broker, ref
from harness.waiting import wait_until


@contextlib.contextmanager
def played(broker: RawBroker, script: Callable[[], None]) -> Iterator[None]:
    """A broker that plays its part in a thread, while the agent runs in the test's own."""
    faults: list[BaseException] = []

    def play() -> None:
        try:
            script()
        except BaseException as fault:  # noqa: BLE001 - told to the test
            faults.append(fault)

    thread = threading.Thread(target=play)
    thread.start()
    yield
    thread.join(30.0)
    assert faults == []


@pytest.fixture
def broker():
    with raw_broker() as broker:
        yield broker


def test_help_and_wrong_usage(capsys, tmp_path, monkeypatch):
    """Help is asked for; anything wrong is one sentence and exit code 2."""
    assert main(["--help"]) == 0
    assert "--capability" in capsys.readouterr().out
    assert main(["--slots", "2"]) == 2
    assert capsys.readouterr().err.startswith("dart agent: --name is missing")
    monkeypatch.setenv("DART_LIMIT_LEASE_SECONDS", "soon")
    assert main(arguments(tmp_path)) == 2
    assert "DART_LIMIT_LEASE_SECONDS" in capsys.readouterr().err
    monkeypatch.delenv("DART_LIMIT_LEASE_SECONDS")
    monkeypatch.setenv("DART_LOG_LEVEL", "chatty")
    assert main(arguments(tmp_path)) == 2


def test_without_a_server_to_enrol_with(capsys, tmp_path, monkeypatch):
    """No local server: exit code 3. A remote one without enrolment: exit code 2 and what to do."""
    monkeypatch.setenv("DART_STATE_DIR", str(tmp_path / "none"))
    (tmp_path / "modules").mkdir()
    assert main(arguments(tmp_path)) == 3
    assert "dart server start" in capsys.readouterr().err
    assert main(arguments(tmp_path, "--server", "tcp://10.0.0.1:7778")) == 2
    assert "not enrolled at tcp://10.0.0.1:7778" in capsys.readouterr().err
    monkeypatch.delenv("DART_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert main(arguments(tmp_path)) == 3
    assert str(tmp_path / "xdg" / "dart" / "server") in capsys.readouterr().err


def test_a_home_belongs_to_one_name(capsys, tmp_path, broker):
    """One key, one name."""
    prepare(tmp_path, broker, "edge-2")
    assert main(arguments(tmp_path)) == 2
    assert "belongs to an agent named 'edge-2'" in capsys.readouterr().err


def test_runs_until_it_is_drained(capfd, tmp_path, broker):
    """The whole way in one process: HELLO, a task, a result, DRAIN, BYE, exit code 0; warnings are told."""
    prepare(tmp_path, broker)
    before = signal.getsignal(signal.SIGTERM)
    (tmp_path / "modules" / "worker.json").write_text('{"host": "filed", "colour": "red"}')

    def script() -> None:
        hello = broker.let_in()
        assert hello.host == "box"
        while broker.expect(messages.Credit).tasks < 2:
            pass
        broker.send(messages.Tasks((lease(ref(1), "double", 4), lease(ref(2), "nap", 30.0, timeout_seconds=0.2))))
        assert len(broker.results(2)) == 2
        broker.send(messages.Drain("maintenance"))
        broker.expect(messages.Bye)

    with played(broker, script):
        assert main(arguments(tmp_path, "--config", str(tmp_path / "modules" / "worker.json"))) == 0
    captured = capfd.readouterr()
    assert captured.out == "joined edge-1 slots 1\n"
    assert "colour" in captured.err
    assert list((tmp_path / "spool").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_refused_name_is_exit_code_4(capfd, tmp_path, broker):
    """With the reason."""
    prepare(tmp_path, broker)

    def script() -> None:
        broker.expect(messages.Hello)
        broker.send(messages.Error(ErrorCode.NAME_REFUSED, "enrolled as edge-9"))

    with played(broker, script):
        assert main(arguments(tmp_path, "--server", broker.url)) == 4
    assert "enrolled as edge-9" in capfd.readouterr().err


@pytest.mark.parametrize("state", ["none", "there"])
def test_a_server_with_another_key_is_not_followed(capfd, tmp_path, broker, state):
    """The state directory tells of another server while the agent runs, or of none: it says so and waits."""
    prepare(tmp_path, broker)
    server_state = tmp_path / "server"
    server_state.mkdir()
    members = json.loads((tmp_path / "enrolment.json").read_text())
    enrol.write_private(
        tmp_path / "enrolment.json", json.dumps({**members, "state_directory": str(server_state), "agents_url": "x"})
    )
    told = {"url": "", "fingerprint": "", "agents_url": broker.url, "server_public_key": broker.keys.public_text}
    other = {**told, "server_public_key": curve.KeyPair.make().public_text}
    enrol.write_private(server_state / "server.json", json.dumps(told))
    with started(arguments(tmp_path), tmp_path) as agent:
        broker.let_in()
        if state == "there":
            enrol.write_private(server_state / "server.json", json.dumps(other))
        else:
            (server_state / "server.json").unlink()
        broker.send(messages.Bye("stopping"))
        word = "has another key" if state == "there" else "No server runs"
        wait_until(lambda: "no link to the broker: the server leaves" in agent.text, explain=lambda: agent.text)
        wait_until(lambda: word in agent.text or agent.process.poll() is not None, explain=lambda: agent.text)
        enrol.write_private(server_state / "server.json", json.dumps(told))
        broker.let_in()
        assert agent.stop() == 0, agent.text
        assert word in agent.text


def test_enrols_joins_and_follows_the_server_to_another_port(tmp_path, broker):
    """With the state directory of a local server an agent needs nothing else; a restart with other ports is found."""
    home = tmp_path / "home"
    prepare(home, broker)
    (home / "enrolment.json").unlink()
    with fake_server(tmp_path / "state") as server:
        changes = {"agents_url": broker.url, "server_public_key": broker.keys.public_text}
        server.answer = (
            200,
            json.dumps(
                {"agent": broker.url, "server_public_key": broker.keys.public_text, "store_id": "5" * 32}
            ).encode(),
        )
        server.announce(**changes)
        with started(arguments(home, "--state-dir", str(tmp_path / "state")), home) as agent:
            hello = broker.let_in()
            assert hello.store_id == "5" * 32
            wait_until(lambda: agent.out == ["joined edge-1 slots 1"], explain=lambda: agent.text)
            with raw_broker(keys=broker.keys) as moved:
                server.announce(**{**changes, "agents_url": moved.url})
                broker.close()
                again = moved.let_in()
                assert again.boot_id == hello.boot_id
                assert agent.stop() == 0, agent.text
            assert agent.out == ["joined edge-1 slots 1"], "told once"
        # The server is another one now: at its next start the agent enrols anew.
        with raw_broker() as other:
            key = {"agents_url": other.url, "server_public_key": other.keys.public_text}
            server.announce(**key)
            answer = {"agent": other.url, "server_public_key": other.keys.public_text, "store_id": "6" * 32}
            server.answer = (200, json.dumps(answer).encode())
            with started(arguments(home), home) as agent:
                assert other.let_in(store_id="6" * 32).store_id == "6" * 32
                assert agent.stop() == 0, agent.text
        assert len(server.asked) == 2


def test_two_signals_end_a_running_task_at_once(tmp_path, broker):
    """The first one waits for the task, the second does not."""
    with agent_process(tmp_path / "home", broker, "--stop-grace", "inf") as agent:
        broker.let_in()
        while broker.expect(messages.Credit).tasks < 2:
            pass
        broker.send(messages.Tasks((lease(ref(1), "nap", 60.0),)))
        broker.expect(messages.Started)
        agent.process.send_signal(signal.SIGTERM)
        broker.expect(messages.Drain)
        broker.expect_silence_of(messages.Bye, 0.3)
        agent.process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        broker.expect(messages.Bye)
        assert agent.wait() == 0, agent.text
        assert time.monotonic() - asked < 3.0


def test_the_grace_ends_a_running_task(tmp_path, broker):
    """One signal, a task that does not end: it is interrupted after the grace."""
    with agent_process(tmp_path / "home", broker, "--stop-grace", "0.3") as agent:
        broker.let_in()
        while broker.expect(messages.Credit).tasks < 2:
            pass
        broker.send(messages.Tasks((lease(ref(1), "nap", 60.0),)))
        broker.expect(messages.Started)
        assert agent.stop() == 0, agent.text
        broker.expect(messages.Bye)


def test_an_idle_agent_sleeps(tmp_path, broker):
    """No wake-ups but heartbeats: next to no processor time."""
    with agent_process(tmp_path / "home", broker) as agent:
        broker.let_in(heartbeat_seconds=60.0, silence_seconds=120.0)
        broker.expect(messages.Credit)
        wait_until(lambda: agent.out, explain=lambda: agent.text)

        def switches() -> int:
            status = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
            return sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)

        # What the start has left over settles first.
        settled = [switches()]
        wait_until(lambda: settled.append(switches()) or settled[-1] == settled[-2], interval=0.5)
        before = switches()
        broker.expect_silence_of(messages.Heartbeat, 2.0)
        assert switches() - before <= 2
