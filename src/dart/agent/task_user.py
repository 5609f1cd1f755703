"""The user that tasks run as, where the owner names one."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dart.errors import ConfigError


class TaskUser(NamedTuple):
    """As `/etc/passwd` and `/etc/group` know this user."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def task_user(name: str) -> TaskUser | None:
    """Who tasks run as; None: nobody was named, or it is the agent's own user.

    Raises:
        ConfigError: There is no such user, it is root, or the agent may not become it.
    """
    if not name:
        return None
    import pwd  # noqa: PLC0415 - for those who ask

    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"isolation.user: this machine has no user {name!r}; make it (useradd --system {name}) or name another."
        ) from None
    if found.pw_uid == 0:
        raise ConfigError(f"isolation.user: {name!r} is root, which nothing is kept from; name an ordinary user.")
    if found.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise ConfigError(
            f"isolation.user: only an agent that root started can run tasks as {name!r}; "
            "start it as root, or take the member away."
        )
    groups = tuple(os.getgrouplist(name, found.pw_gid))
    return TaskUser(name, found.pw_uid, found.pw_gid, groups, found.pw_dir)


def unreadable(user: TaskUser, paths: Iterable[Path]) -> str:
    """The first of these files and folders that the user cannot read; empty: all can be read.

    Asked of the kernel, by a process of that user: modes alone do not tell.
    """
    script = 'for path do test -r "$path" && { test -f "$path" || test -x "$path"; } || { echo "$path"; exit; }; done'
    asked = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *map(str, paths)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        cwd="/",
        env={},
        user=user.uid,
        group=user.gid,
        extra_groups=user.groups,
    )
    return os.fsdecode(asked.stdout.rstrip(b"\n"))
