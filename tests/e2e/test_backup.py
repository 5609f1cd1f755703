"""Backups of a running server, and restores with agents that know more than the restored store."""

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from dart.agent import spool_file
from harness.cluster import Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

DART = Path(sys.executable).with_name("dart")
MODULES = {
    "work": """
        import os, time

        def echo(parameter):
            return parameter

        def gate(parameter):
            while not os.path.exists(parameter):
                time.sleep(0.01)
            return "through"
    """
}


def dart(*words: object, code: int = 0) -> str:
    """Run a command; stdout, or the one sentence on stderr if it is to fail."""
    done = subprocess.run([DART, *map(str, words)], capture_output=True, check=False, text=True, timeout=90)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr if code else done.stdout


def backup(running: Cluster, file: Path) -> dict[str, object]:
    return json.loads(dart("server", "backup", file, "--state-dir", running.state_dir, "--output", "json"))


def restore(running: Cluster, file: Path) -> dict[str, object]:
    return json.loads(dart("server", "restore", file, "--state-dir", running.state_dir, "--output", "json"))


def client_of(running: Cluster) -> HistoricClient:
    return HistoricClient(running.server.url, running.server.key)


def held(client: HistoricClient, name: str) -> int:
    """Results that the agents of a name keep for tasks the server does not know; -1: not connected."""
    answer = client.call("GET", f"/worker/{name}/")
    if answer.status_code != requests.codes.ok:
        return -1
    return sum(agent["results_held"] for agent in answer.json()["worker"]["agents"])


def spooled(home: Path) -> int:
    """Results on an agent's disk."""
    segments = [spool_file.read_segment(path.read_bytes()) for path in (home / "spool").glob("*.spool")]
    return sum(len(segment.results.keys() - segment.forgotten) for segment in segments)


@pytest.fixture
def running(tmp_path):
    with cluster(tmp_path) as it:
        yield it


def test_agents_that_know_more_than_the_restored_store(tmp_path, running):
    """Results of known tasks are recorded; those of the lost future are held, through restarts, and said so.

    Their ids are never given again; and when the later database comes back, they are delivered.
    """
    config = write_modules(tmp_path, **MODULES)
    running.start_agent("w", slots=2, config=config, home="home")
    client = client_of(running)
    client.add_job("g", "work", "gate")
    client.add_job("e", "work", "echo")
    client.add_tasks("e", ("w", "before"))
    first_gate, second_gate = tmp_path / "first", tmp_path / "second"
    (known,) = client.add_tasks("g", ("w", str(first_gate)))
    wait_until(lambda: len(client.results("e", 9)) == 1)
    told = backup(running, tmp_path / "backup.db")
    assert (told["jobs"], told["open_tasks"], told["results"]) == (2, 1, 1)

    (lost,) = client.add_tasks("g", ("w", str(second_gate)))
    (deleted,) = client.add_tasks("e", ("nobody", "after"))
    wait_until(lambda: client.workers()[0]["busy"] == 2, explain=client.workers)
    running.kill_server()
    first_gate.touch()
    second_gate.touch()
    wait_until(lambda: spooled(tmp_path / "home") == 2, explain="both results are in the spool")

    restored = restore(running, tmp_path / "backup.db")
    assert restored["open_tasks"] == 1
    running.start_server()
    client = client_of(running)
    wait_until(lambda: len(client.results("g", 9)) == 1, timeout=20, explain=lambda: client.results("g", 9))
    assert client.results("g", 9)[0]["id"] == known
    assert held(client, "w") == 1
    new = client.add_tasks("e", *[("w", str(n)) for n in range(50)])
    assert min(map(int, new)) > max(int(lost), int(deleted))
    wait_until(lambda: len(client.results("e", 99)) == 51)
    assert client.call("GET", f"/job/g/tasks/{lost}/").status_code == requests.codes.not_found
    log = next(path for path in tmp_path.glob("agent-*.log")).read_text()
    assert log.count("1 results belong to another store") == 1
    assert "they are kept" in log

    # A new process of the agent still has it, and names it.
    agent = next(process for process in running.processes if "agent" in process.args)
    running.end(agent)
    running.start_agent("w", slots=2, config=config, home="home")
    assert held(client, "w") == 1
    client.add_tasks("e", ("w", "more"))
    wait_until(lambda: len(client.results("e", 99)) == 52)

    # The restore is undone: the database that was put aside knows the task, and waits for its result.
    running.end(running.server.process)
    restore(running, Path(str(restored["aside"])))
    running.start_server()
    client = client_of(running)
    wait_until(lambda: len(client.results("g", 9)) == 2, timeout=20, explain=lambda: client.results("g", 9))
    assert {result["id"] for result in client.results("g", 9)} == {known, lost}
    assert {result["success"] for result in client.results("g", 9)} == {"through"}
    wait_until(lambda: held(client, "w") == 0)


def test_a_backup_under_load_holds_what_was_answered_before_it(tmp_path, running):
    """The server goes on meanwhile; every task answered before the backup is in it, none twice; the file is private."""
    config = write_modules(tmp_path, **MODULES)
    running.start_agent("w", slots=2, config=config)
    client = client_of(running)
    client.add_job("e", "work", "echo")
    answered: list[str] = []
    longest = 0.0
    done = threading.Event()

    def submit() -> None:
        nonlocal longest
        own = client_of(running)
        while not done.is_set():
            began = time.monotonic()
            answered.extend(own.add_tasks("e", *[("w", "x" * 2000)] * 50))
            longest = max(longest, time.monotonic() - began)

    submitter = threading.Thread(target=submit)
    submitter.start()
    try:
        wait_until(lambda: len(answered) >= 1000)
        before = list(answered)
        old = os.umask(0)
        try:
            told = backup(running, tmp_path / "backup.db")
        finally:
            os.umask(old)
        meanwhile = len(answered) - len(before)
    finally:
        done.set()
        submitter.join(30)
    assert meanwhile > 0
    assert longest < 2.0, "submissions went on during the backup"
    assert told["open_tasks"] + told["results"] >= len(before)
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == ["backup.db"]
    assert not [path for path in running.state_dir.iterdir() if "copy" in path.name]

    running.end(running.server.process)
    restore(running, tmp_path / "backup.db")
    running.start_server()
    client = client_of(running)
    wait_until(
        lambda: len(client.results("e", 10**6)) == told["open_tasks"] + told["results"], timeout=60, interval=0.2
    )
    ids = [result["id"] for result in client.results("e", 10**6)]
    assert len(ids) == len(set(ids))
    assert set(before) <= set(ids)


def test_an_agent_that_was_enrolled_after_the_backup_enrols_again(tmp_path, running):
    """The restored server does not know its key and the agent says what to do; its key and results stay."""
    config = write_modules(tmp_path, **MODULES)
    backup(running, tmp_path / "backup.db")
    agent = running.start_agent("late", config=config, home="home")
    running.kill_server()
    restore(running, tmp_path / "backup.db")
    running.start_server()
    log = next(path for path in tmp_path.glob("agent-*.log"))
    wait_until(lambda: "does not know this agent's key" in log.read_text(), timeout=20, explain=log.read_text)
    running.end(agent)
    key = (tmp_path / "home" / "agent.key").read_bytes()
    (tmp_path / "home" / "enrolment.json").unlink()
    running.start_agent("late", config=config, home="home")
    assert (tmp_path / "home" / "agent.key").read_bytes() == key


def test_restoring_twice_never_gives_an_id_twice(tmp_path, running):
    """Also when the database in between is gone, so that nothing tells how far it had come."""
    client = client_of(running)
    client.add_job("e", "work", "echo")
    backup(running, tmp_path / "backup.db")
    seen: set[str] = set()
    incarnations = set()
    for _ in range(3):
        running.end(running.server.process)
        (running.state_dir / "dart.db").unlink()
        restore(running, tmp_path / "backup.db")
        running.start_server()
        client = client_of(running)
        incarnations.add(client.good("GET", "/server/")["servers"][0]["incarnation"])
        ids = client.add_tasks("e", *[("nobody", str(n)) for n in range(100)])
        assert not seen & set(ids)
        seen |= set(ids)
    assert len(incarnations) == 3


def test_a_restore_beside_a_running_server_is_refused(tmp_path, running):
    """The directory is in use; nothing is changed."""
    backup(running, tmp_path / "backup.db")
    told = dart("server", "restore", tmp_path / "backup.db", "--state-dir", running.state_dir, code=2)
    assert "Another server uses the state directory" in told
    assert client_of(running).good("GET", "/server/")


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + os.urandom(9000) + data[middle + 9000 :]


def test_a_damaged_backup_is_refused_and_changes_nothing(tmp_path, running):
    """One sentence that says so, exit code 1; the database that was there still works."""
    client = client_of(running)
    client.add_job("e", "work", "echo")
    ids = client.add_tasks("e", *[("nobody", "x" * 1000)] * 100)
    file = tmp_path / "backup.db"
    backup(running, file)
    sound = file.read_bytes()
    running.end(running.server.process)
    before = (running.state_dir / "dart.db").read_bytes()
    for harmed in (_cut(sound), _flip(sound), b"", b"no database" * 999):
        file.write_bytes(harmed)
        told = dart("server", "restore", file, "--state-dir", running.state_dir, code=1)
        assert "Name another" in told
    assert (running.state_dir / "dart.db").read_bytes() == before
    running.start_server()
    assert len(client_of(running).good("GET", "/job/e/tasks/")["tasks"]) == len(ids)


def test_backups_that_cannot_be_made_say_why(tmp_path, running):
    """No such folder, no server, a server that keeps nothing; nothing is left behind."""
    here = ("--state-dir", running.state_dir)
    assert "cannot be written" in dart("server", "backup", tmp_path / "no" / "such.db", *here, code=1)
    assert "There is no file" in dart("server", "restore", tmp_path / "none.db", "--state-dir", tmp_path / "x", code=1)
    with cluster(_folder(tmp_path / "memory"), "--store", "memory") as other:
        told = dart("server", "backup", tmp_path / "memory.db", "--state-dir", other.state_dir, code=1)
        assert "keeps everything in memory" in told
    dart("server", "backup", tmp_path / "memory.db", "--state-dir", tmp_path / "nobody", code=3)
    assert list(tmp_path.glob("*.db*")) == []


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_an_interrupted_restore_never_begins_an_empty_database(tmp_path, running):
    """Killed between putting the old database aside and the new one in place: the server says what to do."""
    client = client_of(running)
    client.add_job("e", "work", "echo")
    backup(running, tmp_path / "backup.db")
    running.end(running.server.process)
    database = running.state_dir / "dart.db"
    database.rename(f"{database}.before-restore-20260101T000000Z")
    Path(f"{database}.restoring").touch(0o600)
    told = dart("server", "start", "--state-dir", running.state_dir, "--port", "0", "--agent-port", "0", code=1)
    assert "a restore was interrupted" in told
    assert not database.exists()
    restore(running, tmp_path / "backup.db")
    running.start_server()
    assert client_of(running).status("e") == 1
