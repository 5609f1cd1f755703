"""The few calls of the kernel that Python does not offer, through the C library; numbers are those of Linux."""

import contextlib
import ctypes
import errno
import os
import resource

PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

_LIBRARY = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, first: int = 0, second: int = 0) -> None:
    """Change something about this process or thread.

    Raises:
        OSError: The kernel, or an emulator, refuses.
    """
    # The call is variadic: each argument has to be as wide as the kernel reads it.
    words = [ctypes.c_ulong(word) for word in (first, second, 0, 0)]
    _checked(_LIBRARY.prctl(option, *words), "prctl")


def keep_to_oneself() -> None:
    """Let no other process of this user read or change this one's memory, and leave none of it in a core file."""
    with contextlib.suppress(OSError):  # an emulator
        prctl(PR_SET_DUMPABLE, 0)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def system_call(number: int, *arguments: int) -> int:
    """Any call that the C library has no name for.

    Raises:
        OSError: As the kernel says; ENOSYS where it does not know the call.
    """
    function = _LIBRARY.syscall
    function.restype = ctypes.c_long
    return _checked(int(function(ctypes.c_long(number), *(ctypes.c_ulong(word) for word in arguments))), "system call")


def mount_memory(path: str, options: str) -> None:
    """Mount a file system in memory.

    Raises:
        OSError: This process may not.
    """
    nosuid_nodev = 2 | 4
    text = ctypes.c_char_p(options.encode())
    kind = ctypes.c_char_p(b"tmpfs")
    target = ctypes.c_char_p(os.fsencode(path))
    _checked(_LIBRARY.mount(kind, target, kind, ctypes.c_ulong(nosuid_nodev), text), "mount")


def unmount(path: str) -> None:
    """Take a mount away, now by name and from memory with its last user.

    Raises:
        OSError: Nothing is mounted there, or this process may not.
    """
    detach = 2
    _checked(_LIBRARY.umount2(ctypes.c_char_p(os.fsencode(path)), detach), "umount")


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno() or errno.ENOSYS
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
