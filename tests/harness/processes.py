"""Looking at processes that a test started."""

import psutil


def children(pid: int) -> list[int]:
    """Process ids of the live children of a process; empty if it is gone."""
    try:
        found = psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
    return [child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE]
