"""Exit codes of every `dart` command, and which error gives which."""

from enum import IntEnum

import click

import dart.errors
import dart_client


class ExitCode(IntEnum):
    """What a script may rely on."""

    DONE = 0
    """What was asked is done."""
    FAILED = 1
    """It was tried and failed; stderr says why in one sentence."""
    USAGE = 2
    """Wrong or missing options, or configuration that cannot be used."""
    UNREACHABLE = 3
    """No server answered, or one that is not the server that was named."""
    NOT_ALLOWED = 4
    """The key is missing, wrong, or may not do this; or an owner's policy refuses it."""


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
