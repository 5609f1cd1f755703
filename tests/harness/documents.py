"""How the code in the documents is run: one server and one worker for all pages."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from dart_client import Client
from harness.cluster import read_line
from harness.pages import Block


class Tour:
    """One folder with a server and a worker, in which the blocks of all pages run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tour"
        self.folder.mkdir()
        self._logs = folder
        self._background: list[subprocess.Popen[str]] = []
        self._printed = ""
        self._up = ""
        self.environment = {name: text for name, text in os.environ.items() if not name.startswith("DART_")} | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder / "home"),
            "XDG_STATE_HOME": str(folder / "home" / "state"),
            "XDG_CONFIG_HOME": str(folder / "home" / "config"),
            # Ports of the system's choice: another server may run here.
            "DART_SERVER_PORT": "0",
            "DART_SERVER_AGENT_PORT": "0",
        }

    def start(self, command: str) -> None:
        """What a page runs in a terminal of its own; `dart up` once for all pages."""
        if command == self._up:
            return
        if command.startswith("dart up"):
            self._up = command
        log = self._logs / f"background-{len(self._background)}.log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                ["/bin/sh", "-c", "exec " + command],
                cwd=self.folder,
                env=self.environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._background.append(process)
        while not read_line(process, seconds=30, log=log).startswith("joined "):
            pass
        if command == self._up:
            # As docs/rest.md calls them.
            with self._client() as client:
                self.environment |= {"URL": client.url, "KEY": client.connection.server.key}

    def run(self, page: list[Block]) -> None:
        """All steps of a page, in order; what it started ends with it, but `dart up`, and its jobs are forgotten."""
        kept = len(self._background)
        try:
            for block in page:
                self._step(block)
        finally:
            self._end(kept)
            with self._client() as client:
                # Those that come after a standing job go first.
                for job in sorted(client.jobs(), key=lambda job: job["standing"]):
                    client.purge_job(job["name"])

    def stop(self) -> None:
        """End everything."""
        self._end(0)

    def _client(self) -> Client:
        return Client(state_dir=self.folder.parent / "home" / "state" / "dart" / "server")

    def _step(self, block: Block) -> None:
        kind, *arguments = block.step or [""]
        if kind == "file":
            file = self.folder / arguments[0]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
        elif kind == "background":
            self.start(block.text)
        elif kind == "sh":
            self._printed = self._output(block, ["/bin/sh", "-e", "-c", block.text])
        elif kind == "python":
            self._printed = self._output(block, [sys.executable, "-c", block.text])
        elif kind == "output":
            assert self._printed == block.text, f"{block.where}: printed was {self._printed!r}"
        else:
            assert not kind, f"{block.where}: {kind} is no kind of step"

    def _output(self, block: Block, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (block.where, block.text, done.stdout, done.stderr)
        return done.stdout

    def _end(self, kept: int) -> None:
        for process in reversed(self._background[kept:]):
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
            process.stdout.close()
        del self._background[kept:]
