"""`dart key`: who may call this server."""

import re
import sys
from pathlib import Path
from typing import Any

import click

from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output, when
from dart.errors import ConfigError
from dart.state_directory import write_secret

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_TIMES = ("created_at", "expires_at", "last_used_at", "revoked_at")
_COLUMNS = ("id", "name", "scope", "jobs", "workers", "created", "expires", "last_used", "state")


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """`90`, `45s`, `30m`, `12h`, `30d`, `4w` as seconds; nothing as 0."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw]?)", text or "0")
    if found is None or (text and not float(found[1])):
        raise click.BadParameter(f"{text!r} is no duration; write it as 90, 45s, 30m, 12h, 30d or 4w.")
    return float(found[1]) * _UNITS[found[2] or "s"]


@click.group("key")
def key() -> None:
    """API keys: who may call the server. The key in its state directory always counts."""


@key.command(
    "add", epilog="Example: dart key add --name phone --scope submit --job train --expires 30d --out phone.key"
)
@click.option(
    "--scope",
    type=click.Choice(["read", "submit", "admin"]),
    required=True,
    help="read: look at everything but keys. submit: also jobs, tasks, results. admin: everything.",
)
@click.option("--name", default="", metavar="NAME", help="For lists and logs.")
@click.option("--job", "jobs", multiple=True, metavar="JOB", help="Bind it to this job; repeatable.")
@click.option("--job-regex", default="", metavar="REGEX", help="Bind it to jobs whose whole name matches.")
@click.option("--worker", "workers", multiple=True, metavar="WORKER", help="Bind its tasks to this worker; repeatable.")
@click.option("--worker-regex", default="", metavar="REGEX", help="Bind its tasks to workers whose whole name matches.")
@click.option("--expires", default="", callback=_seconds, metavar="DURATION", help="As 12h or 30d; without: never.")
@click.option("--text", default="", metavar="TEXT", help="Of your own, as old programs have it; `-`: a line of stdin.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the key there, for you alone.")
@SERVER
@OUTPUT
def add(scope: str, text: str, out: Path | None, server: ServerChoice, output: Output, **members: Any) -> None:
    """Add a key and print it, this once: the server keeps nothing from which it could be had back.

    To replace a key, add another one with the same rights, give it to the program, and revoke the old one.
    """
    if out is not None and text:
        raise click.UsageError("--out is for keys that the server makes; you have the --text yourself.")
    if out is not None and out.exists():
        raise click.ClickException(f"{out} is there already; name another file.")
    if text == "-":
        text = sys.stdin.readline().rstrip("\r\n")
        if not text:
            raise click.UsageError("--text - reads a line from stdin, and there was none.")
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in members.items() if value}
    with server.client() as client:
        made = client.add_key(scope=scope, **given, **({"text": text} if text else {}))
    _show(made, out, output, is_chosen=bool(text))


def _show(made: dict[str, Any], out: Path | None, output: Output, *, is_chosen: bool) -> None:
    """The text alone on stdout or in the file; what is said about it goes to stderr."""
    added = made["key"]
    if not is_chosen and "text" not in made:
        raise click.ClickException(
            f"The answer with the new key was lost on its way: dart key revoke {added['id']}, and add another one."
        )
    if out is not None:
        try:
            write_secret(out, f"{made.pop('text')}\n")
        except ConfigError as error:
            raise click.ClickException(f"{error.message} Revoke the key that is lost: {added['id']}.") from error
        made["file"] = str(out)
    if output.form != "table":
        output.one(made)
        return
    where = f" It is in {out}." if out is not None else "" if is_chosen else " It is shown this once:"
    click.echo(f"Key {added['id']} ({added['name']}, scope {added['scope']}) counts from now on.{where}", err=True)
    if "text" in made:
        click.echo(made["text"])


@key.command("list", epilog="Example: dart key list --output json")
@SERVER
@OUTPUT
def list_(server: ServerChoice, output: Output) -> None:
    """All keys, those that count no more too, without their texts."""
    with server.client() as client:
        keys = client.keys()
    output.rows([_row(each) for each in keys] if output.form == "table" else keys, _COLUMNS)


@key.command("revoke", epilog="Example: dart key revoke 3f0c9a7be21d4c55")
@click.argument("key_id", metavar="ID")
@SERVER
@OUTPUT
def revoke(key_id: str, server: ServerChoice, output: Output) -> None:
    """Let a key count no more, from its next request on; long polls that it waits in end."""
    with server.client() as client:
        revoked = client.revoke_key(key_id)
    output.done(f"Key {key_id} counts no more.", **revoked)


def _row(key: dict[str, Any]) -> dict[str, Any]:
    """A key for people."""
    times = {name.removesuffix("_at"): when(key.get(name, 0)) for name in _TIMES}
    bound = {
        noun: [*key.get(f"{noun}s", []), *([f"/{regex}/"] if (regex := key.get(f"{noun}_regex", "")) else [])]
        for noun in ("job", "worker")
    }
    state = "weak" if key.get("weak") and key["valid"] else "valid" if key["valid"] else key.get("reason", "")
    rows = {"jobs": bound["job"], "workers": bound["worker"], "state": state}
    return {**key, **times, **rows}
