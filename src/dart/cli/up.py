"""`dart up`: a server and one local agent in the foreground, both ended in good order by Ctrl-C."""

import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

import click

from dart.cli.options import END_WITH_STDIN
from dart.cli.server import START_SECONDS, state_directory
from dart.state_directory import ADMIN_KEY
from dart.stdin_end import end_with_stdin as begin_to_watch
from dart_client import children


@click.command("up", epilog="Example: dart up --slots 4 --module-prefix ~/modules")
@click.option("--name", help="The worker's name; this host's without it.")
@click.option("--slots", type=click.IntRange(min=1), help="Tasks at the same time; one a core without it.")
@click.option("--config", metavar="FILE", help="worker.json or worker.toml.")
@click.option("--module-prefix", metavar="DIR", help="Where the modules lie; this folder without it and --config.")
@click.option("--state-dir", metavar="DIR", envvar="DART_STATE_DIR", help="Where the server keeps its state.")
@click.option("--port", type=int, help="Of REST; 0: the system chooses.")
@click.option("--agent-port", type=int, help="Of the broker; 0: the system chooses.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="What both tell on stderr: this and what is worse.",
)
@click.option("--legacy-key", metavar="TEXT", help="A key of old programs, as 000.")
@END_WITH_STDIN
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
    log_level: str,
    legacy_key: str | None,
    *,
    end_with_stdin: bool,
) -> None:
    """Everything that is needed on one machine, in one command.

    It is a server and one agent in the foreground, until Ctrl-C. Then, in another terminal: dart run MODULE:FUNCTION
    --each FILE...
    """
    directory = state_directory({"state_dir": state_dir})
    worker = name or socket.gethostname()
    count = slots or len(os.sched_getaffinity(0))
    server_options = {"--port": port, "--agent-port": agent_port, "--legacy-key": legacy_key, "--log-level": log_level}
    agent_options = {"--config": config, "--module-prefix": module_prefix or (None if config else str(Path.cwd()))}
    environment = os.environ | {"DART_LOG_LEVEL": log_level}
    started: list[subprocess.Popen[bytes]] = []
    # From here on a signal ends the waiting below, not this process in the middle of something.
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)

    def wake(_number: int, _frame: FrameType | None) -> None:
        os.write(wake_write, b".")

    if end_with_stdin:
        begin_to_watch()
    previous = {number: signal.signal(number, wake) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        words = ("server", "start", "--state-dir", str(directory), *_words(server_options))
        started.append(children.start(words))
        line = _line_or_fail(started[-1], "server", "ready ")
        click.echo(line)
        home = directory.parent / f"{directory.name}-agent"
        own = {"--state-dir": directory, "--name": worker, "--slots": count, "--home": home}
        started.append(
            children.start([*_words(own), *_words(agent_options)], module="dart.agent", environment=environment)
        )
        click.echo(_line_or_fail(started[-1], "agent", "joined "))
        url = line.split()[1]
        click.echo(f"The page: {url}/ with the key in {directory / ADMIN_KEY}. Ctrl-C stops both.", err=True)
        code = _wait(started, wake_read)
    finally:
        for process in reversed(started):
            children.end(process)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(wake_read)
        os.close(wake_write)
    context.exit(code)


def _words(options: Mapping[str, object]) -> list[str]:
    return [str(word) for name, value in options.items() if value is not None for word in (name, value)]


def _line_or_fail(process: subprocess.Popen[bytes], what: str, first: str) -> str:
    line = children.first_line(process, START_SECONDS)
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
