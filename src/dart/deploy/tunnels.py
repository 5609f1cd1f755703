"""Reverse tunnels: agents behind a firewall find the broker on their own machine, at the end of an SSH connection.

The server keeps the connection, and opens it anew at the same port when it breaks; agents see a broken link, as ever.
All of it blocks and belongs into threads.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dart.deploy.plan import Host, HostFaultError
from dart.limits import Limits

if TYPE_CHECKING:
    from dart.deploy.ssh import Session

ADDRESS = "127.0.0.1"
_CONNECTIONS_MAX = 256
"""Of the agents of one host."""
_PIECE_BYTES = 64 * 1024
_LOOK_SECONDS = 0.5
_log = logging.getLogger("dart.ssh")


class Tunnel:
    """The one of a host.

    Args:
        connect: Opens a session with the host.
        broker: Where the broker is for this machine.
        limits: Bounds of waits.
        name: Of the host, for the log.
        port: Where agents look for the broker there; 0: the host chooses.
    """

    def __init__(
        self,
        connect: "Callable[[], Session]",
        broker: Callable[[], tuple[str, int]],
        limits: Limits,
        *,
        name: str,
        port: int,
    ) -> None:
        self._connect = connect
        self._broker = broker
        self._limits = limits
        self._name = name
        self._session: Session | None = None
        self._closed = threading.Event()
        self._places = threading.BoundedSemaphore(_CONNECTIONS_MAX)
        self.port = port

    def open(self) -> None:
        """Open it for the first time, and keep it open from then on. Raises `HostFaultError`."""
        self._open()
        self._watch()

    def open_later(self) -> None:
        """Open it as soon as the host can be reached."""
        self._watch()

    def close(self) -> None:
        """Close it for good."""
        self._closed.set()
        session = self._session
        if session is not None:
            session.close()

    @property
    def is_open(self) -> bool:
        """Whether agents can use it now."""
        return self._session is not None and self._session.open

    def _watch(self) -> None:
        threading.Thread(target=self._keep_open, name="tunnel", daemon=True).start()

    def _open(self) -> None:
        session = self._connect()
        try:
            self.port = session.forward(ADDRESS, self.port, self._take)
        except HostFaultError:
            session.close()
            raise
        self._session = session
        if self._closed.is_set():
            session.close()

    def _keep_open(self) -> None:
        pause = self._limits.reconnect_seconds_min
        while not self._closed.wait(_LOOK_SECONDS):
            if self.is_open:
                pause = self._limits.reconnect_seconds_min
                continue
            try:
                self._open()
                _log.info("the tunnel to %s is open again", self._name)
            except HostFaultError as fault:
                _log.warning("the tunnel to %s cannot be opened: %s: %s", self._name, fault.step, fault.reason)
                self._closed.wait(pause)
                pause = min(pause * 2, self._limits.reconnect_seconds_max)

    def _take(self, channel: Any) -> None:
        """An agent has connected at the other end."""
        if not self._places.acquire(blocking=False):
            channel.close()
            return
        threading.Thread(target=self._carry, args=(channel,), name="tunnel", daemon=True).start()

    def _carry(self, channel: Any) -> None:
        """Bytes both ways, until one end closes."""
        try:
            with socket.create_connection(self._broker(), self._limits.ssh_connect_seconds) as local:
                local.settimeout(None)
                local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                back = threading.Thread(target=_copy, args=(local, channel), name="tunnel", daemon=True)
                back.start()
                _copy(channel, local)
                with contextlib.suppress(OSError):
                    local.shutdown(socket.SHUT_RDWR)
                back.join()
        except OSError as error:
            _log.warning("the broker cannot be reached for the tunnel of %s: %s", self._name, error)
        finally:
            channel.close()
            self._places.release()


class Tunnels:
    """One a host, opened when the first agent there needs it. Threads may share it."""

    def __init__(self, broker: Callable[[], tuple[str, int]], limits: Limits) -> None:
        self._broker = broker
        self._limits = limits
        self._tunnels: dict[str, Tunnel] = {}

    def ensure(self, host: Host, connect: "Callable[[], Session]", *, port: int) -> int:
        """See to it that there is an open one; where agents find the broker there. Raises `HostFaultError`."""
        tunnel = self._tunnels.get(host.text)
        if tunnel is None:
            tunnel = Tunnel(connect, self._broker, self._limits, name=host.text, port=port)
            tunnel.open()
            self._tunnels[host.text] = tunnel
        end = time.monotonic() + self._limits.ssh_connect_seconds
        while not tunnel.is_open:
            if time.monotonic() > end:
                raise HostFaultError("tunnel", "it is broken, and does not come back; the server's log says why")
            time.sleep(0.05)
        return tunnel.port

    def resume(self, host: Host, connect: "Callable[[], Session]", *, port: int) -> None:
        """Open the one of an earlier run of the server, as soon as that can be done."""
        tunnel = self._tunnels[host.text] = Tunnel(connect, self._broker, self._limits, name=host.text, port=port)
        tunnel.open_later()

    def drop(self, host: str) -> None:
        """No agent needs it any more."""
        tunnel = self._tunnels.pop(host, None)
        if tunnel is not None:
            tunnel.close()

    def close(self) -> None:
        """Close all."""
        for host in list(self._tunnels):
            self.drop(host)


def _copy(source: Any, sink: Any) -> None:
    """Until the source ends, or the sink takes nothing more; then the sink is told."""
    with contextlib.suppress(OSError, EOFError):
        while piece := source.recv(_PIECE_BYTES):
            sink.sendall(piece)
    with contextlib.suppress(OSError, EOFError):
        sink.shutdown(socket.SHUT_WR)
