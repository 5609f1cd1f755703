"""What REST calls: the broker as plain async methods; nothing of sockets, records or turns shows.

Every method answers only when what it tells is durable, and raises the errors of `dart.errors` alone.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from dart.broker.core.model import Idempotency, IfOffline, JobConfig, TaskSpec, TaskState
from dart.broker.core.views import JobView, TaskView, WorkerView
from dart.broker.store.base import FinishedTask
from dart.ids import AgentId, TaskId


class ServerView(NamedTuple):
    """The server as clients and agents are told of it."""

    version: str
    host: str
    """Where REST is (the advertised address)."""
    port: int
    agent_host: str
    agent_port: int
    store_id: str
    incarnation: int
    started_at_ms: int
    agents: int
    open_tasks: int


class TaskPage(NamedTuple):
    """A page of a job's tasks by id: open and finished ones together."""

    tasks: tuple[TaskView | FinishedTask, ...]
    next: int
    """Give as `after` for the next page; 0: this was the last."""


class EnrolmentAnswer(NamedTuple):
    """What an agent needs to connect."""

    agent_id: AgentId
    agent_url: str
    """`tcp://ADDRESS:PORT`."""
    server_public_key: bytes
    """32 bytes."""


class Ping(NamedTuple):
    """One agent's answer."""

    agent_id: AgentId
    name: str
    host: str
    milliseconds: float
    """-1: no answer in time."""


class Gateway:
    """The broker's front door."""

    def server(self) -> ServerView:
        """About this server."""
        raise NotImplementedError

    def ready(self) -> str:
        """Why the server cannot take work now (stopping, store cannot write); empty: it can."""
        raise NotImplementedError

    async def workers(self) -> list[WorkerView]:
        """Connected workers by name."""
        raise NotImplementedError

    async def worker(self, name: str) -> WorkerView:
        """One of them, or `UnknownWorkerError`."""
        raise NotImplementedError

    async def drain(self, name: str) -> int:
        """Ask the agents of a name to finish and leave; how many were asked."""
        raise NotImplementedError

    async def ping(self, names: Sequence[str], seconds: float) -> list[Ping]:
        """Round trips to all agents of these names."""
        raise NotImplementedError

    async def enroll(self, public_key: bytes, name: str) -> EnrolmentAnswer:
        """Admit an agent's key for one name; repeated: the same answer."""
        raise NotImplementedError

    async def jobs(self, *, after: str, amount: int) -> list[JobView]:
        """Jobs by name, those after this name."""
        raise NotImplementedError

    async def job(self, name: str) -> JobView:
        """One job, or `UnknownJobError`."""
        raise NotImplementedError

    async def define_job(self, name: str, config: JobConfig, idempotency: Idempotency | None = None) -> None:
        """Define it, or `JobExistsError`."""
        raise NotImplementedError

    async def stop_job(self, name: str) -> int:
        """Stop it; how many open tasks were cancelled."""
        raise NotImplementedError

    async def purge_jobs(self, names: Sequence[str]) -> int:
        """Forget these jobs; how many there were."""
        raise NotImplementedError

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
        raise NotImplementedError

    async def tasks(self, job: str, *, after: int, amount: int, states: frozenset[TaskState] | None = None) -> TaskPage:
        """A page of its tasks; `states` None: all."""
        raise NotImplementedError

    async def task(self, job: str, task_id: TaskId) -> TaskView | FinishedTask:
        """One task, or `UnknownTaskError`."""
        raise NotImplementedError

    async def cancel_task(self, job: str, task_id: TaskId) -> bool:
        """Cancel it; False if it was finished already; `UnknownTaskError` if there is none."""
        raise NotImplementedError

    def results(
        self, job: JobView, *, workers: tuple[str, ...] | None, after: int, amount: int
    ) -> AsyncIterator[list[FinishedTask]]:
        """Results oldest first, in pages bounded in bytes."""
        raise NotImplementedError

    async def wait_for_results(self, job: JobView, *, after: int, seconds: float) -> None:
        """Return as soon as a result with a sequence above `after` is recorded, or when the time is over."""
        raise NotImplementedError

    async def wait_for_tasks(self, job: str, ids: Sequence[TaskId], seconds: float) -> list[FinishedTask]:
        """Outcomes of these tasks, waiting for all of them at most so long; those that are there then."""
        raise NotImplementedError

    async def delete_result(self, job: str, task_id: TaskId) -> None:
        """Forget one result; unknown ones are no error."""
        raise NotImplementedError

    async def recall_answer(self, idempotency: Idempotency) -> int | None:
        """The answer given before to this key and body; None: it is new; `IdempotencyConflictError`: other body.

        A second request with a key whose first is still being answered waits for that one.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """Begin the good end of the server; returns at once."""
        raise NotImplementedError
