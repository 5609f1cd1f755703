"""What goes wrong with hosts: each fault is provoked on a real SSH server and told with host, step and reason."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cluster import MARK, Cluster, cluster
from harness.historic import HistoricClient
from harness.processes import marked
from harness.sshd import Host, Hosts, make_key, needs_sshd, sshds
from harness.waiting import wait_until

pytestmark = needs_sshd
PASSPHRASE = "correct horse battery"
CUTS = ("0-python", "1-before", "1-after", "2-before", "2-middle", "2-after", "3-before", "3-after")
"""Where connections are cut: before the host has done what it is told, in the middle of being told, or right after.
The steps are the search for a Python, look, install, start."""
REMOVAL_CUTS = ("0-python", "1-before", "1-after", "2-before", "2-after")
"""The same when agents leave: the search for a Python, look, stop."""
CUTTING = """\
#!/bin/sh
# Stands for a host's python3: does its work, and cuts the connection at one of the steps.
case "$2" in *readline*) ;; *)
    # Two steps up: the shell that looks for a Python, and the connection.
    if [ "$(cat "$HOME/cut" 2> /dev/null)" = 0-python ]; then
        kill -9 "$(ps -o ppid= -p $PPID | tr -d ' ')"
    fi
    exec {python} "$@" ;;
esac
echo >> "$HOME/steps"
[ -e "$HOME/cut" ] || exec {python} "$@"
case $(wc -l < "$HOME/steps")-$(cut -d- -f2 "$HOME/cut") in
    $(cat "$HOME/cut")) ;;
    *) exec {python} "$@" ;;
esac
case $(cat "$HOME/cut") in
    *before) kill -9 $PPID ;;
    *middle) head -c 40000 | {python} "$@" > "$HOME/answer"; kill -9 $PPID ;;
    *) {python} "$@" > "$HOME/answer"; kill -9 $PPID ;;
esac
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Iterator[tuple[Cluster, HistoricClient, Hosts]]:
    """A server and nine hosts; the first is sound, the others are the tests' to spoil."""
    folder = tmp_path_factory.mktemp("failures")
    with (
        sshds(folder / "ssh", len(CUTS) + 1, **{MARK: str(folder)}) as hosts,
        cluster(folder, *hosts.options(), environment=hosts.environment()) as running,
    ):
        client = HistoricClient(running.server.url, running.server.key)
        yield running, client, hosts
        client.call("DELETE", "/worker/", hosts=hosts.names)


def add(client: HistoricClient, hosts: list[str], *, name: str = "w", **members: object) -> dict[str, str]:
    """What is told of each host that failed; all others came up."""
    answer = client.call("POST", "/worker/", name=name, hosts=hosts, **members)
    if answer.status_code == 200:
        return {}
    assert answer.status_code == 502, answer.text
    error = answer.json()["error"]
    told = {one["host"]: f"{one['step']}: {one['reason']} {one['stderr']}" for one in error["failed"]}
    assert sorted([*told, *error["up"]]) == sorted(hosts)
    assert all(f"{host}: " in error["message"] for host in told)
    return told


def program(host: Host, name: str, text: str) -> None:
    path = host.folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def restart(host: Host, **variables: str) -> None:
    host.stop()
    host.variables.update(variables)
    host.start()


def agents(running: Cluster) -> list[int]:
    return [pid for pid in marked(MARK, str(running.folder)) if b"dart.agent" in _command(pid)]


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_each_host_is_told_with_its_reason(scene: tuple[Cluster, HistoricClient, Hosts]):
    """Six hosts fail for six reasons in one call, the sound one comes up, and the error has all of it."""
    running, client, hosts = scene
    sound, none, old, unknown, changed, full = hosts.hosts[:6]
    (none.folder / "bin").mkdir()
    (none.folder / "bin" / "sh").symlink_to("/bin/sh")
    restart(none, PATH=str(none.folder / "bin"))
    program(old, "python3", '#!/bin/sh\necho "3 9 1"\n')
    (old.folder / "bin" / "sh").symlink_to("/bin/sh")
    restart(old, PATH=str(old.folder / "bin"))
    known = hosts.client_home / ".ssh" / "known_hosts"
    known.write_text("".join(line for line in known.read_text().splitlines(keepends=True) if line != unknown.known))
    changed.new_host_key()
    restart(changed)
    state = full.home / ".local"
    state.mkdir()
    is_mounted = (
        subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=256k", "t", state], check=False).returncode == 0
    )
    closed = "127.0.0.1:9"
    try:
        names = [
            *(host.name for host in hosts.hosts[:6] if host is not full or is_mounted),
            closed,
            "no-such-host.invalid",
        ]
        told = add(client, names, workers_per_host=3)
    finally:
        if is_mounted:
            subprocess.run(["/bin/umount", "-l", state], check=True)
    expected = {
        none.name: "Python: there is no Python 3",
        old.name: f"Python: the agent needs Python 3.11 or later; {old.folder}/bin/python3 is Python 3.9",
        unknown.name: "host key: its key SHA256:",
        changed.name: "host key: it shows the key SHA256:",
        closed: "connection: ",
        "no-such-host.invalid": "connection: ",
        **({full.name: "space: "} if is_mounted else {}),
    }
    assert told.keys() == expected.keys()
    for host, text in expected.items():
        assert told[host].startswith(text), told[host]
    assert "ssh-keygen -R" in told[changed.name]
    assert [(one["name"], one["count"]) for one in client.workers()] == [("w", 3)]
    client.good("DELETE", "/worker/", hosts=[sound.name])
    assert agents(running) == []


def test_keys_that_are_not_known(scene: tuple[Cluster, HistoricClient, Hosts]):
    """Pinned fingerprints are taken and no others; `accept-new` takes and keeps a new key, and never a changed one."""
    running, client, hosts = scene
    host = hosts.hosts[5]
    known = hosts.client_home / ".ssh" / "known_hosts"
    known.write_text(hosts.hosts[0].known)
    shown = subprocess.run(
        ["/usr/bin/ssh-keygen", "-lf", host.folder / "host_key.pub"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    wrong = "SHA256:" + "A" * 43
    assert "none of those that are pinned" in add(client, [host.name], ssh={"host_keys": wrong})[host.name]
    assert add(client, [host.name], ssh={"host_keys": f"{wrong}, {shown}"}) == {}
    assert "is not known" in add(client, [host.name])[host.name]
    assert add(client, [host.name], ssh={"host_keys": "accept-new"}) == {}
    assert add(client, [host.name]) == {}
    kept = running.state_dir / "ssh_known_hosts"
    assert kept.read_text() == host.known
    assert kept.stat().st_mode & 0o777 == 0o600
    client.good("DELETE", "/worker/", hosts=[host.name])

    host.new_host_key()
    restart(host)
    assert "somebody may be in between" in add(client, [host.name], ssh={"host_keys": "accept-new"})[host.name]
    kept.unlink()
    hosts.know()


def test_who_may_not_log_in(scene: tuple[Cluster, HistoricClient, Hosts]):
    """A wrong user's key; a key that needs a passphrase, which is in no log; a key file that is none."""
    running, client, hosts = scene
    sound = hosts.hosts[0]
    stranger = hosts.folder / "stranger"
    if not stranger.exists():
        make_key(stranger)
    told = add(client, [sound.name], ssh={"private_key": str(stranger)})
    assert told[sound.name].startswith("authentication: it lets nobody in")

    locked = hosts.folder / "locked"
    if not locked.exists():
        make_key(locked, PASSPHRASE)
        with (hosts.folder / "authorized_keys").open("a") as file:
            file.write(locked.with_suffix(".pub").read_text())
    assert "passphrase" in add(client, [sound.name], ssh={"private_key": str(locked)})[sound.name]
    wrong = add(client, [sound.name], ssh={"private_key": str(locked), "passphrase": "wrong horse"})
    assert wrong[sound.name].startswith("authentication: ")
    assert add(client, [sound.name], ssh={"private_key": str(locked), "passphrase": PASSPHRASE}) == {}
    client.good("DELETE", "/worker/", hosts=[sound.name])
    for log in running.folder.rglob("*"):
        if log.is_file() and not log.is_relative_to(hosts.folder):
            assert PASSPHRASE.encode() not in log.read_bytes(), log

    answer = client.call("POST", "/worker/", name="w", hosts=[sound.name], ssh={"private_key": "/no/key"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "ssh.private_key")


def test_an_agent_that_ends_at_once(scene: tuple[Cluster, HistoricClient, Hosts]):
    """Its exit code and last lines are told; nothing of it is left, and its key does not count any more."""
    running, client, hosts = scene
    sound = hosts.hosts[0]
    told = add(client, [sound.name], name="dies", config="/no/worker.json")[sound.name]
    assert told.startswith("start: the agent ended at once with exit code 2")
    assert "/no/worker.json" in told
    assert agents(running) == []
    assert not list((sound.home / ".local/state/dart/ssh").glob("*/agents/*"))
    assert client.call("GET", "/worker/dies/").status_code == 404


def test_connections_that_break_off(scene: tuple[Cluster, HistoricClient, Hosts]):
    """Cut in the middle of each step: what came up counts, the rest is told, and a second call repairs it all."""
    running, client, hosts = scene
    broken = hosts.hosts[1:]
    for host, cut in zip(broken, CUTS, strict=True):
        program(host, "python3", CUTTING.format(python=sys.executable))
        restart(host, PATH=f"{host.folder / 'bin'}:/usr/bin:/bin")
        (host.home / "cut").write_text(cut)
    hosts.know()
    told = add(client, [host.name for host in broken], name="cut")
    assert told.keys() == {host.name for host in broken[:-1]}, told
    assert {text.split(":")[0] for text in told.values()} == {"Python", "preflight", "install", "start"}
    assert all("broke off" in text for text in told.values()), told
    assert [(one["name"], one["count"]) for one in client.workers()] == [("cut", 1)]

    for host in broken:
        (host.home / "cut").unlink()
    assert add(client, list(told), name="cut") == {}
    assert [(one["name"], one["count"]) for one in client.workers()] == [("cut", len(CUTS))]
    assert len(agents(running)) == len(CUTS) + _runners(running)
    for host in broken:
        (folder,) = (host.home / ".local/state/dart/ssh").iterdir()
        assert [len(list((folder / part).iterdir())) for part in ("bundles", "agents")] == [1, 1], host.folder

    # A machine that was switched off and on: the same call brings the same agent back, with what is in its spool.
    victim = next(pid for pid in agents(running) if str(broken[0].home).encode() in _command(pid))
    os.kill(victim, signal.SIGKILL)
    assert add(client, [broken[0].name], name="cut") == {}
    wait_until(lambda: client.workers()[0]["count"] == len(CUTS), explain=client.workers)

    # Cut while agents are taken away, the same call again takes what is left.
    for host, cut in zip(broken, REMOVAL_CUTS, strict=False):
        (host.home / "steps").unlink()
        (host.home / "cut").write_text(cut)
    answer = client.call("DELETE", "/worker/", hosts=[host.name for host in broken])
    assert answer.status_code == 502, answer.text
    assert len(answer.json()["error"]["failed"]) == len(REMOVAL_CUTS), answer.text
    for host in broken[: len(REMOVAL_CUTS)]:
        (host.home / "cut").unlink()
    client.good("DELETE", "/worker/", hosts=[host.name for host in broken])
    assert client.workers() == []
    assert agents(running) == []
    for host in broken:
        assert list((host.home / ".local/state/dart/ssh").iterdir()) == []


def _runners(running: Cluster) -> int:
    return sum(b"runner" in _command(pid) and b"-m\0dart.agent" not in _command(pid) for pid in agents(running))
