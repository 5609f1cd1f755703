"""Directories and files for their owner alone: made so whatever the umask, and refused where they are not."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from dart.errors import ConfigError


def make_missing_directories(path: Path) -> None:
    """Make it and what is missing above it, 0700 whatever the umask; those that are there are the owner's affair.

    Raises:
        OSError: It cannot be made.
    """
    if os.path.lexists(path):
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    else:
        make_missing_directories(path.parent)
        path.mkdir(mode=0o700)
        path.chmod(0o700)


def make_private_directory(path: Path, what: str) -> None:
    """Make it, 0700, with what is missing above it; or see that the one that is there is ours alone.

    An empty one that others may enter becomes private; one that holds something may have been tampered with.

    Raises:
        ConfigError: It is a link, no directory, another user's, or open to others; the message says what to do.
    """
    try:
        if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
            raise ConfigError(f"{what} {path} is a link or no directory; name the directory itself.")
        make_missing_directories(path)
        found = path.lstat()
        if found.st_uid != os.geteuid():
            raise ConfigError(
                f"{what} {path} belongs to another user (uid {found.st_uid}), who can change all that is in it: name "
                f"another one, or, if it is meant to be yours: chown -R {os.geteuid()} {path}"
            )
        if found.st_mode & 0o077:
            if any(path.iterdir()):
                raise ConfigError(
                    f"{what} {path} is open to other users (mode {stat.S_IMODE(found.st_mode):04o}) and not empty. "
                    f"See that nobody changed it, then: chmod 700 {path}"
                )
            path.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be used: {error.strerror}.") from None


def check_private_files(directory: Path, is_ours: Callable[[str], bool]) -> None:
    """See that no other user may read or change the files of these names in a private directory, nor ever could.

    Raises:
        ConfigError: One is a link, another user's, or open to others; the message says what to do.
    """
    for path in sorted(directory.iterdir()):
        if is_ours(path.name):
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(found.st_mode):
                _check(path, found)


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is a link or no plain file; put the file itself there, or remove it.")
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} belongs to another user (uid {found.st_uid}), who can read and change it: delete it, or, if it is "
            f"meant to be yours: chown {os.geteuid()} {path}"
        )
    if found.st_mode & 0o077:
        raise ConfigError(
            f"{path} can be read by other users (mode {stat.S_IMODE(found.st_mode):04o}): if one of them may have "
            f"done so, delete it and start again; otherwise: chmod 600 {path}"
        )
