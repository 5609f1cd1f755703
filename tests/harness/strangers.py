"""Connections to the agents' port that are none of an agent's: silent ones by the thousand, and raw ZMTP."""

import errno
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
CURVE_GREETING = SIGNATURE + b"\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
NULL_GREETING = SIGNATURE + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
PLAIN_GREETING = SIGNATURE + b"\x03\x01" + b"PLAIN".ljust(20, b"\0") + bytes(32)
ZMTP_1 = b"\x01\x00"
ZMTP_2 = SIGNATURE + b"\x01\x05\x00\x00"


def command(body: bytes) -> bytes:
    """A ZMTP 3 command frame."""
    if len(body) < 256:
        return b"\x04" + bytes([len(body)]) + body
    return b"\x06" + len(body).to_bytes(8, "big") + body


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a URL."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    return host, int(port)


def files_allowed() -> int:
    """How many this process may open, after raising its limit to what the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Strangers:
    """Silent connections, from several addresses of this machine; those that are cut come again when told to."""

    def __init__(self, address: tuple[str, int], amount: int, *, says: bytes = b"") -> None:
        self._address = address
        self._says = says
        self.sockets = [self._connect(number) for number in range(amount)]

    def _connect(self, number: int) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind((f"127.0.0.{2 + number % 50}", 0))
        result = sock.connect_ex(self._address)
        assert result in (0, errno.EINPROGRESS), errno.errorcode[result]
        return sock

    def come_again(self) -> int:
        """Connect anew what the server has cut; how many that were."""
        poll = select.poll()
        places = {sock.fileno(): place for place, sock in enumerate(self.sockets)}
        for descriptor in places:
            poll.register(descriptor, select.POLLIN | select.POLLHUP)
        cut = 0
        for descriptor, what in poll.poll(0):
            place = places[descriptor]
            try:
                over = bool(what & (select.POLLERR | select.POLLHUP)) or not self.sockets[place].recv(4096)
            except OSError:
                over = True
            if over:
                self.sockets[place].close()
                self.sockets[place] = self._connect(place)
                cut += 1
        return cut

    def insist(self) -> int:
        """Connect anew what has not got in, rather than leave it to the system, which asks ever more seldom."""
        waiting = 0
        for place, sock in enumerate(self.sockets):
            try:
                sock.getpeername()
            except OSError:
                sock.close()
                self.sockets[place] = self._connect(place)
                waiting += 1
        return waiting

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


@contextmanager
def strangers(address: tuple[str, int], amount: int) -> Iterator[Strangers]:
    """So many silent connections while the block runs."""
    them = Strangers(address, amount)
    try:
        yield them
    finally:
        them.close()


def hangs_up(sock: socket.socket, seconds: float) -> bytes | None:
    """What the server says before it hangs up; None if it does not within this time."""
    heard = bytearray()
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            return None
        except ConnectionError:
            return bytes(heard)
        if not piece:
            return bytes(heard)
        heard += piece
    return None


class Relay(threading.Thread):
    """Stands between an agent and the server: passes on what comes, slowly if told, and adds what a test wants."""

    def __init__(self, server: tuple[str, int], *, bytes_per_second: float = float("inf")) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._pace = bytes_per_second
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent = 0
        """Bytes passed on to the server, over all connections."""
        self.cuts = 0
        """Connections that the server ended."""
        self._upward: socket.socket | None = None
        self._over = False
        self.start()

    def inject(self, data: bytes) -> None:
        """Say this to the server between what the agent says."""
        assert self._upward is not None
        self._upward.sendall(data)

    def run(self) -> None:
        while True:
            try:
                agent, _ = self._listening.accept()
            except OSError:
                return
            with agent, socket.create_connection(self._server) as upward:
                self._upward = upward
                self._pass_on(agent, upward)

    def _pass_on(self, agent: socket.socket, upward: socket.socket) -> None:
        while not self._over:
            readable, _, _ = select.select([agent, upward], [], [], 0.1)
            try:
                for source, sink in ((agent, upward), (upward, agent)):
                    if source not in readable:
                        continue
                    data = source.recv(65536)
                    if not data:
                        self.cuts += source is upward
                        return
                    sink.sendall(data)
                    if sink is upward:
                        self.sent += len(data)
                        time.sleep(len(data) / self._pace)
            except OSError:
                self.cuts += 1
                return

    def close(self) -> None:
        self._over = True
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.join(5.0)
        assert not self.is_alive()
