"""Options that many commands share: which server, which key, which form of output."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dart.cli.render import Output
from dart.errors import ConfigError

if TYPE_CHECKING:
    from dart_client import Client

FIRST_SECONDS = 5.0
"""For the first answer: a server that does not run should not cost anybody a minute."""
FORMS = ("table", "json", "jsonl")
Command = TypeVar("Command", bound=Callable[..., Any])


def OUTPUT(command: Command) -> Command:  # noqa: N802 - reads as the option that it adds
    """Add `--output` and `--json`; the command gets an `Output` as `output`."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, output: Any, as_json: bool, **rest: Any) -> Any:
        return command(*arguments, output=Output("json" if as_json else output), **rest)

    wrapped = click.option(
        "--output",
        "-o",
        type=click.Choice(FORMS),
        envvar="DART_OUTPUT",
        default=output_of_profile,
        help="Tables for people (the default), JSON, or JSON lines.",
    )(wrapped)
    return JSON(wrapped)  # type: ignore[return-value]


def JSON(command: Command) -> Command:  # noqa: N802 - as OUTPUT
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="The same as --output json.")(command)


def output_of_profile() -> str:
    """The form of what is printed where neither flag nor variable names one."""
    try:
        return str(_profile().get("output", "table"))
    except ConfigError:
        return "table"  # what needs the rest of the profile says what is wrong with it


def _profile() -> dict[str, str]:
    from dart.cli.profile import profile_file, read_profile  # noqa: PLC0415 - profile's own commands use this module

    return read_profile(profile_file())


class ServerChoice:
    """Which server a command talks to: flags, then variables, then profile, then the local one."""

    def __init__(self, flags: dict[str, str | None], timeout: float) -> None:
        self.flags = flags
        self.timeout = timeout

    def arguments(self) -> dict[str, Any]:
        """What the SDK is told. A profile's key and fingerprint belong to the profile's URL and go with no other."""
        chosen: dict[str, str | None] = {name: value for name, value in self.flags.items() if value}
        named_elsewhere = {"url", "state_dir"} & chosen.keys() or os.environ.keys() & {"DART_URL", "DART_STATE_DIR"}
        if not named_elsewhere:
            profile = _profile()
            kept: dict[str, str | None] = {
                name: profile[name] for name in ("url", "key", "fingerprint", "ca", "state_dir") if name in profile
            }
            for name, variable in (("key", "DART_KEY"), ("fingerprint", "DART_FINGERPRINT"), ("ca", "DART_CA")):
                if os.environ.get(variable):
                    kept.pop(name, None)
            chosen = {**kept, **chosen}
        return chosen

    @contextmanager
    def client(self) -> "Iterator[Client]":
        """A client for as long as the command needs it."""
        from dart_client import Client  # noqa: PLC0415 - not for `--help`

        with Client(**self.arguments(), timeout=self.timeout) as client:
            client.connection.first_seconds = min(self.timeout, FIRST_SECONDS)
            yield client


def _read_key(file: str) -> str:
    """The key in a file for its owner alone, or on stdin: a command line is for everybody to read."""
    from dart.state_directory import read_secret  # noqa: PLC0415 - not for commands without it

    try:
        key = sys.stdin.readline() if file == "-" else read_secret(Path(file).expanduser())
    except FileNotFoundError:
        raise click.UsageError(f"--key-file {file} is not there.") from None
    key = key.strip()
    if not key:
        raise click.UsageError(f"--key-file {file} holds no key.")
    return key


def END_WITH_STDIN(command: Command) -> Command:  # noqa: N802 - as OUTPUT
    """Add `--end-with-stdin`, for servers and agents that are somebody's children."""
    return click.option(
        "--end-with-stdin",
        is_flag=True,
        help="Stop in good order when stdin ends, as it does when the program that started this is gone, however.",
    )(command)


def STATE_DIR(command: Command) -> Command:  # noqa: N802 - as OUTPUT
    """Add `--state-dir`."""
    return click.option("--state-dir", metavar="DIR", help="State directory of a local server (DART_STATE_DIR).")(
        command
    )


def SERVER(command: Command) -> Command:  # noqa: N802 - as OUTPUT
    """Add the options that name a server; the command gets a `ServerChoice` as `server`."""

    @functools.wraps(command)
    def wrapped(
        *arguments: Any,
        url: str | None,
        key: str | None,
        key_file: str | None,
        fingerprint: str | None,
        ca: str | None,
        state_dir: str | None,
        timeout: float,
        **rest: Any,
    ) -> Any:
        if key and key_file:
            raise click.UsageError("--key and --key-file are both there; drop one of them.")
        if key_file:
            key = _read_key(key_file)
        flags = {"url": url, "key": key, "fingerprint": fingerprint, "ca": ca, "state_dir": state_dir}
        return command(*arguments, server=ServerChoice(flags, timeout), **rest)

    for option in (
        click.option(
            "--timeout",
            type=float,
            default=60.0,
            show_default=True,
            help="Seconds for one call; when no answer has ever come, at most 5.",
        ),
        STATE_DIR,
        click.option("--ca", metavar="FILE", help="Certificates to trust instead of a fingerprint (DART_CA)."),
        click.option("--fingerprint", metavar="HEX", help="Of a remote server's certificate (DART_FINGERPRINT)."),
        click.option("--key", metavar="KEY", help="API key (DART_KEY); others on this machine see it for a moment."),
        click.option(
            "--key-file", metavar="FILE", envvar="DART_KEY_FILE", help="File with the API key; `-`: a line of stdin."
        ),
        click.option("--url", metavar="URL", help="A remote server (DART_URL); without it the local one."),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]
