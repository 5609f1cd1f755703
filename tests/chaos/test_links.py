"""Agents behind links that are cut: what runs goes on, and has one result."""

import time
from pathlib import Path

import pytest

from chaos.scene import SCALE, Scene, quick_limits
from harness.cluster import cluster
from harness.network import missing, network
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no network to cut: {missing()}")
TASK = max(5.0, 3.0 * SCALE)
CUT = max(7.0, 6.0 * SCALE)
CASES = [("requeue", True), ("wait", False)]
if SCALE > 1:
    CASES += [("requeue", False), ("wait", True)]


@pytest.mark.parametrize(("on_lost", "kill_server"), CASES)
def test_cut_off_in_the_middle_of_a_task(tmp_path: Path, on_lost: str, kill_server: bool):
    """Within its lease, or if the task waits for that very agent: it runs once, its one result comes after the heal.

    An idle agent of the same name is there all the time, and does not get it.
    """
    environment = quick_limits(lease=15.0 if on_lost == "requeue" else 4.0)
    with (
        network(2) as lines,
        cluster(tmp_path, "--host", lines.address, "--agent-host", lines.address, environment=environment) as running,
    ):
        scene = Scene(running, on_lost=on_lost)
        running.start_agent("w", config=scene.config, prefix=lines.inside(1))
        scene.submit("long", seconds=TASK, location="w")
        scene.wait_for_lines("begin long")
        running.start_agent("w", config=scene.config, prefix=lines.inside(2))
        lines.cut(1)
        assert scene.lines() == ["begin long"], "the task is in its middle"
        cut_at = time.monotonic()
        if kill_server:
            time.sleep(CUT / 4)  # some time inside the cut
            running.kill_server()
            running.start_server()
        wait_until(lambda: scene.agents("w") == 1, timeout=10 * SCALE, explain="the other agent is there")
        scene.wait_for_lines("end long")
        assert scene.results() == []
        time.sleep(max(0.0, cut_at + CUT - time.monotonic()))  # the length of the cut is what is tested
        assert scene.lines() == ["begin long", "end long"]
        lines.heal(1)
        assert scene.finish() == {"long": "long"}
        assert scene.lines() == ["begin long", "end long"]
        assert scene.late() == 0


def test_cut_off_for_longer_than_the_lease(tmp_path: Path):
    """With `on_lost=requeue` another agent of that name runs the task; the first one's result is late, and counted."""
    environment = quick_limits(lease=3.0)
    with (
        network(2) as lines,
        cluster(tmp_path, "--host", lines.address, "--agent-host", lines.address, environment=environment) as running,
    ):
        scene = Scene(running, on_lost="requeue")
        running.start_agent("w", "--host", "first", config=scene.config, prefix=lines.inside(1))
        (task,) = scene.submit("long", seconds=TASK, location="w")
        scene.wait_for_lines("begin long")
        running.start_agent("w", "--host", "second", config=scene.config, prefix=lines.inside(2))
        lines.cut(1)
        assert scene.finish() == {"long": "long"}
        (result,) = scene.results()
        assert result["host"] == "second"
        wait_until(lambda: len(scene.lines()) == 4, explain=scene.lines)
        assert sorted(scene.lines()) == ["begin long", "begin long", "end long", "end long"]
        assert scene.late() == 0
        lines.heal(1)
        wait_until(lambda: scene.late() == 1, timeout=30 * SCALE, explain=scene.rest.server)
        assert scene.results() == [result]
        assert result["id"] == task


@pytest.mark.parametrize("toward", ["server", "host"])
def test_cut_one_way(tmp_path: Path, toward: str):
    """A link that carries one direction only is noticed by both ends; all tasks have one result after the heal."""
    environment = quick_limits(lease=15.0)
    names = [f"t{number}" for number in range(30)]
    with (
        network(1) as lines,
        cluster(tmp_path, "--host", lines.address, "--agent-host", lines.address, environment=environment) as running,
    ):
        scene = Scene(running)
        running.start_agent("w", config=scene.config, prefix=lines.inside(1))
        scene.submit(*names, seconds=0.05 * SCALE)
        scene.wait_for_lines("begin t3")
        lines.cut(1, (toward,))
        wait_until(lambda: scene.agents("w") == 0, timeout=10 * SCALE, explain=lambda: scene.agents("w"))
        dropped = lines.heal(1)["dropped"]
        assert dropped > 0
        assert scene.finish() == {name: name for name in names}
        assert len(scene.lines()) == 2 * len(names), "none ran twice"
