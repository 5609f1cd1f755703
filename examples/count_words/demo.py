"""The whole example in one command: a server, two agents, 200 files or more, the check, and everything ended again."""

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dart_client import children

HERE = Path(__file__).resolve().parent
WORKERS = ("red", "blue")
FILES = 240
FILES_LEAST = 200
START_SECONDS = 30.0


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A `dart` command; it ends with this program, also if that is killed."""
    with log.open("wb") as stderr:
        return children.start(arguments, log=stderr)


def first_line(process: subprocess.Popen[bytes], log: Path) -> str:
    """What it prints when it is ready."""
    line = children.first_line(process, START_SECONDS)
    if not line:
        sys.exit(f"did not start: {log.read_text(errors='replace')}")
    return line


def files_to_count(arguments: list[str]) -> list[str]:
    """The files that were named, or sources of the standard library."""
    if arguments:
        return arguments
    folder = Path(sysconfig.get_path("stdlib"))
    found = sorted(path for path in folder.rglob("*.py") if "site-packages" not in path.parts and path.is_file())
    if len(found) < FILES_LEAST:
        sys.exit(f"only {len(found)} files below {folder}; name {FILES_LEAST} or more files to count")
    return [str(path) for path in found[:FILES]]


def ignore_signals() -> None:
    """From here on nothing but ending happens."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


class Interruption:
    """A signal ends the demo between two steps, never within one: a process that was started is known to be ended."""

    held = False
    came = False

    def __call__(self, _number: int, _frame: object) -> None:
        """The handler; a second signal must not break off the good end."""
        self.came = True
        if not self.held:
            ignore_signals()
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def wait(self) -> Iterator[None]:
        """Signals that come in here take effect at its end."""
        self.held = True
        try:
            yield
        finally:
            self.held = False
        if self.came:
            self(0, None)


interruption = Interruption()


def run(folder: Path, started: contextlib.ExitStack, files: list[str]) -> int:
    """Start everything, count, compare."""
    state = folder / "server"

    def begin(label: str, *arguments: str) -> str:
        log = folder / f"{label}.log"
        print(f"$ dart {' '.join(arguments)}", flush=True)
        with interruption.wait():
            process = start(log, *arguments)
            started.callback(children.end, process)
        line = first_line(process, log)
        print(line, flush=True)
        return line

    ready = begin("server", "server", "start", "--state-dir", str(state), "--port", "0", "--agent-port", "0")
    url = ready.split(" ")[1]
    for name in WORKERS:
        begin(
            name, "agent", "start", "--state-dir", str(state), "--name", name, "--home", str(folder / f"agent-{name}"),
            "--module-prefix", str(HERE), "--output-directory", str(folder),
        )  # fmt: skip
    print(f"$ python count_words.py ... {len(files)} files", flush=True)
    with interruption.wait():
        counting = subprocess.Popen(
            [
                sys.executable, str(HERE / "count_words.py"), "--url", url, "--key", f"@{state / 'admin.key'}",
                "--certificate", str(state / "server.crt"), "--worker", WORKERS[0], "--worker", WORKERS[1], *files,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        started.callback(children.end, counting)
    told = counting.communicate()[0].decode()
    print(told, end="", flush=True)
    shares = {line.split()[1].rstrip(":"): int(line.split()[2]) for line in told.splitlines() if line[:7] == "worker "}
    if counting.returncode == 0 and min(shares.get(name, 0) for name in WORKERS) * 4 < len(files):
        print("one of the workers counted less than a quarter of the files", file=sys.stderr)
        return 1
    return counting.returncode


def main() -> int:
    """The demo; its exit code is 0 only if the counts are equal and everything has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interruption)
    os.environ.pop("DART_STATE_DIR", None)
    try:
        with tempfile.TemporaryDirectory(prefix="dart-demo-") as folder:
            with contextlib.ExitStack() as started:
                code = run(Path(folder), started, files_to_count(sys.argv[1:]))
                ignore_signals()
            print("server and agents have stopped")
    except KeyboardInterrupt:
        print("interrupted; server and agents have stopped", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
