"""Agents on hosts over SSH: a real OpenSSH server for each host, a real server, real agents."""

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
MODULES = {"words": "def count(text):\n    return str(len(text.split()))\n"}


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


def _has_any(home: Path) -> bool:
    folder = home / ".local/state/dart/ssh"
    return folder.is_dir() and any(folder.iterdir())


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
