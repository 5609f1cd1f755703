"""Processes that left their runner's group to outlive it: the agent takes them in, and ends them with their runner.

The kernel hands a process whose parent has ended to the next *subreaper* above it, which the agent makes itself. Which
runner such a process came from it says itself, by the variable that it was started with; who says nothing, or names a
runner that is no more, is killed.
"""

import contextlib
import os
import signal
from collections.abc import Collection
from pathlib import Path

from dart.agent import kernel_calls

VARIABLE = "DART_SCRATCH"
"""Of every runner: its scratch directory, which no other runner has."""
_ROUNDS_MAX = 20
"""Killing one hands its children over; a task that makes them faster is met again at the next look."""
_ENVIRON_BYTES_MAX = 1024 * 1024


class Escaped:
    """What has come to this process from its runners.

    Args:
        adopt: Whether this process's children are all an agent's from now on: only then it may take in and kill.
    """

    def __init__(self, *, adopt: bool) -> None:
        self._active = adopt
        self._silent: set[int] = set()
        self._before = frozenset(own_children()) if adopt else frozenset()
        if adopt:
            try:
                kernel_calls.prctl(kernel_calls.PR_SET_CHILD_SUBREAPER, 1)
            except OSError:
                self._active = False

    def end(self, ours: Collection[int], living: Collection[str]) -> bool:
        """Reap the dead and kill those whose runner has ended.

        Args:
            ours: Processes that the agent itself started and waits for.
            living: Scratch directories of the runners that live; if there are none, all are killed at once.

        Returns:
            Whether to look again soon: some were killed, or did not say where they came from.
        """
        killed: set[int] = set()
        silent_before, self._silent = self._silent, set()
        for _ in range(_ROUNDS_MAX if self._active else 0):
            found = [pid for pid in own_children() if pid not in ours and pid not in self._before]
            doomed = [pid for pid in found if pid not in killed and self._is_doomed(pid, living, silent_before)]
            if not doomed:
                break
            for pid in doomed:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            killed.update(doomed)
        return bool(killed or self._silent)

    def _is_doomed(self, pid: int, living: Collection[str], silent_before: Collection[int]) -> bool:
        if _reap(pid):
            return False
        came_from = origin(pid)
        if came_from or not living or pid in silent_before:
            return came_from not in living
        # In the middle of starting another program a process has no variables for a moment.
        self._silent.add(pid)
        return False

    def close(self) -> None:
        """Take in no more."""
        if self._active:
            self._active = False
            kernel_calls.prctl(kernel_calls.PR_SET_CHILD_SUBREAPER, 0)


def end_all_of(base: str) -> None:
    """Kill what runners of an agent that was itself killed have left; `base` is where their scratch directories lay."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and origin(int(entry.name)).startswith(base + "/"):
            with contextlib.suppress(OSError):
                os.kill(int(entry.name), signal.SIGKILL)


def own_children() -> list[int]:
    """Process ids of this process's children, the dead that wait to be reaped included."""
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208 - names are enough
            found += map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())
    except (FileNotFoundError, ProcessLookupError):
        return _children_by_parent(os.getpid())
    return found


def _children_by_parent(parent: int) -> list[int]:
    """The same where the kernel has no list of them."""
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if entry.isdigit():
            with contextlib.suppress(OSError):
                # The name in brackets is the process's to choose.
                after_name = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
                if int(after_name[1]) == parent:
                    found.append(int(entry))
    return found


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def origin(pid: int) -> str:
    """The scratch directory of the runner that a process came from; empty: it does not say."""
    prefix = f"{VARIABLE}=".encode()
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - a fixed path
            words = file.read(_ENVIRON_BYTES_MAX).split(b"\0")
    except OSError:
        return ""
    for word in words:
        if word.startswith(prefix):
            return os.fsdecode(word.removeprefix(prefix))
    return ""
