"""Code blocks of the documents: which there are, what is said about running them, and how they are run."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dart_client import Client
from harness.cluster import read_line

ROOT = Path(__file__).resolve().parents[2]
MADE = {ROOT / "docs" / "cli.md", ROOT / "docs" / "states.md"}
RUN = "<!-- tour: "
APART = "<!-- apart: "
"""Run by `test_another_machine.py`, between two machines."""
NOT_RUN = "<!-- not run: "
CODE = frozenset({"sh", "python"})
"""Languages of blocks that are run, or say why not."""
COMMAND = re.compile(r"^(?:\$ )?(?:sudo )?(?:dart|curl|pip|python3?) ", re.MULTILINE)
_FENCE = re.compile(r"^```(?P<language>[\w-]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """One fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    mark: str
    """The comment on the line above it, or nothing."""

    @property
    def where(self) -> str:
        """For people who look for it."""
        return f"{self.page}:{self.line}"

    @property
    def step(self) -> list[str]:
        """What `tour` says: kind of step, and its argument; empty: it is not run."""
        return self.mark.removeprefix(RUN).removesuffix(" -->").split() if self.mark.startswith(RUN) else []


def pages() -> list[Path]:
    """Every page for people, but the decisions, the log of changes, and what is made of the code."""
    found = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")]
    for folder in ("docs", "clients", "examples"):
        found += sorted(it for it in (ROOT / folder).rglob("*.md") if not {"adr", "node_modules"} & set(it.parts))
    return [page for page in found if page not in MADE]


def blocks(page: Path) -> list[Block]:
    """All blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        above = before.rstrip("\n").rpartition("\n")[2].strip()
        mark = above if above.startswith((RUN, APART, NOT_RUN)) else ""
        name = str(page.relative_to(ROOT))
        found.append(Block(name, before.count("\n") + 1, match["language"], match["text"], mark))
    return found


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `dart` command in a block of shell."""
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", "\n\n"), posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t"
    words: list[str] = []
    for token in (*lexer, "\n"):
        if token[0] not in "();<>|&\n":
            # Before a command: variables, and who runs it.
            if words or not (token == "sudo" or re.fullmatch(r"[A-Z_]+=.*", token)):
                words.append(token)
            continue
        if words and words[0] == "dart":
            yield words[1:]
        words = []


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
