"""Looking at processes that a test started."""

from pathlib import Path

import psutil


def children(pid: int) -> list[int]:
    """Process ids of the live children of a process; empty if it is gone."""
    try:
        found = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child.pid for child in found if not is_gone(child)]


def is_gone(process: psutil.Process) -> bool:
    """Whether it has ended; it may end while it is looked at."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def marked(variable: str, value: str) -> list[int]:
    """Process ids of the live processes that were started with this variable in their environment."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if wanted in words:
            found.append(int(entry.name))
    return found
