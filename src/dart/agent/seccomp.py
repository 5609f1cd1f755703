"""A filter of system calls after which a thread, and all that it starts, has no network: unix sockets only.

It needs no privileges and works in containers. What is kept away: sockets of any other family, rings that make sockets
past any filter, and calls in the manner of another architecture, whose numbers differ. Where sockets can also be made
by an old call that packs its arguments where no filter can see them, it makes none of any family; what else it does
goes on, since the C libraries of i386 and s390x do all with it that they do with sockets.
"""

import ctypes
import platform
import struct
import sys

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

_Step = tuple[int, int | str, int | str, int]
_ARCHITECTURES = {
    "x86_64": (0xC000003E, 41, None),
    "i386": (0x40000003, 359, 102),
    "aarch64": (0xC00000B7, 198, None),
    "arm": (0x40000028, 281, 102),
    "riscv64": (0xC00000F3, 198, None),
    "loongarch64": (0xC0000102, 198, None),
    "s390x": (0x80000016, 359, 102),
    "ppc64le": (0xC0000015, 326, 102),
    "ppc64": (0x80000015, 326, 102),
}
"""The kernel's name of the architecture, and its numbers of `socket` and `socketcall`."""


def architecture(machine: str, word_bits: int) -> str:
    """What programs of this process are: a 64-bit kernel may run 32-bit ones."""
    if machine.startswith("arm") or (machine == "aarch64" and word_bits == 32):
        return "arm"
    if word_bits == 32 and (machine == "x86_64" or (machine.startswith("i") and machine.endswith("86"))):
        return "i386"
    return machine


def no_network(name: str, byte_order: str) -> bytes:
    """The filter as the kernel reads it.

    Args:
        name: From `architecture`.
        byte_order: `little` or `big`: where the low half of an argument lies.

    Raises:
        LookupError: The numbers of this architecture are not known here.
    """
    audit, socket, socketcall = _ARCHITECTURES[name]
    first_at = 16 if byte_order == "little" else 20
    # Each test: how many of the following to skip if it holds, and if not. The two last are `allow` and `refuse`.
    to_old: list[_Step] = [] if socketcall is None else [(_EQUAL, 3, 0, socketcall)]
    old: list[_Step] = [] if socketcall is None else [(_LOAD, 0, 0, first_at), (_EQUAL, "refuse", "allow", _SYS_SOCKET)]
    steps: list[_Step] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, "refuse", audit),
        (_LOAD, 0, 0, 0),
        *([(_AT_LEAST, "refuse", 0, _X32)] if name == "x86_64" else []),
        (_EQUAL, "refuse", 0, _IO_URING_SETUP),
        *to_old,
        (_EQUAL, 0, "allow", socket),
        (_LOAD, 0, 0, first_at),
        (_EQUAL, "allow", "refuse", _AF_UNIX),
        *old,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    ends = {"allow": len(steps) - 2, "refuse": len(steps) - 1}
    prefix = "<" if byte_order == "little" else ">"
    packed = []
    for at, (code, yes, no, value) in enumerate(steps):
        jumps = [ends[jump] - at - 1 if isinstance(jump, str) else jump for jump in (yes, no)]
        packed.append(struct.pack(prefix + "HBBI", code, *jumps, value))
    return b"".join(packed)


def own_filter() -> bytes | None:
    """The filter for programs of this process; None where its numbers are not known."""
    name = architecture(platform.machine(), struct.calcsize("P") * 8)
    try:
        return no_network(name, sys.byteorder)
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
