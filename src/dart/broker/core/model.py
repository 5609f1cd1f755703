"""What the broker knows: jobs, tasks, agents, and the state that holds them together.

Everything here is plain data; states of tasks are written by `lifecycle.py` alone.
All times are seconds of one clock: Unix time that does not jump while the process runs.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

from dart.broker.core.access import ApiKey, JoinToken
from dart.broker.core.capabilities import Capabilities
from dart.broker.core.coming import Arrival, Coming
from dart.broker.core.id_table import IdTable
from dart.ids import AgentId, Attempt, AttemptRef, BootId, JobId, JoinTokenId, LeaseId, SessionId, StoreId, TaskId
from dart.wire.messages import BlobGet
from dart.wire.piece_window import PIECES_AT_FIRST


class JobStatus(IntEnum):
    """The historic numbers; 0 is never stored."""

    UNKNOWN = 0
    RUNNING = 1
    STOPPED = 2


class TaskState(IntEnum):
    """States of a task; the table of transitions is in `lifecycle.py`."""

    STAGED = 0
    """Part of a submission whose last slice has not come; invisible."""
    QUEUED = 1
    """Waits for an agent."""
    DELAYED = 2
    """Failed or was lost, and waits some time before it is queued again."""
    LEASED = 3
    """Given to an agent; not known to have begun."""
    RUNNING = 4
    """Its agent says that it runs."""
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7
    EXPIRED = 8
    LOST = 9


class OnLost(StrEnum):
    """What happens to a started task whose agent is lost."""

    REQUEUE = "requeue"
    """Runs again wherever its location and capabilities allow, up to `lost_retries` times."""
    WAIT = "wait"
    """Waits for that very agent to come back."""
    FAIL = "fail"
    """Is LOST at once."""


class IfOffline(StrEnum):
    """What happens at submission when nobody connected matches."""

    QUEUE = "queue"
    FAIL = "fail"


class TaskPolicy(NamedTuple):
    """Where and how a task may run. Shared by all tasks of a submission that agree in it."""

    location: str = ""
    """Name of the worker; empty: any."""
    requires: tuple[str, ...] = ()
    """What its worker must satisfy (`capabilities.py`), sorted, without repeats; among it the tokens (`tokens.py`) of
    standing jobs it comes after."""
    priority: int = 0
    """Higher runs first."""
    timeout_seconds: float = 0.0
    """One run; 0: none."""
    retries: int = 0
    """Further runs after the task itself failed."""
    lost_retries: int = 3
    """Further runs after its agent was lost."""
    on_lost: OnLost = OnLost.REQUEUE
    expires_at_ms: int = 0
    """Unix ms after which it is EXPIRED unless finished; 0: never."""
    retry_delay_seconds: float = 0.5
    """Before the first further run after the task itself failed; doubles with each, up to `retry_seconds_max`."""
    lost_retry_delay_seconds: float = 0.0
    """Likewise after its agent was lost."""
    traceparent: str = ""
    """What the request that submitted it belongs to, for those who trace (W3C Trace Context); empty: nothing."""


class Standing(NamedTuple):
    """What makes a job standing: one task for each worker that matches, now or later."""

    parameter: bytes
    """A portable value; the broker never opens it."""
    worker_regex: str
    """Matches the whole name of the worker; empty: all."""
    policy: TaskPolicy
    """Of its tasks, but for the location."""


class Retention(NamedTuple):
    """What is kept of a job's results; 0: what the server's limits say."""

    seconds: float = 0.0
    """Results older than this go."""
    results: int = 0
    """At most so many stay, the newest."""
    payload_bytes: int = 0
    """At most so many bytes of payload stay, of the newest."""


class JobConfig(NamedTuple):
    """What a job runs."""

    module_path: str
    method: str
    defaults: dict[str, str | int | float | list[str]]
    """Defaults of its tasks, by the REST names of the members (`priority`, `timeout`, ...); REST applies them."""
    standing: Standing | None = None
    retention: Retention = Retention()


class TaskSpec(NamedTuple):
    """One task of a submission."""

    policy: TaskPolicy
    parameter: bytes
    """A portable value; the broker never opens it."""
    tag: str = ""


class Idempotency(NamedTuple):
    """What makes a repeated request harmless."""

    key: str
    digest: bytes
    """SHA-256 of method, path and body."""
    expires_at_ms: int


class Told(NamedTuple):
    """What an agent told of a task that runs."""

    started_at_ms: int = 0
    """By the agent's clock; 0 until STARTED was told."""
    fraction: float = -1.0
    """Latest progress; -1: none reported."""
    text: str = ""


NOTHING_TOLD = Told()


@dataclass(slots=True)
class Task:
    """An open task. Finished ones live in the store only.

    There may be millions: what few of them have stands in one member for all of it.
    """

    id: TaskId
    job: "Job"
    policy: TaskPolicy
    tag: str
    parameter_bytes: int
    state: TaskState
    attempt: Attempt | None = None
    """The latest attempt; only its outcome counts."""
    agent_id: AgentId | None = None
    """Who holds that attempt, while LEASED or RUNNING; while QUEUED: who held it last and may still answer it."""
    errors: int = 0
    """Attempts that ended with the task's own error."""
    losses: int = 0
    """Attempts whose agent was lost."""
    told: Told = NOTHING_TOLD
    """Of the latest attempt, by its agent."""
    delayed_until: float = 0.0
    """While DELAYED: when it is queued again."""


@dataclass(slots=True)
class Job:
    """A definition with the counts of its tasks."""

    id: JobId
    name: str
    config: JobConfig
    status: JobStatus
    defined_at_ms: int
    open: IdTable[Task] = field(default_factory=IdTable)
    """Its unfinished tasks."""
    tally: dict[tuple[str, TaskState], int] = field(default_factory=dict)
    """Outcomes ever recorded, by worker and final state; what is deleted stays counted until the purge."""
    counts: list[int] = field(default_factory=lambda: [0] * len(TaskState))
    """Its tasks by state, open ones and all that `tally` has; kept by `lifecycle.py`."""
    stopped_at_ms: int = 0
    doomed_through: int = 0
    """Its open tasks with ids up to this one are not given to anybody any more: they are being cancelled."""
    bounding: bool = False
    """Whether a time is set to look after its results."""
    last_finished_at: float = 0.0
    """When the latest outcome was recorded; after a start: the start."""
    comes_after: set[JobId] = field(default_factory=set)
    """Standing jobs that its definition or any of its tasks named."""


@dataclass(slots=True)
class HeldLease:
    """A lease as the broker remembers it: one attempt at one agent."""

    task: Task
    attempt: Attempt
    lease_id: LeaseId
    recalled: bool = False
    spare: bool = False
    """It may be asked for (`spares.py`)."""


@dataclass(slots=True)
class Session:
    """One live connection."""

    id: SessionId
    version: int
    received: int = 0
    """Running number of the last frame taken."""
    sent: int = 0
    """Running number of the last frame sent."""
    heard_at: float = 0.0
    sent_at: float = 0.0
    credit_tasks: int = 0
    """As of `credit_seen`."""
    credit_bytes: int = 0
    credit_seen: int = 0
    in_flight: deque[tuple[int, int, int]] = field(default_factory=deque)
    """TASKS frames after `credit_seen`: running number, tasks, bytes."""
    in_flight_tasks: int = 0
    """Sum over `in_flight`."""
    in_flight_bytes: int = 0
    pieces: deque[BlobGet] = field(default_factory=deque)
    """Asked for and not begun to be read."""
    pieces_read_bytes: int = 0
    """Being read."""
    pieces_sent_bytes: int = 0
    """Sent, of which it is not known whether they have arrived."""
    pieces_nonce: int = 0
    """For the next question whether they have arrived."""
    pieces_probe: tuple[int, int] = (0, 0)
    """Nonce of the HEARTBEAT that asks whether they have, and how many bytes went before it; nonce 0: none is out."""
    arrivals: dict[TaskId, Arrival] = field(default_factory=dict)
    coming: dict[bytes, Coming] = field(default_factory=dict)
    """All that these miss."""
    opened: int = 0
    """`OpenBlob` orders so far."""
    retry_at: float = math.inf
    """When those that had no room are tried again."""
    coming_pieces: int = PIECES_AT_FIRST
    """Pieces of them that may be under way."""


@dataclass(slots=True)
class Agent:
    """An enrolled agent that holds leases or is connected."""

    id: AgentId
    name: str
    boot_id: BootId
    host: str
    slots: int
    capabilities: Capabilities
    facts: dict[str, str]
    session: Session | None = None
    leases: dict[TaskId, HeldLease] = field(default_factory=dict)
    """In the order given."""
    spares: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    """How many of them are spare, by location and required capabilities."""
    lease_expires_at: float = 0.0
    """While silent: when its leases end."""
    draining: bool = False
    questions: bool = False
    """It answers ASK."""
    spool_full: bool = False
    """It says that its spool is full: it takes nothing until results were acknowledged."""
    spooled: int = 0
    """Results that it keeps, as of its last HEARTBEAT."""
    spooled_bytes: int = 0
    results_held: int = 0
    """Results that it named in HELLO and was told to keep, since this store knows nothing of their tasks."""


class Enrolment(NamedTuple):
    """A key that may connect, unless it was revoked."""

    agent_id: AgentId
    public_key: bytes
    """32 bytes."""
    name: str
    """The one worker name it may carry, or a pattern until its first HELLO fixes the name."""
    enrolled_at_ms: int
    revoked_at_ms: int = 0
    """0: it is not."""
    token_id: JoinTokenId = JoinTokenId("")
    """The token it came by, or `ssh:HOST` where the server brought it itself; empty: an admin key let it in."""
    name_is_pattern: bool = False


class RecoveredTask(NamedTuple):
    """An open task as the store has it, without its parameter."""

    id: TaskId
    job_id: JobId
    policy: TaskPolicy
    tag: str
    parameter_bytes: int
    errors: int
    losses: int


class RecoveredLease(NamedTuple):
    """A lease row."""

    lease_id: LeaseId
    agent_id: AgentId
    attempts: tuple[AttemptRef, ...]


class RecoveredJob(NamedTuple):
    """A job as the store has it."""

    id: JobId
    name: str
    config: JobConfig
    status: JobStatus
    defined_at_ms: int
    tally: dict[tuple[str, TaskState], int]
    stopped_at_ms: int = 0
    doomed_through: int = 0


class IdGap(NamedTuple):
    """Ids, first and last, that the store may have given after the backup it was restored from.

    It knows nothing of what they named and never gives them again.
    """

    first_id: TaskId
    last_id: TaskId


class Recovered(NamedTuple):
    """All that a store knows at a start, enough to build the core."""

    store_id: StoreId
    incarnation: int
    """Already raised and durable."""
    highest_id: int
    """No id up to this one is given again."""
    jobs: tuple[RecoveredJob, ...]
    tasks: tuple[RecoveredTask, ...]
    """By id."""
    leases: tuple[RecoveredLease, ...]
    """By lease id; of two that name a task the later one holds."""
    enrolments: tuple[Enrolment, ...]
    """By agent id; revoked ones too."""
    gaps: tuple[IdGap, ...] = ()
    """In order."""
    keys: tuple[ApiKey, ...] = ()
    """By id; expired and revoked ones too."""
    join_tokens: tuple[JoinToken, ...] = ()
    """By id; expired, spent and revoked ones too."""
