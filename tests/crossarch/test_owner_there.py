"""What an owner decides, on a foreign architecture: a policy, limits, and isolation where the kernel is a real one."""

import json
import subprocess
from pathlib import Path

import pytest

from crossarch.installation import JOIN_SECONDS, RESULT_SECONDS
from dart.wire import values
from harness import foreign_root
from harness.foreign import PROJECT, inside
from harness.modules import write_modules

FILE_BYTES = 5 * 2**30
"""More than a word of 32 bits holds."""
CONFINED = {"network": False, "read_only": True, "hide_home": False}
MODULE = """
    import errno, os, resource, socket

    def name_of(call, *arguments):
        try:
            call(*arguments)
        except OSError as error:
            return errno.errorcode[error.errno]
        return "done"

    def limits(parameter):
        names = ("RLIMIT_NOFILE", "RLIMIT_FSIZE")
        held = [resource.getrlimit(getattr(resource, name))[0] for name in names]
        return [*held, name_of(lambda: [os.open("/dev/null", 0) for _ in range(100)])]

    def reach(paths):
        found = {}
        for family in ("AF_INET", "AF_INET6", "AF_UNIX"):
            found[family] = name_of(lambda: socket.socket(getattr(socket, family)).close())
        found["pair"] = name_of(lambda: [end.close() for end in socket.socketpair()])
        for path in paths:
            found[path] = name_of(lambda: os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)))
        found["scratch"] = name_of(lambda: os.close(os.open(os.environ["TMPDIR"] + "/x", os.O_WRONLY | os.O_CREAT)))
        return found
"""


def policy(folder: Path, name: str, **members: object) -> Path:
    """An owner's file."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(members))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def owned(installation, foreign):
    """The installation, with a module that tries things, and agents of owners who decide; these start together."""
    folder = installation.running.folder
    write_modules(folder, trying=MODULE)
    isolation = {"open_files": 64, "file_bytes": FILE_BYTES, "cpu_seconds": 100}
    limits = policy(folder, "limits", allow=["trying:limits", "there:*_shared"], isolation=isolation)
    installation.start("limited", "--policy", str(limits), "--shm-size", "4096", wait=False, slots=2)
    if foreign.emulated:
        unconfined = policy(folder, "unconfined", isolation=CONFINED)
        installation.start("unconfined", "--policy", str(unconfined), wait=False)
    installation.wait_for("limited")
    return installation


def test_slots_share_memory(owned):
    """What two runners of one agent write, each of them reads."""
    pids = owned.exchange("mark_shared", [values.encode(place) for place in range(4)], "limited")
    assert len(set(pids)) == 2, pids
    (seen,) = owned.exchange("read_shared", [values.encode(5)], "limited")
    assert seen == values.encode(b"\1\1\1\1\0")


def test_a_policy_and_limits_hold_there(owned):
    """What it does not allow is refused by name; descriptors are counted, and files measured beyond 32 bits."""
    (answer,) = owned.exchange("limits", [values.encode(None)], "limited", module="trying")
    assert isinstance(answer, bytes), answer
    assert values.decode(answer) == [64, FILE_BYTES, "EMFILE"]
    (refused,) = owned.exchange("echo", [values.encode(1)], "limited")
    assert isinstance(refused, str)
    assert "policy" in refused
    assert owned.running.end(owned.agents["limited"], seconds=RESULT_SECONDS) == 0


def test_a_task_is_confined_there_or_does_not_run(owned, foreign, tmp_path):
    """On a real kernel a 32-bit task is held; an emulator passes no filter on, and there the agent says so and ends."""
    if foreign.emulated:
        _is_refused(owned)
    else:
        _is_held(owned, foreign, tmp_path)


def _is_refused(owned) -> None:
    agent = owned.agents["unconfined"]
    assert agent.wait(JOIN_SECONDS) == 2
    number = owned.running.processes.index(agent)
    log = (owned.running.folder / f"agent-{number}.{number}.log").read_text()
    assert "isolation" in log, log


def _is_held(owned, foreign, tmp_path: Path) -> None:
    """In a root where all is of 32 bits, on a kernel of 64: no network, and no place to write but its own."""
    folder = owned.running.folder
    root = foreign_root.copied(foreign.root, tmp_path / "root", without=())
    prefix = inside(root, folder, PROJECT / "src")
    if subprocess.run([*prefix, f"/usr/bin/{foreign_root.VERSION}.elf", "-V"], check=False, timeout=60).returncode:
        pytest.skip("no mount namespaces here")
    file = policy(folder, "confined", isolation=CONFINED)
    program = (f"/usr/bin/{foreign_root.VERSION}.elf", "-m", "dart.agent")
    agent = owned.start("confined", "--policy", str(file), prefix=prefix, program=program)
    (answer,) = owned.exchange("reach", [values.encode([str(folder / "planted")])], "confined", module="trying")
    assert isinstance(answer, bytes), answer
    assert values.decode(answer) == {
        # The C library of i386 makes sockets by a call that hides their kind; pairs it makes by another.
        "AF_INET": "EPERM", "AF_INET6": "EPERM", "AF_UNIX": "EPERM", "pair": "done",
        str(folder / "planted"): "EACCES", "scratch": "done",
    }  # fmt: skip
    assert owned.running.end(agent, seconds=RESULT_SECONDS) == 0
