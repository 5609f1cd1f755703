"""Agents and brokers of different protocol versions: the previous one is served, all others get a clear answer."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.scene import Scene, quick_limits
from harness.cluster import Cluster, cluster
from harness.waiting import wait_until

RELEASE = """
import sys
import dart.wire.messages as messages

messages.PROTOCOL_VERSIONS = {versions}
messages.PROTOCOL_VERSION = max(messages.PROTOCOL_VERSIONS)
{start}
"""
START = {
    "server": "from dart.cli.main import main\nmain()",
    "agent": "from dart.agent.app import main\nsys.exit(main(sys.argv[3:]))  # without `agent start`",
}


@contextmanager
def release(running: Cluster, part: str, *versions: int) -> Iterator[None]:
    """What is started inside is of a release that speaks these versions."""
    script = running.folder / f"{part}.py"
    script.write_text(RELEASE.format(versions=versions, start=START[part]))
    ordinary, running.program = running.program, (sys.executable, str(script))
    try:
        yield
    finally:
        running.program = ordinary


def log_of(running: Cluster) -> str:
    """What the latest agent said."""
    return max(running.folder.glob("agent-*.log"), key=lambda path: path.stat().st_mtime).read_text()


def test_an_agent_of_the_previous_version_is_served(tmp_path: Path):
    """A newer server is put in place of the old one: agents come back, deliver what they had, and work on."""
    with cluster(tmp_path, environment=quick_limits(lease=15.0)) as running:
        scene = Scene(running)
        agent = running.start_agent("w", slots=2, config=scene.config)
        scene.submit("a", "b", seconds=1.0)
        scene.wait_for_lines("begin a", "begin b")
        running.end(running.server.process)
        with release(running, "server", 2, 1):
            running.start_server()
        scene.submit("c")
        assert scene.finish() == {"a": "a", "b": "b", "c": "c"}
        assert agent.poll() is None


def test_a_newer_agent_speaks_as_its_older_server(tmp_path: Path):
    """An agent that was updated first works with the server as it is."""
    with cluster(tmp_path) as running:
        scene = Scene(running)
        with release(running, "agent", 2, 1):
            running.start_agent("w", config=scene.config)
        scene.submit("a")
        assert scene.finish() == {"a": "a"}


@pytest.mark.parametrize(
    ("server", "agent", "text"),
    [
        ((3, 2), (1,), "The agent speaks protocol 1, the broker 3, 2; update the older of the two."),
        ((1,), (3, 2), "The agent speaks protocol 3, 2, the broker 1; update the older of the two."),
    ],
)
def test_nothing_in_common(tmp_path: Path, server: tuple[int, ...], agent: tuple[int, ...], text: str):
    """The agent ends with a sentence that says who speaks what, and the server's log has it too."""
    with cluster(tmp_path) as running:
        scene = Scene(running)
        running.end(running.server.process)
        with release(running, "server", *server):
            running.start_server()
        with release(running, "agent", *agent):
            process = running.start_agent("w", config=scene.config, wait=False)
        wait_until(lambda: process.poll() is not None, timeout=20, explain=lambda: log_of(running))
        assert process.returncode not in {0, None}
        assert text in log_of(running)
        server_log = max(running.folder.glob("server.*.log"), key=lambda path: path.stat().st_mtime).read_text()
        assert re.search(f"was refused: {re.escape(text)}", server_log)
