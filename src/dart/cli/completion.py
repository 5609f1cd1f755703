"""`dart completion`: what a shell needs to complete commands, options, and the names of workers and jobs."""

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

if TYPE_CHECKING:
    from dart_client import Client

SECONDS = 1.0
"""Somebody waits with a finger on the key."""
NAMES_MAX = 200
SHELLS = ("bash", "zsh", "fish")


@click.command("completion", epilog="Example: dart completion bash; dart completion fish")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    r"""A script that lets the shell complete commands and names.

    It completes options and values too; names of workers and jobs come from the server, if it answers within a second.

    \b
    bash  echo 'eval "$(dart completion bash)"' >> ~/.bashrc
    zsh   echo 'eval "$(dart completion zsh)"' >> ~/.zshrc
    fish  dart completion fish > ~/.config/fish/completions/dart.fish
    """
    from dart.cli.main import cli  # noqa: PLC0415 - it names this module

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"This version of click knows no {shell}; update it: pip install -U click")
    click.echo(found(cli, {}, "dart", "_DART_COMPLETE").source())


Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _names(ask: "Callable[[Client], list[str]]") -> Complete:
    """Names from the server that a typed text may become; none, whatever goes wrong: nobody would read an error."""

    def complete(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
        from dart.cli.options import ServerChoice  # noqa: PLC0415 - it uses this module

        flags = {name: context.params.get(name) for name in ("url", "key", "fingerprint", "ca", "state_dir")}
        try:
            with ServerChoice(flags, SECONDS).client() as client:
                found = ask(client)
        except Exception:  # noqa: BLE001 - as the docstring says
            return []
        # A name is a stranger's text, and this one goes through a shell.
        return [name for name in found if name.startswith(typed) and name.isprintable()]

    return complete


def _worker_names(client: "Client") -> list[str]:
    return [entry["name"] for entry in client.workers()[:NAMES_MAX]]


def _job_names(client: "Client") -> list[str]:
    return [entry["name"] for entry in islice(client.jobs(), NAMES_MAX)]


WORKERS = _names(_worker_names)
JOBS = _names(_job_names)
EITHER = _names(lambda client: _job_names(client) + _worker_names(client))
