"""`dart server`: start, stop, look at, and the line that others need to reach it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dart.broker.config import DEFAULT_AGENT_PORT, DEFAULT_PORT, STORES, ServerConfig, SshDefaults, in_url, rest_url
from dart.cli.options import END_WITH_STDIN, OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output
from dart.cli.rotation import rotate_key
from dart.private_files import make_private_directory
from dart.state_directory import default_path, find_local_server

START_SECONDS = 30.0
STOP_SECONDS = 15.0

_SSH_MEMBERS = ("username", "port", "private_key", "public_key", "host_keys", "wheelhouse")
_SSH = "Default for adding workers over SSH:"
START_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--host", default="127.0.0.1", show_default=True, help="Where REST listens: an address, or unix:/PATH."
    ),
    click.option("--port", type=int, default=DEFAULT_PORT, show_default=True, help="0: the system chooses."),
    click.option("--agent-host", default="127.0.0.1", show_default=True, help="Where agents connect."),
    click.option(
        "--agent-port", type=int, default=DEFAULT_AGENT_PORT, show_default=True, help="0: the system chooses."
    ),
    click.option("--advertise", default="", metavar="ADDRESS", help="What clients and agents are told to connect to."),
    click.option("--state-dir", metavar="DIR", envvar="DART_STATE_DIR", help="Where the server keeps its state."),
    click.option(
        "--store", type=click.Choice(STORES), default="sqlite", show_default=True, help="Where tasks are kept."
    ),
    click.option("--tls-cert", metavar="FILE", help="Certificate chain in place of the one the server makes."),
    click.option("--tls-key", metavar="FILE", help="Its private key."),
    click.option("--tls-san", multiple=True, metavar="NAME", help="A further name in the certificate; repeatable."),
    click.option("--no-tls", is_flag=True, help="Plain HTTP, on loopback only; a unix socket is plain."),
    click.option("--legacy-key", "legacy_keys", multiple=True, metavar="TEXT", help="A key of old programs, as 000."),
    click.option(
        "--allow-weak-key", is_flag=True, help="Take keys that can be guessed although others reach the port."
    ),
    click.option("--forget-jobs", is_flag=True, help="Begin without jobs, tasks and results."),
    click.option("--ssh-username", default="", metavar="NAME", help=f"{_SSH} user there; this one without it."),
    click.option("--ssh-port", type=int, default=22, show_default=True, help=f"{_SSH} port there."),
    click.option("--ssh-private-key", metavar="FILE", help=f"{_SSH} file of the private key."),
    click.option("--ssh-public-key", metavar="FILE", help=f"{_SSH} file of the public key."),
    click.option(
        "--ssh-host-keys",
        default="known",
        show_default=True,
        metavar="WHICH",
        help=f"{_SSH} known, accept-new, or fingerprints SHA256:... with commas between them.",
    ),
    click.option(
        "--ssh-wheelhouse",
        metavar="DIR",
        help="Wheels for hosts over SSH that lack pyzmq, in place of what pip is configured for.",
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="What is told on stderr: this and what is worse.",
    ),
)


@click.group("server")
def server() -> None:
    """The server: REST for clients, the broker for agents."""


@server.command(
    "start", context_settings={"auto_envvar_prefix": "DART_SERVER"}, epilog="Example: dart server start --detach"
)
@click.option("--detach", is_flag=True, help="Go on in the background once the server is ready.")
@END_WITH_STDIN
@click.pass_context
def start(context: click.Context, /, *, detach: bool, end_with_stdin: bool, **options: Any) -> None:
    """Start a server. It prints one line on stdout when it is ready, and logs to stderr.

    Each option can also be given as DART_SERVER_OPTION or as `server_option` of the profile.
    """
    if detach and end_with_stdin:
        raise click.UsageError("--detach and --end-with-stdin contradict each other.")
    if detach:
        _detach(options)
        return
    with without_authorities():
        from dart.server import run  # noqa: PLC0415 - the other commands need none of it

    if end_with_stdin:
        from dart.stdin_end import end_with_stdin as begin_to_watch  # noqa: PLC0415 - of this option

        begin_to_watch()

    context.exit(run(config_of(options)))


for _option in START_OPTIONS:
    _option(start)


@contextmanager
def without_authorities() -> Iterator[None]:
    """While aiohttp is imported: its client, which the server never uses, would read all authorities of the system."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def config_of(options: dict[str, Any]) -> ServerConfig:
    """The server's configuration from the options of `start`."""
    given = {**options, **{name: _path(options[name]) for name in ("state_dir", "tls_cert", "tls_key")}}
    ssh = {name: given.pop(f"ssh_{name}") for name in _SSH_MEMBERS}
    keys = {name: _path(ssh[name]) for name in ("private_key", "public_key", "wheelhouse")}
    return ServerConfig(**given, ssh=SshDefaults(**{**ssh, **keys}))


def _path(text: str | None) -> Path | None:
    return Path(text).expanduser() if text else None


def state_directory(options: dict[str, Any]) -> Path:
    """Where such a server keeps its state."""
    return Path(options["state_dir"]).expanduser() if options.get("state_dir") else default_path()


def _detach(options: dict[str, Any]) -> None:
    """Start a server of its own session, wait until it is ready, and leave it."""
    directory = state_directory(options)
    log = directory / "server.log"
    try:
        make_private_directory(directory, "The state directory")
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise click.ClickException(f"The log {log} cannot be written: {error.strerror}.") from error
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    with os.fdopen(descriptor, "ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "dart.cli.main", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    from dart_client import children  # noqa: PLC0415 - a server needs no client

    line = children.first_line(process, START_SECONDS)
    if not line.startswith("ready "):
        process.kill()
        process.wait()
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise click.ClickException(f"The server did not start: {last or 'it said nothing'} (log: {log})")
    click.echo(line)
    if process.stdout is not None:
        process.stdout.close()
    process.returncode = 0  # it is not ours to wait for any more


@server.command("stop", epilog="Example: dart server stop")
@SERVER
@OUTPUT
def stop(server: ServerChoice, output: Output) -> None:
    """Stop the server in good order and wait until it is gone."""
    from dart_client import ServerUnreachableError  # noqa: PLC0415 - a server needs no client

    with server.client() as client:
        client.stop_server()
        url = client.url
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            try:
                client.connection.call("GET", "/healthz", retry=False, seconds=1.0)
            except ServerUnreachableError:
                output.done(f"The server at {url} has stopped.", url=url, stopped=True)
                return
            time.sleep(0.05)
    raise click.ClickException(f"The server at {url} still answers after {STOP_SECONDS:.0f} s; look at its log.")


@server.command("status", epilog="Example: dart server status --output json")
@SERVER
@OUTPUT
def status(server: ServerChoice, output: Output) -> None:
    """Whether the server answers and takes work; exit code 3 if nobody answers."""
    with server.client() as client:
        about = client.server()
        client.ready()
    output.one(about)


server.add_command(rotate_key)


@server.command("info", epilog="Example: dart server info")
@SERVER
@OUTPUT
def info(server: ServerChoice, output: Output) -> None:
    """What a client or an agent on another machine needs: URL and certificate fingerprint."""
    with server.client() as client:
        about = client.server()
        fingerprint = client.fingerprint
        tls = client.url.startswith("https:")
    url = rest_url(about["host"], about["port"], tls=tls)
    agents = f"tcp://{in_url(about['agent']['host'])}:{about['agent']['port']}"
    if output.form != "table":
        output.one({"url": url, "fingerprint": fingerprint, "agents_url": agents})
        return
    pinned = f" --fingerprint {fingerprint}" if fingerprint else ""
    click.echo(f"--url {url}{pinned}")


def local_server_process(directory: Path) -> int:
    """Process id of the server of a state directory; 0 if none runs."""
    found = find_local_server(directory)
    return found.pid if found else 0
