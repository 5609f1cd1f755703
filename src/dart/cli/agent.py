"""`dart agent`: an agent on this machine."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from dart.agent.config import default_home, state_root
from dart.agent.policy_file import read_policy_file
from dart.agent.token_option import TOKEN_VARIABLE
from dart.cli.options import END_WITH_STDIN, OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, when
from dart.errors import ForbiddenError
from dart.limits import Limits

STOP_SECONDS = 30.0
PLAIN_OPTIONS = (
    (
        "server",
        "URL",
        "The server, as `dart server info` tells; known from token, enrolment or --state-dir without it.",
    ),
    (
        "token-file",
        "FILE",
        "File with a join token, or the variable DART_JOIN_TOKEN: needed once, to join from elsewhere.",
    ),
    ("name", "NAME", "The worker's name: what tasks give as location."),
    ("slots", "K", "Tasks at the same time; 1 without it."),
    ("config", "FILE", "worker.json or worker.toml."),
    ("policy", "FILE", "The owner's policy; without it policy.json beside the configuration or in the home, if there."),
    ("home", "DIR", "Where the agent keeps key, spool and logs."),
    ("state-dir", "DIR", "State directory of a local server, to join it without a token."),
    ("spool", "MODE", "eager, lazy (SD cards) or before_send."),
    ("shm-size", "BYTES", "Memory that the slots share."),
    ("python-home", "DIR", "Prefix of the Python that runs the tasks."),
    ("module-prefix", "DIR", "Where the modules lie."),
    ("output-directory", "DIR", "Where the workers' logs go."),
    ("host", "NAME", "Name of this host in results."),
    ("stop-grace", "SECONDS", "How long tasks may go on when the agent is stopped."),
)


@click.group("agent")
def agent() -> None:
    """An agent: runs tasks on the machine where it is started."""


@agent.command("start", epilog="Example: dart agent start --name raspberry-1 --slots 4 --config worker.json")
@click.option("--token", metavar="TOKEN", help="The join token itself; others on this machine see it for a moment.")
@click.option("--capability", multiple=True, metavar="C", help="What this worker can do; repeatable.")
@click.option("--library", multiple=True, metavar="NAME", help="A package whose version is told; repeatable.")
@click.option("--probe", multiple=True, metavar="MODULE", help="A module that tells further facts; repeatable.")
@END_WITH_STDIN
def start(
    *,
    token: str | None,
    capability: tuple[str, ...],
    library: tuple[str, ...],
    probe: tuple[str, ...],
    end_with_stdin: bool,
    **options: str | None,
) -> None:
    """Run an agent in the foreground; it prints one line when the broker has welcomed it.

    Each option can also be given as DART_AGENT_OPTION or as `agent_option` of the profile.
    """
    arguments = [word for name, value in options.items() if value for word in ("--" + name.replace("_", "-"), value)]
    for name, values in (("--capability", capability), ("--library", library), ("--probe", probe)):
        arguments += [word for value in values for word in (name, value)]
    if end_with_stdin:
        arguments.append("--end-with-stdin")
    if token and options["token_file"]:
        raise click.UsageError("--token and --token-file are both there; drop one of them.")
    if token:
        os.environ[TOKEN_VARIABLE] = token  # a command line is for everybody to read
    sys.stdout.flush()
    # The agent loads neither click nor the SDK: what runs for years on a small machine is small.
    os.execv(sys.executable, [sys.executable, "-m", "dart.agent", *arguments])  # noqa: S606 - no shell wanted


for _name, _value, _help in PLAIN_OPTIONS:
    _variables = ["DART_AGENT_" + _name.upper().replace("-", "_")]
    if _name == "state-dir":
        _variables.append("DART_STATE_DIR")
    click.option("--" + _name, metavar=_value, help=_help, envvar=_variables)(start)


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """A duration as people write it: 90, 90s, 15m, 12h, 7d."""
    number, unit = (text[:-1], _UNITS[text[-1]]) if text[-1:] in _UNITS else (text, 1)
    if not number.isascii() or not number.isdigit() or not 0 < int(number[:12]) * unit <= 10**9:
        raise click.BadParameter(f"{text!r} is no duration; write 90s, 15m, 12h or 7d.")
    return float(int(number[:12]) * unit)


@agent.command("token", epilog="Example: dart agent token --name 'edge-*' --uses 10 --expires 2h")
@click.option("--name", metavar="NAME", help="What the worker may be called; * stands for any characters.")
@click.option(
    "--expires", default="1h", show_default=True, metavar="TIME", callback=_seconds, help="How long it counts."
)
@click.option("--uses", type=int, default=1, show_default=True, metavar="N", help="How many agents may join by it.")
@click.option("--local", is_flag=True, help="For an agent on the server's own machine.")
@click.option("--list", "listing", is_flag=True, help="Show the tokens there are, without their texts.")
@click.option("--revoke", metavar="ID", help="Let nobody join by this token any more.")
@SERVER
@OUTPUT
def token(
    *,
    name: str | None,
    expires: float,
    uses: int,
    local: bool,
    listing: bool,
    revoke: str | None,
    server: ServerChoice,
    output: Output,
) -> None:
    """Make a join token: who has it may start an agent on another machine. Keep it like a password."""
    if [bool(name), listing, bool(revoke)].count(True) != 1:
        raise click.UsageError("Say one of --name NAME, --list and --revoke ID.")
    with server.client() as client:
        if listing:
            rows = [{**one, "expires": when(one["expires_at"])} for one in client.tokens()]
            output.rows(rows, ("id", "name", "state", "uses", "uses_max", "expires"))
        elif revoke:
            client.revoke_token(revoke)
            output.done(
                f"Nobody joins by the token {revoke} any more; agents that did stay (`dart worker revoke`).",
                revoked=revoke,
            )
        else:
            made = client.make_token(name or "", expires=expires, uses=uses, local=local)
            if output.form != "table":
                output.one(made)
                return
            click.echo(made["text"])
            click.echo(_how_to_join(client.server()), err=True)  # the token alone goes into a pipe


def _how_to_join(server: dict[str, Any]) -> str:
    """What to do with a token, and what may be wrong with it."""
    return (
        "On the other machine: dart agent start --token-file FILE, or DART_JOIN_TOKEN=TOKEN dart agent start. It goes "
        f"to {server['host']}, ports {server['port']} and {server['agent']['port']}; if it cannot reach that address, "
        "start the server with --advertise ADDRESS and make another token. This one is not shown again."
    )


def _homes(home: str | None, name: str | None) -> list[Path]:
    """The home that was named, or all of this user."""
    if home:
        return [Path(home).expanduser()]
    if name:
        return [default_home(name, os.environ)]
    try:
        return sorted(path for path in (state_root(os.environ) / "agents").iterdir() if path.is_dir())
    except OSError:
        return []


def _about(home: Path) -> dict[str, Any]:
    """What the agent of a home says of itself; `pid` 0: it does not run."""
    try:
        found = json.loads((home / "agent.json").read_text(encoding="utf-8"))
        pid = int(found["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"name": "", "home": str(home), "pid": 0, "state": "stopped"}
    running = _is_agent(pid)
    return {**found, "home": str(home), "pid": pid if running else 0, "state": "running" if running else "stopped"}


def _is_agent(pid: int) -> bool:
    """Whether this process is an agent: a number alone may be another's by now."""
    try:
        return b"dart.agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


HOME = click.option("--home", metavar="DIR", envvar="DART_AGENT_HOME", help="The agent's home.")
NAME = click.option("--name", metavar="NAME", help="The agent's name, if its home is the default one.")


@agent.command("status", epilog="Example: dart agent status --name raspberry-1")
@HOME
@NAME
@OUTPUT
@click.pass_context
def status(context: click.Context, home: str | None, name: str | None, output: Output) -> None:
    """The agents of this user on this machine; exit code 1 if none runs."""
    rows = [_about(path) for path in _homes(home, name)]
    output.rows(rows, ("name", "state", "pid", "home", "policy", "policy_sha256", "open_to_tasks"))
    if not any(row["pid"] for row in rows):
        context.exit(1)


@agent.group("policy")
def policy() -> None:
    """The owner's policy: what an agent lets run."""


@policy.command("check", epilog="Example: dart agent policy check policy.json --module fed/train --method run")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--module", metavar="M", help="A module path, as jobs name it.")
@click.option("--method", metavar="F", help="A method of it.")
@click.option("--parameter-bytes", type=click.IntRange(min=0), default=0, help="Size of the encoded parameter.")
@click.option("--ships-code", is_flag=True, help="The task brings its own code.")
@OUTPUT
def check(*, file: Path, module: str | None, method: str | None, output: Output, **call: Any) -> None:
    """Read a policy as an agent would and say whether it lets a call run; exit code 4 if not.

    Whether the module offers the method, only the worker can tell.
    """
    found = read_policy_file(file, Limits().policy_bytes_max)
    members = {"policy": str(found.path), "policy_sha256": found.sha256}
    if module is None and method is None:
        output.done(f"{found.path} can be used (SHA-256 {found.sha256}).", **members)
        return
    output.note(f"{found.path} can be used (SHA-256 {found.sha256}).")
    if module is None or method is None:
        raise click.UsageError("Give --module and --method together.")
    refusal = found.refusal(module, method, **call)
    if refusal is not None:
        raise ForbiddenError(refusal.text)
    output.done(f"{module}:{method} may run.", **members, module=module, method=method)


@agent.command("stop", epilog="Example: dart agent stop --name raspberry-1")
@HOME
@NAME
@OUTPUT
def stop(home: str | None, name: str | None, output: Output) -> None:
    """Let an agent give back what it has not begun and leave."""
    if not (home or name):
        raise click.UsageError("Say which: --name NAME or --home DIR; `dart agent status` lists them.")
    (path,) = _homes(home, name)
    pid = _about(path)["pid"]
    if not pid:
        raise click.ClickException(f"No agent runs in {path}.")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_agent(pid):
        if time.monotonic() > deadline:
            raise click.ClickException(f"The agent (process {pid}) still runs after {STOP_SECONDS:.0f} s.")
        time.sleep(0.02)
    output.done("The agent has stopped.", home=str(path), stopped=True)
