"""Ways to a host: what `~/.ssh/config` of the server's user says holds, jumps included, whose keys are verified too."""

import subprocess
from pathlib import Path

from harness.cluster import MARK, cluster
from harness.historic import HistoricClient
from harness.sshd import USER, make_key, needs_sshd, sshds
from harness.waiting import wait_until

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


def test_a_key_with_a_passphrase_in_an_ssh_agent(tmp_path: Path):
    """Loaded by ssh-add it opens hosts, though the server knows neither file nor passphrase; taken out, it does not."""
    with sshds(tmp_path / "ssh", 1, **{MARK: str(tmp_path)}) as hosts:
        locked = tmp_path / "locked"
        make_key(locked, "correct horse battery")
        (hosts.folder / "authorized_keys").write_text(locked.with_suffix(".pub").read_text())
        ask = tmp_path / "askpass"
        ask.write_text("#!/bin/sh\necho correct horse battery\n")
        ask.chmod(0o700)
        socket = tmp_path / "agent"
        agent = subprocess.Popen(["/usr/bin/ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
        try:
            wait_until(socket.exists, explain="the ssh-agent listens")
            keys = {"SSH_AUTH_SOCK": str(socket), "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
            subprocess.run(["/usr/bin/ssh-add", "-q", locked], env=keys, check=True, stdin=subprocess.DEVNULL)
            environment = {**hosts.environment(), "SSH_AUTH_SOCK": str(socket)}
            with cluster(tmp_path, "--ssh-username", USER, environment=environment) as running:
                client = HistoricClient(running.server.url, running.server.key)
                client.good("POST", "/worker/", name="w", hosts=hosts.names)
                assert [worker["count"] for worker in client.workers()] == [1]
                client.good("DELETE", "/worker/", hosts=hosts.names)
                subprocess.run(["/usr/bin/ssh-add", "-q", "-D"], env=keys, check=True)
                answer = client.call("POST", "/worker/", name="w", hosts=hosts.names)
                assert answer.status_code == 502
                assert ": authentication: the server has no key to log in with" in answer.json()["error"]["message"]
        finally:
            agent.kill()
            agent.wait()
