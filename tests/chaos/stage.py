"""What the faults fall upon: a server and agents in homes of their own, each of them on its own host if that can be."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import network
from harness.cluster import Cluster, cluster
from harness.modules import write_modules
from harness.processes import children

NAMES = ("east", "west")
MODES = ("eager", "lazy", "before_send")
MODULE = """
    import os, time

    def run(parameter):
        number, seconds, path = parameter
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, b"%d\\n" % number)
        os.close(descriptor)
        time.sleep(seconds)
        return "done %d" % number
"""


class AgentHost:
    """One agent: its name, its home, its host, and its process of now."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker = NAMES[number % len(NAMES)]
        self.label = f"host-{number}"
        """What results of this agent name as their host."""
        self.mode = MODES[number % len(MODES)]
        self.busy = threading.Lock()
        """Held while a fault is at work here."""
        self.process: subprocess.Popen[str] | None = None

    def signal(self, number: int) -> None:
        """Send a signal to the agent alone, as a kernel or a person would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def runners(self) -> list[int]:
        """Process ids of what runs its tasks."""
        return [] if self.process is None else children(self.process.pid)


class Stage:
    """Everything that can be hit."""

    def __init__(self, running: Cluster, lines: network.Network | None, agents: int, slots: int) -> None:
        self.running = running
        self.network = lines
        self.slots = slots
        self.config = write_modules(running.folder, chaos=MODULE)
        self.hosts = [AgentHost(number) for number in range(1, agents + 1)]
        self.server_busy = threading.Lock()
        self.restarts = 0

    def start_agent(self, host: AgentHost, *, wait: bool = False) -> None:
        """Start it, or start it again in the same home."""
        if host.process is not None and host.process.stdout is not None:
            host.process.stdout.close()
        host.process = self.running.start_agent(
            host.worker,
            *("--spool", host.mode, "--host", host.label),
            slots=self.slots,
            config=self.config,
            home=f"home-{host.number}",
            prefix=self.network.inside(host.number) if self.network else (),
            wait=wait,
        )

    def kill_agent(self, host: AgentHost) -> None:
        """SIGKILL, and nobody is told."""
        assert host.process is not None
        host.process.kill()
        host.process.wait()

    def kill_server(self) -> None:
        self.running.kill_server()

    def start_server(self) -> None:
        stdout = self.running.server.process.stdout
        if stdout is not None:
            stdout.close()
        self.running.start_server()
        self.restarts += 1

    def calm(self) -> None:
        """Let everything that was stopped go on, so that it can end in good order."""
        for process in self.running.processes:
            for pid in (process.pid, *children(process.pid)) if process.poll() is None else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


@contextmanager
def stage(folder: Path, *, agents: int, slots: int, seed: int, **environment: str) -> Iterator[Stage]:
    """A server and so many agents, all joined; with links to cut where the machine allows it."""
    with contextlib.ExitStack() as stack:
        lines = None if network.missing() else stack.enter_context(network.network(agents, seed=seed))
        address = lines.address if lines else "127.0.0.1"
        options = ("--host", address, "--agent-host", address)
        running = stack.enter_context(cluster(folder, *options, environment=environment))
        built = Stage(running, lines, agents, slots)
        stack.callback(built.calm)
        for host in built.hosts:
            built.start_agent(host, wait=True)
        yield built
