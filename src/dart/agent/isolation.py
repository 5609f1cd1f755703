"""What an owner decides about the isolation of tasks: the member `isolation` of the policy. Nothing is done here."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from dart.errors import ConfigError

_WHOLE_MAX = 2**53
"""What every JSON writer gets across unharmed; the kernel takes more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """How far tasks are kept from the agent, from one another and from the machine. 0 of a number: no limit of ours."""

    user: str = ""
    """Tasks run as this user; the agent must be root. Empty: as the agent's own user."""
    network: bool = True
    """False: tasks have no sockets but those of the unix kind."""
    read_only: bool = False
    """True: tasks write to their scratch directory only."""
    hide_home: bool | None = None
    """Whether the agent's home is out of reach for tasks of its own user; None: where that disturbs nothing."""
    new_privileges: bool = False
    """True: programs such as sudo work in tasks, and the kernel keeps tasks of the agent's user from nothing."""
    processes: int = 0
    """Processes and threads of `user`, of all slots together; 0 with a user: `PROCESSES`."""
    open_files: int = 0
    """Descriptors of one process."""
    file_bytes: int = 0
    """The largest file that a task may write."""
    cpu_seconds: int = 0
    """Processor time of one task's process."""
    scratch_bytes: int = 0
    """Size of a slot's scratch directory; the agent must be root. 0: as its disk has room."""


PROCESSES = 4096
"""Of a user that runs tasks, if the owner names no number: much for work, little for a fork bomb."""
_LEAST = {"processes": 16, "open_files": 32, "file_bytes": 65_536, "cpu_seconds": 1, "scratch_bytes": 65_536}
"""Below these not even the runner works."""


def read_isolation(members: Mapping[str, object]) -> Isolation:
    """The settings of a policy's member `isolation`.

    Raises:
        ConfigError: A member is unknown, has the wrong type or size, or contradicts another; the message names it.
    """
    known = {field.name for field in fields(Isolation)}
    unknown = sorted(set(members).difference(known))
    if unknown:
        raise ConfigError(f"isolation.{ascii(unknown[0])[1:-1]:.80} is unknown; there are {', '.join(sorted(known))}.")
    isolation = Isolation(
        user=_text(members, "user"),
        network=_flag(members, "network", default=True),
        read_only=_flag(members, "read_only", default=False),
        hide_home=_flag(members, "hide_home", default=False) if members.get("hide_home") is not None else None,
        new_privileges=_flag(members, "new_privileges", default=False),
        **{name: _whole(members, name, least) for name, least in _LEAST.items()},
    )
    _check(isolation)
    return isolation


def _check(isolation: Isolation) -> None:
    if isolation.processes and not isolation.user:
        raise ConfigError(
            "isolation.processes needs isolation.user: the kernel counts all processes of a user, the agent's included."
        )
    wants = {"network": not isolation.network, "read_only": isolation.read_only, "hide_home": isolation.hide_home}
    wanted = [name for name, wish in wants.items() if wish]
    if isolation.new_privileges and wanted:
        raise ConfigError(
            f"isolation.new_privileges contradicts isolation.{wanted[0]}: who may become root is kept from nothing."
        )


def _text(members: Mapping[str, object], name: str) -> str:
    value = members.get(name, "")
    if not isinstance(value, str) or (name in members and not value) or not value.isprintable():
        raise ConfigError(f"isolation.{name} must be the name of a user, it is {value!r}.")
    return value


def _flag(members: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = members.get(name, default)
    if not isinstance(value, bool):
        raise ConfigError(f"isolation.{name} must be true or false, it is {value!r}.")
    return value


def _whole(members: Mapping[str, object], name: str, least: int) -> int:
    value = members.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not (value == 0 or least <= value <= _WHOLE_MAX):
        raise ConfigError(f"isolation.{name} must be a whole number from {least}, or 0 for none, it is {value!r}.")
    return value
