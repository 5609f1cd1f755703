"""A program that died, and the next one that goes on with its job; functions that are sent; progress in a terminal."""

import concurrent.futures
import contextlib
import importlib
import json
import os
import pty
import subprocess
import sys

import pytest

import dart_client
import dart_client.reattach
from dart_client import Client, Executor
from harness.cluster import cluster
from harness.modules import write_modules
from harness.waiting import wait_until

MODULES = {
    "steps": """
        import dart_task
        import os
        import time

        def double(value):
            return 2 * value

        def wait_for(path):
            dart_task.progress(0.5)
            while not os.path.exists(path):
                time.sleep(0.01)
            return "found"
    """
}
PROGRAM = """
import sys
from dart_client import Client
client = Client()
job = client.job("notebook", "steps", "double")
made = [job.submit(number, tag=f"no {number}") for number in range(20)]
[future.result() for future in made]
made.append(job.submit_many([1], location="not there yet")[0])
made.append(client.job("notebook").submit(None, location="not there yet", tag="cancelled"))
made[-1].cancel()
print("submitted", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reattach")
    config = write_modules(folder, **MODULES)
    (folder / "takes.json").write_text(json.dumps({"accept_modules": True}))
    with cluster(folder) as it:
        it.start_agent("w", "--policy", str(folder / "takes.json"), config=config)
        yield it


@pytest.fixture
def client(running):
    with Client(state_dir=running.state_dir) as made:
        yield made


def test_a_job_is_found_again_after_its_program_was_killed(running, client, monkeypatch):
    """By its name alone: tasks in their order with tags, values of what is done, futures of what is not."""
    environment = os.environ | {"DART_STATE_DIR": str(running.state_dir)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as program:
        assert program.stdout.readline() == b"submitted\n"
        program.kill()
    job = client.job("notebook")
    *done, waiting, cancelled = job.futures()
    assert [(future.tag, future.result(0)) for future in done] == [(f"no {n}", 2 * n) for n in range(20)]
    assert done[0].worker == "w"
    assert (waiting.location, waiting.done()) == ("not there yet", False)
    with pytest.raises(dart_client.TaskCancelled):
        cancelled.result(0)
    running.start_agent("not there yet", config=running.folder / "worker.json")
    assert waiting.result(30) == 2
    assert [future.result(0) for future in job.futures()[:20]] == [2 * n for n in range(20)]
    few = job.futures(after=done[4].task_id, amount=3)
    assert [future.result(0) for future in few] == [10, 12, 14]
    monkeypatch.setattr(dart_client.reattach, "FUTURES_MAX", 21)
    with pytest.raises(dart_client.LimitError, match="piece by piece"):
        job.futures()
    monkeypatch.undo()
    more = job.submit(50)
    assert more.result(30) == 100
    assert job.futures()[-1].task_id == more.task_id


def test_futures_found_again_can_be_cancelled(client):
    """They are as good as those of `submit`."""
    job = client.job("cancel", "steps", "double")
    made = job.submit_many(range(3), location="nobody")
    found = client.job("cancel").futures()
    assert [future.task_id for future in found] == [future.task_id for future in made]
    assert all(future.cancel() for future in found)
    assert client.job_info("cancel")["tasks"] == {"cancelled": 3}


def test_progress_waits_for_the_job_and_is_drawn_in_a_terminal(client, tmp_path, monkeypatch):
    """Halves of running tasks are drawn; the counts come back; without a terminal nothing is written."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    job = client.job("bar", "steps", "wait_for")
    job.submit(str(tmp_path / "go"))
    quiet = sys.stderr
    with os.fdopen(slave, "w", encoding="utf-8") as terminal, concurrent.futures.ThreadPoolExecutor() as threads:
        monkeypatch.setattr(sys, "stderr", terminal)
        waiting = threads.submit(job.progress, timeout=30)
        drawn = bytearray()

        def has(text):
            with contextlib.suppress(BlockingIOError):
                drawn.extend(os.read(master, 65536))
            return text in drawn

        try:
            wait_until(lambda: has(b"[###############..............."), explain=lambda: drawn)
        finally:
            (tmp_path / "go").touch()  # or the worker is busy for all tests that follow
        assert waiting.result(30) == {"succeeded": 1}
        wait_until(lambda: has(b"1/1"), explain=lambda: drawn)
        monkeypatch.setattr(sys, "stderr", quiet)
    os.close(master)
    assert b"bar [" in drawn
    assert job.submit("/never", location="nobody").task_id
    with pytest.raises(concurrent.futures.TimeoutError, match="1 tasks of the job bar"):
        job.progress(timeout=0)
    job.purge()


def test_functions_are_sent_where_owners_allow_it(running, client, tmp_path, monkeypatch):
    """The source that is here is what runs, a change included; workers whose owners refuse are named."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "sent_steps.py").write_text("def treble(value):\n    return 3 * value\n")
    module = importlib.import_module("sent_steps")
    with Executor(client, location="w", push=True) as executor:
        assert list(executor.map(module.treble, range(5), timeout=30)) == [0, 3, 6, 9, 12]
        (tmp_path / "sent_steps.py").write_text("def treble(value):\n    return [value] * 3\n")
        importlib.invalidate_caches()
        module = importlib.reload(module)
        assert executor.submit(module.treble, 1).result(30) == [1, 1, 1]
        assert executor.submit("steps:double", 4).result(30) == 8
        with pytest.raises(ValueError, match="cannot be sent"):
            executor.submit(lambda value: value, 1)
    running.start_agent("refuses", config=running.folder / "worker.json")
    wait_until(lambda: client.worker("refuses")["agents"][0]["connected"], explain="the worker that refuses")
    with (
        Executor(client, location="refuses", push=True) as executor,
        pytest.raises(dart_client.ForbiddenError, match=r"refuses: .*accept_modules"),
    ):
        executor.submit(module.treble, 1)


def test_a_function_of_the_main_program_is_sent_alone(running):
    """As from a notebook: the rest of the program is not run on the worker."""
    program = running.folder / "program.py"
    program.write_text(
        "from dart_client import Client, Executor\n"
        "def squared(value):\n    import math\n    return math.pow(value, 2)\n"
        "with Client() as client, Executor(client, location='w', push=True) as executor:\n"
        "    print(list(executor.map(squared, [1, 2, 3])))\n"
    )
    environment = os.environ | {"DART_STATE_DIR": str(running.state_dir)}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[1.0, 4.0, 9.0]\n", "")
