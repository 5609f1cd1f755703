"""`dart worker add`, `remove`, `upgrade`: agents on hosts, over SSH, by the server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dart.cli.node_file import Kind, read_node_file
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output
from dart.cli.worker import worker
from dart_client import HostUnreachableError

_OF_SERVER = "the server's own option without it"
_SSH_OPTIONS = (
    click.option(
        "--ssh-host-keys", metavar="WHICH", help=f"known, accept-new, or fingerprints SHA256:...; {_OF_SERVER}."
    ),
    click.option("--ssh-private-key", metavar="FILE", help=f"On the server's machine; {_OF_SERVER}."),
    click.option(
        "--ssh-passphrase-file", type=click.Path(path_type=Path), help="File with the passphrase of that key, here."
    ),
    click.option("--ssh-port", type=click.IntRange(1, 65_535), help=f"Where hosts listen; {_OF_SERVER}."),
    click.option("--ssh-username", metavar="NAME", help=f"Whom to log in as; {_OF_SERVER}."),
)


def SSH(command: Callable[..., Any]) -> Callable[..., Any]:  # noqa: N802 - as OUTPUT
    """Add the options that say how hosts are reached; the command gets them as `ssh_...`."""
    for option in _SSH_OPTIONS:
        command = option(command)
    return command


@worker.command("add", epilog="Example: dart worker add edge-1 pi@edge-2 --name edge --workers-per-host 4")
@click.argument("hosts", nargs=-1, metavar="[USER@]HOST[:PORT]...")
@click.option("--name", metavar="NAME", help="The worker's name: what tasks give as location.")
@click.option("--workers-per-host", type=click.IntRange(min=1), metavar="K", help="Slots on each host; 1 without it.")
@click.option("--capability", multiple=True, metavar="C", help="What these workers can do; repeatable.")
@click.option("--shm-size", type=click.IntRange(min=0), metavar="BYTES", help="Memory that the slots of a host share.")
@click.option("--config", metavar="PATH", help="worker.json on the hosts; ~/worker.json if it is there.")
@click.option("--via-ssh", is_flag=True, help="They reach the broker through a tunnel that the server keeps.")
@click.option(
    "--file",
    "node_file",
    type=click.Path(path_type=Path),
    help="Hosts, one a line; or JSON with several kinds of workers by name.",
)
@SSH
@SERVER
@OUTPUT
def add(
    hosts: tuple[str, ...],
    *,
    name: str | None,
    node_file: Path | None,
    server: ServerChoice,
    output: Output,
    **options: Any,
) -> None:
    """Start an agent on each host over SSH, from the server's machine; done when all of them are connected."""
    kinds = read_node_file(node_file) if node_file else []
    if hosts:
        kinds.append(Kind("", list(hosts), {}))
    if not kinds:
        raise click.UsageError("Name hosts, or a file of them with --file.")
    given = {
        "workers_per_host": options["workers_per_host"],
        "capabilities": list(options["capability"]),
        "shm_size": options["shm_size"],
        "config": options["config"],
        "via_ssh": options["via_ssh"],
    }
    ssh = _ssh(options)
    calls = []
    for kind in kinds:
        members = {**kind.members, **{member: value for member, value in given.items() if value}}
        calls.append((name or kind.name, kind.hosts, members))
    if not all(called for called, *_ in calls):
        raise click.UsageError("Say how the workers are called: --name NAME.")
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    with server.client() as client:
        for called, where, members in calls:
            try:
                told = client.add_workers(called, where, ssh=ssh, **members)
            except HostUnreachableError as error:
                if len(calls) == 1:
                    raise
                failed.append(f"{called}: {error.message}")
                continue
            rows += [{"name": called, **one} for one in told.get("hosts", ())]
            _warn(told)
    if rows:
        output.rows(rows, ("name", "host", "agents"))
    if failed:
        raise click.ClickException(" ".join(failed))


@worker.command("remove", epilog="Example: dart worker remove edge-1 pi@edge-2")
@click.argument("hosts", nargs=-1, required=True, metavar="[USER@]HOST[:PORT]...")
@SSH
@SERVER
@OUTPUT
def remove(hosts: tuple[str, ...], *, server: ServerChoice, output: Output, **options: Any) -> None:
    """Let the agents leave that this server started on these hosts, in good order; others are left alone."""
    with server.client() as client:
        told = client.remove_workers(hosts, ssh=_ssh(options))
    _warn(told)
    output.rows(told.get("hosts", []), ("host", "agents"))


@worker.command("upgrade", epilog="Example: dart worker upgrade edge-1 pi@edge-2")
@click.argument("hosts", nargs=-1, required=True, metavar="[USER@]HOST[:PORT]...")
@click.option("--everyone", is_flag=True, help="Also agents that are of the server's version already.")
@SSH
@SERVER
@OUTPUT
def upgrade(hosts: tuple[str, ...], *, everyone: bool, server: ServerChoice, output: Output, **options: Any) -> None:
    """Replace those agents by the server's version, one by one on each host; tasks go on, and none is lost."""
    with server.client() as client:
        told = client.upgrade_hosts(hosts, everyone=everyone, ssh=_ssh(options))
    _warn(told)
    output.rows(told.get("hosts", []), ("host", "agents"))


def _ssh(options: dict[str, Any]) -> dict[str, Any]:
    """Member `ssh` of a call, of what was given."""
    given = {name: options[f"ssh_{name}"] for name in ("username", "port", "private_key", "host_keys")}
    path = options["ssh_passphrase_file"]
    if path is not None:
        try:
            given["passphrase"] = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"--ssh-passphrase-file {path} cannot be read: {error}.") from error
    return {name: value for name, value in given.items() if value}


def _warn(told: dict[str, Any]) -> None:
    for warning in told.get("warnings", ()):
        click.echo(f"dart: {warning}", err=True)


__all__ = ["worker"]
