"""What an owner may ask for beyond the defaults holds, on real agents; what cannot be had stops them at their start."""

import json
import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from dart.agent import landlock
from dart.agent.confinement import Confinement, Surroundings
from dart.agent.isolation import Isolation
from dart.errors import ConfigError, TaskErrorCode
from dart.wire import values
from harness.agent_process import arguments, prepare, started
from harness.modules import write_modules
from harness.raw_broker import raw_broker
from harness.rogue import rogue_agent
from harness.supervision import supervision
from harness.waiting import wait_until

MIB = 1 << 20
ROOT = os.geteuid() == 0
STRICT = {
    "memory_bytes_max": 256 * MIB,
    "isolation": {
        "network": False,
        "read_only": True,
        "hide_home": True,
        "open_files": 64,
        "file_bytes": MIB,
        "cpu_seconds": 1,
    },
}


def may_mount():
    """Whether this process is as much root as mounting takes."""
    status = Path("/proc/self/status").read_text()
    return ROOT and bool(int(status.split("CapEff:")[1].split()[0], 16) & (1 << 21))


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """An agent that allows its tasks as little as it can."""
    if landlock.version() < landlock.WHOLE:
        pytest.skip("this kernel has no Landlock that could hold files")
    policy = STRICT
    if may_mount():
        policy = {**STRICT, "isolation": {**STRICT["isolation"], "scratch_bytes": 4 * MIB}}
    with rogue_agent(tmp_path_factory.mktemp("strict") / "home", policy=policy) as rogue:
        yield rogue


def test_tasks_without_network_have_unix_sockets_only(strict):
    """No TCP, no UDP, no netlink, no ring that makes sockets by itself, not in children either."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = strict.run("call", ["127.0.0.1", server.getsockname()[1]])
    assert found == dict.fromkeys(("connect", "datagram", "kernel", "ring", "child"), "EPERM") | {"unix": "got in"}


def test_with_network_all_of_it_is_there(tmp_path):
    """The filter is what refuses in the test above."""
    with socket.create_server(("127.0.0.1", 0)) as server, rogue_agent(tmp_path / "home") as rogue:
        found = rogue.run("call", ["127.0.0.1", server.getsockname()[1]])
    assert {found.pop(name) for name in ("connect", "datagram", "kernel", "child", "unix")} == {"got in"}


def test_a_read_only_task_writes_to_its_scratch_directory_only(strict, tmp_path_factory):
    """Not to its modules, not to other files of its user, and it makes, renames and removes nothing elsewhere."""
    file = tmp_path_factory.getbasetemp() / "file"
    file.write_text("x")
    _, _, scratch, folder = strict.run("me")
    for place in (file.parent, Path(folder), Path("/tmp"), Path.home()):
        assert strict.run("write", f"{place}/new")[0] == "EACCES"
    for method in ("write", "replace", "remove"):
        assert strict.run(method, str(file))[0] == "EACCES"
    assert strict.run("read", __file__)[0] == "got in"
    assert strict.run("write", f"{scratch}/new")[0] == "got in"
    assert strict.run("write", "/dev/null")[0] == "got in"
    assert strict.run("pool") == [1, 2]


def test_a_hidden_home_is_hidden_wherever_it_lies(strict):
    """Also in /tmp, where it is not hidden unless the owner says so."""
    assert strict.run("read", str(strict.home / "agent.key"))[0] == "EACCES"
    assert strict.run("read", f"{strict.run('me')[3]}/rogue.py")[0] == "got in"


def test_files_have_a_largest_size(strict):
    """The task gets an error, the disk stays free."""
    assert strict.run("fill", f"{strict.run('me')[2]}/file") == [MIB, "EFBIG"]


@pytest.mark.skipif(not may_mount(), reason="only root can mount")
def test_a_scratch_directory_has_a_largest_size(strict):
    """Whatever the number of files; and nothing stays mounted."""
    scratch = strict.run("me")[2]
    ends = [strict.run("fill", f"{scratch}/{number}") for number in range(6)]
    assert ends[-1][1] == "ENOSPC"
    assert sum(written for written, _ in ends) <= 4 * MIB
    strict.result("die")
    wait_until(lambda: scratch not in Path("/proc/mounts").read_text(), explain="still mounted")


def test_descriptors_have_a_largest_number(strict):
    """Of one process."""
    assert strict.run("limits")["NOFILE"] == [64, 64]


def test_who_takes_too_much_memory_gets_an_error_that_says_so(strict):
    """The task has its own code and a traceback; the next one a fresh process; the agent goes on."""
    strict.run("me")
    before = set(strict.runners())
    result = strict.result("hoard", 400 * MIB)
    assert result.error_code == TaskErrorCode.OUT_OF_MEMORY
    assert "kept = bytearray(size)" in values.decode(result.payload)
    assert values.decode(result.payload).endswith("MemoryError")
    wait_until(lambda: len(before - set(strict.runners())) == 1, explain="the runner lives on")
    assert strict.run("hoard", 50 * MIB) == 50 * MIB


def test_who_takes_too_much_processor_time_is_ended(strict):
    """The runner dies of it, and says of what; the next task has all its time again."""
    result = strict.result("spin")
    assert result.error_code == TaskErrorCode.RUNNER_DIED
    assert "isolation.cpu_seconds" in values.decode(result.payload)
    assert strict.run("me")


# ---- what cannot be had ----


def refused(home, isolation, *words, **environment):
    """What an agent says that does not start with this; it must not have run anything."""
    with raw_broker() as broker:
        prepare(home, broker)
        (home / "policy.json").write_text(json.dumps({"isolation": isolation}))
        with started([*arguments(home), *words], home, **environment) as agent:
            assert agent.wait() == 2
            assert not agent.out
            return agent.text


@pytest.mark.parametrize(
    ("isolation", "told"),
    [
        ({"user": "no-such-user-here"}, "no user 'no-such-user-here'; make it (useradd"),
        ({"network": "no"}, "isolation.network"),
        ({"user": "nobody"}, "nobody cannot read" if ROOT else "only an agent that root started"),
        ({"user": "root"}, "is root, which nothing is kept from"),
    ],
)
def test_what_cannot_be_had_stops_the_agent(tmp_path, isolation, told):
    """With a sentence that says what is missing and what to do; never does it go on without."""
    assert told in refused(tmp_path / "home", isolation)


@pytest.mark.parametrize("member", ["read_only", "hide_home", "network"])
def test_a_kernel_that_cannot_stops_the_agent(tmp_path, monkeypatch, member):
    """As on an old kernel, under an emulator or in a strict container."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr("dart.agent.seccomp.own_filter", lambda **_: None)
    isolation = Isolation(**{member: member != "network"})
    with pytest.raises(ConfigError, match=r"Landlock|confined"):
        Confinement(isolation, Surroundings(home=tmp_path, module_prefix=tmp_path / "modules"))


def test_an_old_kernel_runs_tasks_all_the_same(tmp_path, monkeypatch, caplog):
    """Nobody asked for anything: it works, says what it cannot do, and runners keep to themselves as they can."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    held = Confinement(Isolation(), Surroundings(module_prefix=tmp_path))
    assert held.without_domain
    assert {"home", "other slots", "signals"} <= set(held.open_to_tasks)
    held.close()


def test_a_container_that_forbids_it_runs_tasks_all_the_same(tmp_path, monkeypatch, caplog):
    """The kernel has Landlock, but whoever set up the container does not let it be used."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(landlock, "version", lambda: landlock.SIGNALS)
    monkeypatch.setattr(landlock, "Ruleset", refuse)
    held = Confinement(Isolation(), Surroundings(module_prefix=tmp_path))
    assert held.without_domain
    assert "can look into one another" in caplog.text
    held.close()
    with pytest.raises(ConfigError, match="container"):
        Confinement(Isolation(read_only=True), Surroundings(module_prefix=tmp_path))


def test_a_runner_without_a_domain_keeps_to_itself(tmp_path, monkeypatch):
    """Where the kernel has no Landlock, other processes of its user cannot look into it either."""
    monkeypatch.setattr(landlock, "version", lambda: 0)
    write_modules(tmp_path, echo="def echo(p): return p")
    with supervision(tmp_path) as held:
        held.start()
        assert held.value("echo", "echo", 1) == 1
        owner = Path(f"/proc/{held.supervisor._slots[0].runner.pid}/environ").stat()
    assert (owner.st_uid, owner.st_mode & 0o777) == (0, 0o400), "what belongs to root is closed to its user"
    assert ROOT or owner.st_uid != os.geteuid()


def test_a_home_that_modules_lie_around_cannot_be_hidden(tmp_path):
    """Tasks may write in their working directory; an owner who insists is told."""
    around = Surroundings(home=tmp_path / "home", module_prefix=tmp_path)
    with pytest.raises(ConfigError, match="below module_prefix"):
        Confinement(Isolation(hide_home=True), around)


@pytest.mark.skipif(may_mount(), reason="this process may mount")
def test_a_scratch_size_that_cannot_be_had_stops_the_agent(tmp_path):
    """Only root can mount."""
    with pytest.raises(ConfigError, match=r"isolation\.scratch_bytes"):
        Confinement(Isolation(scratch_bytes=MIB), Surroundings(module_prefix=tmp_path))


# ---- ends ----


def test_what_a_killed_agent_left_is_cleared_away_at_its_next_start(tmp_path):
    """Scratch directories and what escaped from tasks."""
    home = tmp_path / "home"
    with rogue_agent(home) as rogue:
        escaped = psutil.Process(rogue.run("escape", ""))
        scratch = Path(rogue.run("me")[2])
        (scratch / "file").write_text("")
        rogue.agent.process.kill()
        rogue.agent.wait()
        assert escaped.is_running()
        assert scratch.exists()
    with rogue_agent(home):
        wait_until(lambda: not escaped.is_running() and not scratch.exists(), explain=str(scratch))


def test_an_agent_that_leaves_leaves_nothing(tmp_path):
    """No scratch directory, no record of it, no process that escaped."""
    home = tmp_path / "home"
    with rogue_agent(home) as rogue:
        escaped = psutil.Process(rogue.run("escape", ""))
        base = Path(rogue.run("me")[2]).parent
        rogue.agent.stop()
        wait_until(lambda: not escaped.is_running(), explain=str(escaped))
        assert not base.exists()
        assert not (home / "scratch.path").exists()


def test_the_dead_that_nobody_waits_for_are_reaped(tmp_path):
    """An agent does not gather zombies while its runners live on."""
    with rogue_agent(tmp_path / "home") as rogue:
        escaped = rogue.run("escape", "")
        wait_until(lambda: psutil.Process(escaped).ppid() == rogue.pid, explain="not taken in")
        os.kill(escaped, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(escaped), explain="a zombie stays")
