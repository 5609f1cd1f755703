"""A network of its own in user space: one namespace a host, joined to the one it is started in by packets it may lose.

Started as `python wire.py SUBNET HOSTS SEED` (root is needed). Host 0 is where it is started, `SUBNET.1`; hosts 1 to
HOSTS are fresh namespaces, `SUBNET.2` and on. The first line it prints are the descriptors of those namespaces. A line
of JSON on stdin changes one direction of a host's link, `{"host": 1, "toward": "server" or "host"}` and the members of
`Way`; each is answered by a line with what was forwarded and dropped. It ends with its stdin, and nothing is left of
the network then.
"""

import ctypes
import fcntl
import heapq
import itertools
import json
import os
import random
import selectors
import struct
import subprocess
import sys
import time
from typing import Any, NamedTuple

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001
CLONE_NEWNET = 0x40000000
TCP, SYN, ACK = 6, 2, 16
PACKETS_PER_TURN = 64
_LIBC = ctypes.CDLL(None, use_errno=True)


class Way(NamedTuple):
    """What happens to packets in one direction of one link."""

    cut: bool = False
    loss: float = 0.0
    delay: float = 0.0
    answers_only: bool = False
    """Nothing but what belongs to TCP connections that the receiver began, as a home router does it."""
    closed_port: int = 0
    """Nobody gets a connection to this port of the receiver, as a firewall does it."""


class Segment(NamedTuple):
    """Of a TCP connection."""

    source_port: int
    port: int
    begins: bool


def segment(packet: bytes) -> Segment | None:
    """What a packet is part of; None: not of TCP."""
    start = (packet[0] & 15) * 4
    if packet[9] != TCP or len(packet) < start + 14:
        return None
    return Segment(*struct.unpack_from("!HH", packet, start), packet[start + 13] & (SYN | ACK) == SYN)


def check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def open_tunnel(name: str, address: str) -> int:
    """An interface whose packets are read from and written to a descriptor, in the present namespace."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
    for words in (
        ("addr", "add", f"{address}/24", "dev", name),
        ("link", "set", name, "mtu", "1500", "txqueuelen", "5000", "up"),
        ("link", "set", "lo", "up"),
    ):
        subprocess.run(("ip", *words), check=True)  # noqa: S607 - wherever it is
    return descriptor


class Wire:
    """Forwards packets between the server's side and the hosts."""

    def __init__(self, subnet: str, hosts: int, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ways: dict[tuple[int, int], Way] = {}
        self.late: list[tuple[float, int, int, bytes]] = []
        self.numbers = itertools.count()
        self.forwarded = self.dropped = 0
        self.begun: set[tuple[int, int, int]] = set()
        """Connections that somebody asked for: who, from which port, to which."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.tunnels = [open_tunnel(f"dart{os.getpid()}", f"{subnet}.1")]
        self.namespaces = []
        for host in range(1, hosts + 1):
            check(_LIBC.unshare(CLONE_NEWNET), "no new network namespace")
            self.namespaces.append(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
            self.tunnels.append(open_tunnel("eth0", f"{subnet}.{host + 1}"))
        check(_LIBC.setns(home, CLONE_NEWNET), "no way back to the first namespace")
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ)
        for host, tunnel in enumerate(self.tunnels):
            self.selector.register(tunnel, selectors.EVENT_READ, host)

    def change(self, order: dict[str, Any]) -> dict[str, int]:
        host = int(order.pop("host"))
        key = (host, 0) if order.pop("toward") == "server" else (0, host)
        self.ways[key] = Way(**order)
        return {"forwarded": self.forwarded, "dropped": self.dropped}

    def packet(self, source: int, packet: bytes, now: float) -> None:
        """Pass one on, now, later or never."""
        host = packet[19] - 1 if packet[0] >> 4 == 4 else -1  # IPv4 only; the last byte of the destination
        if not 0 <= host < len(self.tunnels) or host == source:
            return
        way = self.ways.get((source, host), Way())
        if self.is_refused(way, source, host, packet) or way.cut or (way.loss and self.chance.random() < way.loss):
            self.dropped += 1
        elif way.delay:
            heapq.heappush(self.late, (now + way.delay, next(self.numbers), host, packet))
        else:
            self.write(host, packet)

    def is_refused(self, way: Way, source: int, host: int, packet: bytes) -> bool:
        """Whether a firewall at this link takes it away."""
        part = segment(packet)
        if part is not None and part.begins:
            if part.port == way.closed_port:
                return True
            self.begun.add((source, part.source_port, part.port))
        return way.answers_only and (part is None or (host, part.port, part.source_port) not in self.begun)

    def write(self, host: int, packet: bytes) -> None:
        try:
            os.write(self.tunnels[host], packet)
            self.forwarded += 1
        except OSError:  # its queue is full: as in any network
            self.dropped += 1

    def read(self, source: int) -> None:
        for _ in range(PACKETS_PER_TURN):
            try:
                packet = os.read(self.tunnels[source], 65536)
            except BlockingIOError:
                return
            self.packet(source, packet, time.monotonic())

    def run(self) -> None:
        """Until stdin ends."""
        print(json.dumps(self.namespaces), flush=True)
        orders = b""
        while True:
            patience = max(0.0, self.late[0][0] - time.monotonic()) if self.late else None
            for key, _ in self.selector.select(patience):
                if key.fd != 0:
                    self.read(key.data)
                    continue
                piece = os.read(0, 65536)
                if not piece:
                    return
                *lines, orders = (orders + piece).split(b"\n")
                for line in lines:
                    print(json.dumps(self.change(json.loads(line))), flush=True)
            now = time.monotonic()
            while self.late and self.late[0][0] <= now:
                _, _, host, packet = heapq.heappop(self.late)
                self.write(host, packet)


if __name__ == "__main__":
    Wire(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).run()
