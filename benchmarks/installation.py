"""A server and agents for a measurement: in a folder of their own, looked at from outside, ended in good order."""

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from dart_client import Client

MIB = 1 << 20
HERE = Path(__file__).resolve().parent


def raise_open_files() -> int:
    """Let this process and those that it starts have as many open files as the system allows; tells how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Installation:
    """One server and its agents.

    Args:
        folder: For their state and logs.
        options: Further ones of `dart server start`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.state = folder / "server"
        self._options = options
        self._ports = ("0", "0")
        self._processes: list[subprocess.Popen[bytes]] = []
        self.server: subprocess.Popen[bytes]

    def spawn(self, *command: object) -> "subprocess.Popen[bytes]":
        """A process that has said its first line."""
        with (self.folder / f"{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        assert process.stdout is not None
        self.line = process.stdout.readline().decode().strip()
        if not self.line:
            told = (self.folder / f"{len(self._processes) - 1}.log").read_text()[-2000:]
            raise RuntimeError(f"{' '.join(map(str, command))} did not start:\n{told}")
        return process

    def start_server(self) -> None:
        """Start it, the second time at the ports of the first."""
        ports = ("--port", self._ports[0], "--agent-port", self._ports[1])
        self.server = self.spawn(
            sys.executable, "-m", "dart.cli.main", "server", "start", "--state-dir", self.state, *ports, *self._options
        )
        words = self.line.split()
        self._ports = (words[1].rpartition(":")[2], words[3].rpartition(":")[2])

    def kill_server(self) -> None:
        """As a power cut would."""
        self.server.kill()
        self.server.wait()

    def start_agent(self, name: str, slots: int = 1, *before: str) -> "subprocess.Popen[bytes]":
        """An agent for the functions of `bench_tasks`; `before` is put before its command."""
        home = self.folder / f"home-{len(self._processes)}"
        return self.spawn(
            *before, sys.executable, "-m", "dart.agent", "--state-dir", self.state, "--name", name, "--slots", slots,
            "--home", home, "--module-prefix", HERE, "--output-directory", self.folder,
        )  # fmt: skip

    def client(self) -> Client:
        """As admin."""
        return Client(state_dir=self.state)

    def server_cpu(self) -> float:
        """Seconds so far."""
        return sum(psutil.Process(self.server.pid).cpu_times()[:2])

    def server_uss(self) -> int:
        """Private bytes of memory, without the page cache."""
        return int(psutil.Process(self.server.pid).memory_full_info().uss)

    @property
    def running(self) -> "list[subprocess.Popen[bytes]]":
        """What has not ended."""
        return [process for process in self._processes if process.poll() is None]

    def close(self) -> None:
        """End all that was started."""
        for process in reversed(self._processes):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextlib.contextmanager
def installation(folder: Path, *options: str) -> Iterator[Installation]:
    """With its server started."""
    installed = Installation(folder, *options)
    try:
        installed.start_server()
        yield installed
    finally:
        installed.close()


def rest_until_quiet(installed: Installation, seconds: float = 30.0) -> None:
    """Until the server has nothing to do."""
    deadline, last = time.monotonic() + seconds, installed.server_cpu()
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = installed.server_cpu()
        if now - last < 0.03:
            return
        last = now
