"""What the gateway answers: plain values, some of them joined from core, store and configuration."""

from collections.abc import Mapping
from typing import NamedTuple

from dart.broker.config import in_url
from dart.broker.core.views import TaskView
from dart.broker.store.base import FinishedTask
from dart.errors import UnknownJobError, UnknownTaskError
from dart.ids import AgentId, StoreId, TaskId


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
    late_results: int
    """Results since the start that did not count: their task was finished, or had a later attempt."""


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
    store_id: StoreId


class Ping(NamedTuple):
    """One agent's answer."""

    agent_id: AgentId
    name: str
    host: str
    milliseconds: float
    """-1: no answer in time."""
    error: str = ""
    """Why a question could not be answered."""
    facts: Mapping[str, str] = {}
    """What it told, if it was asked for more than a sign of life."""


class Address(NamedTuple):
    """Where the server is, as others are told, and what an agent needs to trust it."""

    host: str
    port: int
    agent_host: str
    agent_port: int
    public_key: bytes
    """32 bytes: of the broker's CURVE pair."""
    url: str = ""
    """Of REST."""
    fingerprint: str = ""
    """SHA-256 of its certificate in hex; empty without TLS."""

    @property
    def agents_url(self) -> str:
        """`tcp://ADDRESS:PORT`."""
        return f"tcp://{in_url(self.agent_host)}:{self.agent_port}"


def unknown_job(name: str) -> UnknownJobError:
    """The refusal for a name that no job has."""
    return UnknownJobError(f"There is no job {name!r}.", job=name)


def unknown_task(job: str, task_id: TaskId) -> UnknownTaskError:
    """The refusal for an id that no task of the job has."""
    return UnknownTaskError(f"Job {job!r} has no task {task_id}.", job=job, task=str(task_id))
