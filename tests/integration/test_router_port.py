"""What comes to the agents' port of a real server and is no agent: it is dropped, and everybody else goes on."""

import random
import socket
import time
from contextlib import suppress

import psutil
import pytest

from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.strangers import (
    CURVE_GREETING,
    NULL_GREETING,
    PLAIN_GREETING,
    ZMTP_1,
    ZMTP_2,
    address_of,
    command,
    files_allowed,
    hangs_up,
    strangers,
)
from harness.waiting import wait_until

JOB = "job"
ECHO = "def run(p): return p"
HANDSHAKE_SECONDS = 5.0
READY = command(b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER")
PLAIN_HELLO = command(b"\x05HELLO\x05admin\x05admin")
NOT_ZMTP = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "random": random.Random(1).randbytes(10_000),
    "a signature and then noise": b"\xff" + random.Random(2).randbytes(10_000),
    "NULL": NULL_GREETING + READY,
    "PLAIN": PLAIN_GREETING + PLAIN_HELLO,
    "unknown mechanism": NULL_GREETING.replace(b"NULL", b"GSSX") + READY,
    "CURVE with a READY": CURVE_GREETING + READY,
    "CURVE with a HELLO of zeros": CURVE_GREETING + command(b"\x05HELLO" + bytes(194)),
    "CURVE with an empty command": CURVE_GREETING + b"\x04\x00",
    "CURVE with a message": CURVE_GREETING + b"\x00\x05hello",
    "CURVE with unknown flags": CURVE_GREETING + b"\xff" * 100,
    "ZMTP 1": ZMTP_1 + b"\x06\x00hello",
    "ZMTP 2": ZMTP_2 + b"\x00\x00\x00\x05hello",
}


class Place:
    """A server with one worker that echoes."""

    def __init__(self, running, config):
        self.running = running
        self.config = config
        self.client = HistoricClient(running.server.url, running.server.key)
        self.process = psutil.Process(running.server.process.pid)
        self.address = address_of(running.server.agents_url)
        self.done = 0

    def task_flows(self):
        """One task there and back, on new connections; how long that took."""
        began = time.monotonic()
        self.client.add_tasks(JOB, ("steady", str(self.done)))
        wait_until(lambda: len(self.client.results(JOB, 10_000)) > self.done, explain="a task does not come back")
        self.done += 1
        return time.monotonic() - began


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("router")
    with cluster(folder) as running:
        config = write_modules(folder, m=ECHO)
        running.start_agent("steady", config=config)
        it = Place(running, config)
        it.client.add_job(JOB, "m", "run")
        yield it


def open_sockets(place):
    return place.process.num_fds()


def test_what_is_no_agent_is_dropped(place):
    """Other protocols, other mechanisms, greetings cut at every byte, one byte a second: nobody is served, all are
    hung up on when the handshake time is over, and meanwhile tasks flow.
    """  # noqa: D205 - one sentence
    quiet = open_sockets(place)
    says = dict(NOT_ZMTP)
    for name, greeting in (("ZMTP 2", ZMTP_2), ("NULL", NULL_GREETING + READY), ("CURVE", CURVE_GREETING)):
        says |= {f"{name} cut at {end}": greeting[:end] for end in range(len(greeting))}
    sockets = {name: socket.create_connection(place.address, timeout=5) for name in (*says, "slow")}
    began = time.monotonic()
    try:
        for name, said in says.items():
            sockets[name].sendall(said)
        for second in range(3):
            sockets["slow"].sendall(CURVE_GREETING[second : second + 1])
            place.task_flows()
            wait_until(lambda: time.monotonic() >= began + second + 1, explain="")  # noqa: B023 - called at once
        left = began + HANDSHAKE_SECONDS + 10.0
        for name, sock in sockets.items():
            heard = hangs_up(sock, left - time.monotonic())
            assert heard is not None, f"{name!r} is still connected"
            # The greeting of the server, and at most an error: never a WELCOME of its mechanism.
            assert b"WELCOME" not in heard, name
            assert b"READY" not in heard, name
    finally:
        for sock in sockets.values():
            sock.close()
    wait_until(lambda: open_sockets(place) <= quiet + 2, explain=lambda: open_sockets(place))
    place.task_flows()


@pytest.mark.parametrize("start", [b"", b"\xff", CURVE_GREETING], ids=["noise", "signature", "CURVE"])
def test_an_endless_stream_is_cut(place, start):
    """Somebody sends as fast as it goes and never what is expected: little of it is read."""
    sent = 0
    with socket.create_connection(place.address, timeout=10) as sock, suppress(ConnectionError):
        sock.sendall(start)
        while sent < 200 << 20:
            sent += sock.send(b"\xaa" * 65536)
    assert sent < 200 << 20


def test_ten_thousand_silent_connections(place):
    """While they are there REST takes new connections, tasks flow and a new agent joins; then all is released."""
    amount = min(10_000, files_allowed() - 500)
    quiet_files, quiet_bytes = open_sockets(place), place.process.memory_info().rss
    with strangers(place.address, amount):
        wait_until(lambda: open_sockets(place) > quiet_files + amount * 0.3, explain=lambda: open_sockets(place))
        assert place.task_flows() < 4.0
        newcomer = place.running.start_agent(f"newcomer-{amount}", config=place.config)
        for _ in range(5):
            assert place.task_flows() < 4.0
    place.running.end(newcomer)
    wait_until(lambda: open_sockets(place) <= quiet_files + 20, timeout=20, explain=lambda: open_sockets(place))
    assert place.process.memory_info().rss - quiet_bytes < 150 << 20
