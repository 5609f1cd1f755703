"""What runners are started under: user, domain, filter, scratch directory, limits; and that nothing outlives them.

The kernel ties domains and filters to threads, and what a thread starts inherits them. So each runner is started from
a thread of its own that first gives up what the runner is not to have, and ends with the start. Nothing has to happen
between fork and exec, no second program runs first, and the runner needs no code for it.
"""

import contextlib
import errno
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dart.agent import escaped, kernel_calls, landlock, seccomp
from dart.agent.escaped import Escaped
from dart.agent.home import LOCK_FILE
from dart.agent.isolation import PROCESSES, Isolation
from dart.agent.scratch import Scratch
from dart.agent.task_user import task_user, unreadable
from dart.errors import ConfigError

_Result = TypeVar("_Result")
_LOG = logging.getLogger("dart.agent.isolation")
_ENTRIES_MAX = 5000
"""In all folders on the way to what is hidden; more would make each start of a runner slow."""
_SHARED_PLACES = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - where others than the agent expect to write
_DEVICES = "/dev"
_LOCKS = "/dev/shm"  # noqa: S108 - Python's own locks between processes live there


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is to be kept from tasks, and what they need."""

    home: Path | None = None
    """The agent's home; None: this process is not an agent alone, so its children are not all runners."""
    secret: tuple[Path, ...] = ()
    """Further folders: of a server on this machine."""
    module_prefix: Path
    needed: tuple[Path, ...] = ()
    """What runners read, wherever it lies: their Python, the agent's own files."""
    memory_bytes: int = 0
    """Of a task's process; 0: no limit of ours."""


class Confinement:
    """How this agent starts its runners.

    Args:
        isolation: What the owner wants.
        around: What is there.

    Raises:
        ConfigError: The owner wants what this kernel, or this user, cannot do.
    """

    def __init__(self, isolation: Isolation, around: Surroundings) -> None:
        self._isolation = isolation
        self._around = around
        self.user = task_user(isolation.user)
        self._landlock = 0 if isolation.new_privileges else landlock.version()
        # Where a task may signal the agent it needs no limits to end it, and a filter would only cost.
        watched = not isolation.network or self._landlock >= landlock.SIGNALS
        self._filter = seccomp.own_filter(network=isolation.network) if watched else None
        self._hidden = self._what_to_hide()
        self._check()
        self._escaped = Escaped(adopt=around.home is not None)
        self._scratch = Scratch(around.home, self.user, isolation.scratch_bytes)
        self._living: set[str] = set()

    @property
    def without_domain(self) -> bool:
        """Nothing keeps a runner from looking into another, unless it says so itself."""
        return self._landlock < landlock.APART and not self._isolation.new_privileges

    @property
    def open_to_tasks(self) -> tuple[str, ...]:
        """What tasks are not kept from here, of what the defaults keep them from on a new kernel; for people."""
        apart = self._landlock if not self._isolation.new_privileges else 0
        found = {
            "everything, as root": self.user is None and os.geteuid() == 0,
            "home": self.user is None and not self._hidden,
            "other slots": apart < landlock.APART,
            "signals": apart < landlock.SIGNALS,
        }
        return tuple(name for name, is_open in found.items() if is_open)

    def limits(self) -> dict[str, int]:
        """What a runner is to limit itself to before it loads any of the owner's code; 0: nothing."""
        return {
            "memory": self._around.memory_bytes,
            "processes": (self._isolation.processes or PROCESSES) if self.user else 0,
            "open_files": self._isolation.open_files,
            "file_bytes": self._isolation.file_bytes,
            "cpu_seconds": self._isolation.cpu_seconds,
        }

    def fresh_scratch(self, slot: int) -> Path:
        """A scratch directory for a new runner. Raises OSError."""
        path = self._scratch.fresh(slot)
        self._living.add(str(path))
        return path

    def drop_scratch(self, path: Path) -> None:
        """Throw a runner's directory away; what came from this runner may not live on."""
        self._living.discard(str(path))
        self._scratch.drop(path)

    def environment(self, scratch: Path) -> dict[str, str]:
        """Variables of a runner that say where it may write, and who it is."""
        variables = {"TMPDIR": str(scratch), escaped.VARIABLE: str(scratch)}
        if self.user is not None:
            variables |= {"HOME": self.user.home, "USER": self.user.name, "LOGNAME": self.user.name}
        return variables

    def hand_over(self, descriptor: int) -> None:
        """Let tasks open by name what they hold, as `/dev/stdout`."""
        if self.user is not None:
            os.fchown(descriptor, self.user.uid, self.user.gid)

    def start(self, scratch: Path, command: list[str], **options: Any) -> "subprocess.Popen[bytes]":
        """Start a runner, as `subprocess.Popen` does.

        Raises:
            OSError: It cannot be started.
        """
        if self.user is not None:
            options |= {"user": self.user.uid, "group": self.user.gid, "extra_groups": list(self.user.groups)}

        def begin() -> "subprocess.Popen[bytes]":
            self._enter(scratch)
            return subprocess.Popen(command, **options)

        return _in_a_thread(begin)

    def end_escaped(self, runners: Collection[int]) -> bool:
        """Kill what outlives its runner; whether to look again soon."""
        return self._escaped.end({*runners, *self._scratch.pids()}, self._living)

    def close(self) -> None:
        """After the last runner: leave nothing behind."""
        self._living.clear()
        self._escaped.end(self._scratch.pids(), ())
        self._escaped.close()
        self._scratch.close()

    # ---- what is possible ----

    def _what_to_hide(self) -> tuple[Path, ...]:
        """Folders that tasks do not get to see into.

        By default only where that takes away nothing that a task may count on: Landlock cannot say "all but this", so
        the folders on the way there are frozen for tasks.
        """
        wish = self._isolation.hide_home
        if wish is False or self._around.home is None or (wish is None and self.user is not None):
            return ()
        hidden = tuple(path.resolve() for path in (self._around.home, *self._around.secret))
        on_the_way = {parent for path in hidden for parent in path.parents}
        prefix = self._around.module_prefix.resolve()
        obstacle = ""
        if self._landlock < landlock.APART:
            obstacle = "this kernel has no Landlock (Linux 5.19)"
        elif prefix in on_the_way or prefix in hidden:
            obstacle = f"it lies below module_prefix {prefix}"
        elif landlock.around(hidden, _ENTRIES_MAX) is None:
            obstacle = f"the folders above it have more than {_ENTRIES_MAX} entries"
        elif wish is None:
            shared = [place for place in _SHARED_PLACES if Path(place).resolve() in on_the_way]
            obstacle = f"it lies below {shared[0]}" if shared else ""
        if not obstacle:
            return hidden
        if wish:
            raise ConfigError(f"isolation.hide_home: {hidden[0]} cannot be hidden: {obstacle}. Give another --home.")
        _LOG.warning(
            "tasks can read this agent's home %s, key and spool included: %s. "
            "Another --home, or isolation.user in the policy, keeps them out",
            hidden[0],
            obstacle,
        )
        return ()

    def _check(self) -> None:
        """Try everything once, in a thread that is thrown away: nothing is promised that does not hold.

        Raises:
            ConfigError: Something that was asked for does not work.
        """
        isolation = self._isolation
        if self.user is not None and (
            path := unreadable(self.user, (self._around.module_prefix, *self._around.needed))
        ):
            raise ConfigError(
                f"isolation.user: {self.user.name} cannot read {path}, which tasks need; open it and the folders above "
                f"it to that user, or move it to where {self.user.name} can read."
            )
        if os.geteuid() == 0 and self.user is None:
            _LOG.warning(
                "tasks run as root, which little can be kept from: name an ordinary user (isolation.user in the policy)"
            )
        if isolation.read_only and self._landlock < landlock.WHOLE:
            raise ConfigError("isolation.read_only needs Landlock (Linux 6.2) in the kernel, which is not there.")
        try:
            _in_a_thread(self._rehearse)
        except OSError as error:
            if not isolation.network or isolation.read_only or isolation.hide_home:
                raise ConfigError(
                    f"isolation: this kernel, or the container around it, does not let tasks be confined ({error}). "
                    "Take network, read_only and hide_home away from the policy if that is acceptable."
                ) from None
            self._landlock, self._hidden = 0, ()
            _LOG.warning("tasks of different slots can look into one another: %s", error)

    def _rehearse(self) -> None:
        """Enter, and see that it holds."""
        self._enter(Path("/nowhere"))
        if self._hidden:
            with contextlib.suppress(PermissionError), (self._hidden[0] / LOCK_FILE).open("rb"):
                raise OSError(errno.ENOTSUP, f"{self._hidden[0]} can still be read")
        if not self._isolation.network:
            with contextlib.suppress(PermissionError), socket.socket(socket.AF_INET):
                raise OSError(errno.ENOTSUP, "sockets can still be made")

    def _enter(self, scratch: Path) -> None:
        """Give up what a runner is not to have; this thread has to end after its start."""
        isolation = self._isolation
        if not isolation.new_privileges:
            with contextlib.suppress(OSError):  # very old kernels and emulators; what needs it complains
                kernel_calls.prctl(kernel_calls.PR_SET_NO_NEW_PRIVS, 1)
        if self._landlock >= landlock.APART:
            self._enter_domain(scratch)
        if self._filter is not None:
            with contextlib.suppress(*([OSError] if isolation.network else [])):
                seccomp.restrict_thread(self._filter)
        elif not isolation.network:
            raise OSError(errno.ENOSYS, "no filter is known for this architecture")

    def _enter_domain(self, scratch: Path) -> None:
        """Without a wish of the owner a domain takes nothing away but the making of block devices."""
        read_only = self._isolation.read_only
        handled = landlock.REFER | landlock.MAKE_BLOCK
        if self._hidden or read_only:
            handled |= landlock.WRITING
        if self._hidden:
            handled |= landlock.READ_FILE | landlock.EXECUTE
        scoped = landlock.SCOPE_SIGNALS | (0 if self._isolation.network else landlock.SCOPE_ABSTRACT_SOCKETS)
        everywhere = handled & ~(landlock.WRITING if read_only else 0)
        with landlock.Ruleset(self._landlock, handled, scoped) as rules:
            for path in self._open_places():
                rules.allow(path, everywhere)
            rules.allow(scratch, handled)
            if read_only:
                rules.allow(_DEVICES, landlock.WRITE_FILE)
                rules.allow(_LOCKS, landlock.WRITING)
            rules.restrict_thread()

    def _open_places(self) -> list[str]:
        if not self._hidden:
            return ["/"]
        around = landlock.around(self._hidden, _ENTRIES_MAX)
        if around is None:
            raise OSError(errno.E2BIG, f"the folders above {self._hidden[0]} have got too many entries")
        return [*around, str(self._around.module_prefix.resolve()), *map(str, self._around.needed)]


def _in_a_thread(work: Callable[[], _Result]) -> _Result:
    """Do something in a new thread and wait for it; what it raises comes back."""
    found: list[_Result] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run, name="starts a runner")
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, f"no thread can be started: {error}") from None
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
