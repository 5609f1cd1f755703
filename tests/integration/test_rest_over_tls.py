"""REST of a real server process over TLS, as old programs and curl speak it, and everything bad that may come."""

import http.client
import json
import shutil
import socket
import ssl
import statistics
import subprocess
import threading
import time
from urllib.parse import urlsplit

import msgpack
import pytest
import requests

from harness.cluster import cluster
from harness.waiting import wait_until

DEEP = 10_000
JSON = {"Content-Type": "application/json"}
MESSAGEPACK = {"Content-Type": "application/msgpack"}


def trusting():
    """Looks at no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Caller:
    """`requests` without verification, as in 2021."""

    def __init__(self, running):
        self.url, self.key = running.server.url, running.server.key
        self.session = requests.Session()

    def __call__(self, method, path, **options):
        return self.session.request(method, self.url + path, verify=False, timeout=30, **options)

    def keyed(self, **members):
        return {"key": self.key, **members}

    def connect(self):
        """A TLS connection for bytes by hand."""
        parts = urlsplit(self.url)
        return trusting().wrap_socket(socket.create_connection((parts.hostname, parts.port), timeout=30))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("rest")) as running:
        yield running


@pytest.fixture
def call(running):
    caller = Caller(running)
    yield caller
    caller.session.close()


@pytest.fixture(scope="module")
def job(running):
    caller = Caller(running)
    for name in ("j", "matched"):
        body = caller.keyed(name=name, module_path="m", method="run")
        assert caller("POST", "/job/", json=body).status_code == 200
    # A result whose worker's name is what slow patterns like.
    entry = {"location": "a" * 60 + "!", "parameter": "p", "expires": 0.01}
    path = "/job/matched/tasks/?wait=20"
    answer = caller("POST", path, json=caller.keyed(location_and_parameters=[entry]))
    assert len(answer.json()["results"]) == 1
    caller.session.close()
    return "j"


def error_of(answer):
    """The one shape of errors, checked."""
    error = answer.json()["error"]
    assert {"code", "message", "category"} <= set(error)
    assert answer.headers["X-Request-Id"]
    return error


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("way", ["json body", "messagepack body", "bearer and query"])
def test_the_historic_calls_in_every_spelling(call, way, slash):
    """Each answers 200 with or without slash, however arguments and key come."""
    name = f"all:{way}{slash}".replace("/", "+")

    def ask(verb, path, /, **members):
        path += slash
        if way == "json body":
            answer = call(verb, path, json=call.keyed(**members))
        elif way == "messagepack body":
            answer = call(verb, path, data=msgpack.packb(call.keyed(**members)), headers=MESSAGEPACK)
        else:
            headers = {"Authorization": f"Bearer {call.key}"}
            where = "json" if verb == "POST" else "params"
            answer = call(verb, path, headers=headers, **{where: members})
        assert answer.status_code == 200, answer.text
        return answer.json()

    ask("GET", "/server")
    assert ask("GET", "/worker") == {"workers": []}
    ask("POST", "/job", name=name, module_path="m", method="run", python_home="/usr")
    assert ask("GET", f"/job/{name}")["job"]["config"] == {"module_path": "m", "method": "run"}
    assert ask("GET", f"/job/{name}/status")["job"] == {"name": name, "status": 1}
    tasks = ask("POST", f"/job/{name}/tasks", location_and_parameters=[{"location": "w", "parameter": "p"}])["tasks"]
    assert len(tasks) == 1
    assert ask("GET", f"/job/{name}/results", amount="5", worker_regex="w.*")["results"] == []
    ask("DELETE", f"/job/{name}/results/{tasks[0]}")
    assert ask("DELETE", f"/job/{name}")["job"]["status"] == 2
    answer = call("POST", "/worker" + slash, json=call.keyed(name="w", hosts=["localhost"], workers_per_host=2))
    assert (answer.status_code, error_of(answer)["category"]) == (502, "host unreachable")
    assert call("DELETE", "/worker" + slash, json=call.keyed(hosts="localhost", ssh={})).status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(call, job):
    """Its default content type, a body on GET, a large body with `Expect: 100-continue`."""

    def curl(*arguments, stdin=b""):
        command = ["curl", "-sk", "--max-time", "30", "-w", "\n%{http_code}", *arguments]
        *body, status = subprocess.run(command, input=stdin, capture_output=True, check=True, timeout=60).stdout.split(
            b"\n"
        )
        return int(status), json.loads(b"\n".join(body))

    status, answer = curl("-X", "GET", "-d", json.dumps(call.keyed()), f"{call.url}/server")
    assert (status, list(answer)) == (200, ["servers"])
    entries = [{"location": "nobody", "parameter": "x" * 1000}] * 2000
    large = json.dumps(call.keyed(location_and_parameters=entries)).encode()
    options = ("-H", "Expect: 100-continue", "--data-binary", "@-")
    status, answer = curl(*options, f"{call.url}/job/{job}/tasks/", stdin=large)
    assert (status, len(answer["tasks"])) == (200, 2000)
    bearer = ("-H", "Authorization: Bearer wrong")
    status, answer = curl(*options, *bearer, f"{call.url}/job/{job}/tasks/", stdin=large)
    assert (status, answer["error"]["category"]) == (401, "unauthorized")


def tasks_body(call, parameter: bytes) -> bytes:
    return (
        json.dumps({"key": call.key}).encode()[:-1] + b',"location_and_parameters":[{"parameter":' + parameter + b"}]}"
    )


def packed_tasks(call, parameter: bytes) -> bytes:
    head = b"\x82" + msgpack.packb("key") + msgpack.packb(call.key) + msgpack.packb("location_and_parameters")
    return head + b"\x91\x81" + msgpack.packb("parameter") + parameter


def json_call(verb, path, status, /, **members):
    return lambda call: (call(verb, path, json=call.keyed(**members)), status)


def raw_call(path, status, make, headers=None):
    return lambda call: (call("POST", path, data=make(call), headers=headers or JSON), status)


def query_call(path, status):
    return lambda call: (call("GET", path, headers={"Authorization": f"Bearer {call.key}"}), status)


def define(name="x", module_path="m", method="run"):
    return json_call("POST", "/job/", 400, name=name, module_path=module_path, method=method)


TASKS = "/job/j/tasks/"
BAD = {
    "truncated JSON": raw_call(TASKS, 400, lambda call: tasks_body(call, b"1")[:-2]),
    "malformed JSON": raw_call(TASKS, 400, lambda call: tasks_body(call, b"nix")),
    "JSON that is not UTF-8": raw_call(TASKS, 400, lambda call: tasks_body(call, b'"\xff"')),
    "lone surrogate": raw_call(TASKS, 400, lambda call: tasks_body(call, b'"\\ud800"')),
    "NaN": raw_call(TASKS, 400, lambda call: tasks_body(call, b"NaN")),
    "Infinity": raw_call(TASKS, 400, lambda call: tasks_body(call, b"-Infinity")),
    "a float that is too large": raw_call(TASKS, 400, lambda call: tasks_body(call, b"1e999")),
    "a huge integer": raw_call(TASKS, 400, lambda call: tasks_body(call, b"1" * 100_000)),
    "deep JSON": raw_call(TASKS, 400, lambda call: tasks_body(call, b"[" * DEEP + b"]" * DEEP)),
    "deep JSON objects": raw_call(TASKS, 400, lambda call: tasks_body(call, b'{"a":' * DEEP + b"1" + b"}" * DEEP)),
    "JSON deeper than a value": raw_call(TASKS, 400, lambda call: tasks_body(call, b"[" * 101 + b"]" * 101)),
    "deep unknown member": raw_call(
        "/job/", 400, lambda call: json.dumps(call.keyed())[:-1].encode() + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}"
    ),
    "deep before the key": raw_call(TASKS, 401, lambda _: b'{"x":' + b"[" * DEEP + b"]" * DEEP + b',"key":"k"}'),
    "truncated MessagePack": raw_call(TASKS, 400, lambda call: packed_tasks(call, b"\x92\x01"), MESSAGEPACK),
    "malformed MessagePack": raw_call(TASKS, 400, lambda call: packed_tasks(call, b"\xc1"), MESSAGEPACK),
    "deep MessagePack": raw_call(TASKS, 400, lambda call: packed_tasks(call, b"\x91" * DEEP + b"\x01"), MESSAGEPACK),
    "MessagePack deeper than a value": raw_call(
        TASKS, 400, lambda call: packed_tasks(call, b"\x91" * 101 + b"\x01"), MESSAGEPACK
    ),
    "MessagePack text that is not UTF-8": raw_call(
        TASKS, 400, lambda call: packed_tasks(call, b"\xa1\xff"), MESSAGEPACK
    ),
    "unknown extension": raw_call(TASKS, 400, lambda call: packed_tasks(call, b"\xd4\x55\x00"), MESSAGEPACK),
    "huge announced list": raw_call(TASKS, 400, lambda call: packed_tasks(call, b"\xdd\xff\xff\xff\xff"), MESSAGEPACK),
    "MessagePack called JSON": raw_call(TASKS, 401, lambda call: packed_tasks(call, b"\x01")),
    "JSON called MessagePack": raw_call(TASKS, 401, lambda call: tasks_body(call, b"1"), MESSAGEPACK),
    "another type": raw_call(
        TASKS,
        415,
        lambda call: tasks_body(call, b"1"),
        {"Content-Type": "text/xml"},
    ),
    "a list as body": raw_call(TASKS, 401, lambda _: b"[]"),
    "no list of tasks": json_call("POST", TASKS, 400),
    "tasks of a wrong type": json_call("POST", TASKS, 400, location_and_parameters="x"),
    "an entry of a wrong type": json_call("POST", TASKS, 400, location_and_parameters=[5]),
    "a location of a wrong type": json_call("POST", TASKS, 400, location_and_parameters=[{"location": 5}]),
    "a location with a slash": json_call("POST", TASKS, 400, location_and_parameters=[{"location": "a/b"}]),
    "the second entry is wrong": json_call(
        "POST", TASKS, 400, location_and_parameters=[{"parameter": 1}, {"parameter": 1, "retries": "x"}]
    ),
    "name with a slash": define(name="a/b"),
    "name with NUL": define(name="a\x00b"),
    "name with a control character": define(name="a\x1bb"),
    "name of 10 kB": define(name="x" * 10_000),
    "empty name": define(name=""),
    "name of a wrong type": define(name=5),
    "null as name": define(name=None),
    "module_path that climbs": define(module_path="../x"),
    "module_path that climbs later": define(module_path="a/../../x"),
    "module_path with NUL": define(module_path="a\x00"),
    "module_path with .py": define(module_path="a.py"),
    "method that is none": define(method="os.system('x')"),
    "no members": json_call("POST", "/job/", 400),
    "pathological pattern": json_call("GET", "/job/j/results/", 400, amount=1, worker_regex="(a+)+$"),
    "slow pattern": json_call("GET", "/job/matched/results/", 400, amount=1, worker_regex="(a|aa)+$"),
    "pattern that is none": json_call("GET", "/job/j/results/", 400, amount=1, worker_regex="("),
    "pattern of 1,001 characters": json_call("GET", "/job/j/results/", 400, amount=1, worker_regex="x" * 1001),
    "pattern that unrolls": json_call(
        "GET", "/job/j/results/", 400, amount=1, worker_regex="((((a{999}){999}){999}){999})"
    ),
    "amount that is no number": json_call("GET", "/job/j/results/", 400, amount="many"),
    "amount that is a list": json_call("GET", "/job/j/results/", 400, amount=[1]),
    "amount in the query": query_call("/job/j/results/?amount=many", 400),
    "cursor that is none": query_call("/job/j/results/?after=x", 400),
    "wait that is none": query_call("/job/j/results/?wait=nan", 400),
    "unknown job": json_call("GET", "/job/nobody/", 404),
    "unknown job's status": json_call("GET", "/job/nobody/status/", 404),
    "unknown job's results": json_call("GET", "/job/nobody/results/", 404),
    "unknown job stopped": json_call("DELETE", "/job/nobody/", 404),
    "tasks for an unknown job": json_call("POST", "/job/nobody/tasks/", 404, location_and_parameters=[]),
    "unknown task": json_call("GET", "/job/j/tasks/999999/", 404),
    "a task's id that is none": json_call("DELETE", "/job/j/tasks/" + "9" * 30, 404),
    "unknown worker": json_call("GET", "/worker/nobody/", 404),
    "unknown worker asked to leave": json_call("POST", "/worker/nobody/drain/", 404),
    "unknown path": json_call("GET", "/nothing/here/", 404),
    "wrong method": json_call("PUT", "/job/j/", 405),
    "wrong method on tasks": json_call("PATCH", TASKS, 405),
    "unknown member of an addition": query_call("/job/?colour=red", 400),
    "key in the query": lambda call: (call("GET", f"/server/?key={call.key}"), 401),
    "key in another header": lambda call: (call("GET", "/server/", headers={"X-Key": call.key}), 401),
    "basic authorization": lambda call: (call("GET", "/server/", headers={"Authorization": "Basic eDp5"}), 401),
    "wrong key": lambda call: (call("GET", "/server/", json={"key": "wrong"}), 401),
    "key that is no text": lambda call: (call("GET", "/server/", json={"key": 0}), 401),
    "no key": lambda call: (call("GET", "/server/"), 401),
    "key after 4 KiB": lambda call: (call("POST", TASKS, json={"x": "y" * 5000, "key": call.key}), 401),
    "long key": lambda call: (call("GET", "/server/", headers={"Authorization": "Bearer " + "x" * 5000}), 401),
}


@pytest.fixture(scope="module")
def witness(running, job):
    """A second client whose round trips are timed while the bad input comes."""
    seconds, failures, end = [], [], threading.Event()

    def look():
        parts = urlsplit(running.server.url)
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=trusting())
        headers = {"Authorization": f"Bearer {running.server.key}"}
        while not end.wait(0.01):
            began = time.perf_counter()
            connection.request("GET", f"/job/{job}/status/", headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            seconds.append(time.perf_counter() - began)
            if answer.status != 200:
                failures.append(body)
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    yield seconds, failures
    end.set()
    thread.join()


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_its_clear_refusal(call, job, witness, name):
    """The status of the contract, the one shape, and nothing is changed."""
    answer, status = BAD[name](call)
    assert answer.status_code == status, answer.text[:500]
    error_of(answer)


def test_an_announced_body_over_the_limit_is_refused_at_once(call, job, witness):
    """413 (or, for a stranger, 401) from the head alone: nothing of the body has been sent."""
    for key, status in ((call.key, b" 413 "), ("wrong", b" 401 ")):
        with call.connect() as stream:
            head = f"POST /job/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 999999999\r\n\r\n"
            stream.sendall(head.encode())
            assert status in stream.recv(10_000).partition(b"\r\n")[0]


def test_a_body_that_grows_over_the_limit_is_refused_there(call, job, witness):
    """Chunked, so that it says nothing about its length; the additions take 64 MiB."""
    sent = 0

    def pieces():
        nonlocal sent
        yield json.dumps(call.keyed(name="n"))[:-1].encode() + b',"x":"'
        for _ in range(80):
            sent += 1
            yield b"x" * (1 << 20)

    try:
        answer = call("POST", "/enroll/", data=pieces(), headers=JSON)
        assert answer.status_code == 413
    except requests.ConnectionError:
        # The refusal came while the body was being sent, and `requests` does not look for an answer then.
        assert sent < 80


def test_what_is_no_http_is_refused_in_the_one_shape(call, job, witness):
    """Nothing of the parser's inside."""
    for sent in (b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /server/ HTTP/1.1\r\nHost: x\r\n: no\r\n\r\n"):
        with call.connect() as stream:
            stream.sendall(sent)
            received = b""
            while piece := stream.recv(10_000):
                received += piece
            head, _, body = received.partition(b"\r\n\r\n")
            assert b" 400 " in head.partition(b"\r\n")[0]
            assert json.loads(body)["error"]["code"] == 10


def test_half_open_and_slow_connections_hold_nobody_up(call, job, witness):
    """Fifty of them, in the handshake, in the head, in the body."""
    parts = urlsplit(call.url)
    held = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
    for number in range(30):
        stream = call.connect()
        head = f"POST /job/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {call.key}\r\nContent-Length: 1000\r\n"
        stream.sendall(head.encode() + (b"\r\n{" if number % 2 else b""))
        held.append(stream)
    assert call("GET", "/server/", json=call.keyed()).status_code == 200
    for stream in held:
        stream.close()


def test_a_body_that_breaks_off_changes_nothing(call, job, witness):
    """The connection ends in the middle of a definition."""
    with call.connect() as stream:
        body = json.dumps(call.keyed(name="half", module_path="m", method="run"))
        head = f"POST /job/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 1}\r\n\r\n"
        stream.sendall((head + body).encode())
    assert call("GET", "/job/half/", json=call.keyed()).status_code == 404


def test_the_second_client_noticed_nothing(call, job, witness):
    """No failure, p99 below 100 ms, and the state is as it was."""
    seconds, failures = witness
    wait_until(lambda: len(seconds) >= 200, timeout=30, explain="enough round trips")
    assert failures == []
    assert statistics.quantiles(seconds, n=100)[98] < 0.1
    states = call("GET", "/job/j/", json=call.keyed()).json()["job"]["tasks"]
    assert set(states) <= {"queued"}
    names = [job["name"] for job in call("GET", "/job/?amount=1000", json=call.keyed()).json()["jobs"]]
    assert [name for name in names if not name.startswith("all:")] == ["j", "matched"]
