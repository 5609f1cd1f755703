"""`dart agent unit`: an agent as a service of systemd."""

import sys
from pathlib import Path

import click

import dart
from dart.agent.config import read_config
from dart.cli.agent import PLAIN_OPTIONS, agent
from dart.cli.unit import UNIT_DIRECTORY, Service, check_user, default_user, deliver, existing, file_name, unit_text
from dart.limits import Limits

_PATHS = {"config", "policy", "home", "state-dir", "token-file", "python-home", "module-prefix", "output-directory"}


@agent.command("unit", epilog="Example: dart agent unit --name raspberry-1 --module-prefix /srv/modules --install")
@click.option("--capability", multiple=True, metavar="C", help="What this worker can do; repeatable.")
@click.option("--user", metavar="NAME", help="Whom it runs as; without it whoever runs this command, also by sudo.")
@click.option("--install", is_flag=True, help="Write it where systemd looks, instead of printing it.")
@click.option("--unit-directory", metavar="DIR", default=str(UNIT_DIRECTORY), show_default=True, help="For --install.")
def unit(
    *, capability: tuple[str, ...], user: str | None, install: bool, unit_directory: str, **options: str | None
) -> None:
    """Print a hardened systemd unit for such an agent; the other options are those of `dart agent start`.

    Home and logs lie below /var/lib/dart and /var/log/dart unless other folders are named. An agent that is root runs
    its tasks as the user of its policy (isolation.user).
    """
    owner = user or default_user()
    check_user(owner)
    given = {name.replace("_", "-"): value for name, value in options.items() if value}
    for name in _PATHS & set(given):
        given[name] = str(Path(given[name]).expanduser().absolute())
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    words += [word for one in capability for word in ("--capability", one)]
    config = read_config(words, Limits())  # what cannot be meant is told now, not by a service that does not start
    name = file_name("agent", config.name)
    state = f"dart/agents/{name.removeprefix('dart-agent-')}"
    if "home" not in given:
        words += ["--home", f"/var/lib/{state}"]
    logs = config.output_directory == Path("/var/tmp")  # noqa: S108 - the default, which is no place for a service
    if logs:
        words += ["--output-directory", "/var/log/dart"]
    writes = [str(config.module_prefix), given.get("home"), None if logs else str(config.output_directory)]
    reads = [sys.prefix, sys.base_prefix, str(Path(dart.__file__).parent), *(given.get(one) for one in _PATHS)]
    service = Service(
        description=f"DART agent {config.name}",
        user=owner,
        command=(sys.executable, "-m", "dart.agent", *words),
        state="" if "home" in given else state,
        logs=logs,
        tasks=True,
        stop_seconds=config.stop_grace_seconds,
        writes=existing(writes),
        reads=existing(reads),
    )
    deliver(name, unit_text(service), install=install, directory=Path(unit_directory))


for _name, _value, _help in PLAIN_OPTIONS:
    click.option("--" + _name, metavar=_value, help=_help)(unit)

__all__ = ["agent"]
