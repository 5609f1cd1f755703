"""Hosts with links that a test cuts, slows and heals: network namespaces around a wire in user space."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WIRE = Path(__file__).with_name("wire.py")
BOTH = ("server", "host")


def missing() -> str:
    """Why there can be no networks here; empty: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    absent = [program for program in ("ip", "nsenter", "unshare") if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (packages iproute2 and util-linux)"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)  # noqa: S607
    return "" if tried.returncode == 0 else f"no network namespace: {tried.stderr.decode().strip()}"


class Network:
    """The server's side is the test's own namespace, at `address`; hosts count from 1."""

    def __init__(self, process: "subprocess.Popen[str]", subnet: str) -> None:
        self._process = process
        self._turn = threading.Lock()
        self.address = f"{subnet}.1"
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the wire did not start, exit code {process.wait(5)}"
        self._namespaces: list[int] = json.loads(line)

    def inside(self, host: int) -> tuple[str, ...]:
        """What to put before a command so that it runs on this host."""
        return ("nsenter", f"--net=/proc/{self._process.pid}/fd/{self._namespaces[host - 1]}", "--")

    def _order(self, host: int, toward: tuple[str, ...], **way: float) -> dict[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        answer: dict[str, int] = {}
        with self._turn:
            for one in toward:
                self._process.stdin.write(json.dumps({"host": host, "toward": one, **way}) + "\n")
                self._process.stdin.flush()
                answer = json.loads(self._process.stdout.readline())
        return answer

    def cut(self, host: int, toward: tuple[str, ...] = BOTH) -> None:
        """Drop everything, silently: toward the server, toward the host, or both ways."""
        self._order(host, toward, cut=True)

    def worsen(self, host: int, *, loss: float, delay: float) -> None:
        """Lose this part of the packets and delay the others by so many seconds, each way."""
        self._order(host, BOTH, loss=loss, delay=delay)

    def close_port(self, host: int, port: int) -> None:
        """Drop what asks for connections from this host to this port of the server."""
        self._order(host, ("server",), closed_port=port)

    def only_outward(self, host: int) -> None:
        """Drop everything toward this host but answers: nobody can begin a connection to it."""
        self._order(host, ("host",), answers_only=True)

    def address_of(self, host: int) -> str:
        """Its address, which the server's side has a route to."""
        return f"{self.address.rpartition('.')[0]}.{host + 1}"

    def heal(self, host: int) -> dict[str, int]:
        """As at the beginning; tells how many packets were forwarded and dropped so far."""
        return self._order(host, BOTH)


@contextmanager
def network(hosts: int, *, seed: int = 1) -> Iterator[Network]:
    """So many hosts, gone at the end together with everything of the network."""
    subnet = f"10.{128 + os.getpid() // 256 % 128}.{os.getpid() % 256}"
    process = subprocess.Popen(
        [sys.executable, str(WIRE), subnet, str(hosts), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield Network(process, subnet)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
