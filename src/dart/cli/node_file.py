"""Files that name hosts for `dart worker add`: a host a line, or JSON with several kinds of workers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dart.errors import ConfigError

_BYTES_MAX = 4 * 1024 * 1024
_NUMBERS = ("workers_per_host", "workers_per_node", "number_per_node", "num_per_node", "num_workers_per_node")
"""What files of different times call it."""
_MEMBERS = {"name", "capabilities", "shm_size", "hosts", "config", "via_ssh", *_NUMBERS}


class Kind(NamedTuple):
    """Workers of one kind."""

    name: str
    """Empty: the file names none."""
    hosts: list[str]
    members: dict[str, Any]
    """What the file says of `workers_per_host`, `capabilities`, `shm_size`, `config`, `via_ssh`."""


def read_node_file(path: Path) -> list[Kind]:
    """The kinds that a file names; of a plain list of hosts it is one, without a name.

    JSON is an object of kinds by name, or a list of kinds with member `name`, or `{"workers": either}`.

    Raises:
        ConfigError: The file cannot be read or understood; the message says where.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The file of hosts {path} cannot be read: {error}.") from None
    if len(data) > _BYTES_MAX:
        raise ConfigError(f"The file of hosts {path} has more than {_BYTES_MAX} bytes: is it the right one?")
    if path.suffix != ".json" and not text.lstrip().startswith(("{", "[")):
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        kinds = [Kind("", [line for line in lines if line], {})]
    else:
        try:
            kinds = _kinds(path, json.loads(text))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"The file of hosts {path} is no JSON: {error}.") from None
    for kind in kinds:
        if not kind.hosts:
            raise ConfigError(f"The file {path} names no host{f' for {kind.name!r}' if kind.name else ''}.")
    return kinds


def _kinds(path: Path, content: Any) -> list[Kind]:
    if isinstance(content, dict) and isinstance(content.get("workers"), dict | list):
        content = content["workers"]
    if isinstance(content, dict):
        return [_kind(path, str(members.get("name", name)) if isinstance(members, dict) else name, members)
                for name, members in content.items()]  # fmt: skip
    if not isinstance(content, list):
        raise ConfigError(f"{path} must have an object of kinds of workers by name, or a list of them.")
    if content and all(isinstance(host, str) for host in content):
        return [Kind("", content, {})]
    return [_kind(path, str(one.get("name", "")) if isinstance(one, dict) else "", one) for one in content]


def _kind(path: Path, name: str, members: Any) -> Kind:
    if not isinstance(members, Mapping):
        raise ConfigError(f"{path}: {name!r} must be an object with hosts, capabilities, workers_per_host, shm_size.")
    unknown = sorted(members.keys() - _MEMBERS)
    if unknown:
        raise ConfigError(f"{path}: {name!r} has a member {unknown[0]!r}; there are {', '.join(sorted(_MEMBERS))}.")
    hosts = members.get("hosts")
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"{path}: hosts of {name!r} must be a list of texts.")
    numbers = [members[one] for one in _NUMBERS if one in members]
    if len(numbers) > 1:
        raise ConfigError(f"{path}: {name!r} says more than once how many workers a host has.")
    rest = {one: members[one] for one in ("capabilities", "shm_size", "config", "via_ssh") if one in members}
    return Kind(name, hosts, {**rest, **({"workers_per_host": numbers[0]} if numbers else {})})
