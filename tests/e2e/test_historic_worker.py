"""`start_worker.py` with the arguments of the first DART, as old container entry points call it."""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

PROGRAM = Path(__file__).parents[2] / "examples" / "historic" / "start_worker.py"


def test_port_server_name_and_capabilities(tmp_path: Path):
    """The worker comes up under that name with these capabilities, reads `worker.json`, and works."""
    config = write_modules(tmp_path, words="def count(text):\n    return str(len(text.split()))\n")
    with cluster(tmp_path) as running:
        host, _, port = running.server.agents_url.removeprefix("tcp://").rpartition(":")
        running._spawn(
            "worker", "env", "-C", str(config.parent), f"DART_STATE_DIR={running.state_dir}",
            f"XDG_STATE_HOME={tmp_path / 'state'}", sys.executable, str(PROGRAM), port, host, "-dev#1 ä", "gpu", "-x",
        )  # fmt: skip
        client = HistoricClient(running.server.url, running.server.key)
        (worker,) = wait_until(client.workers, timeout=30, explain="the worker joins")
        assert (worker["name"], worker["count"], worker["capabilities"]) == ("-dev#1 ä", 1, ["-x", "gpu"])
        client.add_job("count", "words", "count")
        client.add_tasks("count", ("-dev#1 ä", "a b c"))
        (result,) = wait_until(lambda: client.results("count", 1), explain="its result")
        assert result["success"] == "3"


@pytest.mark.parametrize("words", [[], ["7778"], ["7778", "localhost"], ["x", "localhost", "w"], ["0", "h", "w"]])
def test_wrong_arguments_say_which_are_right(words: list[str]):
    """In one line on stderr, with a failing exit code."""
    ended = subprocess.run([sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert "AGENT_PORT SERVER NAME" in ended.stderr
