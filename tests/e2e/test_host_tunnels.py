"""Hosts that cannot reach the broker's port, and hosts whose agents are replaced under way."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import dart
from harness.cluster import MARK, Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.sshd import Hosts, needs_sshd, sshds
from harness.waiting import wait_until

pytestmark = needs_sshd
MODULES = {
    "words": """
        import time

        def count(text):
            return str(len(text.split()))

        def slowly(text):
            time.sleep(0.1)
            return text
    """
}
BRISK = {
    "DART_LIMIT_HEARTBEAT_SECONDS": "0.5",
    "DART_LIMIT_SILENCE_SECONDS": "2",
    "DART_LIMIT_RECONNECT_SECONDS_MAX": "0.5",
}
"""For server and agents: cuts are noticed and mended in a test's time."""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[tuple[Cluster, HistoricClient, Hosts]]:
    """A server that tells agents an address where nobody listens, as a firewall would make it; one host."""
    closed = ("--host", "0.0.0.0", "--advertise", "127.0.0.2")  # noqa: S104 - for 127.0.0.2 to be served at all
    with (
        sshds(tmp_path / "ssh", 1, **{MARK: str(tmp_path), **BRISK}) as hosts,
        cluster(tmp_path, *closed, *hosts.options(), environment={**hosts.environment(), **BRISK}) as running,
    ):
        write_modules(hosts.hosts[0].home, **MODULES)
        client = HistoricClient(running.server.url, running.server.key)
        yield running, client, hosts
        client.call("DELETE", "/worker/", hosts=hosts.names)


def worker(client: HistoricClient, name: str) -> dict[str, object]:
    return client.good("GET", f"/worker/{name}/")["worker"]


def count(client: HistoricClient, job: str, texts: list[str]) -> None:
    """All of these tasks succeed, each once."""
    already = len(client.results(job, 10_000))
    client.add_tasks(job, *(("w", text) for text in texts))
    found = wait_until(
        lambda: len(found := client.results(job, 10_000)) == already + len(texts) and found,
        timeout=30,
        explain=lambda: client.good("GET", f"/job/{job}/tasks/"),
    )
    assert all("success" in result for result in found), found


def test_a_closed_port_and_a_tunnel(scene: tuple[Cluster, HistoricClient, Hosts]):
    """Told with the address; by a tunnel it works, comes back after cuts and the server's restart, and is replaced."""
    running, client, hosts = scene
    (host,) = hosts.hosts
    answer = client.call("POST", "/worker/", name="w", hosts=hosts.names)
    assert answer.status_code == 502
    text = answer.json()["error"]["message"]
    assert f"{host.name}: port: it cannot reach the broker at 127.0.0.2:" in text
    assert "--via-ssh" in text

    client.good("POST", "/worker/", name="w", hosts=hosts.names, workers_per_host=2, via_ssh=True)
    client.add_job("count", "words", "count")
    count(client, "count", ["a b " * 100_000, "a"])

    host.stop()
    wait_until(lambda: not client.workers(), timeout=20, explain="the cut link is noticed")
    host.start()
    wait_until(client.workers, timeout=30, explain="the agent comes back through a new tunnel")
    count(client, "count", ["a"] * 3)

    assert running.end(running.server.process) == 0
    running.start_server()
    client = HistoricClient(running.server.url, running.server.key)
    wait_until(client.workers, timeout=30, explain="the agent comes back to a server that was started anew")

    # Replaced while it works: no task is lost, and none runs into an error.
    client.add_job("slow", "words", "slowly")
    before = {agent["id"] for agent in worker(client, "w")["agents"] if agent["connected"]}
    client.add_tasks("slow", *(("w", str(number)) for number in range(30)))
    same = client.good("POST", "/host/upgrade/", hosts=hosts.names)
    assert same["hosts"] == [{"host": host.name, "agents": []}]
    done = client.good("POST", "/host/upgrade/", hosts=hosts.names, everyone=True)
    after = {agent["id"] for agent in worker(client, "w")["agents"] if agent["connected"]}
    assert (len(before), len(after), before & after) == (1, 1, set())
    assert done["hosts"] == [{"host": host.name, "agents": list(after)}]
    assert [one["count"] for one in client.workers()] == [2]
    results = wait_until(
        lambda: len(found := client.results("slow", 100)) == 30 and found, timeout=20, explain="all 30"
    )
    assert {result.get("success") for result in results} == {str(number) for number in range(30)}
    assert all(task["attempts"] == 1 for task in client.good("GET", "/job/slow/tasks/?state=succeeded")["tasks"])
    client.good("DELETE", "/worker/", hosts=hosts.names)
    assert client.workers() == []


def test_from_one_version_to_the_next(tmp_path: Path):
    """A server of another version brought the agent; its successor replaces it while it works, and no task is lost."""
    source = Path(dart.__file__).parent
    former = tmp_path / "former"
    shutil.copytree(source, former / "dart", ignore=shutil.ignore_patterns("__pycache__"))
    about = former / "dart" / "__init__.py"
    about.write_text(about.read_text().replace(dart.__version__, "0.0.9"))
    with sshds(tmp_path / "ssh", 1, **{MARK: str(tmp_path)}) as hosts:
        environment = {**hosts.environment(), "PYTHONPATH": str(former)}
        with cluster(tmp_path, *hosts.options(), environment=environment) as running:
            write_modules(hosts.hosts[0].home, **MODULES)
            client = HistoricClient(running.server.url, running.server.key)
            client.good("POST", "/worker/", name="w", hosts=hosts.names, workers_per_host=2)
            assert versions(client) == ["0.0.9"]
            client.add_job("slow", "words", "slowly")
            client.add_tasks("slow", *(("w", str(number)) for number in range(60)))
            assert running.end(running.server.process) == 0
            del environment["PYTHONPATH"]
            running.start_server()
            client = HistoricClient(running.server.url, running.server.key)
            wait_until(client.workers, timeout=20, explain="the agent of the former version comes back")
            assert versions(client) == ["0.0.9"]
            client.good("POST", "/host/upgrade/", hosts=hosts.names)
            assert versions(client) == [dart.__version__]
            wait_until(lambda: len(client.results("slow", 100)) == 60, timeout=20, explain="all 60")
            assert {one["success"] for one in client.results("slow", 100)} == {str(number) for number in range(60)}
            assert client.good("POST", "/host/upgrade/", hosts=hosts.names)["hosts"][0]["agents"] == []
            client.good("DELETE", "/worker/", hosts=hosts.names)


def versions(client: HistoricClient) -> list[str]:
    """As `GET /worker/` tells them."""
    workers = client.good("GET", "/worker/")["workers"]
    return [version for one in workers for version in one["facts"]["agent_version"]]
