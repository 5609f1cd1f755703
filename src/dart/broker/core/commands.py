"""What the core wants done. Order matters: a turn's commands are carried out in the order given.

`Persist` goes into the turn's commit group. Everything else that leaves the process waits until all records
that were emitted before it are durable, but for lazy ones (`records.LAZY_RECORDS`).
"""

from dataclasses import dataclass
from typing import NamedTuple

from dart.broker.core.access import AuditEntry
from dart.broker.core.events import Token
from dart.broker.core.records import Record
from dart.errors import DartError
from dart.ids import AgentId, AttemptRef, JobId, SessionId, TaskId
from dart.wire.messages import BrokerMessage, Buffer, Told


class Persist(NamedTuple):
    """Remember this."""

    record: Record


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to a session."""

    session: SessionId
    sequence: int
    message: BrokerMessage


class LeaseOrder(NamedTuple):
    """One lease of a TASKS frame; the shell fetches the parameter."""

    ref: AttemptRef
    job: str
    module_path: str
    method: str
    timeout_seconds: float
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class SendTasks:
    """Send a TASKS frame, whose parameters the shell reads from its cache or the store."""

    session: SessionId
    sequence: int
    leases: tuple[LeaseOrder, ...]


@dataclass(frozen=True, slots=True)
class ReadBlob:
    """Read a piece of a blob, if the parameter of this task names it; `BlobRead` answers, in the order asked."""

    session: SessionId
    task_id: TaskId
    sha256: bytes
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class OpenBlob:
    """Begin to write a blob that this agent has, or go on: `BlobGrew`, `BlobKept` or `BlobRefused` answers."""

    session: SessionId
    number: int
    """Of this order in its session; what belongs to another one is void."""
    agent_id: AgentId
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class WriteBlob:
    """Write its next piece; answered as `OpenBlob`."""

    session: SessionId
    number: int
    agent_id: AgentId
    sha256: bytes
    offset: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class LeaveBlob:
    """Nothing more of it comes for now; what is here can be gone on with."""

    agent_id: AgentId
    sha256: bytes


@dataclass(frozen=True, slots=True)
class LeaveAllBlobs:
    """The same of all that is being written: the shell gives this order when the core is gone, and all sessions."""


BlobOrder = ReadBlob | OpenBlob | WriteBlob | LeaveBlob | LeaveAllBlobs


@dataclass(frozen=True, slots=True)
class EndSession:
    """Forget this session's address; what it still sends is dropped."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class ShutOut:
    """Say REVOKED on all connections of this agent, now and later, and read nothing of them any more."""

    agent_id: AgentId


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the event with this token."""

    token: Token
    value: int | tuple[int, ...] | str | bool | None


@dataclass(frozen=True, slots=True)
class Refuse:
    """That event failed and changed nothing."""

    token: Token
    error: DartError


@dataclass(frozen=True, slots=True)
class ResultsRecorded:
    """New outcomes of this job: wakes long polls."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class Answered:
    """A HEARTBEAT reply came with this nonce, or a TOLD."""

    agent_id: AgentId
    nonce: int
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A log line: what a person running the server should know."""

    level: str
    """`info`, `warning`."""
    text: str
    agent_id: str = ""
    """Who had it written, by what it did or said: the lines of one agent are bounded. Empty: nobody could."""
    refusal: bool = False
    """It was turned away: that belongs into the audit too."""


@dataclass(frozen=True, slots=True)
class Audited:
    """An entry of the audit is durable: its log line."""

    entry: AuditEntry


Command = (
    Persist
    | Send
    | SendTasks
    | BlobOrder
    | EndSession
    | ShutOut
    | Reply
    | Refuse
    | ResultsRecorded
    | Answered
    | Note
    | Audited
)
