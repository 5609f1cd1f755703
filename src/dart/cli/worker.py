"""`dart worker`: the workers that are connected, through the broker."""

import re
from typing import Any

import click

from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output


@click.group("worker")
def worker() -> None:
    """The connected workers."""


@worker.command("list", epilog="Example: dart worker list --output json")
@SERVER
@OUTPUT
def list_(server: ServerChoice, output: Output) -> None:
    """All connected workers, one line a name."""
    with server.client() as client:
        output.rows(client.workers(), ("name", "count", "hosts", "capabilities"))


@worker.command("show", epilog="Example: dart worker show raspberry-1")
@click.argument("name")
@SERVER
@OUTPUT
def show(name: str, server: ServerChoice, output: Output) -> None:
    """One worker: its agents, their hosts, versions, load and last contact."""
    with server.client() as client:
        output.one(client.worker(name))


@worker.command("drain", epilog="Example: dart worker drain raspberry-1")
@click.argument("name")
@SERVER
@OUTPUT
def drain(name: str, server: ServerChoice, output: Output) -> None:
    """Let a worker finish what it has begun, give back the rest, and leave."""
    with server.client() as client:
        client.drain_worker(name)
    output.note(f"Worker {name} finishes what it has begun and leaves.")


@worker.command("revoke", epilog="Example: dart worker revoke raspberry-1")
@click.argument("name")
@click.option("--agent", default="", metavar="ID", help="Only the agent whose id begins so; `dart worker show` has it.")
@SERVER
@OUTPUT
def revoke(name: str, agent: str, server: ServerChoice, output: Output) -> None:
    """Cut a worker's agents off for good: what they hold is lost to them, and nothing they still send counts."""
    with server.client() as client:
        revoked = client.revoke_worker(name, agent)
    output.note(f"{revoked} agents of {name} are revoked; they do not come back with their keys.")


@worker.command("ping", epilog="Example: dart worker ping 'raspberry-.*'")
@click.argument("regex", default=".*")
@SERVER
@OUTPUT
@click.pass_context
def ping(context: click.Context, regex: str, server: ServerChoice, output: Output) -> None:
    """Round trip through the broker to each agent of the workers whose whole name matches REGEX."""
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise click.UsageError(f"{regex!r} is not a regular expression: {error}.") from error
    rows: list[dict[str, Any]] = []
    with server.client() as client:
        names = [entry["name"] for entry in client.workers() if pattern.fullmatch(entry["name"])]
        if not names:
            raise click.ClickException(f"No connected worker's name matches {regex!r}; `dart worker list` shows them.")
        for name in names:
            rows.extend({"name": name, **entry} for entry in client.ping_worker(name).get("agents", []))
    output.rows(rows, ("name", "host", "milliseconds"))
    if any(row.get("milliseconds", -1) < 0 for row in rows):
        context.exit(1)
