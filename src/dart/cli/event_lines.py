"""Events as they are printed: a line of JSON each, or lines for people."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from dart.cli.render import Output, as_json, printable, when

if TYPE_CHECKING:
    from dart_client import Event


def show_events(events: "Iterable[Event]", output: Output) -> None:
    """Print events as they come."""
    for event in events:
        for line in [as_json(members(event))] if output.form != "table" else _lines(event):
            click.echo(line)


def members(event: "Event") -> dict[str, object]:
    """An event for programs."""
    return {"event": event.kind, "id": event.id, **event.data}


def _lines(event: "Event") -> list[str]:
    """An event for people. What tasks and workers say is a stranger's text: nothing in it may act on the terminal."""
    data = event.data
    if event.kind == "missed":
        amount = f"{data['amount']} events" if "amount" in data else "events"
        return [printable(f"[{amount} missed: {data.get('reason', '')}]")]
    whose = " ".join(str(data[part]) for part in ("worker", "job", "task") if data.get(part))
    head = f"{when(data.get('at', 0))} {whose}: "
    if event.kind == "log":
        said = [str(line) for line in data.get("lines", ())]
    elif event.kind == "progress":
        said = [f"{data.get('fraction', 0.0):.0%} {data.get('text', '')}".rstrip()]
    else:
        rest = {name: value for name, value in data.items() if name not in {"worker", "job", "task", "at"}}
        said = [f"{event.kind} " + " ".join(f"{name}={value}" for name, value in rest.items() if value != "")]
    return [printable(head + " ".join(line.splitlines())) for line in said]
