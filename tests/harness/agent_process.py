"""A real agent process against a broker that the test holds."""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from dart.agent import enrol
from dart.ids import AttemptRef
from dart.wire import curve, messages, values
from harness.raw_broker import STORE, RawBroker

MODULE = """
import os, time, threading

def double(parameter):
    return parameter * 2

def nap(parameter):
    time.sleep(parameter)
    return parameter

def fail(parameter):
    raise ValueError(parameter)

def die(parameter):
    os._exit(3)

def touch(parameter):
    path, seconds = parameter
    with open(path, "a") as file:
        file.write("x")
    time.sleep(seconds)
    return "touched"

def talk(parameter):
    import dart_task
    dart_task.progress(0.5, "half")
    print("a line")
    time.sleep(parameter)
"""


class AgentProcess:
    """An agent and what it says."""

    def __init__(self, process: "subprocess.Popen[str]", home: Path) -> None:
        self.process = process
        self.home = home
        self.log: list[str] = []
        self.out: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(process.stderr, self.log), daemon=True),
            threading.Thread(target=self._read, args=(process.stdout, self.out), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))  # noqa: PERF401 - seen while it grows

    @property
    def text(self) -> str:
        return "\n".join(self.log)

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 15.0) -> int:
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(5.0)
        return code

    def close(self) -> None:
        """End it whatever it does, and its runners with it."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()


def prepare(home: Path, broker: RawBroker, name: str = "edge-1") -> None:
    """What an enrolment leaves behind, and a module with tasks."""
    home.mkdir(mode=0o700, exist_ok=True)
    if not (home / "agent.key").exists():
        curve.write(home / "agent.key", curve.KeyPair.make())
    members = enrol.Enrolment(name, broker.url, broker.keys.public_text, STORE, "")
    enrol.write_private(home / "enrolment.json", json.dumps(members._asdict()))
    modules = home / "modules"
    modules.mkdir(exist_ok=True)
    (modules / "chores.py").write_text(MODULE)


def arguments(home: Path, *extra: str, name: str = "edge-1") -> list[str]:
    return [
        "--home",
        str(home),
        "--name",
        name,
        "--host",
        "box",
        "--module-prefix",
        str(home / "modules"),
        "--output-directory",
        str(home),
        *extra,
    ]


@contextlib.contextmanager
def agent_process(
    home: Path, broker: RawBroker, *extra: str, python: str = sys.executable, **environment: str
) -> Iterator[AgentProcess]:
    """A running agent; whatever the test left of it is killed in the end."""
    prepare(home, broker)
    with started(arguments(home, *extra), home, python=python, **environment) as agent:
        yield agent


@contextlib.contextmanager
def started(
    words: list[str], home: Path, *, python: str = sys.executable, user: str | None = None, **environment: str
) -> Iterator[AgentProcess]:
    """An agent with just these arguments; root may start it as another user."""
    process = subprocess.Popen(
        [python, "-m", "dart.agent", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Its scratch directories lie where those of tests do, so that nothing is left of an agent that a test kills.
        env={**os.environ, "TMPDIR": str(home), **environment},
        cwd="/" if user else None,
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=user and [],
        start_new_session=True,
    )
    agent = AgentProcess(process, home)
    try:
        yield agent
    finally:
        agent.close()


def lease(ref: AttemptRef, method: str, parameter: object, timeout_seconds: float = 0.0) -> messages.Lease:
    """A task of the module `chores`."""
    return messages.Lease(ref, "job", "chores", method, timeout_seconds, values.encode(parameter))
