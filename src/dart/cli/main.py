"""`dart`: one command a noun and verb; errors are one sentence on stderr and an exit code."""

import importlib
import sys

import click

from dart import __version__
from dart.errors import DartError
from dart.logs import one_line

NOUNS = {
    "up": "dart.cli.up:up",
    "run": "dart.cli.run:run",
    "server": "dart.cli.server_unit:server",
    "agent": "dart.cli.agent_unit:agent",
    "worker": "dart.cli.worker_hosts:worker",
    "job": "dart.cli.job:job",
    "task": "dart.cli.task:task",
    "result": "dart.cli.result:result",
    "logs": "dart.cli.logs:logs",
    "module": "dart.cli.module:module",
    "key": "dart.cli.key:key",
    "bundle": "dart.cli.bundle:bundle",
    "audit": "dart.cli.audit:audit",
    "profile": "dart.cli.profile:profile",
}
"""Loaded when asked for: `dart agent start` on a Raspberry Pi needs nothing of the rest."""


class Nouns(click.Group):
    """The nouns, in the order of the table."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """All nouns."""
        return list(NOUNS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Load one noun."""
        if name not in NOUNS:
            return None
        module, _, attribute = NOUNS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=Nouns, epilog="Example: dart up, and in another terminal: dart run MODULE:FUNCTION --each FILE...")
@click.version_option(__version__, prog_name="dart")
@click.pass_context
def cli(context: click.Context) -> None:
    """DART, the Distributed Analytics RunTime: Python functions that live on named workers, called from anywhere."""
    from dart.cli.profile import default_map, profile_file, read_profile  # noqa: PLC0415 - not for `--help`

    if context.invoked_subcommand in {"server", "agent"}:
        context.default_map = default_map(read_profile(profile_file()))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    from dart.cli.exit_codes import ExitCode, exit_code  # noqa: PLC0415 - loads the SDK, which an agent need not have
    from dart_client import DartError as ClientError  # noqa: PLC0415

    try:
        code = cli.main(args=arguments, prog_name="dart", standalone_mode=False)
    except click.UsageError as error:
        hint = f" Try `{error.ctx.command_path} --help`." if error.ctx else ""
        return _failed(error.format_message() + hint, ExitCode.USAGE)
    except click.ClickException as error:
        return _failed(error.format_message(), exit_code(error))
    except (click.Abort, KeyboardInterrupt):
        return _failed("Interrupted.", ExitCode.FAILED)
    except (DartError, ClientError) as error:
        return _failed(error.message, exit_code(error))
    except SystemExit:
        # What click makes of a closed pipe: whoever read our output has seen enough.
        return ExitCode.DONE
    return code if isinstance(code, int) else ExitCode.DONE


def _failed(message: str, code: int) -> int:
    """Say it on stderr, in one line."""
    click.echo(one_line("dart: " + " ".join(message.split())), err=True)
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
