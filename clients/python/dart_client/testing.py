"""A server and workers of one's own for tests: real processes in a temporary folder, gone at the end.

>>> from dart_client.testing import installation
>>> with installation("src/tasks", workers=["red", "blue"]) as dart:  # doctest: +SKIP
...     job = dart.client.job("count", "count_words", "count")
...     assert job.submit("a b", location="red").result(30) == {"words": 2}

With pytest: `pytest_plugins = ["dart_client.pytest_plugin"]` in `conftest.py` gives the fixture `dart_installation`.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from dart_client import children
from dart_client.client import Client
from dart_client.errors import ConfigError

START_SECONDS = 60.0
LOG_CHARACTERS = 4000
"""Of the end of its log, shown with a process that did not start."""


class Installation:
    """A running server and its workers. Made by `installation`."""

    state_dir: Path
    """The server's state directory: `DART_STATE_DIR` for programs under test."""
    client: Client

    def __init__(self, folder: Path, modules: Path, python: str) -> None:
        self.state_dir = folder / "server"
        self._folder = folder
        self._modules = modules
        self._python = python
        self._ports = ("0", "0")
        self._server: subprocess.Popen[bytes] | None = None
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._labels: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which another program finds this server and no other."""
        others = {name: value for name, value in os.environ.items() if name not in {"DART_URL", "DART_KEY"}}
        return {**others, "DART_STATE_DIR": str(self.state_dir)}

    def start_server(self, *options: str) -> None:
        """Begin, or go on with the same state after `kill_server`; workers come back by themselves."""
        port, agent_port = self._ports
        words = ("server", "start", "--state-dir", str(self.state_dir), "--port", port, "--agent-port", agent_port)
        self._server, line = self._start("server", *words, *options)
        _, url, _, agents_url = line.split(" ")
        self._ports = (url.rpartition(":")[2], agents_url.rpartition(":")[2])
        if not hasattr(self, "client"):
            self.client = Client(state_dir=self.state_dir)

    def kill_server(self) -> None:
        """End the server as a power cut would."""
        if self._server is not None:
            self._server.kill()
            children.end(self._server)

    def start_worker(self, name: str, *options: str, slots: int = 1) -> None:
        """Start a worker, or one that was stopped again, and wait until the server knows it.

        Args:
            name: Its location.
            options: Of `dart agent start`, such as `"--capability", "gpu"`.
            slots: Tasks that it runs at the same time.
        """
        if name in self._workers:
            raise ValueError(f"The worker {name} runs already; stop it first, or choose another name.")
        label = self._labels.setdefault(name, f"worker-{len(self._labels)}")
        words = ("agent", "start", "--state-dir", str(self.state_dir), "--name", name, "--slots", str(slots))
        where = ("--module-prefix", str(self._modules), "--output-directory", str(self._folder))
        self._workers[name] = self._start(label, *words, "--home", str(self._folder / label), *where, *options)[0]

    def stop_worker(self, name: str, *, kill: bool = False) -> None:
        """End a worker in good order, or as a power cut would."""
        process = self._workers.pop(name)
        if kill:
            process.kill()
        children.end(process)

    def log(self, worker: str = "") -> str:
        """What a worker has written so far, or the server."""
        label = self._labels[worker] if worker else "server"
        return (self._folder / f"{label}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End everything; called at the end of `installation`."""
        if hasattr(self, "client"):
            self.client.close()
        for process in (*self._workers.values(), *([self._server] if self._server else [])):
            children.end(process)

    def _start(self, label: str, *words: str) -> tuple[subprocess.Popen[bytes], str]:
        """A `dart` command that has said its first line."""
        path = self._folder / f"{label}.log"
        with path.open("ab") as log:
            process = children.start(words, python=self._python, log=log, environment=self.environment)
        line = children.first_line(process, START_SECONDS)
        if not line:
            children.end(process)
            told = path.read_text(errors="replace")[-LOG_CHARACTERS:]
            raise ConfigError(
                f"`dart {' '.join(words[:2])}` did not start. It needs Python 3.11 or later with dart-runtime[server]; "
                f"{self._python} was tried, another can be named with `python=`. It said:\n{told}"
            )
        return process, line


@contextlib.contextmanager
def installation(
    modules: str | os.PathLike[str] = ".",
    *,
    workers: Sequence[str] = ("worker",),
    slots: int = 1,
    python: str = sys.executable,
) -> Iterator[Installation]:
    """A server and workers, ended and deleted at the end of the `with` block.

    Args:
        modules: The folder of the workers' modules, their `module_prefix`.
        workers: Their names, one process each.
        slots: Tasks that each runs at the same time.
        python: The interpreter that has `dart-runtime[server]`.

    Raises:
        ConfigError: Server or worker did not start; the message has what it said.
    """
    with tempfile.TemporaryDirectory(prefix="dart-test-") as folder:
        made = Installation(Path(folder), Path(modules).resolve(), python)
        try:
            made.start_server()
            for name in workers:
                made.start_worker(name, slots=slots)
            yield made
        finally:
            made.stop()
