"""`dart profile`: settings kept in a TOML file of flat strings, readable by its owner only."""

import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click

from dart.cli.options import OUTPUT
from dart.cli.render import Output
from dart.errors import ConfigError
from dart.private_files import make_missing_directories

SETTINGS = {
    "url": "URL of the server",
    "key": "API key",
    "fingerprint": "SHA-256 fingerprint of the server's certificate",
    "ca": "file of certificates to trust instead",
    "state_dir": "state directory of a local server",
    "output": "table, json or jsonl",
}
"""Further settings are `server_OPTION` and `agent_OPTION`: defaults of `dart server start` and `dart agent start`."""


def profile_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the profile is: `DART_PROFILE`, or the user's configuration directory."""
    if told := environment.get("DART_PROFILE"):
        return Path(told)
    base = environment.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "dart" / "profile.toml"


def read_profile(file: Path) -> dict[str, str]:
    """All settings; empty where there is no file.

    Raises:
        ConfigError: The file is not flat TOML, or others could read the key in it.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"Cannot read the profile {file}: {error.strerror}.") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The profile {file} is not TOML ({error}); mend or remove it.") from error
    if nested := [name for name, value in found.items() if isinstance(value, dict | list)]:
        raise ConfigError(f"The profile {file} has the table {nested[0]!r}; it takes strings only.")
    status = file.stat()
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"The profile {file} belongs to another user (uid {status.st_uid}), who could send you to another server; "
            "remove it, or name another one by DART_PROFILE."
        )
    if "key" in found and status.st_mode & 0o077:
        raise ConfigError(f"The profile {file} holds a key and others can read it; run: chmod 600 {file}")
    return {name: str(value) for name, value in found.items()}


def write_profile(file: Path, settings: Mapping[str, str]) -> None:
    """Replace the file; never readable by others, not even for a moment."""
    make_missing_directories(file.parent)
    # A JSON string is a TOML basic string, but for DEL, which no setting can hold.
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in sorted(settings.items()))
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    fresh.replace(file)


def default_map(settings: Mapping[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    """What click takes as defaults of `server start` and `agent start`."""
    return {
        noun: {
            "start": {
                name.removeprefix(noun + "_"): value for name, value in settings.items() if name.startswith(noun + "_")
            }
        }
        for noun in ("server", "agent")
    }


def _checked(name: str) -> str:
    """A setting's name with underscores, or the usage error that lists all."""
    name = name.replace("-", "_")
    if name not in SETTINGS and not name.startswith(("server_", "agent_")):
        raise click.UsageError(
            f"There is no setting {name!r}; there are {', '.join(SETTINGS)}, server_OPTION and agent_OPTION."
        )
    return name


@click.group("profile")
def profile() -> None:
    """Settings that apply when neither a flag nor a DART_* variable is given."""


@profile.command("show", epilog="Example: dart profile show")
@OUTPUT
def show(output: Output) -> None:
    """What the profile says; the key is not shown."""
    found = read_profile(profile_file())
    rows = [
        {"setting": name, "value": "(hidden)" if name == "key" else value, "meaning": SETTINGS.get(name, "")}
        for name, value in sorted(found.items())
    ]
    output.rows(rows, ("setting", "value", "meaning"))


@profile.command("set", epilog="Example: dart profile set url https://cluster.example:7777")
@click.argument("name")
@click.argument("value")
def set_(name: str, value: str) -> None:
    """Set one setting. The key is read from the terminal or stdin when VALUE is `-`."""
    name = _checked(name)
    if value == "-":
        typed: str = click.prompt(name, hide_input=True) if os.isatty(0) else sys.stdin.readline()
        value = typed.strip()
    if not value.isprintable():
        raise click.UsageError(f"The value of {name} has characters that cannot be printed.")
    file = profile_file()
    write_profile(file, {**read_profile(file), name: value})


@profile.command("unset", epilog="Example: dart profile unset key")
@click.argument("name")
def unset(name: str) -> None:
    """Remove one setting."""
    name = _checked(name)
    file = profile_file()
    found = read_profile(file)
    if found.pop(name, None) is None:
        raise click.ClickException(f"The profile has no {name}.")
    write_profile(file, found)


@profile.command("path", epilog="Example: dart profile path")
@OUTPUT
def path(output: Output) -> None:
    """Where the profile is."""
    if output.form == "table":
        click.echo(profile_file())
    else:
        output.one({"file": str(profile_file())})
