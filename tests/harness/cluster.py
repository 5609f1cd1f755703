"""A whole installation for one test: a server and agents as real processes, gone when the test ends."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.processes import marked

START_SECONDS = 30.0
PROGRAM = (sys.executable, "-m", "dart.cli.main")
MARK = "LC_HARNESS_CLUSTER"
"""In the environment of every process of a cluster, runners and what tasks start included: they get all `LC_*`."""


def read_line(process: subprocess.Popen[str], *, seconds: float, log: Path) -> str:
    """The first line of a process's stdout, or an error that shows its log."""
    assert process.stdout is not None
    poll = select.poll()  # `select` knows no descriptors from 1024 on, and some tests open many
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    ready = poll.poll(seconds * 1000)
    line = process.stdout.readline() if ready else ""
    if not line:
        raise AssertionError(f"no line in {seconds} s from {process.args!r}; its log:\n{log.read_text()[-6000:]}")
    return line.rstrip("\n")


def group_members(group: int) -> list[int]:
    """Live processes (zombies apart) of a process group or session."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _parent, process_group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if state not in "ZX" and group in (int(process_group), int(session)):
            found.append(int(entry.name))
    return found


@dataclass
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    agents_url: str
    key: str


@dataclass
class Cluster:
    """Starts servers and agents in one folder; ends all of them."""

    folder: Path
    server: Server
    processes: list[subprocess.Popen[str]] = field(default_factory=list)
    kill_slowly: bool = False
    server_options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of every process, beyond the test's own."""
    program: tuple[str, ...] = PROGRAM

    @property
    def state_dir(self) -> Path:
        return self.folder / "server"

    def _spawn(
        self, label: str, *arguments: str, prefix: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> tuple[subprocess.Popen[str], Path]:
        log = self.folder / f"{label}.{len(self.processes)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [*prefix, *arguments],
                stdin=subprocess.PIPE,  # ends with the test, also if that is killed
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
                env={
                    **(os.environ if environment is None else environment),
                    "PYTHONUNBUFFERED": "1",
                    "TMPDIR": str(self.folder),  # scratch directories of agents that the test kills go with it
                    MARK: str(self.folder),
                    **self.environment,
                },
            )
        self.processes.append(process)
        return process, log

    def _child(self, program: tuple[str, ...]) -> tuple[str, ...]:
        """The option of a child; former versions have none."""
        return ("--end-with-stdin",) if program == PROGRAM else ()

    def start_server(self, *options: str) -> Server:
        """Start (again) on the ports of the first start."""
        if hasattr(self, "server") and self.server is not None:
            port, agent_port = self.server.url.rpartition(":")[2], self.server.agents_url.rpartition(":")[2]
        else:
            port = agent_port = "0"
        process, log = self._spawn(
            "server", *self.program, "server", "start", "--state-dir", str(self.state_dir), "--port", port,
            "--agent-port", agent_port, *self._child(self.program), *self.server_options, *options,
        )  # fmt: skip
        line = read_line(process, seconds=START_SECONDS, log=log)
        word, url, agents, agents_url = line.split(" ")
        assert (word, agents) == ("ready", "agents"), line
        self.server = Server(process, url, agents_url, (self.state_dir / "admin.key").read_text().strip())
        return self.server

    def start_agent(
        self,
        name: str,
        *options: str,
        slots: int = 1,
        config: Path | None = None,
        home: str = "",
        prefix: tuple[str, ...] = (),
        wait: bool = True,
        program: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
        seconds: float = START_SECONDS,
    ) -> subprocess.Popen[str]:
        """Start an agent and wait until the broker has welcomed it.

        `prefix` goes before its command, `program` in the place of `dart agent start`, `environment` in that of the
        test's own.
        """
        home = home or f"agent-{len(self.processes)}"
        process, log = self._spawn(
            f"agent-{len(self.processes)}", *(program or (*self.program, "agent", "start")),
            "--state-dir", str(self.state_dir), "--name", name, "--slots", str(slots),
            "--home", str(self.folder / home), *(("--config", str(config)) if config else ()),
            *self._child(program or self.program), *options,
            prefix=prefix, environment=environment,
        )  # fmt: skip
        if not wait:
            return process
        line = read_line(process, seconds=seconds, log=log)
        assert line == f"joined {name} slots {slots}", line
        return process

    def kill_server(self) -> None:
        """As the power would: no warning, nothing flushed."""
        self.server.process.kill()
        self.server.process.wait()

    def end(self, process: subprocess.Popen[str], *, seconds: float = 15.0) -> int:
        """Ask a process to end in good order; its exit code."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def end_all(self) -> None:
        """End everything, agents first; fail if any process is left, of whatever group."""
        for process in reversed(self.processes):
            self.end(process)
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
        deadline = time.monotonic() + 5.0
        while (left := marked(MARK, str(self.folder))) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"processes left behind: {left}"


@contextmanager
def cluster(folder: Path, *server_options: str, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A server with a fresh state directory under `folder`; agents are the test's to start.

    Options and environment hold for every later start of the server too.
    """
    it = Cluster(folder, None, server_options=server_options, environment=environment or {})  # type: ignore[arg-type]
    try:
        it.start_server()
        yield it
    finally:
        it.end_all()
