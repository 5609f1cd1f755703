"""Agents on hosts over SSH: a real OpenSSH server for each host, a real server, real agents."""

import binascii
import json
import pickle
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster import MARK, Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.processes import marked
from harness.sshd import Hosts, needs_sshd, sshds
from harness.waiting import wait_until

pytestmark = needs_sshd
MODULES = {
    "words": "def count(text):\n    return str(len(text.split()))\n",
    "sub__count_words_worker": """
        import binascii, pickle
        from collections import Counter

        def count_words(text):
            return binascii.b2a_base64(pickle.dumps(dict(Counter(text.split()))))
    """,
}


@pytest.fixture
def four(tmp_path: Path) -> Iterator[tuple[Cluster, HistoricClient, Hosts]]:
    """A server and four hosts that it knows; their agents bear the cluster's mark, so that none is overlooked."""
    with (
        sshds(tmp_path / "ssh", 4, **{MARK: str(tmp_path)}) as hosts,
        cluster(tmp_path, *hosts.options(), environment=hosts.environment()) as running,
    ):
        for host in hosts.hosts:
            write_modules(host.home, **MODULES)
        client = HistoricClient(running.server.url, running.server.key)
        yield running, client, hosts
        client.call("DELETE", "/worker/", hosts=hosts.names)


def counts(client: HistoricClient) -> dict[str, int]:
    return {worker["name"]: worker["count"] for worker in client.workers()}


def test_added_removed_and_added_again(four: tuple[Cluster, HistoricClient, Hosts]):
    """Eight workers on four hosts by one call as old programs make it; they work, leave without a trace, come again."""
    _, client, hosts = four
    wanted = {
        "name": "worker#name-:0", "hosts": hosts.names, "workers_per_host": 2, "capabilities": ["local_cluster", ""],
        "shm_size": 0, "ssh": {},
    }  # fmt: skip
    answer = client.good("POST", "/worker/", **wanted)
    assert [one["host"] for one in answer["hosts"]] == hosts.names
    assert counts(client) == {"worker#name-:0": 8}
    (worker,) = client.workers()
    assert worker["capabilities"] == ["local_cluster"]

    client.add_job("count", "words", "count")
    client.add_tasks("count", *(("worker#name-:0", "a b c") for _ in range(16)))
    results = wait_until(lambda: len(found := client.results("count", 20)) == 16 and found, explain="16 results")
    assert {result["success"] for result in results} == {"3"}

    client.good("DELETE", "/worker/", hosts=hosts.names, ssh={})
    assert counts(client) == {}
    agents = [pid for pid in marked(MARK, str(hosts.folder.parent)) if b"dart.agent" in _command(pid)]
    assert agents == []
    assert not any((host.home / ".local/state/dart/ssh").glob("*") for host in hosts.hosts if _has_any(host.home))
    client.good("DELETE", "/worker/", hosts=hosts.names, ssh={})

    client.good("POST", "/worker/", **{**wanted, "hosts": hosts.names[:1]})
    client.good("POST", "/worker/", **{**wanted, "hosts": hosts.names[:1], "workers_per_host": "1"})
    assert counts(client) == {"worker#name-:0": 3}

    # Each call is in the audit, with who and with what.
    entries = client.good("GET", "/audit/?amount=100")["audit"]
    told = [entry["what"] for entry in entries if entry["outcome"] == "done" and entry["who"] == "key admin (admin)"]
    assert (told.count("worker.add"), told.count("worker.remove")) == (3, 2), entries


def _has_any(home: Path) -> bool:
    folder = home / ".local/state/dart/ssh"
    return folder.is_dir() and any(folder.iterdir())


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def one(tmp_path: Path) -> Iterator[tuple[Cluster, HistoricClient, Hosts]]:
    """A server whose own options say how its host is reached."""
    with sshds(tmp_path / "ssh", 1, **{MARK: str(tmp_path)}) as hosts:
        options = (*hosts.options(), "--ssh-port", str(hosts.hosts[0].port))
        with cluster(tmp_path, *options, environment=hosts.environment()) as running:
            write_modules(hosts.hosts[0].home, **MODULES)
            client = HistoricClient(running.server.url, running.server.key)
            yield running, client, hosts
            if running.server.process.poll() is None:
                client.call("DELETE", "/worker/", hosts=["127.0.0.1"])


def agents(running: Cluster) -> list[int]:
    return [pid for pid in marked(MARK, str(running.folder)) if b"-m\0dart.agent" in _command(pid)]


def test_the_very_body_of_an_old_program(one: tuple[Cluster, HistoricClient, Hosts]):
    """Two workers by the server's own SSH options; members of old programs are ignored with a warning; odd names too.

    Agents stay when the server is started anew, and leave when a client stops it for good.
    """
    running, client, _ = one
    body = {
        "name": "worker#name-:0", "hosts": ["127.0.0.1"], "workers_per_host": 2, "capabilities": ["local_cluster"],
        "shm_size": 0, "ssh": {}, "python_home": "/opt/python", "output_directory": "/tmp",
    }  # fmt: skip
    answer = client.good("POST", "/worker/", **body)
    assert {text.split("`")[1] for text in answer["warnings"]} == {"python_home", "output_directory"}
    # As the old program counts words: bytes of a pickle there and back.
    client.add_job("task_0", "sub/count_words_worker", "count_words")
    client.add_tasks("task_0", *(("worker#name-:0", f"a b a {number}") for number in range(4)))
    results = wait_until(lambda: len(found := client.results("task_0", 9)) == 4 and found, explain="four results")
    counted = [pickle.loads(binascii.a2b_base64(result["success"])) for result in results]  # noqa: S301 - our own
    assert sorted(counted, key=str) == [{"a": 2, "b": 1, str(number): 1} for number in range(4)]
    odd = "-n äöü 名前 # : . + " + "x" * 182
    assert len(odd) == 200
    client.good("POST", "/worker/", name=odd, hosts=["127.0.0.1"], capabilities=["großes Gerät", "-c=1"], shm_size=4096)
    assert counts(client) == {"worker#name-:0": 2, odd: 1}
    assert {worker["name"]: worker["capabilities"] for worker in client.workers()}[odd] == ["-c=1", "großes Gerät"]
    client.add_job("count", "words", "count")
    client.add_tasks("count", (odd, "a b"), ("worker#name-:0", "a"))
    results = wait_until(lambda: len(found := client.results("count", 5)) == 2 and found, explain="two results")
    assert {result["worker"]: result["success"] for result in results} == {odd: "2", "worker#name-:0": "1"}

    # Another name of the same machine: neither its agents nor those of the first name are taken for leftovers.
    client.good("POST", "/worker/", name="other", hosts=["localhost"], ssh={"host_keys": "accept-new"})
    assert counts(client) == {"worker#name-:0": 2, odd: 1, "other": 1}
    client.good("DELETE", "/worker/", hosts=["localhost"], ssh={"host_keys": "accept-new"})
    assert counts(client) == {"worker#name-:0": 2, odd: 1}

    began = agents(running)
    assert len(began) == 2
    assert running.end(running.server.process) == 0
    running.start_server()
    client = HistoricClient(running.server.url, running.server.key)
    wait_until(lambda: len(client.workers()) == 2, explain="both come back to a server that was started anew")
    assert agents(running) == began

    client.good("DELETE", "/server/")
    assert running.server.process.wait(10) == 0
    assert agents(running) == []


def test_by_the_command_line(one: tuple[Cluster, HistoricClient, Hosts], tmp_path: Path):
    """`dart worker add` with a file of kinds, `upgrade`, `remove`; a failing host is one sentence and exit code 1."""
    running, client, _ = one
    nodes = tmp_path / "nodes.json"
    kinds = {
        "gpu": {"capabilities": ["gpu"], "workers_per_node": 2, "shm_size": 4096, "hosts": ["127.0.0.1"]},
        "cpu": {"hosts": ["127.0.0.1"]},
    }
    nodes.write_text(json.dumps(kinds))
    added = dart(running, "worker", "add", "--file", str(nodes), "--output", "json")
    assert added.returncode == 0, added.stderr
    assert [(row["name"], row["host"]) for row in json.loads(added.stdout)] == [
        ("gpu", "127.0.0.1"),
        ("cpu", "127.0.0.1"),
    ]
    assert counts(client) == {"gpu": 2, "cpu": 1}
    upgraded = dart(running, "worker", "upgrade", "127.0.0.1")
    assert (upgraded.returncode, upgraded.stdout.split()) == (0, ["HOST", "AGENTS", "127.0.0.1"])
    failed = dart(running, "worker", "add", "127.0.0.1", "--name", "x", "--ssh-port", "9")
    assert failed.returncode == 1
    assert failed.stderr.startswith("dart: 1 of 1 hosts failed. 127.0.0.1: connection: ")
    assert dart(running, "worker", "add", "--name", "x").returncode == 2
    assert dart(running, "worker", "add", "127.0.0.1").returncode == 2
    removed = dart(running, "worker", "remove", "127.0.0.1", "--output", "json")
    assert len(json.loads(removed.stdout)[0]["agents"]) == 2
    assert counts(client) == {}


def dart(running: Cluster, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*running.program, *arguments, "--state-dir", str(running.state_dir)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
