"""Finds and reads the owner's policy. What is there and cannot be trusted or understood stops the agent.

There is one policy or none: the file that was named, or `policy.json` or `policy.toml` beside the configuration file
or in the agent's home. Two different ones stop the agent, since either could have been put there to hide the other.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from dart.agent.config import read_toml
from dart.agent.policy import Policy, read_policy
from dart.errors import ConfigError

NAMES = ("policy.json", "policy.toml")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def find_policy(named: Path | None, folders: Iterable[Path], bytes_max: int) -> Policy:
    """The policy in force; the defaults if there is no file.

    Args:
        named: What the owner named; it must be there.
        folders: Where else one may lie.
        bytes_max: A larger file is not read.

    Raises:
        ConfigError: A file is there and cannot be used, or there are two.
    """
    places = [folder / name for folder in folders for name in NAMES]
    # Also what cannot be looked at is there: only what is known to be missing is not.
    found = [path for path in places if not _is_missing(path)]
    if named is not None:
        found.insert(0, named)
    different = {_identity(path): path for path in reversed(found)}
    if len(different) > 1:
        paths = " and ".join(str(path) for path in reversed(different.values()))
        raise ConfigError(f"There are two policies, {paths}; leave one, so that nobody mistakes which is in force.")
    return read_policy_file(found[0], bytes_max) if found else Policy()


def _is_missing(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _identity(path: Path) -> object:
    try:
        state = path.lstat()
    except OSError:
        return str(path)
    return state.st_dev, state.st_ino


def read_policy_file(path: Path, bytes_max: int) -> Policy:
    """The policy in this file.

    Raises:
        ConfigError: Somebody else could have written it, or it cannot be used; the message says what to do.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - links are to be seen, not followed
    data = _read(path, bytes_max)
    try:
        content = read_toml(path, data) if path.suffix == ".toml" else _json(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The policy {path} cannot be understood: {error}.") from None
    try:
        return read_policy(content, path=str(path), sha256=hashlib.sha256(data).hexdigest())
    except ConfigError as error:
        raise ConfigError(f"The policy {path} cannot be used: {error.message.removesuffix('.')}.") from None


def _read(path: Path, bytes_max: int) -> bytes:
    euid = os.geteuid()
    try:
        fault = writable_by_others(path.parent.stat(), euid)
        if fault:
            raise ConfigError(f"The policy {path} is not believed: its folder {fault}.")
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        link = path.is_symlink()
        why = "it is a symbolic link; put the file itself there" if link else str(error.strerror)
        raise ConfigError(f"The policy {path} cannot be read: {why}.") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ConfigError(f"The policy {path} is no plain file.")
        fault = writable_by_others(state, euid)
        if fault:
            raise ConfigError(f"The policy {path} is not believed: it {fault}.")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise ConfigError(f"The policy {path} cannot be read: {error.strerror}.") from None
    finally:
        os.close(descriptor)
    if len(data) > bytes_max:
        raise ConfigError(f"The policy {path} has more than {bytes_max} bytes (policy_bytes_max).")
    return data


def writable_by_others(state: os.stat_result, euid: int) -> str:
    """Who else could write this, and what to do; empty: nobody but the agent's user and root."""
    if state.st_uid not in {0, euid}:
        return f"belongs to another user (number {state.st_uid}); make it the agent's (number {euid}) or root's"
    # In a folder such as /tmp, with the sticky bit, others cannot replace what is not theirs.
    sticky = stat.S_ISDIR(state.st_mode) and state.st_mode & stat.S_ISVTX
    if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        return f"can be written by others (mode {stat.S_IMODE(state.st_mode):04o}); run chmod go-w on it"
    return ""


def _json(data: bytes) -> object:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_each_once, parse_constant=_no_constant)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r:.80} is there twice")
    return members


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
