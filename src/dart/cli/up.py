"""`dart up`: a server and one local agent in the foreground, both ended in good order by Ctrl-C."""

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click

from dart.cli.server import START_SECONDS, read_line, state_directory

END_SECONDS = 15.0


@click.command("up", epilog="Example: dart up, then in another terminal: dart run MODULE:FUNCTION --each FILE...")
@click.option("--name", help="The worker's name; this host's without it.")
@click.option("--slots", type=click.IntRange(min=1), help="Tasks at the same time; one a core without it.")
@click.option("--config", metavar="FILE", help="worker.json or worker.toml.")
@click.option("--module-prefix", metavar="DIR", help="Where the modules lie; this folder without it and --config.")
@click.option("--state-dir", metavar="DIR", envvar="DART_STATE_DIR", help="Where the server keeps its state.")
@click.option("--port", type=int, help="Of REST; 0: the system chooses.")
@click.option("--agent-port", type=int, help="Of the broker; 0: the system chooses.")
@click.option("--legacy-key", metavar="TEXT", help="A key of old programs, as 000.")
@click.pass_context
def up(  # noqa: PLR0917 - click passes them by name
    context: click.Context,
    name: str | None,
    slots: int | None,
    config: str | None,
    module_prefix: str | None,
    state_dir: str | None,
    port: int | None,
    agent_port: int | None,
    legacy_key: str | None,
) -> None:
    """Everything that is needed on one machine, in one command."""
    directory = state_directory({"state_dir": state_dir})
    worker = name or socket.gethostname()
    count = slots or len(os.sched_getaffinity(0))
    server_options = {"--port": port, "--agent-port": agent_port, "--legacy-key": legacy_key}
    agent_options = {"--config": config, "--module-prefix": module_prefix or (None if config else str(Path.cwd()))}
    started: list[subprocess.Popen[bytes]] = []
    # From here on a signal ends the waiting below, not this process in the middle of something.
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)

    def wake(_number: int, _frame: FrameType | None) -> None:
        os.write(wake_write, b".")

    previous = {number: signal.signal(number, wake) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        started.append(
            _start("dart.cli.main", "server", "start", "--state-dir", str(directory), *_words(server_options))
        )
        line = _line_or_fail(started[-1], "server", "ready ")
        click.echo(line)
        home = directory.parent / f"{directory.name}-agent"
        own = {"--state-dir": directory, "--name": worker, "--slots": count, "--home": home}
        started.append(_start("dart.agent", *_words(own), *_words(agent_options)))
        click.echo(_line_or_fail(started[-1], "agent", "joined "))
        click.echo("Ctrl-C stops both.", err=True)
        code = _wait(started, wake_read)
    finally:
        for process in reversed(started):
            _end(process)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(wake_read)
        os.close(wake_write)
    context.exit(code)


def _words(options: Mapping[str, object]) -> list[str]:
    return [str(word) for name, value in options.items() if value is not None for word in (name, value)]


def _start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A process in a session of its own, so that Ctrl-C reaches this one alone, which ends them in order."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def _line_or_fail(process: subprocess.Popen[bytes], what: str, first: str) -> str:
    line = read_line(process, START_SECONDS)
    if not line.startswith(first):
        raise click.ClickException(f"The {what} did not start; what it said is above.")
    return line


def _wait(started: list[subprocess.Popen[bytes]], wake: int) -> int:
    """Until a signal comes (0) or a process ends by itself (1)."""
    with selectors.DefaultSelector() as selector:
        selector.register(wake, selectors.EVENT_READ)
        watched = [os.pidfd_open(process.pid) for process in started]
        try:
            for descriptor in watched:
                selector.register(descriptor, selectors.EVENT_READ)
            ready = [key.fd for key, _ in selector.select()]
        finally:
            for descriptor in watched:
                os.close(descriptor)
    if wake in ready:
        return 0
    click.echo("dart: server or agent ended by itself; what it said is above.", err=True)
    return 1


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask, wait, and insist only when it is late."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
