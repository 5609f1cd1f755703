"""What is done on a host, done here: half of anything is never taken for whole, and nothing else is touched."""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dart.deploy import host_side
from dart.deploy.bundle_archive import pack, unpack
from dart.limits import Limits
from harness.waiting import wait_until

START = b"#!/bin/sh\necho joined w slots 1\nexec sleep 60\n"
AGENT = "a" * 64
SYSTEMCTL = """\
#!/bin/sh
# Stands for systemctl of a machine whose users have a systemd: notes what it is told, and starts what a unit says.
it=$(dirname "$0")
shift
echo "$*" >> "$it/told"
pid=$(cat "$it/pid" 2> /dev/null)
case "$*" in
    *Version) echo 252 ;;
    restart*)
        unit="$HOME/.config/systemd/user/$2"
        line=$(sed -n 's/^ExecStart=//p' "$unit" | sed 's/%%/%/g; s/\\$\\$/$/g')
        eval "env -i HOME='$HOME' PATH=/usr/bin:/bin setsid $line < /dev/null > /dev/null 2>&1 & echo \\$! > '$it/pid'"
        sleep 0.1 ;;
    *MainPID*) kill -0 "$pid" 2> /dev/null && echo "$pid" || echo 0 ;;
    *ExecMainStatus*) echo 3 ;;
    stop*) kill "$pid" 2> /dev/null || : ;;
esac
"""
LOGINCTL = """\
#!/bin/sh
it=$(dirname "$0")
case "$1" in
    show-user) cat "$it/linger" ;;
    enable-linger) [ -e "$it/may" ] && echo yes > "$it/linger" || { echo Access denied >&2; exit 1; } ;;
esac
"""


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Sends a request as the server would, with this folder as the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    before = os.umask(0o022)

    def do(action: str, blob: bytes = b"", **members: object) -> dict[str, object]:
        request = json.dumps({"action": action, "server": "s", **members}).encode() + b"\n"
        stdin = io.TextIOWrapper(io.BytesIO(request + blob))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            assert host_side.main() == 0
        return json.loads(capfd.readouterr().out)

    yield do
    do("stop", ids=None, seconds=0.2, is_last=True)
    os.umask(before)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def bundle(start: bytes = START) -> tuple[str, bytes]:
    """Name and bytes of one that is as small as can be."""
    data = pack("dart-agent", {"dart-agent": start, "lib/x.py": b"x = 1\n"}, {})
    return unpack(data, Limits())[0], data


def install(ask, start: bytes = START) -> str:
    name, data = bundle(start)
    assert ask("install", data, bundle=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()) == {}
    return name


def agent(name: str, **members: object) -> dict[str, object]:
    start = {"arguments": ["--name=w"], "bundle": name, "config": "", "via_ssh": False}
    return {"id": AGENT, "files": {"agent.key": "secret", "start.json": json.dumps(start)}, **members}


def test_what_a_host_tells_of_itself(ask):
    """Machine, space, Python; whether the broker's port is open; nothing there yet."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        told = ask("look", address="127.0.0.1", port=port)
        assert told["reach"] == ""
    assert told["python"] == list(sys.version_info[:2])
    assert told["pyzmq"]
    assert told["free_bytes"] > 0
    assert (told["bundles"], told["agents"]) == ([], [])
    assert "refused" in ask("look", address="127.0.0.1", port=port)["reach"]
    assert ask("look", address="", port=0)["reach"] == ""


def test_a_bundle_is_there_as_a_whole_or_not_at_all(ask, tmp_path: Path):
    """Cut short it is refused and nothing stays; changed afterwards it counts as missing and is replaced."""
    name, data = bundle()
    told = ask("install", data[:-1], bundle=name, bytes=len(data), sha256="0" * 64)
    assert "of the bundle's" in told["fault"]
    bundles = tmp_path / ".local/state/dart/ssh/s/bundles"
    assert not bundles.exists()
    install(ask)
    assert ask("look", address="", port=0)["bundles"] == [name]
    (bundles / name / "lib/x.py").write_text("x = 2\n")
    assert ask("look", address="", port=0)["bundles"] == []
    install(ask)
    assert ask("look", address="", port=0)["bundles"] == [name]
    assert (bundles / name).stat().st_mode & 0o077 == 0
    (bundles / ".999999999-half").mkdir()
    (bundles / f".{os.getpid()}-mine").mkdir()
    ask("look", address="", port=0)
    assert sorted(path.name for path in bundles.iterdir()) == sorted([f".{os.getpid()}-mine", name])


def test_a_full_disk_is_a_fault_that_leaves_nothing(ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The system's own words, and where."""
    name, data = bundle()

    def full(path: Path, _: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        told = ask("install", data, bundle=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert "No space left on device" in told["fault"]
    assert list((tmp_path / ".local/state/dart/ssh/s/bundles").iterdir()) == []


def test_an_agent_is_started_found_stopped_and_removed(ask, tmp_path: Path):
    """Its secrets are its owner's alone; it is told as running, then as dead; with the last one goes everything."""
    name = install(ask)
    told = ask("start", agents=[agent(name)], seconds=10)
    assert [(one["id"], one["died"]) for one in told["agents"]] == [(AGENT, False)]
    home = tmp_path / ".local/state/dart/ssh/s/agents" / AGENT
    assert {path.stat().st_mode & 0o077 for path in (home, home / "agent.key", home / "agent.out")} == {0}
    (found,) = ask("look", address="", port=0)["agents"]
    assert (found["id"], found["running"], found["start"]["bundle"]) == (AGENT, True, name)
    pid = json.loads((home / "run.json").read_text())["pid"]
    assert b"secret" not in Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert ask("stop", ids=["other"], seconds=1, is_last=True)["ids"] == []
    assert ask("stop", ids=[AGENT], seconds=5, is_last=True) == {"ids": [AGENT], "killed": []}
    wait_until(lambda: not host_side._alive(pid), explain="it is gone")
    assert not (tmp_path / ".local/state/dart/ssh/s").exists()
    assert ask("stop", ids=None, seconds=1, is_last=True)["ids"] == []


def test_an_agent_that_dies_and_one_that_does_not_stop(ask):
    """Exit code and last lines of the one; the other is killed."""
    name = install(ask, b"#!/bin/sh\necho no such thing >&2\nexit 3\n")
    (told,) = ask("start", agents=[agent(name)], seconds=10)["agents"]
    assert (told["died"], told["code"], told["log"]) == (True, 3, "no such thing\n")
    assert ask("look", address="", port=0)["agents"][0]["running"] is False
    assert ask("stop", ids=[AGENT], seconds=1, is_last=False)["ids"] == [AGENT]

    name = install(ask, b"#!/bin/sh\ntrap '' TERM\necho joined w slots 1\nwhile :; do sleep 0.1; done\n")
    ask("start", agents=[agent(name)], seconds=10)
    assert ask("stop", ids=[AGENT], seconds=0.2, is_last=True)["killed"] == [AGENT]


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stand-ins, first on the PATH: no user here has a systemd."""
    folder = tmp_path / "stand ins"
    folder.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("loginctl", LOGINCTL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "linger").write_text("no\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_a_user_with_a_systemd_has_the_agent_as_a_unit(ask, tmp_path: Path, systemd: Path, monkeypatch):
    """Lingering is asked for; the unit is sound, starts again what died, and goes with the agent."""
    (systemd / "may").touch()
    monkeypatch.setenv("LC_ODD", 'a\'b "$HOME" %h')
    name = install(ask)
    told = ask("start", agents=[agent(name)], seconds=10)
    assert told["note"] == ""
    assert [(one["died"], one["log"]) for one in told["agents"]] == [(False, "joined w slots 1\n")]
    unit = tmp_path / ".config/systemd/user" / f"dart-ssh-{AGENT[:32]}.service"
    if shutil.which("systemd-analyze"):
        done = subprocess.run(
            [str(shutil.which("systemd-analyze")), "verify", "--user", "--man=no", unit],
            capture_output=True,
            text=True,
            check=False,
        )
        assert str(unit.name) not in done.stderr, done.stderr
    first = host_side._pid(tmp_path / ".local/state/dart/ssh/s/agents" / AGENT)
    environ = Path(f"/proc/{first}/environ").read_bytes().split(b"\0")
    assert b'LC_ODD=a\'b "$HOME" %h' in environ
    assert f"DART_PYTHON={sys.executable}".encode() in environ

    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not ask("look", address="", port=0)["agents"][0]["running"], explain="it is dead")
    assert ask("start", agents=[{"id": AGENT}], seconds=10)["agents"][0]["died"] is False
    assert ask("look", address="", port=0)["agents"][0]["running"] is True
    assert ask("stop", ids=[AGENT], seconds=5, is_last=True) == {"ids": [AGENT], "killed": []}
    assert not unit.exists()
    assert not (tmp_path / ".local/state/dart/ssh/s").exists()
    orders = [line for line in (systemd / "told").read_text().splitlines() if not line.startswith("show")]
    begins = ["daemon-reload", f"enable {unit.name}", f"restart {unit.name}"]
    assert orders == [*begins, *begins, f"disable {unit.name}", f"stop --no-block {unit.name}", "daemon-reload"]


def test_a_unit_whose_agent_dies(ask, systemd: Path):
    """As without systemd: exit code and last lines."""
    (systemd / "linger").write_text("yes\n")
    name = install(ask, b"#!/bin/sh\necho no such thing >&2\nexit 3\n")
    (told,) = ask("start", agents=[agent(name)], seconds=10)["agents"]
    assert (told["died"], told["code"], told["log"]) == (True, 3, "no such thing\n")


def test_a_user_who_may_not_linger(ask, tmp_path: Path, systemd: Path):
    """The unit would end with the login: the agent is a process of its own, and it is said what would be needed."""
    name = install(ask)
    told = ask("start", agents=[agent(name)], seconds=10)
    assert "enable-linger" in told["note"]
    assert told["agents"][0]["died"] is False
    assert not (tmp_path / ".config").exists()
    assert [line for line in (systemd / "told").read_text().splitlines() if not line.startswith("show")] == []
