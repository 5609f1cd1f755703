"""A native server with agents of a foreign architecture, and parameters and results as the bytes that they are."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import requests

import dart_client
from dart_client.submission import Entry, body_of, prefix_of
from harness.cluster import Cluster, cluster
from harness.foreign import ForeignPython
from harness.modules import write_modules
from harness.waiting import wait_until

MESSAGEPACK = "application/msgpack"
JOIN_SECONDS = 120.0
"""Emulated processors are 10 to 20 times slower than this machine, which runs other things too."""
RESULT_SECONDS = 120.0
MODULE = """
    import os, struct, sys, time

    import dart_task

    def echo(parameter):
        return parameter

    def word_and_order(parameter):
        return [struct.calcsize("P") * 8, sys.byteorder]

    def numbers(arrays):
        return [[value.dtype.str, ascii(value.tolist())] for value in arrays]

    def made(dtypes):
        import numpy
        return [(numpy.arange(6).reshape(2, 3) - 1.5).astype(dtype) for dtype in dtypes]

    def count_bytes(parameter):
        return [len(parameter), sum(parameter) % 1000003]

    def mark_shared(place):
        dart_task.shared_memory()[place] = 1
        nap(0.3)
        return os.getpid()

    def read_shared(parameter):
        return bytes(dart_task.shared_memory()[:parameter])

    def talk(parameter):
        dart_task.progress(0.5, "half")
        dart_task.log("a word of the task")
        print("a line")
        while not dart_task.cancelled():
            time.sleep(0.02)

    def nap(parameter):
        for _ in range(int(parameter * 50)):
            time.sleep(0.02)
        return "rested"
"""


@dataclass
class Installation:
    """What the tests of one architecture work on."""

    foreign: ForeignPython
    running: Cluster
    config: Path
    agents: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)

    def start(
        self,
        name: str,
        *options: str,
        wait: bool = True,
        slots: int = 1,
        prefix: tuple[str, ...] = (),
        program: tuple[str, ...] = (),
    ) -> "subprocess.Popen[str]":
        """Start an agent of that name, or again in the home that it had."""
        former = self.agents.get(name)
        if former is not None and former.stdout is not None:
            former.stdout.close()
        self.agents[name] = self.running.start_agent(
            name, *options, slots=slots, config=self.config, home=f"home-{name}", wait=wait,
            prefix=prefix, program=program or self.foreign.agent, environment=self.foreign.environment(),
            seconds=JOIN_SECONDS,
        )  # fmt: skip
        return self.agents[name]

    def wait_for(self, *names: str) -> None:
        """Until agents of these names have joined; they start beside each other."""
        with self.client() as client:
            wait_until(
                lambda: {worker["name"] for worker in client.workers()}.issuperset(names),
                timeout=JOIN_SECONDS, explain=client.workers,
            )  # fmt: skip

    def client(self) -> dart_client.Client:
        return dart_client.Client(state_dir=self.running.state_dir)

    def facts(self, name: str) -> dict[str, Any]:
        """What the server tells of a worker's agent."""
        with self.client() as client:
            return client.worker(name)

    def exchange(
        self, method: str, parameters: Sequence[bytes], location: str, *, module: str = "there"
    ) -> list[bytes | str]:
        """Give parameters as these very bytes; the bytes of each result, or the text of an error, in order."""
        job = f"{method}-{time.monotonic_ns()}"
        with self.client() as client:
            client.define_job(job, module, method)
            prefix = prefix_of(location, {})
            body = body_of([Entry(prefix, parameter) for parameter in parameters])
            answer = client.connection.call("POST", f"/job/{job}/tasks/", body)
        results: dict[str, bytes | str] = {}
        cursor = "0"
        deadline = time.monotonic() + RESULT_SECONDS
        while len(results) < len(parameters):
            assert time.monotonic() < deadline, f"{len(results)} of {len(parameters)} results in {RESULT_SECONDS} s"
            page = self._page(f"/job/{job}/results/?wait=5&after={cursor}")
            cursor = msgpack.unpackb(page["cursor"])
            results.update(_outcome(row) for row in _items(page["results"]))
        return [results[task] for task in answer["tasks"]]

    def _page(self, path: str) -> dict[str, bytes]:
        answer = requests.get(
            self.running.server.url + path, verify=False, timeout=60,
            headers={"Authorization": f"Bearer {self.running.server.key}", "Accept": MESSAGEPACK},
        )  # fmt: skip
        assert answer.status_code == 200, answer.content
        return _members(answer.content)


def _outcome(row: bytes) -> tuple[str, bytes | str]:
    members = _members(row)
    outcome = members["success"] if "success" in members else msgpack.unpackb(members["error"])
    return msgpack.unpackb(members["id"]), outcome


def _members(data: bytes) -> dict[str, bytes]:
    """The members of a map, still as bytes."""
    reader = msgpack.Unpacker()
    reader.feed(data)
    members = {}
    for _ in range(reader.read_map_header()):
        name = reader.unpack()
        start = reader.tell()
        reader.skip()
        members[name] = data[start : reader.tell()]
    return members


def _items(data: bytes) -> list[bytes]:
    """The items of an array, still as bytes."""
    reader = msgpack.Unpacker()
    reader.feed(data)
    items = []
    for _ in range(reader.read_array_header()):
        start = reader.tell()
        reader.skip()
        items.append(data[start : reader.tell()])
    return items


@contextmanager
def installed(folder: Path, foreign: ForeignPython, **environment: str) -> Iterator[Installation]:
    """A native server; the foreign agents are the test's to start."""
    config = write_modules(folder, there=MODULE)
    with cluster(folder, environment=environment) as running:
        yield Installation(foreign, running, config)
