"""A server that advertises an address of its network; agents in other networks, behind routers and firewalls."""

import contextlib
import socket
from pathlib import Path

import pytest

from harness.cluster import MARK, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.network import missing, network
from harness.sshd import needs_sshd, sshds
from harness.waiting import wait_until

pytestmark = [needs_sshd, pytest.mark.skipif(bool(missing()), reason=f"no machines apart: {missing()}")]
MODULES = {"words": "def count(text):\n    return str(len(text.split()))\n"}


def can_be_reached(address: str, port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((address, port), 1.0).close()
        return True
    return False


def test_agents_whom_nobody_can_reach_and_one_who_cannot_reach_the_broker(tmp_path: Path):
    """Outward connections are enough for the first; the other is added with `--via-ssh`."""
    environment = {MARK: str(tmp_path), "DART_LIMIT_SSH_CONNECT_SECONDS": "5"}
    with (
        network(2) as lines,
        sshds(tmp_path / "ssh", 2, lines=lines, **environment) as hosts,
        cluster(
            tmp_path, "--host", lines.address, "--agent-host", lines.address, *hosts.options(),
            environment=hosts.environment(),
        ) as running,
    ):  # fmt: skip
        config = write_modules(tmp_path, **MODULES)
        behind, closed = hosts.hosts
        write_modules(closed.home, **MODULES)
        assert can_be_reached(behind.address, behind.port)
        lines.only_outward(1)
        assert not can_be_reached(behind.address, behind.port), "the network lets connections in"
        running.start_agent("behind", config=config, prefix=lines.inside(1))

        client = HistoricClient(running.server.url, running.server.key)
        lines.close_port(2, int(running.server.agents_url.rpartition(":")[2]))
        answer = client.call("POST", "/worker/", name="closed", hosts=[closed.name])
        assert answer.status_code == 502
        assert f"{closed.name}: port: it cannot reach the broker at {lines.address}:" in answer.text
        assert "--via-ssh" in answer.text
        client.good("POST", "/worker/", name="closed", hosts=[closed.name], via_ssh=True)

        client.add_job("count", "words", "count")
        client.add_tasks("count", *((name, "a b " * 50_000) for name in ("behind", "closed") * 3))
        results = wait_until(lambda: len(found := client.results("count", 10)) == 6 and found, explain=client.workers)
        assert {(result["worker"], result["success"]) for result in results} == {
            ("behind", "100000"),
            ("closed", "100000"),
        }
        client.good("DELETE", "/worker/", hosts=[closed.name])
        wait_until(lambda: [worker["name"] for worker in client.workers()] == ["behind"], explain=client.workers)
