"""What is done on a host, done here: half of anything is never taken for whole, and nothing else is touched."""

import contextlib
import errno
import hashlib
import io
import json
import os
import socket
import sys
from pathlib import Path

import pytest

from dart.deploy import host_side
from dart.deploy.bundle_archive import pack, unpack
from dart.limits import Limits
from harness.waiting import wait_until

START = b"#!/bin/sh\necho joined w slots 1\nexec sleep 60\n"
AGENT = "a" * 64


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
