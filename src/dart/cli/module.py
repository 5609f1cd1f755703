"""`dart module`: modules that are pushed onto workers whose owners allow it."""

from pathlib import Path
from typing import Any

import click

from dart.cli.completion import WORKERS
from dart.cli.options import OUTPUT, SERVER, ServerChoice
from dart.cli.render import Output

_LEFT_OUT = ("__pycache__", ".pyc", ".pyo")
_TO = click.option(
    "--to",
    "regex",
    default="",
    metavar="REGEX",
    shell_complete=WORKERS,
    help="Workers whose whole name matches; all without it.",
)
_WAIT = click.option("--wait", default=30.0, show_default=True, help="Seconds to wait for the workers' answers.")
COLUMNS = ("worker", "host", "module", "sha256", "problem")


@click.group("module")
def module() -> None:
    """Modules on workers, where their owners' policies take them (`accept_modules`)."""


@module.command("push", epilog="Example: dart module push train.py --to 'plant-.*'")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@_TO
@_WAIT
@SERVER
@OUTPUT
@click.pass_context
def push(  # noqa: PLR0917 - click passes them by name
    context: click.Context, path: Path, regex: str, wait: float, server: ServerChoice, output: Output
) -> None:
    """Bring a module, NAME.py or the folder of a package, onto workers; jobs name it as pushed/NAME.

    Tasks that run go on with what they began with; each later one gets the new module. The SHA-256 that is shown may be
    demanded by a job: --module pushed/NAME@sha256:... is refused by workers that have another one.
    """
    name, source, files = read_module(path)
    with server.client() as client:
        agents = client.push_module(name, source, files, worker_regex=regex, seconds=wait)
    _show(context, agents, output)


@module.command("list", epilog="Example: dart module list --to 'plant-.*'")
@_TO
@_WAIT
@SERVER
@OUTPUT
@click.pass_context
def list_(context: click.Context, regex: str, wait: float, server: ServerChoice, output: Output) -> None:
    """The pushed modules of each connected worker, with their SHA-256."""
    with server.client() as client:
        agents = client.modules(worker_regex=regex, seconds=wait)
    _show(context, agents, output)


@module.command("remove", epilog="Example: dart module remove train --to 'plant-.*'")
@click.argument("name")
@_TO
@_WAIT
@SERVER
@OUTPUT
@click.pass_context
def remove(  # noqa: PLR0917 - click passes them by name
    context: click.Context, name: str, regex: str, wait: float, server: ServerChoice, output: Output
) -> None:
    """Take a pushed module away from workers."""
    with server.client() as client:
        agents = client.remove_module(name, worker_regex=regex, seconds=wait)
    done = sum(agent["answered"] and not agent.get("error") for agent in agents)
    if done < len(agents) or not agents or output.form != "table":
        _show(context, agents, output)
    output.note(f"{done} agents have removed {name}.")


def read_module(path: Path) -> tuple[str, str, dict[str, str]]:
    """Name, source and further files of a module that lies here."""
    path = path.resolve()
    if path.is_file():
        return path.stem, _text(path), {}
    files = {
        file.relative_to(path).as_posix(): _text(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and not any(part.endswith(_LEFT_OUT) for part in file.parts)
    }
    if "__init__.py" not in files:
        raise click.ClickException(f"{path} is no package: it has no __init__.py.")
    return path.name, files.pop("__init__.py"), files


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is no text in UTF-8, as all files of a module must be.") from None


def _show(context: click.Context, agents: list[dict[str, Any]], output: Output) -> None:
    """One row a module; agents that did nothing with their reason, and exit code 1."""
    if not agents:
        raise click.ClickException("No worker's name matches; `dart worker list` shows the connected ones.")
    for agent in agents:
        agent["problem"] = agent.get("error") or ("" if agent["answered"] else "no answer")
    if output.form == "table":
        rows = [
            {**agent, "module": name, "sha256": version}
            for agent in agents
            for name, version in (agent.get("modules") or {"": ""}).items()
        ]
        failed = any(agent["problem"] for agent in agents)
        output.rows(rows, COLUMNS if failed else COLUMNS[:-1])
    else:
        output.rows(agents, COLUMNS)
    if any(agent["problem"] for agent in agents):
        context.exit(1)
