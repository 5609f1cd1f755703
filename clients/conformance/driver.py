"""The driver of the Python SDK: what the conformance suite asks for, done with `dart_client` (clients/README.md)."""

from __future__ import annotations

import base64
import io
import json
import queue
import struct
import sys
import threading
from concurrent.futures import CancelledError, as_completed
from typing import Any

from dart.wire.values import Array, BlobReference, Timestamp
from dart_client import Client, DartError, TaskCancelled, TaskExpired, TaskLost
from dart_client.errors import OutcomeError


def untagged(part: Any) -> Any:
    """A value of the tagged JSON of tests/vectors/README.md."""
    if isinstance(part, list):
        return [untagged(item) for item in part]
    if not isinstance(part, dict):
        return part
    ((tag, content),) = part.items()
    if tag == "$int":
        return int(content)
    if tag == "$float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    if tag == "$bytes":
        return bytes.fromhex(content)
    if tag == "$map":
        return {untagged(key): untagged(value) for key, value in content}
    if tag == "$timestamp":
        return Timestamp(int(content[0]), content[1])
    if tag == "$blob":
        return BlobReference(
            bytes.fromhex(content["sha256"]), int(content["size"]), encoded=content.get("encoded", False)
        )
    return Array(content["dtype"], tuple(content["shape"]), bytes.fromhex(content["data"]))


def tagged(value: Any) -> Any:
    """The same backwards."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return {"$int": str(value)}
    if isinstance(value, float):
        return {"$float": struct.pack(">d", value).hex()}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, list):
        return [tagged(item) for item in value]
    if isinstance(value, dict):
        return {"$map": [[tagged(key), tagged(item)] for key, item in value.items()]}
    if isinstance(value, BlobReference):
        told = {"sha256": value.sha256.hex(), "size": str(value.size)}
        return {"$blob": {**told, "encoded": True} if value.encoded else told}
    if hasattr(value, "timestamp"):
        ticks = round(value.timestamp() * 1e6)
        return {"$timestamp": [str(ticks // 1_000_000), ticks % 1_000_000 * 1000]}
    dtype, shape, data = str(value.dtype.str), list(value.shape), value.tobytes()
    return {"$array": {"dtype": dtype, "shape": shape, "data": data.hex()}}


def told(error: BaseException) -> dict[str, Any]:
    """An error, as the suite compares it."""
    kinds = {TaskLost: "lost", TaskExpired: "expired", TaskCancelled: "cancelled", CancelledError: "cancelled"}
    category = getattr(error, "category", type(error).__name__)
    if isinstance(error, (OutcomeError, CancelledError)):
        category = kinds.get(type(error), "task")
    return {"code": getattr(error, "code", 0), "category": category, "message": str(error)}


class Driver:
    """One method a command."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.futures: dict[str, Any] = {}
        self.streams: dict[str, queue.Queue[Any]] = {}

    def connect(self, url: str, key: str, fingerprint: str, timeout: float) -> Any:
        """Make a client; whatever the last one had is forgotten."""
        self.close()
        self.client = Client(url, key, fingerprint=fingerprint, timeout=timeout)
        return {}

    def job(self, name: str, module_path: str, method: str) -> Any:
        """Define a job."""
        self._client.job(name, module_path, method)
        return {}

    def submit(self, job: str, parameters: list[Any]) -> Any:
        """Queue a task for each; the ids."""
        futures = self._client.job(job).submit_many([untagged(it) for it in parameters])
        self.futures.update({future.task_id: future for future in futures})
        return {"tasks": [future.task_id for future in futures]}

    def results(self, tasks: list[str], seconds: float) -> Any:
        """Wait for all of them."""
        outcomes = []
        for task in tasks:
            try:
                outcomes.append({"value": tagged(self.futures[task].result(seconds))})
            except (DartError, CancelledError) as error:
                outcomes.append({"error": told(error)})
        return {"outcomes": outcomes}

    def as_completed(self, tasks: list[str], seconds: float) -> Any:
        """Their ids in the order in which they end."""
        return {"tasks": [it.task_id for it in as_completed([self.futures[task] for task in tasks], seconds)]}

    def round(self, job: str, parameters: list[Any], quorum: int, seconds: float) -> Any:
        """A task for each worker, until enough have answered."""
        asked = {name: untagged(value) for name, value in parameters}
        done = self._client.job(job).round(asked, quorum=quorum, deadline=seconds)
        values = [[name, tagged(value)] for name, value in done.values.items()]
        return {
            "values": values, "errors": list(done.errors), "stragglers": list(done.stragglers), "reached": done.reached,
        }  # fmt: skip

    def cancel(self, task: str) -> Any:
        """Cancel one."""
        return {"cancelled": self.futures[task].cancel()}

    def workers(self) -> Any:
        """Names of the connected ones."""
        return {"names": [worker["name"] for worker in self._client.workers()]}

    def job_info(self, job: str) -> Any:
        """Name and status."""
        info = self._client.job_info(job)
        return {"name": info["name"], "status": info["status"]}

    def put_blob(self, data: str) -> Any:
        """Send bytes."""
        reference = self._client.put_blob(base64.b64decode(data))
        return {"sha256": reference.sha256.hex(), "size": reference.size}

    def get_blob(self, sha256: str, size: int) -> Any:
        """Read them back."""
        sink = io.BytesIO()
        self._client.get_blob(BlobReference(bytes.fromhex(sha256), size), sink)
        return {"data": base64.b64encode(sink.getvalue()).decode()}

    def open_events(self, job: str, kinds: list[str]) -> Any:
        """Begin to read a job's events from now on."""
        events = self._client.events(job, kinds=kinds)
        found: queue.Queue[Any] = queue.Queue(10_000)

        def read() -> None:
            try:
                for event in events:
                    found.put({"id": event.id, "kind": event.kind, "data": event.data})
            except DartError as error:
                found.put(error)

        threading.Thread(target=read, daemon=True).start()
        self.streams[job] = found
        return {}

    def read_events(self, job: str, amount: int, seconds: float) -> Any:
        """The next ones."""
        found = []
        for _ in range(amount):
            event = self.streams[job].get(timeout=seconds)
            if isinstance(event, BaseException):
                raise event
            found.append(event)
        return {"events": found}

    def close(self) -> Any:
        """End the client."""
        if self.client is not None:
            self.client.close()
        self.futures.clear()
        self.streams.clear()
        return {}

    @property
    def _client(self) -> Client:
        assert self.client is not None
        return self.client


def main() -> int:
    """A command a line, an answer a line."""
    driver = Driver()
    for line in sys.stdin:
        asked = json.loads(line)
        number, command = asked.pop("id"), asked.pop("do")
        try:
            answer = {"id": number, "ok": getattr(driver, command)(**asked)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the suite is told
            answer = {"id": number, "error": told(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    driver.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
