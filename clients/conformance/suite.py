"""The conformance suite: a real server and workers, a proxy that fails on purpose, any client behind its driver."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import selectors
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from faults import Fault, Proxy

from dart_client.testing import Installation, installation

HERE = Path(__file__).parent
ANSWER_SECONDS = 60.0
TIMEOUT = 20.0
"""Of the client's calls, as it is told."""

FLOATS = {"nan": "7ff8000000000000", "inf": "7ff0000000000000", "-inf": "fff0000000000000", "-0": "8000000000000000"}
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "text": "naïve 日本 \U0001f600 a\u0000b e\u0301",
    "empty text": "",
    "bytes that are no text": {"$bytes": "00ff80fe"},
    "bytes that could be text": {"$bytes": b"hello".hex()},
    "no bytes": {"$bytes": ""},
    "integer 2^53+1": {"$int": str(2**53 + 1)},
    "integer -2^63": {"$int": str(-(2**63))},
    "integer 2^64-1": {"$int": str(2**64 - 1)},
    "integer 2^200": {"$int": str(2**200)},
    "integer -2^200": {"$int": str(-(2**200))},
    "float": {"$float": struct.pack(">d", 0.1).hex()},
    **{f"float {name}": {"$float": text} for name, text in FLOATS.items()},
    "list": [{"$int": "1"}, [], [None]],
    "map": {"$map": [["b", {"$int": "1"}], ["a", [{"$bytes": "ff"}]], ["__proto__", True], ["", None]]},
    "map with integer keys": {"$map": [[{"$int": "1"}, "one"], [{"$int": "2"}, "two"]]},
    "timestamp": {"$timestamp": ["1764153000", 123456000]},
    "array": {"$array": {"dtype": "<f8", "shape": [1, 2], "data": struct.pack("<2d", 1.5, -2.5).hex()}},
}


class DriverError(Exception):
    """What a command ended with: `code`, `category` and text, as the driver told them."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told.get('code')} {told.get('category')}: {told.get('message')}")
        self.code = told.get("code")
        self.category = told.get("category")
        self.message = str(told.get("message"))


class Driver:
    """A client behind its driver process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=dict(os.environ)
        )
        self._number = 0

    def begin(self, command: str, **members: Any) -> int:
        """Ask; `end` has the answer."""
        assert self._process.stdin is not None
        self._number += 1
        self._process.stdin.write(json.dumps({"id": self._number, "do": command, **members}) + "\n")
        self._process.stdin.flush()
        return self._number

    def end(self, number: int) -> Any:
        """What came of it; `DriverError` if it failed."""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(ANSWER_SECONDS), f"the driver did not answer within {ANSWER_SECONDS:.0f} s"
        line = self._process.stdout.readline()
        assert line, "the driver ended"
        answer = json.loads(line)
        assert answer["id"] == number, "the driver answered something else"
        if "error" in answer:
            raise DriverError(answer["error"])
        return answer["ok"]

    def do(self, command: str, **members: Any) -> Any:
        """Ask and wait."""
        return self.end(self.begin(command, **members))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Outcome(NamedTuple):
    """What came of one case."""

    case: str
    wrong: str
    """Empty: passed."""
    seconds: float


class Suite:
    """Where the cases run: `case_` methods in their order, each with the client connected through the proxy."""

    def __init__(self, installed: Installation, proxy: Proxy, driver: Driver, *, name: str = "") -> None:
        self.installed = installed
        self.proxy = proxy
        self.driver = driver
        self._name = name
        self._jobs = 0
        self.key = (installed.state_dir / "admin.key").read_text().strip()

    def run(self, only: str = "") -> list[Outcome]:
        """Every case whose name has the word."""
        found = []
        for name in [name for name in vars(type(self)) if name.startswith("case_") and only in name]:
            self.proxy.plan()
            case: Callable[[], None] = getattr(self, name)
            began = time.monotonic()
            wrong = ""
            try:
                self.connect()
                case()
                assert not self.proxy.left, f"this never happened: {self.proxy.left}"
            except (AssertionError, DriverError, KeyError, TypeError, IndexError) as error:
                wrong = f"{type(error).__name__}: {error}"[:2000]
            words = name.removeprefix("case_").replace("_", " ")
            found.append(Outcome(words, wrong, time.monotonic() - began))
        return found

    def connect(self, *, key: str = "", fingerprint: str = "", timeout: float = TIMEOUT) -> None:
        """A new client."""
        pinned = fingerprint or self.installed.client.fingerprint
        self.driver.do("connect", url=self.proxy.url, key=key or self.key, fingerprint=pinned, timeout=timeout)

    def job(self, method: str) -> str:
        """A new job of the client's."""
        self._jobs += 1
        name = f"{self._name}-{self._jobs} ä/b".replace("/", "#")
        self.driver.do("job", name=name, module_path="conform", method=method)
        return name

    def values(self, tasks: list[str], seconds: float = 40.0) -> list[Any]:
        """What the tasks returned."""
        outcomes = self.driver.do("results", tasks=tasks, seconds=seconds)["outcomes"]
        return [outcome.get("value", outcome) for outcome in outcomes]

    def tasks_at_server(self, job: str) -> int:
        """How many there are, whatever the client believes."""
        return sum(self.installed.client.job_info(job)["tasks"].values())

    # The cases.

    def case_values_come_back_as_they_were(self) -> None:
        """Large integers, NaN and infinities, bytes, Unicode, maps: through a task and back."""
        job = self.job("echo")
        tasks = self.driver.do("submit", job=job, parameters=list(VALUES.values()))["tasks"]
        for (name, sent), came in zip(VALUES.items(), self.values(tasks), strict=True):
            assert came == sent, f"{name}: sent {sent}, came back as {came}"

    def case_ten_thousand_tasks_travel_in_batches(self) -> None:
        """All results, in a number of requests that is no multiple of the tasks."""
        job = self.job("double")
        tasks = self.driver.do("submit", job=job, parameters=[{"$int": str(it)} for it in range(10_000)])["tasks"]
        assert len(set(tasks)) == 10_000
        assert self.values(tasks) == [{"$int": str(2 * it)} for it in range(10_000)]
        posts, polls = len(self.proxy.seen("POST", "/tasks/")), len(self.proxy.seen("GET", "/results/"))
        assert posts <= 100, f"{posts} requests to submit"
        assert polls <= 1000, f"{polls} requests for results"

    def case_a_task_that_raises_has_its_traceback(self) -> None:
        """As an error of the category `task`."""
        job = self.job("fail")
        tasks = self.driver.do("submit", job=job, parameters=["no such luck"])["tasks"]
        error = self.values(tasks)[0]["error"]
        assert error["category"] == "task", error
        assert "ValueError: no such luck" in error["message"], error

    def case_results_come_as_they_are_done(self) -> None:
        """The quick one first, although it was submitted last."""
        job = self.job("nap")
        tasks = self.driver.do("submit", job=job, parameters=[_float(1.0), _float(0.01)])["tasks"]
        found = self.driver.do("as_completed", tasks=tasks, seconds=20)["tasks"]
        assert found == tasks[::-1], found

    def case_cancel(self) -> None:
        """A cancelled task ends with the category `cancelled`, and the server knows."""
        job = self.job("nap")
        (task,) = self.driver.do("submit", job=job, parameters=[{"$int": "60"}])["tasks"]
        assert self.driver.do("cancel", task=task)["cancelled"] is True
        assert self.values([task])[0]["error"]["category"] == "cancelled"
        assert self.installed.client.task(job, task)["state"] == "cancelled"
        (task,) = self.driver.do("submit", job=job, parameters=[_float(0.01)])["tasks"]
        assert self.values([task]) == [_float(0.01)]
        assert self.driver.do("cancel", task=task)["cancelled"] is False

    def case_a_round_ends_with_its_quorum(self) -> None:
        """Each worker has its own parameter; who is late is named, and its task is cancelled."""
        job = self.job("nap")
        asked = [["one", _float(0.01)], ["two", {"$int": "60"}]]
        done = self.driver.do("round", job=job, parameters=asked, quorum=1, seconds=30)
        assert done == {"values": [["one", _float(0.01)]], "errors": [], "stragglers": ["two"], "reached": True}, done
        done = self.driver.do("round", job=job, parameters=[["nobody", None]], quorum=1, seconds=0.1)
        assert done == {"values": [], "errors": [], "stragglers": ["nobody"], "reached": False}, done
        assert self.installed.client.job_info(job)["tasks"] == {"succeeded": 1, "cancelled": 2}

    def case_workers(self) -> None:
        """Their names."""
        assert sorted(self.driver.do("workers")["names"]) == ["one", "two"]

    def case_a_submission_cut_in_the_middle_is_done_once(self) -> None:
        """The connection breaks while the body is on its way: sent again, and queued once."""
        job = self.job("echo")
        self.proxy.plan(Fault("POST", "/tasks/", "cut request", after_bytes=1000))
        tasks = self.driver.do("submit", job=job, parameters=["x" * 100] * 50)["tasks"]
        assert self.values(tasks) == ["x" * 100] * 50
        assert self.tasks_at_server(job) == 50

    def case_a_submission_whose_answer_is_lost_is_done_once(self) -> None:
        """The server has it, the client does not know: the same request with the same Idempotency-Key."""
        job = self.job("echo")
        self.proxy.plan(Fault("POST", "/tasks/", "lose answer", times=2))
        tasks = self.driver.do("submit", job=job, parameters=["y"] * 20)["tasks"]
        assert self.values(tasks) == ["y"] * 20
        assert self.tasks_at_server(job) == 20, "the tasks were queued more than once"
        keys = {it.headers.get("idempotency-key") for it in self.proxy.seen("POST", "/tasks/")}
        assert len(keys) == 1 and None not in keys, f"Idempotency-Key of one submission: {keys}"

    def case_a_definition_whose_answer_is_lost_is_no_conflict(self) -> None:
        """The job is there, as it was asked for: the client goes on with it."""
        self.proxy.plan(Fault("POST", "/job/$", "lose answer"))
        job = self.job("echo")
        assert self.values(self.driver.do("submit", job=job, parameters=["d"])["tasks"]) == ["d"]

    def case_a_poll_cut_in_the_middle_loses_no_result(self) -> None:
        """An answer that breaks off is asked for again, from the same place."""
        job = self.job("echo")
        self.proxy.plan(Fault("GET", "/results/", "cut answer", after_bytes=60, times=2))
        tasks = self.driver.do("submit", job=job, parameters=[f"{it:0100}" for it in range(200)])["tasks"]
        assert self.values(tasks) == [f"{it:0100}" for it in range(200)]

    def case_retry_after_is_waited_for(self) -> None:
        """A 429 of the server's shape and a 503 that a proxy wrote: tried again, and not before it was asked to."""
        job = self.job("echo")
        limit = {"error": {"code": 52, "message": "Too many.", "category": "over a limit", "retry_after": 1}}
        self.proxy.plan(
            Fault(
                "POST", "/tasks/", "refuse", status=429, body=json.dumps(limit).encode(),
                headers={"Retry-After": "1", "Content-Type": "application/json"},
            ),
            Fault(
                "POST", "/tasks/", "refuse", status=503, body=b"<html>busy</html>",
                headers={"Retry-After": "1", "Content-Type": "text/html"},
            ),
        )  # fmt: skip
        tasks = self.driver.do("submit", job=job, parameters=["z"])["tasks"]
        assert self.values(tasks) == ["z"]
        times = [it.at for it in self.proxy.seen("POST", "/tasks/")]
        assert len(times) == 3, times
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.95, times
        assert self.tasks_at_server(job) == 1

    def case_a_server_that_restarts_is_waited_for(self) -> None:
        """Killed while the client waits for results, and started again: they come."""
        job = self.job("nap")
        tasks = self.driver.do("submit", job=job, parameters=[_float(0.3)] * 4)["tasks"]
        waiting = self.driver.begin("results", tasks=tasks, seconds=60)
        self.installed.kill_server()
        self.installed.start_server()
        outcomes = self.driver.end(waiting)["outcomes"]
        assert [outcome.get("value") for outcome in outcomes] == [_float(0.3)] * 4, outcomes
        assert self.tasks_at_server(job) == 4

    def case_members_of_later_versions_are_ignored(self) -> None:
        """Unknown members in every answer change nothing."""
        everything = [Fault(method, "/", "extend", times=1000) for method in ("GET", "POST")]
        self.proxy.plan(*everything)
        job = self.job("echo")
        tasks = self.driver.do("submit", job=job, parameters=["a", {"$map": [["b", None]]}])["tasks"]
        assert self.values(tasks) == ["a", {"$map": [["b", None]]}]
        assert self.driver.do("job_info", job=job) == {"name": job, "status": 1}
        assert sorted(self.driver.do("workers")["names"]) == ["one", "two"]
        self.proxy.plan()

    def case_events_go_on_after_a_cut(self) -> None:
        """From where the stream broke: none is missing, none comes twice."""
        job = self.job("echo")
        self.proxy.plan(Fault("GET", "/events/", "cut answer", after_bytes=1500))
        self.driver.do("open_events", job=job, kinds=["result"])
        tasks = self.driver.do("submit", job=job, parameters=[None] * 30)["tasks"]
        try:
            events = self.driver.do("read_events", job=job, amount=30, seconds=8)["events"]
        except DriverError as error:
            raise AssertionError(f"{error}; connections: {self.proxy.seen('GET', '/events/')}") from None
        assert [event["kind"] for event in events] == ["result"] * 30, {event["kind"] for event in events}
        assert sorted(int(event["data"]["task"]) for event in events) == sorted(map(int, tasks))
        assert len({event["id"] for event in events}) == 30
        again = self.proxy.seen("GET", "/events/")
        assert len(again) == 2, f"{len(again)} connections"
        place = again[1].headers.get("last-event-id") or again[1].query.get("after")
        assert place and place != "now", "it did not say where it was"

    def case_a_wrong_key_is_told_at_once(self) -> None:
        """Code 20, with the server's words, and without trying again."""
        self.connect(key="dart_wrong")
        error = self._refused("workers")
        assert (error.code, error.category) == (20, "unauthorized"), error
        assert error.message
        assert len(self.proxy.seen("GET", "/worker/")) == 1

    def case_a_wrong_certificate_gets_no_key(self) -> None:
        """The category `untrusted`; no request, and so no key, is sent."""
        self.connect(fingerprint="ab" * 32)
        error = self._refused("workers")
        assert error.category == "untrusted", error
        assert not self.proxy.passed, "a request was sent to a server that is not the one"

    def case_what_is_unknown_has_its_code(self) -> None:
        """An unknown job: code 31, with the server's words."""
        error = self._refused("job_info", job="no such job")
        assert (error.code, error.category) == (31, "not found"), error
        assert "no such job" in error.message

    def case_a_blob_goes_on_where_it_was_cut(self) -> None:
        """Both ways: no byte is missing, and what had arrived is not sent again."""
        data = self._name.encode() + bytes(range(256)) * 12_000  # a blob is sent once, whoever sends it
        sha256, half = hashlib.sha256(data).hexdigest(), len(data) // 2
        text = base64.b64encode(data).decode()
        self.proxy.plan(Fault("PUT", "/blob/", "cut request", after_bytes=half))
        assert self.driver.do("put_blob", data=text) == {"sha256": sha256, "size": len(data)}
        ranges = [it.headers.get("content-range", "") for it in self.proxy.seen("PUT", "/blob/")]
        assert len(ranges) == 2 and ranges[1].startswith("bytes ") and not ranges[1].startswith("bytes 0-"), ranges
        self.proxy.plan(Fault("GET", "/blob/", "cut answer", after_bytes=half))
        assert self.driver.do("get_blob", sha256=sha256, size=len(data))["data"] == text
        ranges = [it.headers.get("range", "") for it in self.proxy.seen("GET", "/blob/")]
        assert len(ranges) == 2 and ranges[1] not in {"", "bytes=0-"}, ranges
        self.proxy.plan()
        self.driver.do("put_blob", data=text)
        assert not self.proxy.seen("PUT", "/blob/"), "what the server has was sent again"

    def case_large_parts_of_parameters_are_sent_once(self) -> None:
        """Bytes beyond 1 MiB travel as one blob, whatever number of tasks has them; methods get the bytes."""
        data = self._name.encode() + bytes(range(256)) * 6000
        parameter = {"$map": [["part", {"$bytes": data.hex()}]]}
        submitted = self.driver.do("submit", job=self.job("digest"), parameters=[parameter] * 3)
        assert self.values(submitted["tasks"]) == [hashlib.sha256(data).hexdigest()] * 3
        assert len(self.proxy.seen("PUT", "/blob/")) == 1, self.proxy.seen("PUT", "/blob/")
        sizes = [int(it.headers["content-length"]) for it in self.proxy.seen("POST", "/tasks/")]
        assert max(sizes) < 10_000, sizes

    def _refused(self, command: str, **members: Any) -> DriverError:
        try:
            answer = self.driver.do(command, **members)
        except DriverError as error:
            return error
        raise AssertionError(f"{command} was done: {answer}")


def _float(number: float) -> Any:
    return {"$float": struct.pack(">d", number).hex()}


@contextmanager
def stage() -> Iterator[tuple[Installation, Proxy]]:
    """A server, workers `one` and `two`, and the proxy before them."""
    with installation(HERE / "modules", workers=["one", "two"], slots=2) as installed:
        certificate = tuple(str(installed.state_dir / name) for name in ("server.crt", "server.key"))
        proxy = Proxy(lambda: installed.client.url, (certificate[0], certificate[1]))
        try:
            yield installed, proxy
        finally:
            proxy.close()


def run(
    installed: Installation, proxy: Proxy, command: Sequence[str], *, only: str = "", name: str = "client"
) -> list[Outcome]:
    """All cases with this driver; `name` tells its jobs from those of another."""
    driver = Driver(command)
    try:
        return Suite(installed, proxy, driver, name=name).run(only)
    finally:
        driver.close()
