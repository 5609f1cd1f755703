"""HTTP as nobody should send it, to a real server over TLS: refused in the one shape, at no cost to anybody else."""

import gzip
import json
import statistics
import time
import zlib
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from fuzz.rest import RECORD
from harness.cluster import cluster
from harness.raw_http import exchange, read_reply
from harness.tls import connect
from harness.waiting import wait_until
from harness.witness import Witness, p99

HEADERS = {
    "allow", "cache-control", "connection", "content-disposition", "content-length", "content-type", "date",
    "retry-after", "server", "www-authenticate", "x-content-type-options", "x-request-id",
}  # fmt: skip
"""All that any answer has: a name in a path that smuggles a header in would add another."""
BOMB = gzip.compress(b" " * (1 << 28), 9)
DEFLATED = zlib.compress(b" " * (1 << 28), 9)
MIB = 1 << 20


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("raw")) as running:
        yield running


@pytest.fixture(scope="module")
def witness(running):
    """Another client, before and while all this comes."""
    with Witness(running.server.url, running.server.key) as quiet:
        wait_until(lambda: len(quiet.seconds) >= 100, explain="round trips before")
    with Witness(running.server.url, running.server.key) as busy:
        yield quiet, busy


@pytest.fixture(scope="module")
def memory(running, witness):
    """Resident bytes of the server, now and before."""
    process = psutil.Process(running.server.process.pid)
    before = process.memory_info().rss
    return lambda: process.memory_info().rss - before


def get(path, *, version=b"HTTP/1.1", more=b""):
    return lambda keyed: b"GET " + path + b" " + version + b"\r\n" + keyed + more + b"\r\n"


def post(body=b"{}", *, path=b"/job/", more=b""):
    return lambda keyed: b"POST " + path + b" HTTP/1.1\r\n" + keyed + more + b"\r\n" + body


def chunked(body, more=b""):
    return post(body, more=b"Transfer-Encoding: chunked\r\n" + more)


def sized(body, more=b""):
    return post(body, path=b"/worker/w/ping/", more=b"Content-Length: %d\r\n" % len(body) + more)


REFUSED = {
    "HTTP/2 without asking": (400, lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/3.0": (400, get(b"/server/", version=b"HTTP/3.0")),
    "CONNECT": (404, lambda keyed: b"CONNECT evil.example:443 HTTP/1.1\r\n" + keyed + b"\r\n"),
    "TRACE": (405, lambda keyed: b"TRACE /server/ HTTP/1.1\r\n" + keyed + b"\r\n"),
    "OPTIONS *": (404, lambda keyed: b"OPTIONS * HTTP/1.1\r\n" + keyed + b"\r\n"),
    "a method of 100 kB": (400, lambda keyed: b"A" * 100_000 + b" /server/ HTTP/1.1\r\n" + keyed + b"\r\n"),
    "a method that is no text": (400, lambda keyed: b"G\xffT /server/ HTTP/1.1\r\n" + keyed + b"\r\n"),
    "a file as target": (400, get(b"file:///etc/passwd")),
    "a broken absolute target": (400, get(b"http://[::1/server/")),
    "no host": (400, lambda _: b"GET /server/ HTTP/1.1\r\n\r\n"),
    "two hosts": (400, get(b"/server/", more=b"Host: y\r\n")),
    "a path that is not UTF-8": (400, get(b"/job/\xff\xfe/")),
    "an encoded path that is not UTF-8": (404, get(b"/job/%ff%fe/")),
    "an encoded surrogate": (404, get(b"/job/%ed%a0%80/")),
    "half an escape": (404, get(b"/job/%2/")),
    "an encoded slash": (404, get(b"/job/a%2Fb/")),
    "dots": (404, get(b"/job/../../etc/passwd")),
    "encoded dots": (404, get(b"/job/..%2f..%2fetc%2fpasswd/")),
    "doubly encoded dots": (404, get(b"/job/%252e%252e%252fetc%252fpasswd/")),
    "backslashes": (404, get(b"/job/..\\..\\etc\\passwd/")),
    "NUL in a name": (404, get(b"/job/a%00b/")),
    "CR LF in a name": (404, get(b"/job/a%0d%0aX-Evil:%201/")),
    "CR LF in the name of a worker": (404, get(b"/worker/a%0d%0aX-Evil:%201/")),
    "CR LF where no path is": (404, get(b"/nothing%0d%0aX-Evil:%201/")),
    "a control character in the path": (400, get(b"/job/\x01/")),
    "a blank in the path": (400, get(b"/job/a b/")),
    "a path of 10 kB": (400, get(b"/job/" + b"x" * 10_000 + b"/")),
    "a path of 1 MB": (400, get(b"/" + b"x" * MIB)),
    "two slashes": (404, get(b"//server/")),
    "the key in the query, encoded": (401, get(b"/server/?%6bey=x")),
    "100,000 headers": (400, get(b"/server/", more=b"".join(b"X-%d: y\r\n" % number for number in range(100_000)))),
    "a header of 1 MB": (400, get(b"/server/", more=b"X: " + b"y" * MIB + b"\r\n")),
    "a header that does not end": (400, get(b"/server/", more=b"X: " + b"y" * (20 * MIB))),
    "the name of a header of 1 MB": (400, get(b"/server/", more=b"x" * MIB + b": y\r\n")),
    "a header with NUL": (400, get(b"/server/", more=b"X: a\0b\r\n")),
    "a folded header": (400, get(b"/server/", more=b"X: a\r\n b\r\n")),
    "lines that end in LF alone": (400, lambda keyed: b"GET /server/ HTTP/1.1\n" + keyed.replace(b"\r", b"") + b"\n"),
    "both framings": (400, chunked(b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n", b"Content-Length: 4\r\n")),
    "two lengths": (400, post(b"{}  x", more=b"Content-Length: 4\r\nContent-Length: 5\r\n")),
    "a length below zero": (400, post(more=b"Content-Length: -1\r\n")),
    "a length with a sign": (400, post(more=b"Content-Length: +2\r\n")),
    "a length of 400 digits": (400, post(more=b"Content-Length: " + b"9" * 400 + b"\r\n")),
    "a length over the limit": (413, post(more=b"Content-Length: 99999999999\r\n")),
    "a length that lies: too long": (400, lambda keyed: post(b"x", more=b"Content-Length: 0\r\n")(keyed) + b"\r\n\r\n"),
    "another coding of transfer": (400, post(b"2\r\n{}\r\n0\r\n\r\n", more=b"Transfer-Encoding: identity, x\r\n")),
    "gzip as coding of transfer": (415, post(b"2\r\n{}\r\n0\r\n\r\n", more=b"Transfer-Encoding: gzip, chunked\r\n")),
    "a chunk without size": (400, chunked(b"zz\r\n{}\r\n0\r\n\r\n")),
    "a chunk of less than nothing": (400, chunked(b"-2\r\n{}\r\n0\r\n\r\n")),
    "a chunk of 16^40 bytes": (400, chunked(b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n")),
    "100,000 trailers": (400, chunked(b"2\r\n{}\r\n0\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)))),
    "300,000 chunks of a byte": (400, chunked(b"1\r\n \r\n" * 300_000 + b"0\r\n\r\n")),
    "a bomb of gzip": (415, sized(BOMB, b"Content-Encoding: gzip\r\n")),
    "a bomb of deflate": (415, sized(DEFLATED, b"Content-Encoding: deflate\r\n")),
    "a bomb that says nothing": (400, sized(BOMB)),
    "another charset": (
        400,
        sized('{"name":"ä"}'.encode("utf-16"), b"Content-Type: application/json; charset=utf-16\r\n"),
    ),
    "a form": (415, sized(b"--x\r\n\r\n--x--", b"Content-Type: multipart/form-data; boundary=x\r\n")),
    "a type of 7 kB": (415, sized(b"{}", b"Content-Type: " + b"x" * 7_000 + b"\r\n")),
    "an Idempotency-Key that is no ASCII": (400, sized(b"{}", b"Idempotency-Key: \xe4\r\n")),
    "an Idempotency-Key of 7 kB": (400, sized(b"{}", b"Idempotency-Key: " + b"x" * 7_000 + b"\r\n")),
}
UNDERSTOOD = {
    "HTTP/1.0": get(b"/server/", version=b"HTTP/1.0"),
    "an absolute target": get(b"http://evil.example/server/"),
    "a request id of the caller": get(b"/server/", more=b"X-Request-Id: evil\r\n"),
    "a wish for WebSocket": get(b"/server/", more=b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
    "a wish for HTTP/2": get(b"/server/", more=b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
    "a range": get(b"/server/", more=b"Range: bytes=0-1\r\nIf-None-Match: *\r\n"),
    "a host that is none": lambda keyed: (
        b"GET /server/ HTTP/1.1\r\n" + keyed.replace(b"Host: x", b"Host: \xff<>") + b"\r\n"
    ),
}


def keyed(running):
    return f"Host: x\r\nAuthorization: Bearer {running.server.key}\r\n".encode()


def logged(running):
    return "".join(path.read_text() for path in Path(running.folder).glob("server.*.log"))


def check_headers(reply):
    assert set(reply.headers) <= HEADERS
    assert reply.headers["server"] == "DART"
    assert "evil" not in str(reply.headers)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_in_the_one_shape(running, memory, name):
    """With its status, without a header that the server did not mean, and with nothing of its inside."""
    status, make = REFUSED[name]
    reply = exchange(running.server.url, make(keyed(running)))
    assert reply is not None
    assert reply.status == status, reply
    assert {"code", "message", "category"} <= set(reply.members["error"])
    check_headers(reply)


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_odd_and_harmless_is_understood(running, memory, name):
    """It is answered as if it were plain; nothing of it comes back."""
    reply = exchange(running.server.url, UNDERSTOOD[name](keyed(running)))
    assert reply is not None
    assert (reply.status, list(reply.members)) == (200, ["servers"])
    check_headers(reply)


def test_a_body_shorter_than_announced_is_no_request(running, memory):
    """What follows on the connection is not taken for another request."""
    body = json.dumps({"name": "smuggled", "module_path": "m", "method": "run"}).encode()
    with connect(running.server.url) as stream:
        stream.sendall(sized(body[:-1])(keyed(running)).replace(b"Content-Length: ", b"Content-Length: 9"))
        stream.sendall(get(b"/server/")(keyed(running)))
        stream.settimeout(0.3)
        with pytest.raises(TimeoutError):
            stream.recv(1000)
    assert exchange(running.server.url, get(b"/job/smuggled/")(keyed(running))).status == 404


def test_a_refused_body_is_not_taken_for_requests(running, memory):
    """After a refusal in the middle of a body the connection ends; what the body holds is not obeyed."""
    inner = b"DELETE /server/ HTTP/1.1\r\n" + keyed(running) + b"\r\n"
    sent = (
        b"POST /job/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nContent-Length: 99999\r\n\r\n" + inner * 50
    )
    with connect(running.server.url) as stream:
        stream.sendall(sent)
        assert read_reply(stream).status == 401
        assert read_reply(stream) is None
    assert running.server.process.poll() is None


def test_an_endless_body_is_not_buffered(running, memory):
    """A stranger's 100 MB cost nothing; with a key they cost no more than the call takes, and come back."""
    piece = b"100000\r\n" + b" " * MIB + b"\r\n"
    for key, status, kept in ((b"Host: x\r\n", 401, 0), (keyed(running), 413, 64)):
        with connect(running.server.url) as stream:
            stream.sendall(b"POST /worker/w/ping/ HTTP/1.1\r\n" + key + b"Transfer-Encoding: chunked\r\n\r\n")
            with suppress(OSError):
                for _ in range(100):
                    stream.sendall(piece)
                    assert memory() < (kept + 40) * MIB
            assert read_reply(stream).status == status
    wait_until(lambda: memory() < 60 * MIB, explain=lambda: f"{memory() / MIB} MiB more than before")


def pour(stream, request):
    """Send requests until nobody takes them any more."""
    for _ in range(1000):
        stream.sendall(request * 1000)


def test_requests_whose_answers_nobody_reads_cost_little(running, memory):
    """Pipelined without end: the server stops reading when its answers are not taken."""
    before = memory()
    with ExitStack() as held:
        for request in (get(b"/server/")(keyed(running)), get(b"/server/")(b"Host: x\r\n")):
            stream = held.enter_context(connect(running.server.url, seconds=0.5))
            with pytest.raises(TimeoutError):
                pour(stream, request)
        assert memory() - before < 30 * MIB


def test_slow_ones_everywhere_hold_nobody_up(running, memory):
    """In the handshake, the head, the body, and with the answer, a byte at a time, two hundred at once."""
    with ExitStack() as held:
        streams = []
        for number in range(200):
            stream = held.enter_context(connect(running.server.url))
            beginning = (
                b"G",
                b"GET /server/ HTTP/1.1\r\nX: ",
                post(b"{", more=b"Content-Length: 999\r\n")(keyed(running)),
            )
            stream.sendall(beginning[number % 3])
            streams.append(stream)
        for _ in range(5):
            for stream in streams:
                stream.sendall(b"E")
            reply = exchange(running.server.url, get(b"/server/")(keyed(running)))
            assert reply.status == 200


def test_what_is_logged_of_a_request_forges_no_line(running, memory):
    """Line breaks, terminal escapes and `%s` of a caller stand in the log as text, in one record with an end."""
    forged = "2026-01-01 00:00:00,000 INFO    dart.server all is well"
    text = f"x\n{forged}\r\n\x1b[2J\x9b31m\u2028%s%n%(message)s{'y' * 100_000}"
    body = json.dumps({"hosts": text}).encode()
    sent = post(body, path=b"/worker/", more=b"Content-Length: %d\r\n" % len(body))(keyed(running))
    assert exchange(running.server.url, sent.replace(b"POST", b"DELETE", 1)).status == 200
    lines = logged(running).splitlines()
    (line,) = [line for line in lines if "asked to stop workers" in line]
    assert "all is well" in line
    assert len(line) < 10_000
    assert [line for line in lines if not RECORD.match(line)] == []
    assert "\x1b" not in "".join(lines)


def test_nobody_else_noticed(running, witness, memory):
    """The other client had all its answers and hardly later than before; memory and log are as they were."""
    quiet, busy = witness
    time.sleep(0.2)
    assert quiet.failures == []
    assert busy.failures == []
    # Other tests' machines are busy with other things, too: most of the answers, and none that was stuck.
    assert len(busy.seconds) > 100
    assert statistics.median(busy.seconds) < max(2 * p99(quiet.seconds), 0.05)
    assert max(busy.seconds) < 5.0
    wait_until(lambda: memory() < 60 * MIB, explain=lambda: f"{memory() / MIB} MiB more than before")
    assert "Traceback" not in logged(running)
    assert " ERROR " not in logged(running)
