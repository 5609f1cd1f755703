"""Faults on a foreign architecture: a killed runner, a killed agent, a killed server; each task has its one result."""

import os
import signal

import pytest

from crossarch.installation import JOIN_SECONDS, RESULT_SECONDS, installed
from harness.processes import children
from harness.waiting import wait_until

LIMITS = {"heartbeat_seconds": 1.0, "silence_seconds": 8.0, "lease_seconds": 60.0, "reconnect_seconds_max": 1.0}


@pytest.fixture(scope="module")
def fragile(foreign, tmp_path_factory):
    """An installation of its own, whose parts are killed."""
    folder = tmp_path_factory.mktemp(f"faults-{foreign.architecture}")
    environment = {f"DART_LIMIT_{name.upper()}": str(value) for name, value in LIMITS.items()}
    with installed(folder, foreign, **environment) as it:
        it.start("hit")
        yield it


def runner_of(fragile) -> int:
    """The one runner's process."""
    (runner,) = wait_until(lambda: children(fragile.agents["hit"].pid), timeout=JOIN_SECONDS, explain="a runner")
    return runner


def wait_for_start(client, future) -> None:
    wait_until(
        lambda: client.task("rest", future.task_id)["state"] == "running",
        timeout=RESULT_SECONDS, explain=lambda: client.task("rest", future.task_id),
    )  # fmt: skip


def test_a_killed_runner_costs_one_attempt(fragile):
    """Its task runs again in a fresh runner; the agent lives."""
    with fragile.client() as client:
        future = client.job("rest", "there", "nap").submit(1.0, "hit", retries=1)
        wait_for_start(client, future)
        os.kill(runner_of(fragile), signal.SIGKILL)
        assert future.result(RESULT_SECONDS) == "rested"
        assert client.task("rest", future.task_id)["attempts"] == 2
    assert fragile.agents["hit"].poll() is None


def test_a_killed_agent_takes_its_runner_along_and_comes_back(fragile):
    """No runner is left, and the agent that starts in the same home runs the task again."""
    with fragile.client() as client:
        future = client.job("rest", "there", "nap").submit(1.0, "hit", retries=1)
        wait_for_start(client, future)
        runner = runner_of(fragile)
        fragile.agents["hit"].kill()
        fragile.agents["hit"].wait()
        wait_until(lambda: not _lives(runner), timeout=20, explain=f"runner {runner} dies with its agent")
        fragile.start("hit", wait=False)
        assert future.result(RESULT_SECONDS) == "rested"


def test_a_killed_server_is_joined_again(fragile):
    """What runs meanwhile runs on, its result waits on the agent's disk, and new work follows."""
    with fragile.client() as client:
        future = client.job("rest", "there", "nap").submit(2.0, "hit")
        wait_for_start(client, future)
        task_id = future.task_id
        fragile.running.kill_server()
        fragile.running.start_server()
        assert future.result(RESULT_SECONDS) == "rested"
        assert client.task("rest", task_id)["attempts"] == 1, "it did not run twice"
        assert client.job("rest").submit(0.1, "hit").result(RESULT_SECONDS) == "rested"
    assert fragile.agents["hit"].poll() is None


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - a name of the kernel's
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
