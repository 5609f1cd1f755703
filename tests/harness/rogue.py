"""A module with tasks that mean harm, and a real agent to try them on."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import psutil
import pytest
import zmq

import dart
from dart.wire import messages, values
from harness.agent_process import AgentProcess, lease, prepare, started
from harness.raw_broker import RawBroker, raw_broker, ref

PYTHON = "/usr/bin/python3"
"""One that every user can read."""
MODULE = '''
import ctypes, errno, os, signal, socket, subprocess, sys, time

LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(function):
    """What it returns, or the name of the error."""
    try:
        return ["got in", str(function())[:200]]
    except OSError as error:
        return [errno.errorcode.get(error.errno, "?"), ""]


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def me(_):
    return [os.getpid(), os.getuid(), os.environ["TMPDIR"], os.getcwd()]


def read(path):
    return attempt(lambda: open(path, "rb").read(1000))


def write(path):
    return attempt(lambda: open(path, "ab").write(b"rogue"))


def replace(path):
    return attempt(lambda: os.rename(path, path + ".moved"))


def remove(path):
    return attempt(lambda: os.unlink(path))


def kill(pid):
    return attempt(lambda: os.kill(pid, 0))


def peek(pid):
    """All ways into another process."""
    def attach():
        checked(LIBC.ptrace(16, ctypes.c_ulong(pid), ctypes.c_ulong(0), ctypes.c_ulong(0)))
        os.waitpid(pid, 0)
        LIBC.ptrace(17, ctypes.c_ulong(pid), ctypes.c_ulong(0), ctypes.c_ulong(0))

    def memory():
        with open(f"/proc/{pid}/maps") as maps:
            start = int(maps.readline().split("-")[0], 16)
        with open(f"/proc/{pid}/mem", "rb", 0) as file:
            file.seek(start)
            return file.read(16)

    def vector():
        class Piece(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
        here = ctypes.create_string_buffer(16)
        mine, theirs = Piece(ctypes.addressof(here), 16), Piece(ctypes.addressof(here), 16)
        got = LIBC.process_vm_readv(pid, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)
        if got < 0 and ctypes.get_errno() != errno.EFAULT:
            raise OSError(ctypes.get_errno(), "")
        return "allowed"

    def steal():
        pidfd = os.pidfd_open(pid)
        try:
            return os.close(checked(LIBC.syscall(438, pidfd, 0, 0)))
        finally:
            os.close(pidfd)

    ways = {
        "attach": attach,
        "memory": memory,
        "vector": vector,
        "steal": steal,
        "environ": lambda: open(f"/proc/{pid}/environ", "rb").read(),
        "links": lambda: [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")],
        "pipe": lambda: os.close(os.open(f"/proc/{pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)),
        "root": lambda: os.listdir(f"/proc/{pid}/root/"),
    }
    return {name: attempt(way)[0] for name, way in ways.items()}


def descriptors(_):
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found += [os.readlink(f"/proc/self/fd/{name}")] * (int(name) > 2)
        except FileNotFoundError:
            pass  # the folder that is being read
    return found


def environment(_):
    return dict(os.environ)


def facts(_):
    with open("/proc/self/status") as file:
        return {name: text.strip() for name, _, text in (line.partition(":") for line in file)}


def choke(pid):
    """Set a limit as it is; one of no processor time would end the process."""
    import resource
    number = resource.RLIMIT_CPU
    return attempt(lambda: resource.prlimit(pid, number, resource.prlimit(pid, number)))


def forge(seconds):
    """An answer of its own, with a time that no runner writes."""
    import dart_task
    dart_task._State.channel.send(2, dart_task._State.reference, 0, seconds, 1, 0, b"")
    time.sleep(60)


def chmod(path):
    return attempt(lambda: os.chmod(path, os.stat(path).st_mode))


def limits(_):
    import resource
    names = ("DATA", "NPROC", "NOFILE", "FSIZE", "CORE")
    return {name: list(resource.getrlimit(getattr(resource, "RLIMIT_" + name))) for name in names}


def escape(how):
    """A process that leaves the group, has no parent any more and ignores what it can; its id."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            os.write(writer, str(os.getpid()).encode())
            if how == "clean":
                os.execve(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(600)"], {})
            time.sleep(600)
        os._exit(0)
    os.wait()
    return int(os.read(reader, 20))


def die(_):
    os._exit(1)


def litter(folder):
    """What is laborious to remove: a deep tree without permissions, with a way out of it."""
    os.chdir(folder)
    for _ in range(1200):
        os.mkdir("deep")
        os.chdir("deep")
    open("file", "w").close()
    os.symlink("/", "link")
    os.chmod(".", 0)
    os.chdir(folder)


def fill(path):
    """Write until it is refused; how many bytes went in."""
    written = 0
    try:
        with open(path, "wb", 0) as file:
            while written < 64 << 20:
                written += file.write(b"x" * 65536)
    except OSError as error:
        return [written, errno.errorcode[error.errno]]
    return [written, "endless"]


def bomb(most):
    """Fork until it is refused; how many went."""
    pids = []
    try:
        for _ in range(most):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            pids.append(pid)
        ended = "endless"
    except OSError as error:
        ended = errno.errorcode[error.errno]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.wait()
    return [len(pids), ended]


def hoard(size):
    kept = bytearray(size)
    return len(kept)


def spin(_):
    while True:
        pass


def call(address):
    """Reach the network in every way there is."""
    host, port = address
    def connect():
        with socket.create_connection((host, port), 5):
            pass
    def datagram():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM):
            pass
    def kernel():
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW):
            pass
    def unix():
        one, other = socket.socketpair()
        with one, other:
            pass
    def ring():
        return checked(LIBC.syscall(425, 1, ctypes.create_string_buffer(120)))
    def child():
        code = "import socket; socket.socket(socket.AF_INET)"
        if subprocess.run([sys.executable, "-S", "-c", code], stderr=subprocess.DEVNULL).returncode:
            raise OSError(errno.EPERM, "")
    ways = {"connect": connect, "datagram": datagram, "kernel": kernel, "ring": ring, "child": child, "unix": unix}
    return {name: attempt(way)[0] for name, way in ways.items()}


def pool(_):
    """What honest tasks do: processes, locks, temporary files, threads."""
    import multiprocessing, tempfile, threading
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    with open("/dev/stdout", "w") as file:
        file.write("printed by name")
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])
'''


class RogueAgent:
    """A running agent with the module `rogue`, and the broker that gives it tasks."""

    def __init__(self, broker: RawBroker, agent: AgentProcess) -> None:
        self.broker = broker
        self.agent = agent
        self.home = agent.home
        self.pid = agent.process.pid
        self._number = 0

    def result(self, method: str, parameter: Any = None) -> messages.Result:
        """Run one task to its end."""
        self._number += 1
        task = lease(ref(self._number), method, parameter)._replace(module_path="rogue")
        self.broker.send(messages.Tasks((task,)))
        (result,) = self.broker.results(1)
        return result

    def run(self, method: str, parameter: Any = None) -> Any:
        """What a task returns that must succeed."""
        result = self.result(method, parameter)
        value = values.decode(result.payload)
        assert result.success, value
        return value

    def runners(self) -> list[int]:
        """Process ids of its runners."""
        found = []
        for child in psutil.Process(self.pid).children():
            with contextlib.suppress(psutil.Error):
                if any(word.endswith("runner.py") for word in child.cmdline()):
                    found.append(child.pid)
        return found

    def others(self) -> int:
        """A runner of another slot than the one that runs the next task."""
        mine = self.run("me")[0]
        return next(pid for pid in self.runners() if pid != mine)


@contextlib.contextmanager
def rogue_agent(
    home: Path,
    *extra: str,
    modules: Path | None = None,
    policy: dict[str, Any] | None = None,
    user: str | None = None,
    **environment: str,
) -> Iterator[RogueAgent]:
    """An agent under this policy; `modules` outside of its home, if others have to read them."""
    with raw_broker() as broker:
        prepare(home, broker)
        place = modules or home / "modules"
        place.mkdir(exist_ok=True)
        (place / "rogue.py").write_text(MODULE)
        (home / "policy.json").write_text(json.dumps(policy or {}))
        words = ["--home", str(home), "--name", "edge-1", "--module-prefix", str(place), "--slots", "2"]
        if user:
            for path in (home, place, *home.rglob("*")):
                shutil.chown(path, user)
        words += ["--output-directory", str(home), *extra]
        with started(words, home, user=user, **{"TMPDIR": "/tmp", **environment}) as agent:
            broker.let_in(silence_seconds=600.0)
            while broker.expect(messages.Credit).tasks < 2:
                pass
            yield RogueAgent(broker, agent)
            agent.stop()


def copy_for_all(folder: Path) -> dict[str, str]:
    """A copy of the agent that other users can read, and the environment in which the system's Python uses it."""
    folder.chmod(0o755)
    packages = [Path(module.__file__).parent for module in (dart, msgpack, zmq)]
    packages += packages[-1].parent.glob("pyzmq.libs")
    for package in packages:
        ignored = shutil.ignore_patterns("__pycache__", "tests", "*.pyx", "*.pyi")
        shutil.copytree(package, folder / "lib" / package.name, ignore=ignored)
    for path in (folder / "lib", *(folder / "lib").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    environment = {"PYTHONPATH": str(folder / "lib")}
    tried = subprocess.run([PYTHON, "-c", "import zmq, msgpack"], env=environment, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"{PYTHON} cannot run this agent: {tried.stderr.decode().strip().rpartition(chr(10))[2]}")
    return environment
