"""Hostile traffic against one server: `python -m fuzz.attacks KIND SECONDS PACE` with the place as JSON on stdin.

Each kind is a loop that does one bad thing after the other, PACE a second at most, and counts what came of it. The last
line of its output is JSON: what was counted, and faults, which are answers that must not be.
"""

import contextlib
import json
import random
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import zmq

from dart.wire import curve
from fuzz.mutation import Mutations
from fuzz.vectors import frames_of, messages
from harness.strangers import (
    CURVE_GREETING,
    NULL_GREETING,
    PLAIN_GREETING,
    ZMTP_1,
    ZMTP_2,
    Strangers,
    address_of,
    command,
    files_allowed,
)

BODY = (
    b'{"location_and_parameters": [{"location": "fuzz", "parameter": {"a": [1, 2.5, null]}, "tag": "t"}], "key": "no"}'
)
JOB = b'{"name": "fuzz-1", "module_path": "m", "method": "run", "requires": ["gpu"], "priority": 3, "retries": 2}'
SILENT = 500
ANSWER_SECONDS = 10.0


class Attack:
    """What all kinds share."""

    def __init__(self, place: dict[str, Any], seed: int) -> None:
        self.place = place
        self.chance = random.Random(seed)
        self.counted: Counter[str] = Counter()
        self.faults: list[str] = []
        self.rest = address_of(place["url"])
        self.agents = address_of(place["agents_url"])
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    # ---- REST ----

    def say(self, data: bytes, *, tls: bool = True) -> bytes:
        """Bytes to the REST port; whatever comes back until it hangs up or takes a breath."""
        heard = b""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(self.rest, timeout=ANSWER_SECONDS) as plain,
            self.tls.wrap_socket(plain) if tls else plain as sock,
        ):
            sock.sendall(data)
            sock.settimeout(1.0)
            while not _is_whole(heard) and (piece := sock.recv(65536)):
                heard += piece
        return heard

    def judge(self, said: bytes, heard: bytes, *, known: bool) -> None:
        """Every answer is a 4xx in the one shape; with a right key a 2xx may be, too."""
        if not heard.startswith(b"HTTP/"):
            self.counted["nothing" if not heard else "no HTTP"] += 1
            return
        head, _, body = heard.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.counted[str(status)] += 1
        if status == 100:
            return
        if 200 <= status < 300 and (known or b"/healthz" in said or b"/readyz" in said):
            return
        if not 400 <= status < 500:
            self.faults.append(f"{status} for {said[:300]!r}: {heard[:300]!r}")
        elif _is_whole(heard) and not said.startswith(b"HEAD"):
            try:
                error = json.loads(body)["error"]
                assert isinstance(error["code"], int)
                assert error["message"]
            except (ValueError, KeyError, TypeError, AssertionError):
                if b"msgpack" not in said:
                    self.faults.append(f"not the shape of errors, for {said[:300]!r}: {heard[:300]!r}")

    def request(self, key: bytes) -> bytes:
        """A request as a client would make it."""
        method, path, body = self.chance.choice(
            (
                (b"POST", b"/job/", JOB),
                (b"POST", b"/job/fuzz-1/tasks/", BODY),
                (b"GET", b"/job/fuzz-1/results/", b'{"amount": 5}'),
                (b"GET", b"/worker/", b""),
                (b"GET", b"/job/fuzz-1/status/", b""),
                (b"DELETE", b"/job/fuzz-1/results/1/", b""),
                (b"GET", b"/server/", b""),
                (b"DELETE", b"/server/", b""),
                (b"POST", b"/enroll/", b'{"name": "x"}'),
                (b"GET", b"/job/", b""),
                (b"GET", b"/key/", b""),
                (b"GET", b"/openapi.json", b""),
                (b"GET", b"/healthz", b""),
                (b"POST", b"/worker/x/drain/", b"{}"),
            )
        )
        head = b"%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (method, path, len(body))
        if key:
            head += b"Authorization: Bearer " + key + b"\r\n"
        return head + b"Content-Type: application/json\r\n\r\n" + body

    def rest_garbage(self) -> None:
        """Bytes that are no HTTP, in TLS and without."""
        data = self.chance.randbytes(self.chance.randrange(2000))
        if self.chance.random() < 0.5:
            data = Mutations([self.request(b"")], seed=self.chance.randrange(1 << 30)).next()
        self.judge(data, self.say(data, tls=self.chance.random() < 0.8), known=False)

    def rest_strangers(self) -> None:
        """Requests without a key, or with a wrong one."""
        data = self.request(self.chance.choice((b"", b"x" * 43, b"\xff\xfe", b"a" * 5000)))
        self.judge(data, self.say(data), known=False)

    def rest_mutated(self) -> None:
        """Requests of a known client, damaged behind their first line."""
        data = self.request(self.place["key"].encode())
        head, _, body = data.partition(b"\r\n\r\n")
        if self.chance.random() < 0.7:
            body = Mutations([body or BODY], seed=self.chance.randrange(1 << 30)).next()
            head = b"\r\n".join(
                b"Content-Length: %d" % len(body) if line.startswith(b"Content-Length") else line
                for line in head.split(b"\r\n")
            )
        else:
            first, _, rest = head.partition(b"\r\n")
            head = first + b"\r\n" + Mutations([rest], seed=self.chance.randrange(1 << 30)).next()
        data = head + b"\r\n\r\n" + body
        self.judge(data, self.say(data), known=True)

    # ---- the agents' port ----

    def router_garbage(self) -> None:
        """What is no ZMTP, or no good one."""
        ready = command(b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER")
        known = [
            ZMTP_1,
            ZMTP_2,
            NULL_GREETING + ready,
            PLAIN_GREETING,
            CURVE_GREETING + command(b"\x05HELLO" + bytes(194)),
            CURVE_GREETING + b"\x06" + (2 << 30).to_bytes(8, "big"),
            b"GET / HTTP/1.1\r\n\r\n",
        ]
        data = Mutations(known, seed=self.chance.randrange(1 << 30)).next()
        with contextlib.suppress(OSError), socket.create_connection(self.agents, timeout=5) as sock:
            sock.sendall(data)
            sock.settimeout(self.chance.choice((0.01, 0.2)))
            self.counted["heard bytes"] += len(sock.recv(4096))
        self.counted["connections"] += 1

    def router_wrong_key(self) -> None:
        """CURVE with a key that nobody enrolled, or for another server."""
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            keys = curve.KeyPair.make()
            server = (
                self.place["server_key"] if self.chance.random() < 0.7 else curve.key_text(curve.KeyPair.make().public)
            )
            dealer.curve_serverkey = server.encode()
            dealer.curve_publickey, dealer.curve_secretkey = keys.public, keys.secret
            dealer.connect(self.place["agents_url"])
            dealer.send(b"hello")
            if dealer.poll(100):
                self.faults.append(f"a stranger was answered {dealer.recv_multipart()!r}")
        self.counted["handshakes"] += 1

    def router_enrolled(self) -> None:
        """An enrolled agent that says what no agent says."""
        mutations = Mutations(messages("agent"), seed=self.chance.randrange(1 << 30))
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.curve_serverkey = self.place["server_key"].encode()
            dealer.curve_publickey = self.place["agent_public"].encode()
            dealer.curve_secretkey = self.place["agent_secret"].encode()
            dealer.connect(self.place["agents_url"])
            for _ in range(self.chance.choice((1, 3, 20))):
                frames = frames_of(mutations.next())
                if self.chance.random() < 0.3:
                    frames = frames_of(self.chance.choice(messages("agent")))
                dealer.send_multipart(frames)
                self.counted["messages"] += 1
            if dealer.poll(200):
                self.counted["answered"] += 1


def silent(place: dict[str, Any], seconds: float) -> Attack:
    """Connections that say nothing, on both ports; those that are cut come again."""
    attack = Attack(place, 0)
    files_allowed()
    crowds = [Strangers(attack.agents, SILENT), Strangers(attack.rest, SILENT // 5)]
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        for crowd in crowds:
            attack.counted["came again"] += crowd.come_again()
        time.sleep(0.5)
    for crowd in crowds:
        attack.counted["at the end"] += len(crowd.sockets)
        crowd.close()
    return attack


KINDS: dict[str, Callable[[Attack], None]] = {
    name: getattr(Attack, name)
    for name in (
        "rest_garbage",
        "rest_strangers",
        "rest_mutated",
        "router_garbage",
        "router_wrong_key",
        "router_enrolled",
    )
}


def _is_whole(heard: bytes) -> bool:
    """Whether this is an answer to its end."""
    head, separator, body = heard.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return bool(separator) and len(body) >= int(value)
        if name.lower() == b"transfer-encoding":
            return body.endswith(b"0\r\n\r\n")
    return False


def main() -> int:
    kind, seconds, pace = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    place = json.loads(sys.stdin.readline())
    if kind == "silent":
        attack = silent(place, seconds)
    else:
        attack = Attack(place, seed=time.time_ns())
        ends_at = time.monotonic() + seconds
        while (now := time.monotonic()) < ends_at and len(attack.faults) < 20:
            KINDS[kind](attack)
            time.sleep(max(0.0, 1 / pace - (time.monotonic() - now)))
    print(json.dumps({"counted": attack.counted, "faults": attack.faults}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
