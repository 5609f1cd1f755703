"""`dart doctor` in front of each fault that it knows, made for real, and of a healthy installation."""

import asyncio
import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zmq

from dart import __version__
from dart.cli import doctor, doctor_here, doctor_server, doctor_work
from dart.cli.main import main
from dart.wire.messages import Heartbeat
from dart_client import Client
from harness.broker_stack import until
from harness.cluster import PROGRAM, Cluster, cluster
from harness.modules import write_modules
from harness.rest_stack import KEY, joined
from harness.waiting import wait_until

OTHER_VERSION = (
    sys.executable, "-c",
    "import dart, sys; dart.__version__ = '0.0.9'; from dart.agent.app import main; sys.exit(main(sys.argv[1:]))",
)  # fmt: skip
FEW_FILES = 300


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    """An installation that is as it should be."""
    folder = tmp_path_factory.mktemp("well")
    config = write_modules(folder, calls="def echo(value):\n    return value\n")
    with cluster(folder) as it:
        it.start_agent("red-1", config=config)
        yield it


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    """A server with few open files, without agents at first."""
    folder = tmp_path_factory.mktemp("ill")
    write_modules(folder, calls="def echo(value):\n    return value\n")
    it = Cluster(folder, None, program=("/usr/bin/prlimit", f"--nofile={FEW_FILES}:{FEW_FILES}", *PROGRAM))
    try:
        it.start_server()
        it.program = PROGRAM
        yield it
    finally:
        it.end_all()


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    """No variable or profile of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith("DART_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DART_PROFILE", str(tmp_path / "profile.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def examined(capsys):
    """What is found with these options: findings that are not fine, by check; the exit code must be right."""

    def examine(*words: object) -> dict[str, dict[str, str]]:
        capsys.readouterr()
        code = main(["doctor", *map(str, words), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert code == any(one["state"] == "fault" for one in found)
        bad = [one for one in found if one["state"] != "fine"]
        assert all(one["remedy"] for one in bad), bad
        return {one["check"]: one for one in bad}

    return examine


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing on stderr."""


@contextlib.contextmanager
def listening(says: bytes):
    """A port at which something else says this to everybody."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.sendall(says)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_healthy_installation_is_all_green(well, capsys):
    """Every check is fine, the exit code 0, and there is something to read."""
    assert main(["doctor", "--state-dir", str(well.state_dir)]) == 0
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert lines[-1].endswith("0 faults, 0 warnings.")
    assert all(line.startswith("ok  ") for line in lines[:-1]), told
    assert len(lines) > 20


def test_nobody_is_there(examined, tmp_path):
    """No server was ever started here and none is named."""
    assert "dart up" in examined("--state-dir", tmp_path)["server"]["remedy"]


def test_a_wrong_url(examined, well):
    """A name that nobody has, a port that nobody uses, another program, TLS where there is none and the other way."""
    pinned = ("--key", "x", "--fingerprint", "ab" * 32)
    assert examined("--url", "https://no-such-machine.invalid:7777", *pinned)["name"]["state"] == "fault"
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    assert "refused" in examined("--url", f"https://127.0.0.1:{free}", *pinned)["port"]["said"]
    assert "No such file" in examined("--url", "unix:/no/such/socket", "--key", "x")["port"]["said"]
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=plain.serve_forever)
    thread.start()
    try:
        url = f"127.0.0.1:{plain.server_port}"
        assert "no DART server" in examined("--url", f"http://{url}", "--key", "x")["server"]["said"]
        assert "TLS" in examined("--url", f"https://{url}", *pinned)["certificate"]["said"]
    finally:
        plain.shutdown()
        plain.server_close()
        thread.join()
    found = examined("--url", well.server.url.replace("https", "http"), "--key", "x")
    assert "server" in found


def test_a_certificate_that_is_not_the_one(examined, well, ill):
    """Another fingerprint; a CA that did not sign it; none named at all."""
    url = ("--url", well.server.url, "--key", well.server.key)
    assert "ab" * 32 in examined(*url, "--fingerprint", "ab" * 32)["certificate"]["said"]
    assert "stands for" in examined(*url, "--ca", ill.state_dir / "server.crt")["certificate"]["said"]
    assert "cannot be read" in examined(*url, "--ca", "/no/such/file")["certificate"]["said"]
    assert "fingerprint" in examined(*url)["server"]["said"]


def test_keys_that_open_nothing(examined, well, tmp_path, capsys):
    """Wrong, expired, revoked, none, and one that may not look at everything."""
    here = ("--state-dir", str(well.state_dir))

    def made(name, *options):
        assert main(["key", "add", "--name", name, "--scope", "read", "--json", *options, *here]) == 0
        return json.loads(capsys.readouterr().out)

    pinned = ("--url", well.server.url, "--fingerprint", fingerprint(well))
    assert "does not know" in examined(*pinned, "--key", "wrong")["key"]["said"]
    short = made("short", "--expires", "1s")
    revoked = made("revoked")
    assert main(["key", "revoke", revoked["key"]["id"], *here]) == 0
    assert "revoked" in examined(*pinned, "--key", revoked["text"])["key"]["said"]
    wait_until(lambda: "key" in examined(*pinned, "--key", short["text"]), explain="the key has expired")
    assert "expired" in examined(*pinned, "--key", short["text"])["key"]["said"]
    found = examined(*pinned, "--key", made("reader")["text"])
    assert found["backup"]["state"] == "skipped"
    assert "No key" in examined(*pinned)["server"]["said"]


def fingerprint(it) -> str:
    return str(json.loads((it.state_dir / "server.json").read_text())["fingerprint"])


def test_clocks_that_differ(examined, well, monkeypatch):
    """By more than a few seconds, either way."""
    real = time.time
    for seconds, word in ((600, "ahead"), (-600, "behind")):
        monkeypatch.setattr(time, "time", lambda seconds=seconds: real() + seconds)
        assert word in examined("--state-dir", well.state_dir)["clock"]["said"]


def test_the_port_of_agents():
    """Nobody there, something else there, and an address that is each machine itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    (found,) = doctor_server.agents_port("https://127.0.0.1:1", {"host": "127.0.0.1", "port": free})
    assert (found.state, "refused" in found.said) == ("fault", True)
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        (found,) = doctor_server.agents_port("https://127.0.0.1:1", {"host": "127.0.0.1", "port": port})
    assert (found.state, "no broker" in found.said) == ("fault", True)
    (found,) = doctor_server.agents_port("https://dart.example:1", {"host": "127.0.0.1", "port": 1})
    assert (found.state, "--advertise" in found.remedy) == ("fault", True)


def test_proxies_variables_and_a_profile_for_everybody(examined, well, monkeypatch, tmp_path):
    """What is set on this machine."""
    here = ("--state-dir", well.state_dir)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert "NO_PROXY=127.0.0.1" in examined(*here)["proxies"]["remedy"]
    monkeypatch.setenv("no_proxy", "localhost, 127.0.0.1")
    monkeypatch.setenv("DART_FINGERPINT", "x")
    found = examined(*here)
    assert "proxies" not in found
    assert "DART_FINGERPINT" in found["variables"]["said"]
    monkeypatch.delenv("DART_FINGERPINT")
    (tmp_path / "profile.toml").write_text('key = "secret"\n')
    (tmp_path / "profile.toml").chmod(0o644)
    assert "chmod 600" in examined(*here)["profile"]["said"]


def test_a_state_directory_for_everybody(examined, tmp_path):
    """The directory, or a secret in it."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "admin.key").write_text("x")
    (tmp_path / "state" / "admin.key").chmod(0o644)
    assert "admin.key" in examined("--state-dir", tmp_path / "state")["state-directory"]["said"]
    (tmp_path / "state" / "admin.key").chmod(0o600)
    (tmp_path / "state").chmod(0o755)
    assert "0755" in examined("--state-dir", tmp_path / "state")["state-directory"]["said"]


def test_a_disk_that_is_nearly_full(tmp_path):
    """Told before the server stops taking work, and when it has."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        (path / "ballast").write_bytes(b"x" * 4_000_000)
        assert [one.state for one in doctor_here.disk(path)] == ["fine"]
        (path / "ballast").write_bytes(b"x" * 20_000_000)
        assert [one.state for one in doctor_here.disk(path)] == ["fault"]
    finally:
        subprocess.run(["/usr/bin/umount", "-l", path], check=True)


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ('exec {python} -I -S "$@"', "lacks"),
        ('PYTHONPATH={stub} exec {python} "$@"', "without CURVE"),
        ("echo '3.7.3|No module named zmq'", "3.9 or later"),
        ("exit 1", "does not run"),
    ],
)
def test_pythons_in_which_no_agent_runs(tmp_path, script, word):
    """Without its libraries, without CURVE, too old, or none at all."""
    (tmp_path / "zmq.py").write_text(
        "__version__ = '24.0.1'\ndef zmq_version():\n    return '4.3.4'\ndef has(what):\n    return False\n"
    )
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n" + script.format(python=sys.executable, stub=tmp_path) + "\n")
    program.chmod(0o755)
    (found,) = doctor_here.python(str(program))
    assert (found.state, word in found.said) == ("fault", True), found


def test_ssh_hosts():
    """Unknown, nobody there, something else there, and one that is well."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    states = [
        [one.state for one in doctor_here.ssh_host(host)] for host in ("no-such-machine.invalid", f"x@127.0.0.1:{free}")
    ]
    for says in (b"220 mail\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"):
        with listening(says) as port:
            states.append([one.state for one in doctor_here.ssh_host(f"pi@127.0.0.1:{port}")])
    assert states == [["fault"], ["fault"], ["fault"], ["fine"]]


def test_modules_and_workers_that_are_not_there(examined, well):
    """A module that the worker does not have; a capability and a name that nobody has."""
    here = ("--state-dir", str(well.state_dir))
    for job, module in (("lost", "nowhere"), ("wide", "calls")):
        assert main(["job", "add", job, "--module", module, "--method", "echo", *here]) == 0
    assert main(["task", "add", "lost", "--parameter", "1", *here]) == 0
    assert main(["task", "add", "wide", "--parameter", "1", "--requires", "gpu", *here]) == 0
    wait_until(lambda: "modules" in examined(*here), explain="the task has failed")
    found = examined(*here)
    assert "lost" in found["modules"]["said"]
    assert "gpu" in found["waiting-tasks"]["said"]


async def test_an_agent_whose_results_pile_up():
    """Its heartbeat says so; it is named as long as they do."""

    def looked() -> dict[str, str]:
        with Client(stack.url, KEY) as client:
            return {one.check: one.said for one in doctor_work.workers(client, __version__, 0.1)}

    async with joined() as (stack, agent):
        assert "spools" not in await asyncio.to_thread(looked)
        agent.send(Heartbeat(0, reply=False, load=0.0, spool_full=True))
        await until(lambda: stack.broker.gateway.snapshot(lambda _: True).spools_full)
        assert "The spool of w is full" in (await asyncio.to_thread(looked))["spools"]


def test_backups_that_are_late(examined, well, tmp_path):
    """None at all, then one that is fresh, then one that is old."""
    here = ("--state-dir", well.state_dir)
    assert "No backup" in examined(*here, "--backup-days", "1e-9")["backup"]["said"]
    assert main(["server", "backup", str(tmp_path / "b.db"), *map(str, here)]) == 0
    assert "backup" not in examined(*here)
    assert "last backup" in examined(*here, "--backup-days", "1e-9")["backup"]["said"]


def test_a_server_of_another_version(examined, well, monkeypatch):
    """Both are named."""
    monkeypatch.setattr(doctor_server, "__version__", "0.0.9")
    assert "0.0.9" in examined("--state-dir", well.state_dir)["version"]["said"]


def test_an_agent_that_the_server_does_not_know(examined, ill):
    """It knocks with a key of its own."""
    known = json.loads((ill.state_dir / "server.json").read_text())
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
        dealer.curve_serverkey = known["server_public_key"].encode()
        dealer.connect(known["agents_url"])
        found = wait_until(lambda: examined("--state-dir", ill.state_dir, "--wait", "1").get("strangers"), explain="it")
    assert "dart agent token" in found["remedy"]


def test_an_agent_whose_python_breaks(examined, ill, tmp_path):
    """It was there when the agent started."""
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    words = ("--python-home", str(tmp_path), "--capability", "x")
    agent = ill.start_agent("py-1", *words, config=ill.folder / "worker.json", home="py")
    program.unlink()
    program.write_text("#!/bin/sh\necho this Python is broken >&2\nexit 1\n")
    program.chmod(0o755)
    here = ("--state-dir", str(ill.state_dir))
    assert "py-1" in examined(*here)["worker-python"]["said"]
    ill.end(agent)


def test_a_server_with_its_troubles(examined, ill):
    """No agents and few files; then an agent of another version that falls silent; then a server that is killed."""
    here = ("--state-dir", ill.state_dir, "--wait", "1.5")
    found = examined(*here)
    assert "No agent" in found["workers"]["said"]
    assert "open files" in found["open-files"]["said"]
    agent = ill.start_agent("old-1", program=OTHER_VERSION, config=ill.folder / "worker.json")
    assert "0.0.9" in examined("--state-dir", ill.state_dir)["agent-versions"]["said"]
    agent.send_signal(signal.SIGSTOP)
    try:
        assert "old-1" in examined(*here)["silent-agents"]["said"]
    finally:
        agent.send_signal(signal.SIGCONT)
    ill.kill_server()
    assert "killed" in examined(*here)["server-process"]["said"]
    assert Path(ill.state_dir / "server.json").exists()


def test_the_document_names_every_check():
    """Scripts rely on these words."""
    sources = "".join(Path(module.__file__).read_text() for module in (doctor, doctor_here, doctor_server, doctor_work))
    used = set(re.findall(r'(?:fine|warning|fault|skipped)\(\s*"([a-z-]+)"', sources)) | set(
        re.findall(r'check = "([a-z-]+)"', sources)
    )
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
    assert used == set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
