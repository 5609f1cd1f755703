"""Exit codes of every `dart` command, and which error gives which."""

from enum import IntEnum

import click

import dart.errors
import dart_client
from dart.logs import one_line


class ExitCode(IntEnum):
    """What a script may rely on."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4


MEANINGS = {
    ExitCode.DONE: "What was asked is done.",
    ExitCode.FAILED: "It was tried and failed, or what was asked about is not well; stderr says why in one sentence.",
    ExitCode.USAGE: "Wrong or missing options, or configuration that cannot be used.",
    ExitCode.UNREACHABLE: "No server answered, or one that is not the server that was named.",
    ExitCode.NOT_ALLOWED: "The key is missing, wrong, or may not do this; or an owner's policy refuses it.",
}
"""The source of the table in the documents and in manual pages."""

_BY_ERROR: tuple[tuple[type[BaseException], ExitCode], ...] = (
    (click.UsageError, ExitCode.USAGE),
    (dart_client.ServerUnreachableError, ExitCode.UNREACHABLE),
    (dart_client.UnauthorizedError, ExitCode.NOT_ALLOWED),
    (dart_client.ForbiddenError, ExitCode.NOT_ALLOWED),
    (dart_client.InvalidRequestError, ExitCode.USAGE),
    (dart_client.DamagedFileError, ExitCode.FAILED),
    (dart_client.ConfigError, ExitCode.USAGE),
    (dart.errors.ForbiddenError, ExitCode.NOT_ALLOWED),
    (dart.errors.DamagedFileError, ExitCode.FAILED),
    (dart.errors.ConfigError, ExitCode.USAGE),
)


def exit_code(error: BaseException) -> ExitCode:
    """The code for an error that ended a command."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)


def told(error: BaseException) -> int:
    """Say on stderr what ended a command, in a line or by its whole help; its exit code. Others' errors are raised."""
    if isinstance(error, click.UsageError):
        if error.ctx and error.message == error.ctx.get_help():  # the command was left out
            click.echo(error.message, err=True)
            return int(ExitCode.USAGE)
        hint = f" Try `{error.ctx.command_path} --help`." if error.ctx else ""
        return _failed(error.format_message() + hint, ExitCode.USAGE)
    if isinstance(error, click.ClickException):
        return _failed(error.format_message(), exit_code(error))
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return _failed("Interrupted.", ExitCode.FAILED)
    if isinstance(error, dart.errors.DartError | dart_client.DartError):
        return _failed(error.message, exit_code(error))
    if isinstance(error, ModuleNotFoundError) and (error.name or "dart").partition(".")[0] != "dart":
        # An agent's machine has the packages that agents and clients need, and no others.
        wanted = f"This needs the Python package {error.name!r}: install DART again with `[server]` after its name."
        return _failed(wanted, ExitCode.FAILED)
    raise error


def _failed(message: str, code: ExitCode) -> int:
    click.echo(one_line("dart: " + " ".join(message.split())), err=True)
    return int(code)
