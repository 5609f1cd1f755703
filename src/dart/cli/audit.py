"""`dart audit`: who did what when."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, printable, when
from dart_client import Client

FOLLOW_SECONDS = 1.0
COLUMNS = ("at", "who", "what", "target", "outcome", "address")


@click.group("audit")
def audit() -> None:
    """Who did what on the server, without parameters or secrets."""


@audit.command("list", epilog="Example: dart audit list --amount 20; dart audit list --follow --output jsonl")
@click.option("--amount", type=click.IntRange(1), default=100, show_default=True, help="The newest so many.")
@click.option("--all", "everything", is_flag=True, help="All that are kept, oldest first.")
@click.option("--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@SERVER
@OUTPUT
def list_(*, amount: int, everything: bool, follow: bool, server: ServerChoice, output: Output) -> None:
    """Entries of the audit, oldest first; needs a key with the scope admin."""
    with server.client() as client:
        entries = client.audit() if everything else iter(list(islice(client.audit(newest=True), amount))[::-1])
        if not follow:
            output.rows((_row(entry, output) for entry in entries), COLUMNS)
            return
        for row in _followed(client, entries):
            if output.form == "table":
                shown = _row(row, output)
                click.echo(printable("  ".join(str(shown[column]) for column in COLUMNS)))
            else:
                Output("jsonl").rows([row], COLUMNS)


def _followed(client: Client, entries: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    after = "0"
    while True:
        for entry in entries:
            after = entry["id"]
            yield entry
        time.sleep(FOLLOW_SECONDS)
        entries = client.audit(after=after)


def _row(entry: dict[str, Any], output: Output) -> dict[str, Any]:
    """An entry as it is printed: as it is for programs, with a readable time for people."""
    return {**entry, "at": when(entry["at"])} if output.form == "table" else entry
