"""`dart worker`: the workers that are connected, through the broker."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from dart.cli.completion import WORKERS
from dart.cli.event_lines import show_events
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, when

AGENT_ID_SHOWN = 16
"""Of its 64 digits; as much as `--agent ID` of `dart worker revoke` needs."""
PINGS_AT_ONCE = 16
_OF_AGENT = ("agent_version", "protocol", "architecture")
VERSIONS = (*_OF_AGENT, "python", "agent_python", "pyzmq", "libzmq", "msgpack", "numpy")
"""Of what workers tell, the columns of tables."""


@click.group("worker")
def worker() -> None:
    """The connected workers."""


@worker.command("list", epilog="Example: dart worker list --json; dart worker list --follow")
@click.option("--follow", is_flag=True, help="Go on with agents that come and go, until Ctrl-C.")
@SERVER
@OUTPUT
def list_(*, follow: bool, server: ServerChoice, output: Output) -> None:
    """All connected workers, one line a name."""
    with server.client() as client:
        events = client.events(kinds=("worker",)) if follow else ()
        output.rows(client.workers(), ("name", "count", "busy", "hosts", "capabilities"), go_on=follow)
        show_events(events, output)


@worker.command("show", epilog="Example: dart worker show raspberry-1")
@click.argument("name", shell_complete=WORKERS)
@SERVER
@OUTPUT
def show(name: str, server: ServerChoice, output: Output) -> None:
    """One worker: its agents, their hosts, versions, load and last contact."""
    with server.client() as client:
        found = client.worker(name)
    if output.form != "table":
        output.one(found)
        return
    agents = found.pop("agents", [])
    output.one({**found, "facts": {fact: ", ".join(values) for fact, values in found.get("facts", {}).items()}})
    click.echo()
    rows = [
        {**agent, "id": agent["id"][:AGENT_ID_SHOWN], "last_contact": when(agent.get("last_contact", 0))}
        for agent in agents
    ]
    output.rows(rows, ("id", "host", "connected", "slots", "busy", "leases", "last_contact"))


@worker.command("drain", epilog="Example: dart worker drain raspberry-1")
@click.argument("name", shell_complete=WORKERS)
@SERVER
@OUTPUT
def drain(name: str, server: ServerChoice, output: Output) -> None:
    """Let a worker finish what it has begun, give back the rest, and leave."""
    with server.client() as client:
        client.drain_worker(name)
    output.done(f"Worker {name} finishes what it has begun and leaves.", name=name, draining=True)


@worker.command("revoke", epilog="Example: dart worker revoke raspberry-1")
@click.argument("name", shell_complete=WORKERS)
@click.option("--agent", default="", metavar="ID", help="Only the agent whose id begins so; `dart worker show` has it.")
@SERVER
@OUTPUT
def revoke(name: str, agent: str, server: ServerChoice, output: Output) -> None:
    """Cut a worker's agents off for good: what they hold is lost to them, and nothing they still send counts."""
    with server.client() as client:
        revoked = client.revoke_worker(name, agent)
    output.done(
        f"{revoked} agents of {name} are revoked; they do not come back with their keys.", name=name, revoked=revoked
    )


@worker.command("ping", epilog="Example: dart worker ping 'raspberry-.*'")
@click.argument("regex", default=".*", shell_complete=WORKERS)
@click.option("--broker-only", is_flag=True, help="Do not start the workers' Python: only the round trip.")
@click.option("--wait", default=30.0, show_default=True, help="Seconds to wait for each worker.")
@SERVER
@OUTPUT
@click.pass_context
def ping(
    context: click.Context,
    regex: str,
    *,
    broker_only: bool,
    wait: float,
    server: ServerChoice,
    output: Output,
) -> None:
    """Have each agent of the workers whose whole name matches REGEX start its Python, as for a task; all versions.

    Exit code 1 if one does not answer, or its Python does not start.
    """
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise click.UsageError(f"{regex!r} is not a regular expression: {error}.") from error
    with server.client() as client:
        names = [entry["name"] for entry in client.workers() if pattern.fullmatch(entry["name"])]
        if not names:
            raise click.ClickException(f"No connected worker's name matches {regex!r}; `dart worker list` shows them.")

        def answers(name: str) -> list[dict[str, Any]]:
            found = client.ping_worker(name, runner=not broker_only, seconds=wait).get("agents", [])
            return [{"name": name, **entry} for entry in found]

        with ThreadPoolExecutor(PINGS_AT_ONCE) as threads:
            rows = [row for found in threads.map(answers, names) for row in found]
    fine = [row["answered"] and not row.get("error") and "fault" not in row.get("versions", {}) for row in rows]
    if output.form == "table":
        rows = [{**row, **row.get("versions", {}), "problem": _problem(row)} for row in rows]
    columns = ("name", "host", "milliseconds", *(() if broker_only else VERSIONS), *(() if all(fine) else ("problem",)))
    output.rows(rows, columns)
    if not all(fine):
        context.exit(1)


def _problem(row: dict[str, Any]) -> str:
    if not row["answered"]:
        return "no answer"
    return str(row.get("error") or row.get("versions", {}).get("fault", ""))
