"""`dart server unit`: a server as a service of systemd."""

import sys
from pathlib import Path
from typing import Any

import click

import dart
import dart.cli.backup
from dart.cli.server import START_OPTIONS, server
from dart.cli.unit import UNIT_DIRECTORY, Service, check_user, default_user, deliver, existing, unit_text

_STATE = "dart/server"
_STOP_SECONDS = 10.0
_FILES = ("tls_cert", "tls_key", "ssh_private_key", "ssh_public_key")


@server.command("unit", epilog="Example: dart server unit --host 0.0.0.0 --agent-host 0.0.0.0 --install")
@click.option("--user", metavar="NAME", help="Whom it runs as; without it whoever runs this command, also by sudo.")
@click.option("--install", is_flag=True, help="Write it where systemd looks, instead of printing it.")
@click.option("--unit-directory", metavar="DIR", default=str(UNIT_DIRECTORY), show_default=True, help="For --install.")
@click.pass_context
def unit(context: click.Context, /, *, user: str | None, install: bool, unit_directory: str, **options: Any) -> None:
    """Print a hardened systemd unit for such a server; the other options are those of `dart server start`.

    Its state lies in /var/lib/dart/server unless --state-dir names another directory.
    """
    owner = user or default_user()
    check_user(owner)
    if options["legacy_keys"]:
        raise click.UsageError("A unit is readable by everybody and holds no key; use `dart key add --text` once.")
    for name in (*_FILES, "state_dir"):
        if options[name]:
            options[name] = str(Path(options[name]).expanduser().absolute())
    state_dir = options["state_dir"] or f"/var/lib/{_STATE}"
    words = [sys.executable, "-m", "dart.cli.main", "server", "start"]
    for parameter in context.command.params:
        name = parameter.name or ""
        default = parameter.get_default(context)
        value = state_dir if name == "state_dir" else options.get(name)
        if name in {"user", "install", "unit_directory"} or value in (None, default, ()):
            continue
        option = parameter.opts[0]
        if value is True:
            words.append(option)
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [option, str(one)]
    service = Service(
        description="DART server",
        user=owner,
        command=tuple(words),
        state="" if options["state_dir"] else _STATE,
        logs=False,
        tasks=False,
        stop_seconds=_STOP_SECONDS,
        writes=existing([options["state_dir"], _socket_folder(options["host"])]),
        reads=existing([sys.prefix, sys.base_prefix, str(Path(dart.__file__).parent), *map(options.get, _FILES)]),
    )
    deliver("dart-server", unit_text(service), install=install, directory=Path(unit_directory))


def _socket_folder(host: str) -> str | None:
    """Where a unix socket is made, if REST listens on one."""
    return str(Path(host.removeprefix("unix:")).parent) if host.startswith("unix:") else None


for _option in START_OPTIONS:
    _option(unit)

__all__ = ["server"]
