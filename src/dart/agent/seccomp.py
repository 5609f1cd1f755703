"""Filters of system calls for a thread and all that it starts: without network, and no limits set for others.

A filter needs no privileges and works in containers. *Without network* there are unix sockets only. What is kept away:
sockets of any other family, rings that make sockets past any filter, and calls in the manner of another architecture,
whose numbers differ. Where sockets can also be made by an old call that packs its arguments where no filter can see
them, it makes none of any family; what else it does goes on, since the C libraries of i386 and s390x do all with it
that they do with sockets.

*Limits of others* (`prlimit`): a process may set those of any process of its user, and one second of processor time
ends an agent as a signal would. No domain holds that, so each filter does. Reading them, and one's own, goes on.
"""

import ctypes
import platform
import struct
import sys
from typing import NamedTuple

from dart.agent import kernel_calls

_FILTER = 2
_AF_UNIX = 1
_SYS_SOCKET = 1
"""To make a socket, among the things that the old call does."""
_IO_URING_SETUP = 425
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001
"""Go on; fail with EPERM."""
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_AT, _THIRD_AT = 0, 4, 16, 32
"""Where a filter finds what is called, and its arguments, 64 bits each."""

_Step = tuple[int, int | str, int | str, int] | str
"""Code, where to go on if it holds and if not, operand; or a place to go to."""


class _Architecture(NamedTuple):
    """The kernel's name of it, and its numbers of calls."""

    audit: int
    socket: int
    socketcall: int | None
    prlimit: int
    runs: str = ""
    """What a machine of it runs, too."""


_ARCHITECTURES = {
    "x86_64": _Architecture(0xC000003E, 41, None, 302, "i386"),
    "i386": _Architecture(0x40000003, 359, 102, 340),
    "aarch64": _Architecture(0xC00000B7, 198, None, 261, "arm"),
    "arm": _Architecture(0x40000028, 281, 102, 369),
    "riscv64": _Architecture(0xC00000F3, 198, None, 261),
    "loongarch64": _Architecture(0xC0000102, 198, None, 261),
    "s390x": _Architecture(0x80000016, 359, 102, 334),
    "ppc64le": _Architecture(0xC0000015, 326, 102, 325),
    "ppc64": _Architecture(0x80000015, 326, 102, 325),
}


def architecture(machine: str, word_bits: int) -> str:
    """What programs of this process are: a 64-bit kernel may run 32-bit ones."""
    if machine.startswith("arm") or (machine == "aarch64" and word_bits == 32):
        return "arm"
    if word_bits == 32 and (machine == "x86_64" or (machine.startswith("i") and machine.endswith("86"))):
        return "i386"
    return machine


def program(name: str, byte_order: str, *, network: bool) -> bytes:
    """The filter as the kernel reads it.

    Args:
        name: From `architecture`.
        byte_order: `little` or `big`: where the low half of an argument lies.
        network: Whether only limits are watched, and 32-bit programs run on.

    Raises:
        LookupError: The numbers of this architecture are not known here.
    """
    own = _ARCHITECTURES[name]
    low = 0 if byte_order == "little" else 4
    steps: list[_Step] = [(_LOAD, 0, 0, _ARCHITECTURE_AT)]
    if network and own.runs:
        steps += [
            (_EQUAL, 0, "own", _ARCHITECTURES[own.runs].audit),
            *_watched(_ARCHITECTURES[own.runs].prlimit),
            "own",
        ]
    steps += [(_EQUAL, 0, "allow" if network else "refuse", own.audit)]
    if name == "x86_64":
        steps += [(_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, "refuse", 0, _X32)]
    steps += _watched(own.prlimit, "allow" if network else "sockets")
    if not network:
        steps += ["sockets", *_sockets(own, _FIRST_AT + low)]
    # What is asked of the limits, once it is known that others' may be meant.
    halves = (_THIRD_AT + low, _THIRD_AT + 4 - low)
    steps += [
        "limits",
        (_LOAD, 0, 0, _FIRST_AT + low),
        (_EQUAL, "allow", 0, 0),
        *(step for half in halves for step in ((_LOAD, 0, 0, half), (_EQUAL, 0, "refuse", 0))),
        "allow",
        (_RETURN, 0, 0, _ALLOW),
        "refuse",
        (_RETURN, 0, 0, _REFUSE),
    ]
    return _packed(steps, "<" if byte_order == "little" else ">")


def _watched(prlimit: int, others: str = "allow") -> list[_Step]:
    return [(_LOAD, 0, 0, _NUMBER_AT), (_EQUAL, "limits", others, prlimit)]


def _sockets(own: _Architecture, first_at: int) -> list[_Step]:
    steps: list[_Step] = [(_EQUAL, "refuse", 0, _IO_URING_SETUP)]
    if own.socketcall is not None:
        steps += [(_EQUAL, "old", 0, own.socketcall)]
    steps += [(_EQUAL, 0, "allow", own.socket), (_LOAD, 0, 0, first_at), (_EQUAL, "allow", "refuse", _AF_UNIX)]
    if own.socketcall is not None:
        steps += ["old", (_LOAD, 0, 0, first_at), (_EQUAL, "refuse", "allow", _SYS_SOCKET)]
    return steps


def _packed(steps: list[_Step], prefix: str) -> bytes:
    places: dict[str, int] = {}
    plain: list[tuple[int, int | str, int | str, int]] = []
    for step in steps:
        if isinstance(step, str):
            places[step] = len(plain)
        else:
            plain.append(step)
    packed = []
    for at, (code, yes, no, value) in enumerate(plain):
        jumps = [places[jump] - at - 1 if isinstance(jump, str) else jump for jump in (yes, no)]
        packed.append(struct.pack(prefix + "HBBI", code, *jumps, value))
    return b"".join(packed)


def own_filter(*, network: bool) -> bytes | None:
    """The filter for programs of this process; None where its numbers are not known."""
    name = architecture(platform.machine(), struct.calcsize("P") * 8)
    try:
        return program(name, sys.byteorder, network=network)
    except LookupError:
        return None


def restrict_thread(program: bytes) -> None:
    """From now on this thread and what it starts go through the filter.

    Raises:
        OSError: It could still gain privileges (PR_SET_NO_NEW_PRIVS), or the kernel has no such filters.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))
    kernel_calls.prctl(kernel_calls.PR_SET_SECCOMP, _FILTER, ctypes.addressof(header))
