"""Files of server and agent that are damaged, cut short or gone: refused or repaired, always with a word on what to do.

Nothing is ever silently begun empty, and nobody needs to read a traceback.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.cluster import Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

MOUNT = "/bin/mount"
DART = Path(sys.executable).with_name("dart")
ECHO = """
    def run(parameter):
        return parameter
"""


def refused(*words: object, code: int = 1) -> str:
    """Run a command that must end by itself with this code, and say why on stderr."""
    done = subprocess.run([DART, *map(str, words)], capture_output=True, check=False, text=True, timeout=60)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout == ""
    return done.stderr.strip().splitlines()[-1]


def start_refused(state_dir: Path, code: int = 1) -> str:
    return refused("server", "start", "--state-dir", state_dir, "--port", "0", "--agent-port", "0", code=code)


def agent_refused(running: Cluster, home: Path, *options: object, code: int = 1) -> str:
    words = ("agent", "start", "--name", "w", "--home", home, "--state-dir", running.state_dir, *options)
    return refused(*words, code=code)


def client_of(running: Cluster) -> HistoricClient:
    return HistoricClient(running.server.url, running.server.key)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def scramble(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(os.urandom(max(16, size // 3)))


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """The folder of a server that has run, with an agent, results and open tasks; both have ended."""
    folder = tmp_path_factory.mktemp("used")
    config = write_modules(folder, echo=ECHO)
    with cluster(folder) as running:
        running.start_agent("w", config=config, home="home")
        client = client_of(running)
        client.add_job("j", "echo", "run")
        client.add_tasks("j", *[("w", "x" * 500)] * 200)
        client.add_tasks("j", *[("nobody", "y" * 500)] * 200)
        wait_until(lambda: len(client.results("j", 999)) == 200)
    return folder


@pytest.fixture
def folder(used, tmp_path):
    """A copy of it that may be harmed."""
    return Path(shutil.copytree(used, tmp_path / "copy"))


@pytest.mark.parametrize("name", ["dart.db", "server.crt", "server.key", "broker.key", "admin.key"])
def test_the_server_refuses_what_is_damaged(folder, name):
    """It names the file and says what to do, exit code 1; with a copy brought back all is there."""
    path = folder / "server" / name
    sound = path.read_bytes()
    for harm in (cut, empty, scramble):
        path.write_bytes(sound)
        harm(path)
        harmed = path.read_bytes()
        told = start_refused(folder / "server")
        assert name in told
        assert "backup" in told if name == "dart.db" else "bring back" in told or "restore it" in told, told
        assert path.read_bytes() == harmed
    path.write_bytes(sound)
    with cluster(folder) as running:
        assert len(client_of(running).results("j", 999)) == 200


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("server.crt", "fingerprint"),
        ("server.key", "fingerprint"),
        ("broker.key", "enrol again"),
        ("admin.key", "old key"),
    ],
)
def test_the_server_says_that_it_makes_a_lost_key_anew(folder, name, word):
    """It starts, and warns of whom it will not know any more, or who will not know it."""
    (folder / "server" / name).unlink()
    with cluster(folder) as running:
        log = next(folder.glob("server.*.log")).read_text()
        assert name in log
        assert word in log
        assert len(client_of(running).results("j", 999)) == 200


def test_a_lost_database_beside_its_log_is_no_new_beginning(tmp_path):
    """The server was killed; its database is gone, the log is not."""
    with cluster(tmp_path) as running:
        client_of(running).add_job("j", "m", "f")
        running.kill_server()
        (running.state_dir / "dart.db").unlink()
        assert "moved or deleted" in start_refused(running.state_dir)
        assert not (running.state_dir / "dart.db").exists()


def test_a_damaged_server_file_is_replaced_by_the_next_start(folder):
    """Commands refuse it and say so; the server writes it anew."""
    with cluster(folder) as running:
        (running.state_dir / "server.json").write_text('{"url": "htt')
        told = refused("job", "list", "--state-dir", running.state_dir)
        assert "server.json" in told
        assert "stop the server and start it again" in told
        assert "server.json" in agent_refused(running, folder / "other")
        running.kill_server()
        running.start_server()
        assert len(client_of(running).results("j", 999)) == 200


@pytest.mark.parametrize("harm", [cut, empty, scramble, Path.unlink])
@pytest.mark.parametrize("name", ["agent.key", "enrolment.json"])
def test_the_agent_refuses_what_is_damaged(folder, name, harm):
    """It names the file and says what to do; done so, it joins again."""
    path = folder / "home" / name
    with cluster(folder) as running:
        harm(path)
        if path.exists() or name == "agent.key":
            told = agent_refused(running, folder / "home")
            assert name in told
            assert "remove" in told
            path.unlink(missing_ok=True)
            if name == "agent.key":
                # Another key is another agent, so its enrolment goes, too.
                (folder / "home" / "enrolment.json").unlink()
        running.start_agent("w", config=folder / "worker.json", home="home")
        client = client_of(running)
        (task,) = client.add_tasks("j", ("w", "again"))
        wait_until(lambda: task in {result["id"] for result in client.results("j", 999)})


def test_one_directory_is_for_one_server_and_one_home_for_one_agent(folder):
    """The second of each is told, and the first goes on."""
    with cluster(folder) as running:
        running.start_agent("w", config=folder / "worker.json", home="home")
        assert "Another server uses the state directory" in start_refused(folder / "server", code=2)
        assert "Another agent runs in the home directory" in agent_refused(running, folder / "home", code=2)
        assert client_of(running).workers()[0]["name"] == "w"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("where", ["server", "new"])
def test_a_read_only_file_system_is_said(folder, where):
    """Server and agent name the path, the reason, and end."""
    mount = folder if where == "server" else folder / "empty"
    mount.mkdir(exist_ok=True)
    subprocess.run([MOUNT, "--bind", mount, mount], check=True)
    try:
        subprocess.run([MOUNT, "-o", "remount,ro,bind", mount], check=True)
        state_dir = mount / ("server" if where == "server" else "state")
        assert "Read-only file system" in start_refused(state_dir, code=2)
        told = refused("server", "start", "--detach", "--state-dir", state_dir, code=1 if where == "server" else 2)
        assert "Read-only file system" in told
        told = refused("agent", "start", "--name", "w", "--home", mount / "home", "--state-dir", state_dir, code=2)
        assert "Read-only file system" in told
    finally:
        subprocess.run([MOUNT.replace("mount", "umount"), mount], check=True)
