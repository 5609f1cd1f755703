"""What the core wants remembered: the store's whole vocabulary. Applied in order, one group in one transaction."""

from dataclasses import dataclass
from typing import NamedTuple

from dart.broker.core.access import ApiKey, AuditEntry, JoinToken
from dart.broker.core.model import Enrolment, Idempotency, JobConfig, JobStatus, TaskPolicy, TaskState
from dart.ids import AgentId, AttemptRef, JobId, JoinTokenId, KeyId, LeaseId, TaskId


@dataclass(frozen=True, slots=True)
class JobAdded:
    """A new definition; its id raises the highest id."""

    id: JobId
    name: str
    config: JobConfig
    defined_at_ms: int


@dataclass(frozen=True, slots=True)
class JobStatusSet:
    """A job was stopped."""

    id: JobId
    status: JobStatus
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class TasksDoomed:
    """All tasks of a job that are open now and have ids up to this one are being cancelled, after a start too."""

    job_id: JobId
    last_id: TaskId


@dataclass(frozen=True, slots=True)
class JobForgotten:
    """A job, its open tasks, outcomes and tally are gone."""

    id: JobId


@dataclass(frozen=True, slots=True)
class TasksAdded:
    """Consecutive new tasks from `first_id` on: (policy, tag, parameter) each."""

    job_id: JobId
    first_id: TaskId
    rows: tuple[tuple[TaskPolicy, str, bytes], ...]


@dataclass(frozen=True, slots=True)
class SubmissionOpened:
    """Ids `first_id`..`last_id` belong to a submission whose last slice has not come: after a crash they are void.

    Raises the highest id to `last_id`.
    """

    first_id: TaskId
    last_id: TaskId


@dataclass(frozen=True, slots=True)
class SubmissionClosed:
    """All slices of that submission are here (`complete`), or it was abandoned and its tasks are void."""

    first_id: TaskId
    complete: bool


class TaskFinished(NamedTuple):
    """The one outcome of a task: its row and parameter go, its outcome comes, the tally counts it.

    There are thousands a second: a tuple is made in a third of the time of a frozen dataclass.
    """

    id: TaskId
    job_id: JobId
    state: TaskState
    """A final one."""
    worker: str
    """Its worker; without an attempt its location or empty."""
    host: str
    location: str
    tag: str
    attempts: int
    start_time_ms: int
    duration_seconds: float
    error_code: int
    payload: bytes
    """A portable value: what was returned or the error's text; empty if cancelled."""
    finished_at_ms: int


@dataclass(frozen=True, slots=True)
class AttemptsCounted:
    """A task goes on after a failed or lost attempt."""

    id: TaskId
    errors: int
    losses: int


@dataclass(frozen=True, slots=True)
class ResultForgotten:
    """One outcome is gone; unknown ids are no error."""

    job_id: JobId
    id: TaskId


@dataclass(frozen=True, slots=True)
class ResultsBounded:
    """Of a job's results the oldest go until these bounds hold; 0: no bound. The tally stays.

    A store may take several groups for it. Not durable first.
    """

    job_id: JobId
    before_ms: int
    """What was finished before; cancelled tasks go by this alone."""
    results: int
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class LeaseAdded:
    """One TASKS frame; not durable first: it goes with the next group."""

    lease_id: LeaseId
    agent_id: AgentId
    attempts: tuple[AttemptRef, ...]


@dataclass(frozen=True, slots=True)
class LeasesClosed:
    """Nothing of these frames is out any more; not durable first."""

    lease_ids: tuple[LeaseId, ...]


@dataclass(frozen=True, slots=True)
class EnrolmentAdded:
    """An agent's key may connect."""

    enrolment: Enrolment


@dataclass(frozen=True, slots=True)
class EnrolmentNamed:
    """The name of an enrolment that was a pattern is fixed."""

    agent_id: AgentId
    name: str


@dataclass(frozen=True, slots=True)
class EnrolmentRevoked:
    """An agent's key may connect no more."""

    agent_id: AgentId
    at_ms: int


@dataclass(frozen=True, slots=True)
class EnrolmentForgotten:
    """A revoked key is remembered no more: it is as unknown as any other."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class KeyAdded:
    """A new API key."""

    key: ApiKey


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """An API key counts no more; it stays in the list."""

    id: KeyId
    at_ms: int


@dataclass(frozen=True, slots=True)
class KeysUsed:
    """When API keys were used last, by id; never earlier than known. Not durable first."""

    used_at_ms: tuple[tuple[KeyId, int], ...]


@dataclass(frozen=True, slots=True)
class KeyForgotten:
    """An API key leaves the list."""

    id: KeyId


@dataclass(frozen=True, slots=True)
class TokenAdded:
    """A new join token."""

    token: JoinToken


@dataclass(frozen=True, slots=True)
class TokenSpent:
    """A join token was used once more."""

    id: JoinTokenId


@dataclass(frozen=True, slots=True)
class TokenRevoked:
    """A join token counts no more; it stays in the list."""

    id: JoinTokenId
    at_ms: int


@dataclass(frozen=True, slots=True)
class TokenForgotten:
    """A join token leaves the list."""

    id: JoinTokenId


@dataclass(frozen=True, slots=True)
class AuditNoted:
    """Something was done; the oldest entries go when there are more than `audit_rows_max`."""

    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """The answer to an idempotent request: what the reply carried, as the gateway can read it again."""

    idempotency: Idempotency
    answer: int


Record = (
    JobAdded
    | JobStatusSet
    | TasksDoomed
    | JobForgotten
    | TasksAdded
    | SubmissionOpened
    | SubmissionClosed
    | TaskFinished
    | AttemptsCounted
    | ResultForgotten
    | ResultsBounded
    | LeaseAdded
    | LeasesClosed
    | EnrolmentAdded
    | EnrolmentNamed
    | EnrolmentRevoked
    | EnrolmentForgotten
    | KeyAdded
    | KeyRevoked
    | KeysUsed
    | KeyForgotten
    | TokenAdded
    | TokenSpent
    | TokenRevoked
    | TokenForgotten
    | AuditNoted
    | RequestAnswered
)

LAZY_RECORDS = (LeaseAdded, LeasesClosed, ResultsBounded, KeysUsed)
"""Nothing visible waits for these."""
