"""Full disks under the store and under an agent's spool: said clearly, nothing acknowledged is lost, all recovers."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

MODULES = {
    "work": """
        import os, time

        def echo(parameter):
            return parameter

        def gate(parameter):
            while not os.path.exists(parameter):
                time.sleep(0.01)
            return "through " + "x" * 6_000_000

        def large(parameter):
            time.sleep(0.02)
            return parameter + "x" * 300_000
    """
}


@contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size, for as long as it is needed."""
    path.parent.mkdir(mode=0o700, exist_ok=True)  # of an agent: its home
    path.mkdir(mode=0o700)
    size = f"size={mebibytes}m,mode=0700"
    mounted = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", size, "tmpfs", path], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk needs root: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["/usr/bin/umount", "-l", path], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (64 * 1024, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


def message(answer: requests.Response) -> str:
    assert answer.status_code == requests.codes.service_unavailable, (answer.status_code, answer.text[:500])
    text: str = answer.json()["error"]["message"]
    return text


def diagnosis(state_dir: Path) -> dict[str, dict[str, str]]:
    """What `dart doctor` says, by the name of the check."""
    program = Path(sys.executable).with_name("dart")
    words = [program, "doctor", "--json", "--state-dir", state_dir]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    return {finding["check"]: finding for finding in json.loads(done.stdout)}


def agent_log(folder: Path) -> str:
    return next(folder.glob("agent-*.log")).read_text()


def test_store(tmp_path):
    """Submissions get 503 and the reason; reads go on; agents keep their results; with room again all goes on."""
    folder = tmp_path / "cluster"
    folder.mkdir()
    config = write_modules(folder, **MODULES)
    with small_disk(folder / "server", 96) as disk, cluster(folder) as running:
        running.start_agent("w", slots=2, config=config)
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("g", "work", "gate")
        client.add_job("e", "work", "echo")
        gate = tmp_path / "gate"
        gated = client.add_tasks("g", ("w", str(gate)), ("w", str(gate)))
        done = client.add_tasks("e", *[("w", str(n)) for n in range(20)])
        wait_until(lambda: client.workers()[0]["busy"] == 2)

        # A disk that fills up slowly: the last of it is kept for results.
        waiting: list[str] = []
        while len(waiting) < 200:
            entries = [{"location": "nobody", "parameter": "x" * 1_000_000}]
            answer = client.call("POST", "/job/e/tasks/", location_and_parameters=entries)
            if answer.status_code != requests.codes.ok:
                break
            waiting += answer.json()["tasks"]
        assert "store_spare_bytes" in message(answer)
        assert waiting
        assert client.call("GET", "/readyz/").status_code == requests.codes.ok
        assert len(client.good("GET", "/job/e/tasks/", amount=1000)["tasks"]) == len(waiting) + len(done)

        # Somebody else takes the last of it: nothing can be recorded any more.
        ballast = fill(disk)
        gate.touch()
        reason = wait_until(
            lambda: (ready := client.call("GET", "/readyz/")).status_code != requests.codes.ok and message(ready),
            timeout=20,
            explain=agent_log(folder),
        )
        assert "the disk is full" in reason
        found = diagnosis(running.state_dir)
        assert ("the disk is full" in found["ready"]["said"], found["ready"]["state"]) == (True, "fault"), found
        assert found["disk"]["state"] == "fault"
        for _ in range(3):
            answer = client.call("POST", "/job/e/tasks/", location_and_parameters=[{"location": "w", "parameter": "y"}])
            assert "disk" in message(answer)
            assert str(disk) not in answer.text, "nothing of the server's inside"
        wait_until(lambda: client.call("GET", "/job/").status_code == requests.codes.ok, explain="reads go on")
        assert client.status("e") == 1
        recorded = client.results("e", 999)
        assert {task["state"] for task in client.good("GET", "/job/g/tasks/")["tasks"]} != {"succeeded"}
        assert client.workers() == []

        ballast.unlink()
        wait_until(
            lambda: len(client.results("g", 9)) == 2, timeout=30, explain=lambda: client.call("GET", "/readyz/").text
        )
        wait_until(lambda: len(client.results("e", 999)) == len(done), timeout=30)
        assert {result["id"] for result in client.results("g", 9)} == set(gated)
        assert {result["id"] for result in recorded} <= {result["id"] for result in client.results("e", 999)}
        tasks = client.good("GET", "/job/e/tasks/", amount=1000)["tasks"]
        assert {task["id"] for task in tasks} == {*waiting, *done}

        # Freed by those who use it, too.
        client.good("DELETE", "/job/e/", purge=True)
        client.add_job("f", "work", "echo")
        wait_until(
            lambda: (
                client.call(
                    "POST", "/job/f/tasks/", location_and_parameters=[{"location": "w", "parameter": "x" * 100_000}]
                ).status_code
                == requests.codes.ok
            ),
            timeout=30,
            interval=0.2,
        )
        log = next(folder.glob("server.*.log")).read_text()
        assert "A commit failed" in log
        assert "The store can be written again" in log
        assert "Traceback" not in log


def finished(client: HistoricClient) -> int:
    return int(client.good("GET", "/job/l/")["job"]["tasks"].get("succeeded", 0))


@pytest.mark.parametrize("mode", ["before_send", "eager"])
def test_spool(tmp_path, mode):
    """The agent stops taking tasks and says so; with room again every task has one result."""
    config = write_modules(tmp_path, **MODULES)
    with small_disk(tmp_path / "home" / "spool", 2) as disk, cluster(tmp_path) as running:
        running.start_agent("w", "--spool", mode, config=config, home="home")
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("l", "work", "large")
        ballast = fill(disk)
        if mode == "eager":
            # With a broker near by, results are acknowledged before they would be written.
            ids = client.add_tasks("l", *[("w", str(n)) for n in range(80)])
            wait_until(lambda: finished(client) >= 1)
            running.kill_server()
        else:
            ids = client.add_tasks("l", *[("w", str(n)) for n in range(80)])
        wait_until(lambda: "the spool cannot write" in agent_log(tmp_path), explain=lambda: agent_log(tmp_path))
        assert "No space left on device; no more tasks are taken until it can" in agent_log(tmp_path)
        if mode == "before_send":
            assert finished(client) == 0
            states = [task["state"] for task in client.good("GET", "/job/l/tasks/")["tasks"]]
            assert states.count("queued") >= 20, states
        ballast.unlink()
        if mode == "eager":
            running.start_server()
            client = HistoricClient(running.server.url, running.server.key)
        wait_until(lambda: "the spool writes again" in agent_log(tmp_path), explain=lambda: agent_log(tmp_path))
        wait_until(lambda: finished(client) == len(ids), timeout=60, interval=0.2)
        assert {task["state"] for task in client.good("GET", "/job/l/tasks/")["tasks"]} == {"succeeded"}
        told = re.findall("the spool cannot write|the spool writes again", agent_log(tmp_path))
        # Once a fault, not once a result; the disk may fill up again before the first of them are acknowledged.
        assert told == ["the spool cannot write", "the spool writes again"] * (len(told) // 2)
        wait_until(lambda: sum(path.stat().st_size for path in disk.glob("*.spool")) < 100, explain="spool is empty")
