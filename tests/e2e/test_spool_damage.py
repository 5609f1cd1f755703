"""An agent's spool after a power loss or on a bad disk: what is whole is delivered, what is not runs again."""

import os
from pathlib import Path

import pytest

from dart.agent import spool_file
from harness.cluster import cluster, group_members
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

TASKS = 6
MODULES = {
    "work": """
        import os, time

        def gate(parameter):
            gate, written, number = parameter.split()
            while not os.path.exists(gate):
                time.sleep(0.01)
            with open(written, "a") as file:
                file.write(number + "\\n")
            return number
    """
}


def tear(path: Path) -> None:
    """The end of the last record had not reached the disk."""
    os.truncate(path, path.stat().st_size - 5)


def tear_in_the_head(path: Path) -> None:
    """No more than its length had."""
    data = path.read_bytes()
    last = max(spool_file.read_segment(data[:end]).whole_bytes for end in range(len(data)))
    os.truncate(path, last + 6)


def zeros_at_the_end(path: Path) -> None:
    """The file had grown and nothing was in it yet, as some file systems leave it."""
    size = path.stat().st_size
    os.truncate(path, size - 30)
    os.truncate(path, size)


def flip(path: Path) -> None:
    """A bad disk, not a power loss."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


@pytest.mark.parametrize(
    ("harm", "word", "repeated"),
    [
        (tear, "were not written whole and are cut off", 1),
        (tear_in_the_head, "were not written whole and are cut off", 1),
        (zeros_at_the_end, "were not written whole and are cut off", 1),
        (flip, "is damaged", 1),
        (empty, "", TASKS),
        (garbage, "is damaged", TASKS),
    ],
)
def test_killed_with_results_in_the_spool(tmp_path, harm, word, repeated):
    """Every task has one result; only what cannot be read runs again; the log says what was found and where it is."""
    config = write_modules(tmp_path, **MODULES)
    gate, written = tmp_path / "gate", tmp_path / "written"
    with cluster(tmp_path) as running:
        agent = running.start_agent("w", slots=TASKS, config=config, home="home")
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("g", "work", "gate")
        ids = client.add_tasks("g", *[("w", f"{gate} {written} {number}") for number in range(TASKS)])
        wait_until(lambda: client.workers()[0]["busy"] == TASKS, explain=client.workers)
        running.kill_server()
        gate.touch()
        spool = tmp_path / "home" / "spool"

        def kept() -> int:
            return sum(len(spool_file.read_segment(path.read_bytes()).results) for path in spool.glob("*.spool"))

        wait_until(lambda: kept() == TASKS, explain=kept)
        agent.kill()
        agent.wait()
        wait_until(lambda: not group_members(agent.pid), explain="its runners leave with it")
        (segment,) = spool.glob("*.spool")
        harm(segment)

        running.start_server()
        running.start_agent("w", slots=TASKS, config=config, home="home")
        log = max(tmp_path.glob("agent-*.log")).read_text()
        assert word in log
        assert bool(list(spool.glob("*.damaged"))) == (word == "is damaged")
        wait_until(lambda: len(client.results("g", 99)) == TASKS, timeout=30, explain=lambda: log)
        results = client.results("g", 99)
        assert {result["id"]: result["success"] for result in results} == {
            task: str(number) for number, task in enumerate(ids)
        }
        assert len(written.read_text().split()) == TASKS + repeated
