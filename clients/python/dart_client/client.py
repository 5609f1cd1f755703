"""The client: every call of the REST interface as a method, and jobs with futures on top."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from dart.wire.values import BlobReference
from dart_client import blobs, tracing
from dart_client.administration import Administration
from dart_client.blobs import Progress, Sink, Source
from dart_client.connection import Connection, path
from dart_client.discovery import find
from dart_client.dispatcher import Dispatcher
from dart_client.errors import ClosedError, JobExistsError
from dart_client.events import Event, read_events
from dart_client.job import Job
from dart_client.large_values import INLINE_BYTES_MAX, LargeValues
from dart_client.poller import Poller

RUNNING = 1
TIMEOUT_SECONDS = 60.0
BACKUP_SECONDS = 3600.0
"""A server may copy a large database for so long before its first byte comes."""


class Client(Administration):
    """A connection to one DART server, usable from any thread; not across a fork: make a new one in the child.

    Without arguments it talks to the server that runs on this machine, found by its state directory, or to the one
    that `DART_URL`, `DART_KEY` and `DART_FINGERPRINT` name. A remote server is only talked to if its certificate is
    the one with the given fingerprint, or signed by the given CA.

    Args:
        url: `https://HOST:PORT`; `http://` on this very machine only.
        key: The API key.
        fingerprint: SHA-256 of the server's certificate, as `dart server info` prints it.
        ca: File of certificates that may have signed the server's; then names and dates are checked too.
        state_dir: State directory of a local server.
        timeout: Seconds for one call, repeated attempts included; long polls take their waiting on top.
        inline_bytes_max: Larger bytes and arrays in parameters are sent once, as blobs; the method gets the same
            values. None: none are.
        upload_progress: Called while such a blob is sent, with the bytes that are done and all of them.
        traces: Whether tasks belong to the OpenTelemetry span that is current where they are submitted.

    Raises:
        ConfigError: No server can be found, or a remote one could not be told from an impostor.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        fingerprint: str | None = None,
        ca: str | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        timeout: float = TIMEOUT_SECONDS,
        inline_bytes_max: int | None = INLINE_BYTES_MAX,
        upload_progress: Progress | None = None,
        traces: bool = False,
    ) -> None:
        server = find(url=url, key=key, fingerprint=fingerprint, ca=ca, state_dir=state_dir)
        self.url = server.url
        self.fingerprint = server.fingerprint
        self.connection = Connection(server, timeout=timeout)
        self.traceparent = tracing.of_the_program() if traces else tracing.nothing
        self.dispatcher = Dispatcher()
        self.large = LargeValues(lambda data: self.put_blob(data, progress=upload_progress), inline_bytes_max)
        # Not the jobs: one that nobody holds any more may still have its thread, which holds the poller.
        self._pollers: weakref.WeakSet[Poller] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __enter__(self) -> Client:  # noqa: PYI034 - typing has no Self in 3.9
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        """End threads and connections; futures that are open fail, their tasks go on at the server."""
        self.connection.close()
        self.dispatcher.close(5.0)
        with self._lock:
            pollers = list(self._pollers)
        for poller in pollers:
            poller.fail_all(ClosedError("The client was closed before this task's result came; the task goes on."))
            poller.join(5.0)
        self.connection.close()

    # Jobs with futures

    def job(self, name: str, module_path: str | None = None, method: str | None = None, **defaults: Any) -> Job:
        """Define a job, or attach to the one of this name.

        Args:
            name: Any printable text without `/`.
            module_path: The module on the workers, relative to their `module_prefix`; None: the job must exist.
            method: The callable in it.
            defaults: Defaults of its tasks: `requires`, `after`, `priority`, `timeout`, `retries` ...; and what else a
                definition may say: `standing`, `parameter`, `worker_regex`, `retention`.

        Raises:
            UnknownJobError: No job of this name, and no module was given to define it with.
            JobExistsError: It exists and runs something else.
        """
        if module_path is not None and method is not None:
            try:
                self.define_job(name, module_path, method, **defaults)
                return Job(self, name)
            except JobExistsError:
                config = self.job_info(name)["config"]
                if (config["module_path"], config["method"]) != (module_path, method):
                    raise
        # It may have a long history; none of it is of tasks that are still to be submitted here.
        return Job(self, name, self.results(name, 0, after="now")["cursor"])

    def poller(self, job: str, cursor: str = "0") -> Poller:
        """What brings a job's results from a cursor on, until the client is closed."""
        made = Poller(self.connection, job, cursor)
        with self._lock:
            self._pollers.add(made)
        return made

    # Server

    def server(self) -> dict[str, Any]:
        """Where REST and agents are served, and the server's version."""
        servers: list[dict[str, Any]] = self._get("server")["servers"]
        return servers[0]

    def stop_server(self) -> None:
        """Stop the server in good order."""
        self.connection.call("DELETE", path("server"), retry=False)

    def backup(self, sink: BinaryIO, *, seconds: float = BACKUP_SECONDS) -> int:
        """Write a backup of the server's database, as of now, into a file; how many bytes it has.

        The server goes on meanwhile. `dart server backup` also checks what came and names the file only then.
        """
        return self.connection.download(path("server", "backup"), sink, seconds=seconds)

    def healthy(self) -> bool:
        """Whether the server's loop answers."""
        self.connection.call("GET", "/healthz")
        return True

    def ready(self) -> bool:
        """Whether the server takes work; raises `UnavailableError` that says why not."""
        self.connection.call("GET", "/readyz", retry=False)
        return True

    # Workers

    def workers(self) -> list[dict[str, Any]]:
        """The connected workers, one entry a name."""
        found: list[dict[str, Any]] = self._get("worker")["workers"]
        return found

    def worker(self, name: str) -> dict[str, Any]:
        """One worker: its agents, their hosts, versions and load."""
        answer: dict[str, Any] = self._get("worker", name)
        return answer.get("worker", answer)  # type: ignore[no-any-return]

    def drain_worker(self, name: str) -> dict[str, Any]:
        """Let it finish what it has begun and leave."""
        return self._post_to(path("worker", name, "drain"), {})

    def ping_worker(self, name: str, *, runner: bool = False, seconds: float = 5.0) -> dict[str, Any]:
        """Round trips through the broker to each agent of that name.

        With `runner` each also starts the owner's Python as for a task, and tells all versions.
        """
        answer: dict[str, Any] = self.connection.call(
            "POST", path("worker", name, "ping"), {"runner": runner, "wait": seconds}, wait=seconds
        )
        return answer

    # Jobs

    def define_job(self, name: str, module_path: str, method: str, **defaults: Any) -> None:
        """Define a job; `JobExistsError` if there is one of that name."""
        self._post_to(path("job"), {"name": name, "module_path": module_path, "method": method, **defaults})

    def jobs(self) -> Iterator[dict[str, Any]]:
        """All jobs with counts of their tasks by state."""
        after = ""
        while True:
            page = self.connection.call("GET", path("job"), query={"after": after or None, "amount": 1000})
            yield from page["jobs"]
            after = page.get("next", "")
            if not after:
                return

    def job_info(self, name: str) -> dict[str, Any]:
        """One job: id, status, what it runs, counts."""
        found: dict[str, Any] = self._get("job", name)["job"]
        return found

    def job_status(self, name: str) -> int:
        """1: running, 2: stopped."""
        return int(self._get("job", name, "status")["job"]["status"])

    def stop_job(self, name: str) -> None:
        """Stop it; its results stay readable. Repeated: nothing further."""
        self.connection.call("DELETE", path("job", name))

    def purge_job(self, name: str) -> None:
        """Forget definition, tasks and results."""
        self.connection.call("DELETE", path("job", name), query={"purge": "true"})

    # Tasks

    def submit(self, job: str, tasks: Sequence[dict[str, Any]], *, wait: float = 0.0, **options: Any) -> dict[str, Any]:
        """Queue tasks given as the REST interface has them; the whole answer.

        Args:
            job: Its name.
            tasks: Each with `parameter` and any of `location`, `requires`, `each`, `priority` ...
            wait: Seconds to wait for the results, which the answer then has under `results`.
            options: Further members of the request, such as `if_stopped`.
        """
        body = {"location_and_parameters": list(tasks), **options}
        query = {"wait": wait} if wait else None
        answer: dict[str, Any] = self.connection.call(
            "POST", path("job", job, "tasks"), body, query=query, wait=wait, traceparent=self.traceparent()
        )
        return answer

    def tasks(self, job: str, *, after: str = "0") -> Iterator[dict[str, Any]]:
        """Tasks of a job by id, with state, attempts and worker: all of them, or those behind the id `after`."""
        while True:
            page = self.connection.call("GET", path("job", job, "tasks"), query={"after": after, "amount": 1000})
            yield from page["tasks"]
            after = page.get("next", "")
            if not after or after == "0":
                return

    def task(self, job: str, task_id: str) -> dict[str, Any]:
        """One task."""
        found: dict[str, Any] = self._get("job", job, "tasks", str(task_id))["task"]
        return found

    def cancel_task(self, job: str, task_id: str) -> bool:
        """Cancel it; False if it was finished already."""
        answer = self.connection.call("DELETE", path("job", job, "tasks", str(task_id)))
        return bool(answer.get("cancelled", True))

    # Results

    def results(
        self, job: str, amount: int, *, worker_regex: str = "", after: str | None = None, wait: float = 0.0
    ) -> dict[str, Any]:
        """Results as the REST interface gives them: `results`, `job`, and `cursor` if `after` or `wait` was given.

        Args:
            job: Its name.
            amount: At most so many; 0 or less: none.
            worker_regex: Only of workers whose whole name matches.
            after: The `cursor` of an earlier answer: only what came later.
            wait: Seconds to wait for the first one.
        """
        query = {"amount": amount, "worker_regex": worker_regex or None, "after": after, "wait": wait or None}
        answer: dict[str, Any] = self.connection.call("GET", path("job", job, "results"), query=query, wait=wait)
        return answer

    # Events

    def events(
        self,
        job: str | None = None,
        *,
        after: str = "now",
        kinds: Sequence[str] = (),
        worker: str = "",
        follow: bool = True,
    ) -> Iterator[Event]:
        """What happens, as it happens. A broken connection is made anew and goes on where it was.

        What could not be had any more is told by an event of the kind `missed`.

        Args:
            job: Only of this job; None: of all, and of the workers.
            after: `now`, `oldest` (all that the server still has), or the `id` of an event.
            kinds: Only these: `job`, `queued`, `task`, `result`, `progress`, `log`, `worker`; all if empty.
            worker: Only of the worker of this name and of tasks for it or at it.
            follow: False: end when what there is has been read.

        Raises:
            DartError: The server's refusal; `ServerUnreachableError` when it was gone for longer than the timeout.
        """
        return read_events(self.connection, job, after=after, kinds=kinds, worker=worker, follow=follow)

    def delete_result(self, job: str, result_id: str) -> None:
        """Forget one result; an unknown one is no error."""
        self.connection.call("DELETE", path("job", job, "results", str(result_id)))

    def delete_results(self, job: str, result_ids: Iterable[str]) -> None:
        """Forget many."""
        for result_id in result_ids:
            self.delete_result(job, result_id)

    # Large values

    def put_blob(self, source: Source, *, progress: Progress | None = None) -> BlobReference:
        """Send bytes, or a file, to the server under their hash; what it has already is not sent again.

        It is read piece by piece, and a cut connection goes on where it broke. The reference stands for the bytes in
        parameters; the server forgets a blob a day after nothing refers to it any more.

        Args:
            source: The bytes themselves, or the path of a file, which must not change meanwhile.
            progress: Called with the bytes that are done and all of them.

        Raises:
            TooLargeError, LimitError, UnavailableError: The server has no room for it.
        """
        return blobs.put(self.connection, source, progress)

    def get_blob(self, reference: BlobReference, sink: Sink, *, progress: Progress | None = None) -> int:
        """Write a blob into a file, and check that it is the one asked for; how many bytes it has.

        Args:
            reference: What `put_blob` gave, or what a result has.
            sink: An open binary file, which after an error has a part of it; or a path: there it is whole or not at
                all.
            progress: Called with the bytes that are done and all of them.

        Raises:
            UnknownBlobError: The server does not have it, or not any more.
            MalformedError: What came is something else.
        """
        return blobs.get(self.connection, reference, sink, progress)

    def blob_size(self, sha256: bytes) -> int:
        """Bytes of a blob of which only the hash is known; `UnknownBlobError` if the server does not have it."""
        return blobs.size(self.connection, sha256)

    def _get(self, *parts: str) -> Any:
        return self.connection.call("GET", path(*parts))
