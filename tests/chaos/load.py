"""Clients of a run under faults: one submits, one watches; both know REST only, and believe nothing but answers."""

import random
import threading
import time
import uuid
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import requests
import urllib3

from harness.cluster import Cluster

JOB = "chaos"
BATCH = 100
WAITING = 500
"""Tasks submitted ahead of time, so that agents always have some."""
LONG_PART = 0.005
"""Of the tasks run for seconds, the others for a moment."""
MOMENT_SECONDS = 0.1
NO_ANSWER = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class Rest:
    """Calls that go on until they are answered: a server that is away is not an error."""

    def __init__(self, running: Cluster) -> None:
        self.running = running
        self.session = requests.Session()
        self.refused: Counter[int] = Counter()
        self.unanswered = 0

    def once(self, method: str, path: str, /, *, key: str = "", **body: Any) -> Any:
        """One try; None if there was no answer, or one that says to try again."""
        headers = {"Authorization": f"Bearer {self.running.server.key}", **({"Idempotency-Key": key} if key else {})}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
                answer = self.session.request(
                    method, self.running.server.url + path, json=body, headers=headers, verify=False, timeout=(2, 30)
                )
        except NO_ANSWER:
            self.unanswered += 1
            return None
        if answer.status_code in {429, 503}:
            self.refused[answer.status_code] += 1
            return None
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text[:1000])
        return answer.json()

    def call(self, method: str, path: str, /, *, seconds: float = 120.0, **body: Any) -> Any:
        """The answer, however many tries it takes: the same `Idempotency-Key` on each."""
        deadline = time.monotonic() + seconds
        key = "" if method == "GET" else uuid.uuid4().hex
        while (answer := self.once(method, path, key=key, **body)) is None:
            assert time.monotonic() < deadline, f"{method} {path} was not answered for {seconds} s"
            time.sleep(0.1)
        return answer

    def server(self) -> dict[str, Any]:
        return self.call("GET", "/server/")["servers"][0]


class Wound(NamedTuple):
    """Something that holds up results: since when, and whose (empty: everybody's)."""

    kind: str
    host: str
    since: float
    """Unix time."""


class Watcher(threading.Thread):
    """Follows the results with one cursor through every restart, and times how long each fault held them up."""

    def __init__(self, running: Cluster) -> None:
        super().__init__(daemon=True)
        self.rest = Rest(running)
        self.done = threading.Event()
        self.seen: Counter[str] = Counter()
        self.wounds: list[Wound] = []
        self.healed: list[tuple[Wound, float]] = []
        self.overlapped = 0
        self.failure: BaseException | None = None
        self._turn = threading.Lock()

    def wound(self, kind: str, host: str = "") -> None:
        """From now on, wait for the first result that was made later."""
        self.forget(host)
        with self._turn:
            self.wounds.append(Wound(kind, host, time.time()))

    def forget(self, host: str = "") -> None:
        """Another fault strikes there: how long the one before would have held it up cannot be told any more."""
        with self._turn:
            others = [wound for wound in self.wounds if wound.host != host]
            self.overlapped += len(self.wounds) - len(others)
            self.wounds = others

    def run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001 - told by who joins
            self.failure = error

    def _follow(self) -> None:
        cursor = "0"
        while not self.done.is_set():
            answer = self.rest.once("GET", f"/job/{JOB}/results/?after={cursor}&wait=2&amount=1000")
            if answer is None:
                self.done.wait(0.05)
                continue
            cursor = answer["cursor"]
            self.seen.update(result["id"] for result in answer["results"])
            with self._turn:
                for result in answer["results"]:
                    self._heal(result)

    def _heal(self, result: dict[str, Any]) -> None:
        ended = result["start_time"] / 1000 + result["duration"]
        for wound in list(self.wounds):
            if wound.host in {"", result["host"]} and ended > wound.since:
                self.wounds.remove(wound)
                self.healed.append((wound, time.time() - wound.since))


class Submitter(threading.Thread):
    """Submits so many tasks, in batches, over the whole time: there are always some that wait."""

    def __init__(self, running: Cluster, written: Path, *, tasks: int, seconds: float, seed: int) -> None:
        super().__init__(daemon=True)
        self.rest = Rest(running)
        self.written = written
        self.tasks = tasks
        self.began = time.monotonic()
        self.seconds = seconds
        self.chance = random.Random(f"{seed} load")
        self.accepted: dict[str, int] = {}
        """Id -> number of every task whose submission was answered."""
        self.failure: BaseException | None = None

    def entry(self, number: int) -> dict[str, Any]:
        long = self.chance.random() < LONG_PART
        seconds = self.chance.uniform(2.0, 6.0) if long else self.chance.expovariate(1 / MOMENT_SECONDS)
        entry: dict[str, Any] = {"parameter": [number, round(seconds, 3), str(self.written)]}
        location = self.chance.choice(("east", "west", ""))
        if location:
            entry["location"] = location
        if self.chance.random() < 0.1:
            entry["on_lost"] = "wait"
        return entry

    def run(self) -> None:
        try:
            while len(self.accepted) < self.tasks:
                due = WAITING + self.tasks * (time.monotonic() - self.began) / self.seconds
                if len(self.accepted) >= due:
                    time.sleep(0.1)
                    continue
                numbers = range(len(self.accepted), min(len(self.accepted) + BATCH, self.tasks))
                entries = [self.entry(number) for number in numbers]
                ids = self.rest.call("POST", f"/job/{JOB}/tasks/", location_and_parameters=entries)["tasks"]
                self.accepted.update(zip(ids, numbers, strict=True))
        except BaseException as error:  # noqa: BLE001 - told by who joins
            self.failure = error
