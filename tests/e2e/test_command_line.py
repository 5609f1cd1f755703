"""The installed command against real servers and agents."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.cluster import Cluster, cluster, group_members, read_line
from harness.modules import write_modules
from harness.processes import marked
from harness.waiting import wait_until

DART = Path(sys.executable).with_name("dart")
MODULES = {
    "calls": """
        import pathlib, time

        def echo(value):
            return value

        def size(path):
            return len(pathlib.Path(path).read_bytes())

        def fail(text):
            raise ValueError(text)

        def sleep(seconds):
            time.sleep(seconds)
    """
}


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """No variable or profile of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("DART_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DART_PROFILE", str(tmp_path / "profile.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    config = write_modules(folder, **MODULES)
    with cluster(folder) as it:
        it.start_agent("red-1", "--capability", "gpu", config=config)
        it.start_agent("blue-1", config=config)
        yield it


def dart(*words: object, code: int = 0, stdin: str = "") -> str:
    """Run `dart`; its stdout. The exit code must be this one, and stderr one sentence if it is not 0."""
    done = subprocess.run(
        [DART, *map(str, words)], input=stdin, capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    if code:
        assert done.stderr.startswith("dart: ")
        assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout if not code else done.stdout + done.stderr


def told(running: Cluster, *words: object) -> object:
    """What a command answers as JSON."""
    return json.loads(dart(*words, "--state-dir", running.state_dir, "--output", "json"))


def test_workers_are_listed_shown_and_pinged(running):
    """By name, with capabilities, through the broker."""
    assert {entry["name"]: entry["capabilities"] for entry in told(running, "worker", "list")} == {
        "red-1": ["gpu"],
        "blue-1": [],
    }
    assert told(running, "worker", "show", "red-1")["agents"][0]["slots"] == 1
    assert [entry["name"] for entry in told(running, "worker", "ping", "red-.*")] == ["red-1"]
    assert "No connected worker" in dart("worker", "ping", "x", "--state-dir", running.state_dir, code=1)
    assert "nobody" in dart("worker", "show", "nobody", "--state-dir", running.state_dir, code=1)


def test_a_job_from_definition_to_purge(running, tmp_path):
    """Every verb of job, task and result."""
    here = ("--state-dir", running.state_dir)
    dart("job", "add", "j", "--module", "calls", "--method", "echo", *here)
    assert "already" in dart("job", "add", "j", "--module", "calls", "--method", "echo", *here, code=1)
    (first,) = told(running, "task", "add", "j", "--location", "red-1", "--parameter", "text")
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"parameter": {"a": 1}, "location": "blue-1"}\n{"parameter": null}\n')
    more = told(running, "task", "add", "j", "--file", file)
    (picky,) = told(running, "task", "add", "j", "--requires", "gpu", "--parameter-json", "[1, 2]")
    ids = [entry["id"] for entry in [first, *more, picky]]
    wait_until(lambda: len(told(running, "result", "list", "j")) == 4, explain="four results")
    results = {entry["id"]: entry for entry in told(running, "result", "list", "j")}
    assert [results[task]["success"] for task in ids] == ["text", {"a": 1}, None, [1, 2]]
    assert (results[ids[0]]["worker"], results[ids[1]]["worker"], results[ids[3]]["worker"]) == (
        "red-1", "blue-1", "red-1",
    )  # fmt: skip
    assert len(told(running, "result", "list", "j", "--amount", "2")) == 2
    assert {entry["worker"] for entry in told(running, "result", "list", "j", "--worker-regex", "blue-.*")} <= {
        "blue-1"
    }
    assert "text" in dart("result", "list", "j", *here)
    assert [entry["state"] for entry in told(running, "task", "list", "j")] == ["succeeded"] * 4
    assert told(running, "task", "show", "j", ids[0])["worker"] == "red-1"
    dart("result", "delete", "j", ids[0], ids[1], *here)
    assert [entry["id"] for entry in told(running, "result", "list", "j")] == sorted(ids[2:], key=int)
    (waiting,) = told(running, "task", "add", "j", "--location", "not there", "--parameter", "x")
    assert dart("task", "cancel", "j", waiting["id"], *here) == "1 of 1 task(s) cancelled.\n"
    assert dart("task", "cancel", "j", waiting["id"], *here) == "0 of 1 task(s) cancelled.\n"
    assert told(running, "job", "show", "j")["config"]["module_path"] == "calls"
    assert dart("job", "status", "j", *here) == "running\n"
    dart("job", "stop", "j", *here)
    assert told(running, "job", "status", "j") == {"name": "j", "status": 2}
    assert [(entry["name"], entry["status"]) for entry in told(running, "job", "list")] == [("j", 2)]
    assert dart("job", "purge", "--stopped", *here) == "1 job(s) purged.\n"
    assert "no job" in dart("job", "show", "j", *here, code=1).lower()


def test_results_are_followed_until_the_job_is_stopped(running):
    """As JSON lines, each when it comes."""
    here = ("--state-dir", str(running.state_dir))
    dart("job", "add", "f", "--module", "calls", "--method", "echo", *here)
    with subprocess.Popen(
        [DART, "result", "list", "f", "--follow", "--output", "jsonl", *here], stdout=subprocess.PIPE, text=True
    ) as follower:
        dart("task", "add", "f", "--parameter", "one", *here)
        assert json.loads(follower.stdout.readline())["success"] == "one"
        dart("task", "add", "f", "--parameter", "two", *here)
        assert json.loads(follower.stdout.readline())["success"] == "two"
        dart("job", "purge", "f", *here)
        assert follower.wait(20) in (0, 1)


def test_run_calls_a_function_once_a_parameter(running, tmp_path):
    """Files, lines of JSON, or one parameter; results in order; the job is gone afterwards."""
    here = ("--state-dir", running.state_dir)
    files = []
    for size in (3, 1, 2):
        files.append(tmp_path / f"{size}.bin")
        files[-1].write_bytes(b"x" * size)
    assert dart("run", "calls:size", "--each", *files, *here) == "3\n1\n2\n"
    assert dart("run", "calls:echo", "--each", "--content", files[0], *here) == "xxx\n"
    assert dart("run", "calls:echo", "--params", "-", *here, stdin='"a"\n{"b": 2}\n') == 'a\n{"b": 2}\n'
    spread = told(running, "run", "calls:echo", "--params", write(tmp_path, "1\n2\n3\n4\n"), "--on", ".*-1")
    assert [(row["success"], row["worker"]) for row in spread] == [
        (1, "blue-1"), (2, "red-1"), (3, "blue-1"), (4, "red-1"),
    ]  # fmt: skip
    assert {row["worker"] for row in told(running, "run", "calls:echo", "--parameter", "1", "--on", ".*")} == {
        "blue-1",
        "red-1",
    }
    assert told(running, "run", "calls:echo", "--parameter", "1", "--requires", "gpu")[0]["worker"] == "red-1"
    assert told(running, "run", "calls:echo", "--parameter", "1", "--location", "blue-1")[0]["worker"] == "blue-1"
    assert "matches" in dart("run", "calls:echo", "--parameter", "1", "--on", "nobody", *here, code=1)
    assert told(running, "job", "list") == []
    dart("run", "calls:echo", "--parameter", "1", "--keep", *here)
    assert len(told(running, "job", "list")) == 1
    dart("job", "purge", "--all", *here)


def write(folder: Path, text: str) -> Path:
    """A file with this text."""
    file = folder / "params.jsonl"
    file.write_text(text)
    return file


def test_failed_tasks_make_run_fail(running):
    """Exit code 1, the traceback on stderr, the others' results on stdout."""
    done = subprocess.run(
        [DART, "run", "calls:fail", "--parameter", '"no good"', "--state-dir", running.state_dir],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ValueError: no good" in done.stderr
    assert "1 of 1 task(s) failed" in done.stderr


def test_a_progress_bar_is_for_terminals_only(running):
    """On stderr, if that is a terminal; stdout stays clean for the results."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [DART, "run", "calls:echo", "--parameter", "7", "--state-dir", running.state_dir],
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            text=True,
            timeout=60,
        )
        os.close(theirs)
        theirs = -1
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)
    assert done.stdout == "7\n"
    assert "1/1" in shown


def test_an_interrupted_run_stops_its_job(running):
    """Ctrl-C leaves neither tasks nor job behind."""
    with subprocess.Popen(
        [DART, "run", "calls:sleep", "--parameter", "60", "--state-dir", running.state_dir],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        wait_until(lambda: told(running, "server", "status")["open_tasks"] == 1, explain="the task is there")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
    assert told(running, "job", "list") == []
    assert told(running, "server", "status")["open_tasks"] == 0


def test_a_remote_client_needs_the_fingerprint(running):
    """`server info` prints what works; a wrong one, none, and a wrong key each have their exit code."""
    line = dart("server", "info", "--state-dir", running.state_dir).split()
    assert line[0] == "--url"
    assert line[2] == "--fingerprint"
    assert "red-1" in dart("worker", "list", *line, "--key", running.server.key)
    wrong = [*line[:3], "ab" * 32]
    assert "certificate" in dart("worker", "list", *wrong, "--key", running.server.key, code=3)
    assert "fingerprint" in dart("worker", "list", *line[:2], "--key", running.server.key, code=2)
    assert "key" in dart("worker", "list", *line, "--key", "wrong", code=4).lower()
    assert "No key" in dart("worker", "list", *line, code=2)
    dart("profile", "set", "url", line[1])
    dart("profile", "set", "fingerprint", line[3])
    dart("profile", "set", "key", "-", stdin=running.server.key + "\n")
    assert "red-1" in dart("worker", "list")


def test_server_and_agent_from_start_to_stop(tmp_path):
    """Detached, found by its state directory, described, and stopped in good order; so is the agent."""
    state = tmp_path / "own"
    ready = dart("server", "start", "--detach", "--state-dir", state, "--port", 0, "--agent-port", 0)
    assert ready.startswith("ready https://127.0.0.1:")
    try:
        assert "agents" in dart("server", "status", "--state-dir", state)
        told = json.loads(dart("server", "info", "--state-dir", state, "-o", "json"))
        assert told["url"] == ready.split()[1]
        assert "Another server" in dart(
            "server", "start", "--detach", "--state-dir", state, "--port", 0, "--agent-port", 0, code=1
        )
        for leave in (("worker", "drain", "a b#c", "--state-dir", state), ("agent", "stop", "--name", "a b#c")):
            start_agent_and_let_it_leave(tmp_path, state, leave)
    finally:
        assert "has stopped" in dart("server", "stop", "--state-dir", state)
    assert "dart server start" in dart("server", "status", "--state-dir", state, code=3)
    wait_until(lambda: not (state / "server.json").exists(), explain="the server's file is gone")


def start_agent_and_let_it_leave(folder: Path, state: Path, leave: tuple[object, ...]) -> None:
    """An agent with an odd name, seen by `agent status`, that leaves by this command."""
    log = folder / "agent.log"
    with log.open("w") as stderr:
        agent = subprocess.Popen(
            [DART, "agent", "start", "--state-dir", state, "--name", "a b#c", "--module-prefix", folder],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
    with agent:
        try:
            assert read_line(agent, seconds=30, log=log) == "joined a b#c slots 1"
            (row,) = json.loads(dart("agent", "status", "-o", "json"))
            assert (row["state"], row["pid"]) == ("running", agent.pid)
            # A stopped agent is a zombie until it is waited for, which is this test's doing, not the command's.
            waiter = threading.Thread(target=agent.wait)
            waiter.start()
            dart(*leave)
            waiter.join(20)
            assert agent.returncode == 0
        finally:
            agent.kill()


def test_up_is_server_and_agent_until_ctrl_c(tmp_path):
    """One command, ready to use; Ctrl-C ends all of it in good order."""
    (tmp_path / "calls.py").write_text("def twice(value):\n    return value * 2\n")
    state = tmp_path / "state" / "dart" / "server"
    log = tmp_path / "up.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [DART, "up", "--port", "0", "--agent-port", "0", "--slots", "2", "--name", "here"],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            start_new_session=True,
        )  # fmt: skip
    with process:
        try:
            assert read_line(process, seconds=30, log=log).startswith("ready ")
            assert read_line(process, seconds=30, log=log) == "joined here slots 2"
            assert dart("run", "calls:twice", "--parameter", "21") == "42\n"
            pid = json.loads((state / "server.json").read_text())["pid"]
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.terminate()
    wait_until(lambda: not group_members(pid), explain="the server is gone")
    assert not (state / "server.json").exists()


def test_up_ends_when_its_server_dies(tmp_path):
    """A half of it is no use: the agent is ended too, and the exit code says so."""
    log = tmp_path / "up.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [DART, "up", "--port", "0", "--agent-port", "0", "--slots", "1", "--name", "here"],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
            start_new_session=True,
        )  # fmt: skip
    with process:
        try:
            assert read_line(process, seconds=30, log=log).startswith("ready ")
            assert read_line(process, seconds=30, log=log).startswith("joined ")
            pid = json.loads((tmp_path / "state/dart/server/server.json").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
            assert process.wait(20) == 1
        finally:
            process.terminate()


def test_a_killed_up_leaves_nothing_behind(tmp_path):
    """Its server and its agent see the end of their stdin, and end in good order."""
    log = tmp_path / "up.log"
    environment = {**os.environ, "LC_TEST_UP": str(tmp_path)}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [DART, "up", "--port", "0", "--agent-port", "0", "--slots", "1", "--name", "here"],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
        )  # fmt: skip
    with process:
        assert read_line(process, seconds=30, log=log).startswith("ready ")
        assert read_line(process, seconds=30, log=log).startswith("joined ")
        process.kill()
        process.wait(10)
    wait_until(lambda: not marked("LC_TEST_UP", str(tmp_path)), explain="server and agent have ended")
    assert not (tmp_path / "state/dart/server/server.json").exists()


def test_a_reader_that_has_enough_is_no_error(running):
    """`dart ... | head -1` ends quietly."""
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", f"{DART} worker list --state-dir {running.state_dir} | true"],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
