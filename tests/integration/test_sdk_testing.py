"""The SDK's executor, rounds and test mode, each used as another project would use them."""

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import time

import pytest

import dart_client
from dart_client import Client, ConfigError, Executor, TaskError, WorkerOfflineError
from dart_client.executor import name_of
from dart_client.testing import installation
from harness.processes import marked
from harness.waiting import wait_until

pytest_plugins = ["dart_client.pytest_plugin"]
MODULE = """
import time

def double(number):
    return 2 * number

def fail(text):
    raise ValueError(text)

def nap(seconds):
    time.sleep(seconds)
    return seconds
"""


@pytest.fixture(scope="module")
def dart(dart_installation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("modules")
    (folder / "steps.py").write_text(MODULE)
    (folder / "models").mkdir()
    (folder / "models" / "train.py").write_text(MODULE)
    return dart_installation(folder, workers=["red", "blue"], slots=2)


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """The workers' module, imported here."""
    (tmp_path / "steps.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "steps", raising=False)
    import steps

    return steps


def test_an_executor_runs_functions_by_name(dart, steps):
    """As text or as imported; values in order, errors typed, futures those of the standard library."""
    with Executor(dart.client, location="red") as executor:
        assert executor.submit("steps:double", 4).result(30) == 8
        assert executor.submit("models/train:double", 4).result(30) == 8
        future = executor.submit(steps.double, 5)
        assert concurrent.futures.wait([future], 30).done == {future}
        assert (future.result(), future.worker) == (10, "red")
        assert list(executor.map(steps.double, range(100), timeout=30)) == list(range(0, 200, 2))
        with pytest.raises(TaskError, match="no good"):
            executor.submit(steps.fail, "no good").result(30)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(steps.double, 1)


def test_an_executor_takes_a_stream_without_end(dart):
    """No more is taken from it than is outstanding, and closing the iterator ends it."""
    taken = []

    def numbers():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    with Executor(dart.client) as executor:
        values = executor.map("steps:double", numbers(), buffersize=20)
        assert [next(values) for _ in range(50)] == list(range(0, 100, 2))
        assert len(taken) <= 80
        values.close()


def test_the_time_of_a_map_counts_from_its_call(dart):
    """As in the standard library: for all values together."""
    with Executor(dart.client) as executor:
        began = time.monotonic()
        with pytest.raises(concurrent.futures.TimeoutError):
            list(executor.map("steps:nap", [0.3] * 40, timeout=1.0))
        assert time.monotonic() - began < 5


def test_an_executor_serves_asyncio(dart, steps):
    """`run_in_executor` and `wrap_future` are the way into a coroutine."""

    async def main():
        loop = asyncio.get_running_loop()
        with Executor(dart.client) as executor:
            values = await asyncio.gather(*(loop.run_in_executor(executor, steps.double, n) for n in range(10)))
            return values, await asyncio.wrap_future(executor.submit(steps.double, 21))

    assert asyncio.run(main()) == (list(range(0, 20, 2)), 42)


def test_shutting_down_may_cancel(dart):
    """What has not begun never runs."""
    executor = Executor(dart.client, location="blue")
    made = [executor.submit("steps:nap", 0.5) for _ in range(20)]
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in made)
    assert sum(future.cancelled() for future in made) >= 16


@pytest.mark.parametrize(
    ("function", "says"),
    [(lambda value: value, "not sent"), ("steps", "MODULE:FUNCTION"), (Client.close, "not sent"), (":x", "names no")],
)
def test_what_has_no_name_is_refused(function, says):
    """With what to do instead."""
    with pytest.raises(ValueError, match=says):
        name_of(function)


def test_a_task_has_one_parameter(dart):
    """More are an error before anything is sent."""
    with Executor(dart.client) as executor:
        for arguments in ((), (1, 2)):
            with pytest.raises(TypeError, match="one list or dictionary"):
                executor.submit("steps:double", *arguments)
        with pytest.raises(TypeError, match="one iterable"):
            executor.map("steps:double", [1], [2])


def test_a_round_ends_with_its_quorum(dart):
    """Those that are late are named, and their tasks cancelled."""
    job = dart.client.job("round-nap", "steps", "nap")
    began = time.monotonic()
    ended = job.round({"red": 0.0, "blue": 60.0}, quorum=1)
    assert time.monotonic() - began < 20
    assert (ended.values, ended.errors, ended.stragglers, ended.reached) == ({"red": 0.0}, {}, ("blue",), True)
    assert job.round({"red": 0.01, "blue": 0.02}).values == {"red": 0.01, "blue": 0.02}


def test_a_round_ends_with_its_deadline(dart):
    """Without enough values it says so; errors and those that are late are told by their workers' names."""
    job = dart.client.job("round-nap", "steps", "nap")
    ended = job.round({"red": "x", "blue": 60.0, "gone": 0.0}, deadline=1.0)
    assert (ended.values, ended.stragglers, ended.reached) == ({}, ("blue", "gone"), False)
    assert isinstance(ended.errors["red"], TaskError)
    with pytest.raises(WorkerOfflineError, match="gone"):
        job.round({"gone": 0.0}, if_offline="fail")


@pytest.mark.parametrize("quorum", [0, 3])
def test_a_quorum_that_cannot_be_is_refused(dart, quorum):
    """Before anything is sent."""
    job = dart.client.job("round-nap", "steps", "nap")
    with pytest.raises(ValueError, match="1 to 2"):
        job.round({"red": 0.0, "blue": 0.0}, quorum=quorum)


def test_an_installation_survives_its_server(tmp_path):
    """Killed and started again, the server goes on with all it had; workers come and go; nothing is left behind."""
    (tmp_path / "steps.py").write_text(MODULE)
    with installation(tmp_path, workers=["a"]) as dart:
        state_dir = dart.state_dir
        job = dart.client.job("double", "steps", "double")
        dart.stop_worker("a", kill=True)
        future = job.submit(1, location="a")
        assert future.task_id
        dart.kill_server()
        dart.start_server()
        dart.start_worker("a", "--capability", "second")
        assert future.result(30) == 2
        assert "second" in str(dart.client.workers())
        assert "is connected as worker 'a'" in dart.log()
        assert dart.log("a")
        with pytest.raises(ValueError, match="runs already"):
            dart.start_worker("a")
    assert not state_dir.exists()


def test_an_interpreter_without_dart_is_told(tmp_path):
    """The error says what is needed and what the interpreter said."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "No module named dart" >&2\nexit 1\n')
    python.chmod(0o755)
    with pytest.raises(ConfigError, match=r"(?s)Python 3.11.*No module named dart"), installation(python=str(python)):
        pass


def test_the_names_are_public():
    """What the documents use."""
    assert {"Executor", "Round"} <= set(dart_client.__all__)


STARTER = """
import sys, time
from dart_client.testing import installation

with installation(".", workers=["w"]) as dart:
    job = dart.client.job("sleep", "sleeping", "sleep")
    future = job.submit(600)
    while dart.client.task("sleep", future.task_id)["state"] != "running":
        time.sleep(0.02)
    print("running", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_program_started_ends_with_it(tmp_path, number):
    """Server, agent and the task that runs: without anybody who ends them, they go."""
    (tmp_path / "sleeping.py").write_text("import time\n\ndef sleep(seconds):\n    time.sleep(seconds)\n")
    mark = {"LC_TEST_STARTER": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=tmp_path, env={**os.environ, **mark, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout.readline() == "running\n"
        assert len(marked(*mark.popitem())) >= 4
        process.send_signal(number)
        process.wait(10)
    wait_until(lambda: not marked("LC_TEST_STARTER", str(tmp_path)), explain="all have ended")
