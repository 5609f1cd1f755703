"""Ways to a host: what `~/.ssh/config` of the server's user says holds, jumps included, whose keys are verified too."""

from pathlib import Path

from harness.cluster import MARK, cluster
from harness.historic import HistoricClient
from harness.sshd import USER, needs_sshd, sshds

pytestmark = needs_sshd


def test_a_jump_and_a_name_of_ssh_config(tmp_path: Path):
    """A host by a name that only the file knows, behind another; where the jump's key is unknown nothing is sent."""
    with (
        sshds(tmp_path / "ssh", 2, **{MARK: str(tmp_path)}) as hosts,
        cluster(tmp_path, environment=hosts.environment()) as running,
    ):
        jump, behind = hosts.hosts
        ssh = hosts.client_home / ".ssh"
        (ssh / "config").write_text(
            f"Host jump\n HostName 127.0.0.1\n Port {jump.port}\n"
            f"Host behind\n HostName 127.0.0.1\n Port {behind.port}\n ProxyJump jump\n"
            f"Host *\n User {USER}\n IdentityFile {hosts.key}\n"
        )
        client = HistoricClient(running.server.url, running.server.key)
        client.good("POST", "/worker/", name="w", hosts=["behind"])
        assert [worker["count"] for worker in client.workers()] == [1]
        assert "Connection from 127.0.0.1" in jump.log
        client.good("DELETE", "/worker/", hosts=["behind"])

        (ssh / "known_hosts").write_text(behind.known)
        answer = client.call("POST", "/worker/", name="w", hosts=["behind"])
        assert answer.status_code == 502
        assert "behind: host key: its key SHA256:" in answer.json()["error"]["message"]
        assert client.workers() == []
