"""systemd units for agents and servers, hardened as far as their work allows, and put where systemd finds them."""

import hashlib
import os
import pwd
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

UNIT_DIRECTORY = Path("/etc/systemd/system")
_HOMES = ("/home", "/root", "/run/user")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - what systemd makes private
_ROOT_NEEDS = "CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE"
"""Of an agent whose tasks run as another user: to become it, to end its processes and to remove its files."""

_COMMON = """\
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 4
KillMode=mixed
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
ProtectSystem=strict
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
KeyringMode=private
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallErrorNumber=EPERM
"""
_AGENT = """\
# A task that the system kills for want of memory is the task's end, not the agent's.
OOMPolicy=continue
TasksMax=8192
# Tasks may use devices and make code while they run (GPUs, compilers of numeric code), so neither is forbidden here.
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self seccomp
"""
_SERVER = """\
PrivateDevices=yes
PrivateUsers=yes
RemoveIPC=yes
MemoryDenyWriteExecute=yes
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
# Of its own files only: it has no capability for others.
SystemCallFilter=@chown
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a unit is made of."""

    description: str
    user: str
    command: tuple[str, ...]
    state: str
    """Its directory below /var/lib, made by systemd; empty: it has one elsewhere."""
    logs: bool
    """Whether it needs a directory below /var/log."""
    tasks: bool
    """It runs tasks: an agent."""
    stop_seconds: float
    writes: tuple[Path, ...] = ()
    """What it writes to besides."""
    reads: tuple[Path, ...] = ()
    """What it has to see even if it lies in somebody's home."""


def unit_text(service: Service) -> str:
    """The unit file."""
    home = "yes"
    if any(_is_below(path, _HOMES) for path in (*service.reads, *service.writes)):
        home = "read-only"
    private = not any(_is_below(path, _TEMPORARY) for path in (*service.reads, *service.writes))
    root = service.user == "root"
    stop = "infinity" if service.stop_seconds == float("inf") else f"{service.stop_seconds + 30:.0f}"
    lines = [
        "[Unit]",
        f"Description={service.description.replace('%', '%%')}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "Type=exec",
        f"User={service.user}",
        f"ExecStart={' '.join(map(quoted, service.command))}",
        f"TimeoutStopSec={stop}",
    ]
    if service.state:
        lines += [f"StateDirectory={service.state}", "StateDirectoryMode=0700"]
    if service.logs:
        lines += ["LogsDirectory=dart", "LogsDirectoryMode=0750"]
    # A leading minus: what is not there yet is no reason not to start.
    lines += [f"ReadWritePaths={quoted(f'-{path}')}" for path in service.writes]
    lines += [
        f"ProtectHome={home}",
        f"PrivateTmp={'yes' if private else 'no'}",
        f"CapabilityBoundingSet={_ROOT_NEEDS if root and service.tasks else ''}",
        _COMMON + (_AGENT if service.tasks else _SERVER),
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def quoted(word: str) -> str:
    """A word as a unit file takes it, whatever is in it.

    Raises:
        ClickException: No unit file can hold it.
    """
    if not word.isprintable():
        raise click.ClickException(f"{word!r} has a character that no unit file can hold.")
    plain = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w@%+=:,./$-]+", plain, re.ASCII):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def file_name(noun: str, name: str) -> str:
    """`dart-agent-NAME`; odd names are cut and get a hash, so that different agents have different units."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        return f"dart-{noun}-{name}"
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:40]
    return f"dart-{noun}-{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def default_user() -> str:
    """Who runs this command, also behind sudo."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.geteuid()).pw_name


def check_user(user: str) -> None:
    """Raises a UsageError if this machine has no such user."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise click.UsageError(f"--user: this machine has no user {user!r}; make it: useradd --system {user}") from None


def existing(paths: Iterable[str | None]) -> tuple[Path, ...]:
    """Those that were given, absolute, each once."""
    return tuple(dict.fromkeys(Path(path).expanduser().absolute() for path in paths if path))


def deliver(name: str, text: str, *, install: bool, directory: Path) -> None:
    """Print a unit, or write it and say what is next."""
    if not install:
        click.echo(text, nl=False)
        return
    path = directory / f"{name}.service"
    draft = directory / f".{name}.{os.getpid()}"
    try:
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise click.ClickException(f"{path} cannot be written: {error.strerror}. Run this as root.") from None
    click.echo(f"{path} is written. Next: systemctl daemon-reload && systemctl enable --now {name}", err=True)


def _is_below(path: Path, places: Sequence[str]) -> bool:
    return any(path.is_relative_to(place) for place in places)
