"""What REST calls: the broker as plain async methods; nothing of sockets, records or turns shows.

Every method answers only when what it tells is durable, and raises the errors of `dart.errors` alone.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import BinaryIO, TypeVar

from dart import __version__
from dart.broker.answers import Address, Ping, ServerView, TaskPage, unknown_job, unknown_task
from dart.broker.audit import Audit
from dart.broker.backups import Backups
from dart.broker.core import events, lifecycle, views
from dart.broker.core.interactive import slice_tasks
from dart.broker.core.model import Idempotency, IfOffline, Job, JobConfig, TaskSpec, TaskState
from dart.broker.core.state import Core
from dart.broker.core.views import JobView, TaskView, WorkerView
from dart.broker.enrolments import Enrolments
from dart.broker.event_ring import EventRing
from dart.broker.hosts import Hosts
from dart.broker.idempotency import RequestsInFlight
from dart.broker.key_rotation import KeyRotation
from dart.broker.keys import Keys
from dart.broker.overview import Overview
from dart.broker.pings import Pings, new_nonce
from dart.broker.service import Service
from dart.broker.snapshot import take
from dart.broker.store.base import FinishedTask as FinishedTask  # noqa: PLC0414 - part of what REST is given here
from dart.broker.store.base import ResultQuery
from dart.broker.store.blobs import Blobs as Blobs  # noqa: PLC0414 - likewise
from dart.broker.submission import submit
from dart.broker.waiters import Waiters, set_in_time
from dart.errors import UnknownWorkerError
from dart.ids import JobId, TaskId
from dart.limits import Limits
from dart.wire.messages import Ask, Told

T = TypeVar("T")

_DELETE = "result.delete"
FINAL_STATES = frozenset(lifecycle.FINAL_STATES)


class Gateway:
    """The broker's front door.

    Args:
        service: Runs the core; its hooks for results and answers become this gateway's.
        limits: Bounds of pages, waits and slices.
        stop: Begins the good end of the server.
    """

    address: Address
    """What `server` and `enroll` tell; set before the first call."""

    def __init__(self, service: Service, *, limits: Limits, stop: Callable[[], None]) -> None:
        self._service = service
        self._limits = limits
        self._stop = stop
        self._started_at_ms = int(time.time() * 1000)
        self._stopping = False
        self._waiters = Waiters(waiters_max=limits.waiters_max)
        self._pings = Pings()
        self._requests = RequestsInFlight(self._stored_answer, self._stored_keys, keys_max=limits.idempotency_keys_max)
        self._backups = Backups(service.store)
        self.keys = Keys(service, limits)
        self.enrolments = Enrolments(service, lambda: self.address)
        self.rotation: KeyRotation | None = None
        """Set by a server that can change the broker's key."""
        self.snapshot = partial(take, service)
        self.measures = service.measures
        self.overview = Overview(service)
        self.blobs: Blobs | None = None
        """Set by a server that keeps large values."""
        self.hosts: Hosts | None = None
        """Set by a server that reaches other hosts."""
        service.on_results = self._waiters.wake
        self.audit = Audit(service, limits)
        service.on_answer = self._pings.answered
        self.events = EventRing(limits, clock=lambda: service.now)
        service.on_happened = self.events.tell
        service.notes.on_refusal = self.audit.refuse_agent

    # ---- the server ----

    def server(self) -> ServerView:
        """About this server."""
        core = self._service.reactor.state
        return ServerView(
            version=__version__,
            host=self.address.host,
            port=self.address.port,
            agent_host=self.address.agent_host,
            agent_port=self.address.agent_port,
            store_id=self._service.recovered.store_id,
            incarnation=self._service.recovered.incarnation,
            started_at_ms=self._started_at_ms,
            agents=len(core.sessions),
            open_tasks=len(core.tasks),
            late_results=core.late_results,
        )

    def ready(self) -> str:
        """Why the server cannot take work now (stopping, store cannot write); empty: it can."""
        return "the server is stopping" if self._stopping else self._service.trouble

    def backup(self) -> AbstractAsyncContextManager[BinaryIO]:
        """A copy of the whole store as of now, as an open file: `Backups.make`."""
        return self._backups.make()

    def stop(self) -> None:
        """Begin the good end of the server; returns at once."""
        self.close()
        self._stop()

    def close(self) -> None:
        """Say from now on that the server is stopping, and let nobody wait for results any more."""
        self._stopping = True
        self.audit.count()
        self._backups.stop()
        self._waiters.wake_all()

    # ---- workers ----

    async def workers(self) -> list[WorkerView]:
        """Connected workers by name."""
        return await self._view(lambda core: views.workers(core, self._service.now))

    async def worker(self, name: str) -> WorkerView | None:
        """One of them; None: no agent of this name is connected."""
        return await self._view(lambda core: views.worker(core, name, self._service.now))

    async def drain(self, name: str) -> int:
        """Ask the agents of a name to finish and leave; how many were asked."""
        asked: int = await self._service.ask(lambda token: events.WorkersDrained(token, name))
        return asked

    async def ping(self, names: Sequence[str], seconds: float) -> list[Ping]:
        """Round trips to all agents of these names."""
        nonce = new_nonce()
        return await self._collect(
            names, nonce, seconds, lambda name: partial(events.WorkersPinged, name=name, nonce=nonce)
        )

    async def ask(
        self, names: Sequence[str], what: str, seconds: float, *, name: str = "", data: bytes = b""
    ) -> list[Ping]:
        """Ask all agents of these names; `wire.messages.Ask` says what there is to ask."""
        question = Ask(new_nonce(), what, name, data)
        return await self._collect(
            names, question.nonce, seconds, lambda worker: partial(events.WorkersAsked, name=worker, question=question)
        )

    async def _collect(
        self, names: Sequence[str], nonce: int, seconds: float, event: Callable[[str], Callable[[int], events.Event]]
    ) -> list[Ping]:
        """Send all agents of these names something, and wait for the answers."""
        wanted = dict.fromkeys(names)
        workers = [worker for worker in await self.workers() if worker.name in wanted]
        agents = {agent.id: agent for worker in workers for agent in worker.agents}
        known = {worker.name for worker in workers}
        with self._pings.expect(nonce, list(agents)) as answers:
            for name in wanted:
                # One that left just now has not answered; the others are told of all the same.
                with contextlib.suppress(*((UnknownWorkerError,) if name in known else ())):
                    await self._service.ask(event(name))
            await answers.wait(min(seconds, self._limits.wait_seconds_max))
        found = []
        for agent in agents.values():
            told = answers.told.get(agent.id, Told(nonce, "", {}))
            waited = answers.milliseconds.get(agent.id, -1.0)
            found.append(Ping(agent.id, agent.name, agent.host, waited, told.error, told.facts))
        return found

    # ---- jobs ----

    async def jobs(self, *, after: str, amount: int) -> list[JobView]:
        """Jobs by name, those after this name."""
        amount = max(1, min(amount, self._limits.page_items_max))
        return await self._view(lambda core: views.jobs(core, after, amount))

    async def job(self, name: str) -> JobView:
        """One job, or `UnknownJobError`."""
        found = await self._view(lambda core: views.job(core, name))
        if found is None:
            raise unknown_job(name)
        return found

    async def job_now(self, name: str) -> Job | JobView:
        """As `job`, but perhaps not durable yet: for whoever waits for a later turn before he tells anything."""
        return self._service.reactor.state.jobs.get(name) or await self.job(name)

    async def define_job(self, name: str, config: JobConfig, idempotency: Idempotency | None = None) -> None:
        """Define it, or `JobExistsError`."""
        if self.blobs is not None and config.standing is not None:
            self.blobs.note_use(config.standing.parameter)

        async def define() -> int:
            job_id: int = await self._service.ask(lambda token: events.JobDefined(token, name, config, idempotency))
            return job_id

        await self._requests.once(idempotency, define)

    async def stop_job(self, name: str) -> int:
        """Stop it; how many open tasks were cancelled."""
        cancelled: int = await self._service.ask(lambda token: events.JobStopped(token, name))
        return cancelled

    async def purge_jobs(self, names: Sequence[str]) -> int:
        """Forget these jobs; how many there were."""
        purged: int = await self._service.ask(lambda token: events.JobsPurged(token, tuple(names)))
        return purged

    def standing_jobs(self) -> dict[str, JobId]:
        """Standing jobs by name. What is submitted with their ids is durable after they are."""
        return {standing.job.name: job_id for job_id, standing in self._service.reactor.state.standing.items()}

    # ---- tasks ----

    async def submit(
        self,
        job: str,
        tasks: Sequence[TaskSpec],
        *,
        refuse_if_stopped: bool = False,
        if_offline: IfOffline = IfOffline.QUEUE,
        idempotency: Idempotency | None = None,
    ) -> range:
        """Queue tasks as one submission; their ids, in order. Slices large ones, so it may take several turns."""
        if self.blobs is not None:
            for task in tasks:
                self.blobs.note_use(task.parameter)

        async def begin() -> int:
            return await submit(
                self._service,
                job,
                tasks,
                slice_tasks_max=slice_tasks(self._service.reactor.state),
                spare_bytes=self._limits.store_spare_bytes,
                refuse_if_stopped=refuse_if_stopped,
                if_offline=if_offline,
                idempotency=idempotency,
            )

        first = await self._requests.once(idempotency, begin)
        return range(first, first + len(tasks))

    async def tasks(self, job: str, *, after: int, amount: int, states: frozenset[TaskState] | None = None) -> TaskPage:
        """A page of its tasks; `states` None: all."""
        amount = max(1, min(amount, self._limits.page_items_max))

        def look(core: Core) -> tuple[JobId, list[TaskView]] | None:
            found = core.jobs.get(job)
            return (found.id, views.open_tasks(core, job, after, amount, states)) if found else None

        seen = await self._view(look)
        if seen is None:
            raise unknown_job(job)
        job_id, open_tasks = seen
        rows: dict[int, TaskView | FinishedTask] = {task.id: task for task in open_tasks}
        final = FINAL_STATES if states is None else states & FINAL_STATES
        finished: list[FinishedTask] = []
        if final:
            read = self._service.store.finished_tasks
            finished = await self._service.read(lambda: read(job_id, after=after, amount=amount, states=final))
            rows.update((task.id, task) for task in finished)
        page = [rows[task_id] for task_id in sorted(rows)[:amount]]
        more = len(rows) > amount or len(open_tasks) >= amount or len(finished) >= amount
        return TaskPage(tuple(page), page[-1].id if page and more else 0)

    async def task(self, job: str, task_id: TaskId) -> TaskView | FinishedTask:
        """One task, or `UnknownTaskError`."""
        job_id, seen = await self._look_up(job, task_id)
        if seen is not None:
            return seen
        finished = await self._outcomes(job_id, [task_id])
        if not finished:
            raise unknown_task(job, task_id)
        return finished[0]

    async def cancel_task(self, job: str, task_id: TaskId) -> bool:
        """Cancel it; False if it was finished already; `UnknownTaskError` if there is none."""
        if await self._service.ask(lambda token: events.TaskCancelled(token, job, task_id)):
            return True
        await self.task(job, task_id)
        return False

    # ---- results ----

    async def results(
        self, job: JobView, *, workers: tuple[str, ...] | None, after: int, amount: int
    ) -> AsyncIterator[list[FinishedTask]]:
        """Results oldest first, in pages bounded in bytes."""
        bytes_max = self._limits.answer_page_bytes_max
        while amount > 0:
            rows = min(amount, self._limits.page_items_max)
            query = ResultQuery(job.id, workers, after, rows, bytes_max)
            page = await self._service.read(self._service.store.results, query)
            if page:
                yield page
            if len(page) < rows and sum(len(row.payload) for row in page) < bytes_max:
                return
            amount -= len(page)
            after = page[-1].sequence

    async def latest_sequence(self) -> int:
        """The cursor that stands for now: results recorded from here on have a greater sequence."""
        return await self._service.read(self._service.store.latest_sequence)

    async def wait_for_results(self, job: JobView, *, after: int, seconds: float) -> None:
        """Return as soon as a result with a sequence above `after` is recorded, or when the time is over."""
        query = ResultQuery(job.id, None, after, 1, 1)
        ends_at = self._wait_ends(seconds)
        event = self._waiters.join(job.id)
        try:
            while not self._stopping and not await self._service.read(self._service.store.results, query):
                if not await set_in_time(event, ends_at):
                    break
                event.clear()
        finally:
            self._waiters.leave(job.id, event)

    async def wait_for_tasks(self, job: str, ids: Sequence[TaskId], seconds: float) -> list[FinishedTask]:
        """Outcomes of these tasks, waiting for all of them at most so long; those that are there then."""
        ends_at = self._wait_ends(seconds)
        job_id = (await self.job_now(job)).id
        pending = list(ids)
        event, seen = self._waiters.join(job_id), self._service.fresh.watch(ids)
        try:
            while True:
                core = self._service.reactor.state
                while pending and not views.is_open(core, pending[-1]):
                    pending.pop()
                if not pending or self._stopping or not await set_in_time(event, ends_at):
                    break
                event.clear()
            if len(seen) < len(ids):
                await self._service.durable()
        finally:
            self._waiters.leave(job_id, event)
            self._service.fresh.leave(ids, seen)
        if len(seen) == len(ids):
            return [seen[task_id] for task_id in ids]
        found: list[FinishedTask] = []
        for start in range(0, len(ids), self._limits.page_items_max):
            found += await self._outcomes(job_id, ids[start : start + self._limits.page_items_max])
        return found

    async def delete_result(self, job: str, task_id: TaskId) -> None:
        """Forget one result; unknown ones are no error.

        Programs that delete each result they have read do so thousands of times: the audit has the first, and numbers.
        """
        counted = self.audit.is_repeated(_DELETE, job)
        await self._service.ask(lambda token: events.ResultDeleted(token, job, task_id, counted))
        if counted:
            self.audit.repeated(_DELETE, job)

    async def recall_answer(self, idempotency: Idempotency) -> int | None:
        """The answer given before to this key and body; None: it is new; `IdempotencyConflictError`: other body.

        A second request with a key whose first is still being answered waits for that one.
        """
        return await self._requests.answer(idempotency)

    # ---- inside ----

    async def _view(self, look: Callable[[Core], T]) -> T:
        seen = look(self._service.reactor.state)
        await self._service.durable()
        return seen

    async def _look_up(self, job: str, task_id: TaskId) -> tuple[JobId, TaskView | None]:
        def look(core: Core) -> tuple[JobId, TaskView | None] | None:
            found = core.jobs.get(job)
            return (found.id, views.task(core, job, task_id)) if found else None

        seen = await self._view(look)
        if seen is None:
            raise unknown_job(job)
        return seen

    async def _outcomes(self, job_id: JobId, ids: Sequence[TaskId]) -> list[FinishedTask]:
        return await self._service.read(self._service.store.results_of, job_id, ids)

    async def _stored_answer(self, key: str) -> tuple[bytes, int] | None:
        return await self._service.read(self._service.store.answer, key, int(self._service.now * 1000))

    async def _stored_keys(self, after: int) -> list[tuple[int, str]]:
        return await self._service.read(self._service.store.answered_keys, after, self._limits.page_items_max)

    def _wait_ends(self, seconds: float) -> float:
        return asyncio.get_running_loop().time() + min(seconds, self._limits.wait_seconds_max)
