"""Agents, runners and servers that are killed or stopped: one result a task, whatever was hit."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from chaos.scene import SCALE, Scene, quick_limits
from dart.agent.spool_file import read_segment
from harness.cluster import cluster
from harness.processes import children, is_gone
from harness.waiting import wait_until

LEASE = 4.0
"""Seconds at scale 1: more than agents need to come back to a server that starts on a busy machine."""


def spooled(home: Path) -> int:
    """Results that are on disk and not forgotten."""
    found: set[object] = set()
    forgotten: set[object] = set()
    for path in sorted((home / "spool").glob("*")):
        if path.is_file():
            contents = read_segment(path.read_bytes())
            found |= set(contents.results)
            forgotten |= set(contents.forgotten)
    return len(found - forgotten)


def test_an_agent_is_stopped_for_longer_than_silence(tmp_path: Path):
    """It is given up, its runner goes on, and after SIGCONT the one result of its task is taken."""
    with cluster(tmp_path, environment=quick_limits(lease=15.0)) as running:
        scene = Scene(running)
        agent = running.start_agent("w", config=scene.config)
        scene.submit("long", seconds=1.0 * SCALE)
        scene.wait_for_lines("begin long")
        agent.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: scene.agents("w") == 0, timeout=10 * SCALE, explain="it counts as silent")
            scene.wait_for_lines("end long")
            running.start_agent("w", config=scene.config)
        finally:
            agent.send_signal(signal.SIGCONT)
        assert scene.finish() == {"long": "long"}
        assert scene.lines() == ["begin long", "end long"]
        wait_until(lambda: scene.agents("w") == 2, explain=lambda: scene.agents("w"))


@pytest.mark.parametrize("seconds", [2.5, 4.5] if SCALE > 1 else [4.5])
def test_the_server_is_stopped(tmp_path: Path, seconds: float):
    """Time in which the server itself does not run is nobody's silence: no agent loses a task for it."""
    names = [f"t{number}" for number in range(4)]
    with cluster(tmp_path, environment=quick_limits(lease=3.0)) as running:
        scene = Scene(running)
        for _ in range(2):
            running.start_agent("w", config=scene.config)
        scene.submit("long", *names, seconds=1.0 * SCALE)
        scene.wait_for_lines("begin long")
        running.server.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds * SCALE)  # the length of the stop is what is tested
        running.server.process.send_signal(signal.SIGCONT)
        assert scene.finish() == {name: name for name in ("long", *names)}
        assert len(scene.lines()) == 2 * (1 + len(names)), "none ran twice"


@pytest.mark.parametrize("mode", ["eager", "lazy", "before_send"])
def test_an_agent_is_killed_with_results_in_its_spool(tmp_path: Path, mode: str):
    """Started with the same home it delivers them: no task runs again."""
    names = [f"t{number}" for number in range(8)]
    with cluster(tmp_path, environment=quick_limits(lease=15.0)) as running:
        scene = Scene(running)
        home = tmp_path / "home"
        agent = running.start_agent("w", "--spool", mode, slots=8, config=scene.config, home="home")
        scene.submit(*names, seconds=1.0)
        scene.wait_for_lines(*(f"begin {name}" for name in names))
        running.kill_server()
        scene.wait_for_lines(*(f"end {name}" for name in names))
        wait_until(lambda: spooled(home) == len(names), explain=lambda: spooled(home))
        agent.kill()
        agent.wait()
        running.start_agent("w", "--spool", mode, slots=8, config=scene.config, home="home", wait=False)
        running.start_server()
        assert scene.finish() == {name: name for name in names}
        assert len(scene.lines()) == 2 * len(names), "none ran twice"
        wait_until(lambda: spooled(home) == 0, explain=lambda: spooled(home))


def test_a_killed_runner_costs_one_attempt(tmp_path: Path):
    """Its task runs again as `retries` allows, or is an error that says so; the agent lives, and replaces it."""
    with cluster(tmp_path) as running:
        scene = Scene(running)
        agent = running.start_agent("w", config=scene.config)
        for name, retries in (("again", 1), ("never", 0)):
            scene.submit(name, seconds=0.7, retries=retries)
            scene.wait_for_lines(f"begin {name}")
            (runner,) = children(agent.pid)
            os.kill(runner, signal.SIGKILL)
            wait_until(lambda: scene.rest.server()["open_tasks"] == 0, timeout=20, explain=scene.lines)
        scene.submit("after")
        results = scene.finish()
        assert (results["again"], results["after"]) == ("again", "after")
        assert "runner" in results["never"]
        assert [line for line in scene.lines() if line.endswith("again")] == ["begin again", "begin again", "end again"]
        assert agent.poll() is None


def test_a_runner_is_killed_with_its_whole_group(tmp_path: Path):
    """What a task started dies with it, the agent does not."""
    with cluster(tmp_path) as running:
        scene = Scene(running, method="spin_children")
        agent = running.start_agent("w", config=scene.config)
        scene.submit("group", seconds=1.0, retries=1)
        scene.wait_for_lines("begin group")
        (runner,) = children(agent.pid)
        (child,) = wait_until(lambda: psutil.Process(runner).children(), explain="the task starts a process")
        os.killpg(runner, signal.SIGKILL)
        wait_until(lambda: is_gone(child), explain=str(child))
        assert scene.finish() == {"group": "group"}
        assert scene.lines() == ["begin group", "begin group", "end group"]
        assert agent.poll() is None


def test_the_server_is_away_for_long(tmp_path: Path):
    """Agents run what they have for longer than silence and lease, keep the results, and deliver them all."""
    names = [f"t{number}" for number in range(24)]
    with cluster(tmp_path, environment=quick_limits(lease=LEASE, prefetch_seconds=2.0)) as running:
        scene = Scene(running)
        agents = [running.start_agent("w", slots=2, config=scene.config) for _ in range(2)]
        scene.submit(*names, seconds=0.25)
        scene.wait_for_lines("end t3")
        running.kill_server()
        killed_at = time.monotonic()
        before = len(scene.lines())
        time.sleep((LEASE + 1.0) * SCALE)
        meanwhile = len(scene.lines())
        assert meanwhile > before, "tasks go on while the server is away"
        assert all(agent.poll() is None for agent in agents)
        assert time.monotonic() - killed_at > LEASE * SCALE
        running.start_server()  # and from here on the agents have a lease's time to come back
        assert scene.finish() == {name: name for name in names}
        assert len(scene.lines()) == 2 * len(names), "none ran twice"
