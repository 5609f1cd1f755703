"""The agents' listening socket, made here and given to libzmq, so that it can be shut for a while.

libzmq can stop listening only by cutting who is connected. Shut, the kernel drops what arrives for the listening
socket itself: nobody new gets through, connections that exist go on, and who tries will try again.
"""

import ctypes
import os
import socket
import struct
from typing import Final

_ATTACH: Final = 26
_DETACH: Final = 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER of Linux."""
_DROP: Final = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""A filter of one instruction: return 0, of no packet anything is kept."""


class ListeningSocket:
    """One bound address. Raises `OSError` where that cannot be.

    Args:
        host: An address or a name.
        port: 0 lets the system choose.
        backlog: Connections that may wait to be accepted.
    """

    def __init__(self, host: str, port: int, *, backlog: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        self.port: int
        self._is_shut = False
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setblocking(False)
            self._socket.bind(address)
            self._socket.listen(backlog)
        except OSError:
            self._socket.close()
            raise
        bound, self.port = self._socket.getsockname()[:2]
        self.is_ipv6 = family == socket.AF_INET6
        self.endpoint = f"tcp://[{bound}]:{self.port}" if self.is_ipv6 else f"tcp://{bound}:{self.port}"
        """As libzmq writes it."""

    def descriptor(self) -> int:
        """Another descriptor of it, for libzmq to own."""
        return os.dup(self._socket.fileno())

    def shut(self) -> None:
        """Let nobody new in. Raises `OSError` where the system cannot do that."""
        program = ctypes.create_string_buffer(_DROP, len(_DROP))
        self._socket.setsockopt(socket.SOL_SOCKET, _ATTACH, struct.pack("@HP", 1, ctypes.addressof(program)))
        self._is_shut = True

    def open(self) -> None:
        """Let them in again; harmless when open."""
        if not self._is_shut:
            return
        self._is_shut = False
        self._socket.setsockopt(socket.SOL_SOCKET, _DETACH, 0)

    def close(self) -> None:
        """Give up this side of it; harmless when repeated."""
        self._socket.close()
