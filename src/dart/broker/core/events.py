"""All that can happen to the broker. `token` names the caller that waits for a reply; the core gives it back."""

from dataclasses import dataclass

from dart.broker.core.access import Actor, ApiKey, JoinToken
from dart.broker.core.model import Idempotency, IfOffline, JobConfig, TaskSpec
from dart.ids import AgentId, JoinTokenId, KeyId, SessionId, TaskId
from dart.wire.messages import AgentMessage, Ask, Blob, NextServer

Token = int


@dataclass(frozen=True, slots=True)
class JobDefined:
    """Replies with the new job's id, or `JobExistsError`."""

    token: Token
    name: str
    config: JobConfig
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class JobStopped:
    """Cancels what is open and sets the status. Replies with the number cancelled, or `UnknownJobError`."""

    token: Token
    name: str


@dataclass(frozen=True, slots=True)
class JobsPurged:
    """Forgets jobs with all that belongs to them; running attempts are cancelled. Replies with the number."""

    token: Token
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TasksSubmitted:
    """A slice of a submission.

    The first slice (`submission` 0) reserves ids for all `total` tasks and replies with the first of them, unless it
    is also the last; further slices name that id as `submission`. The tasks become visible, and can run, with the
    last slice, which replies with the first id too. Ids of a submission are consecutive and in order.
    Replies otherwise: `UnknownJobError`, `JobStoppedError`, `WorkerOfflineError`, `LimitError`, `UnavailableError`.
    """

    token: Token
    job: str
    tasks: tuple[TaskSpec, ...]
    total: int
    submission: int = 0
    last: bool = True
    refuse_if_stopped: bool = False
    if_offline: IfOffline = IfOffline.QUEUE
    idempotency: Idempotency | None = None


@dataclass(frozen=True, slots=True)
class SubmissionAbandoned:
    """The caller of an unfinished submission went away: its staged tasks vanish. No reply."""

    submission: int


@dataclass(frozen=True, slots=True)
class TaskCancelled:
    """Cancels one open task. Replies True, False if it was finished already, or `UnknownJobError`."""

    token: Token
    job: str
    task_id: TaskId


@dataclass(frozen=True, slots=True)
class ResultDeleted:
    """Forgets one result; unknown jobs and ids are no error. Replies None."""

    token: Token
    job: str
    task_id: TaskId
    counted: bool = False
    """The audit has it in a number, so it needs no entry of its own."""


@dataclass(frozen=True, slots=True)
class AgentEnrolled:
    """Admits a public key (32 bytes) for one name; the same pair again is no error. Replies with the `AgentId`.

    A key that is enrolled for another name: `ConflictError`.
    """

    token: Token
    public_key: bytes
    name: str
    origin: str = ""
    """What brought it here, kept in the place of a join token; empty: nothing but an admin's word."""


@dataclass(frozen=True, slots=True)
class KeyIssued:
    """A new API key. Replies with its id, or `LimitError`."""

    token: Token
    key: ApiKey


@dataclass(frozen=True, slots=True)
class KeyWithdrawn:
    """An API key is to count no more; repeated: nothing further.

    Replies with the time since when, in Unix ms, or `UnknownKeyError`.
    """

    token: Token
    id: KeyId


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """API keys were used just now. No reply."""

    ids: tuple[KeyId, ...]


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """Admits a public key (32 bytes) because of a join token. Replies with the `AgentId`.

    The same key again is answered the same and uses nothing up. Replies otherwise: `UnauthorizedError`,
    `ForbiddenError` (expired, used up, revoked, for another name; or the key was revoked), `ConflictError`.
    """

    token: Token
    public_key: bytes
    name: str
    """One that the token is for; or its very pattern, which the first HELLO fixes then."""
    token_id: JoinTokenId
    digest: bytes
    """Of the secret."""


@dataclass(frozen=True, slots=True)
class JoinTokenMade:
    """Takes a new join token. Replies None, or `LimitError`."""

    token: Token
    join_token: JoinToken


@dataclass(frozen=True, slots=True)
class JoinTokenWithdrawn:
    """Revokes a join token; repeated: no error. Replies None, or `UnknownTokenError`."""

    token: Token
    token_id: JoinTokenId


@dataclass(frozen=True, slots=True)
class AgentsRevoked:
    """Cuts off all agents of a name, or those whose id begins so.

    Replies with their number, or `UnknownWorkerError`.
    """

    token: Token
    name: str
    agent_id: str = ""


@dataclass(frozen=True, slots=True)
class ServerMoves:
    """From now on agents are told to connect elsewhere, with another key of the broker; None: not any more.

    Those that are connected say HELLO again, and so hear of it. Replies None.
    """

    token: Token
    next: NextServer | None


@dataclass(frozen=True, slots=True)
class BlobRead:
    """A piece of a blob was read, or there is none."""

    session: SessionId
    blob: Blob | None
    """None: nothing can be said of it now."""
    asked_bytes: int
    """As `ReadBlob` said."""
    nonce: int
    """Random, from 1 on: for the question whether what was sent has arrived."""
    refused: bool = False
    """The parameter of that task does not name this blob."""


@dataclass(frozen=True, slots=True)
class BlobGrew:
    """So many bytes of a blob that a result names are on the disk: answers `OpenBlob` and `WriteBlob`."""

    session: SessionId
    number: int
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class BlobKept:
    """All of a blob is durable, and has its hash."""

    session: SessionId
    number: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class BlobRefused:
    """A blob cannot be written; or what came was not it, and nothing of that was kept."""

    session: SessionId
    number: int
    sha256: bytes
    reason: str
    later: bool
    """It may be possible later."""


@dataclass(frozen=True, slots=True)
class WorkersDrained:
    """Asks the agents of a name, or one of them, to finish and leave.

    Replies with their number, or `UnknownWorkerError`.
    """

    token: Token
    name: str
    agent_id: str = ""
    """Empty: all of them."""


@dataclass(frozen=True, slots=True)
class WorkersPinged:
    """Sends a HEARTBEAT with `nonce` to each agent of a name; answers come as `Answered` commands.

    Replies with their session ids, or `UnknownWorkerError`.
    """

    token: Token
    name: str
    nonce: int


@dataclass(frozen=True, slots=True)
class WorkersAsked:
    """Sends an ASK to each agent of a name; answers come as `Answered` commands with its nonce.

    Replies with their session ids, or `UnknownWorkerError`.
    """

    token: Token
    name: str
    question: Ask


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame of an agent whose identity the transport has established."""

    session: SessionId
    agent_id: AgentId
    sequence: int
    message: AgentMessage


@dataclass(frozen=True, slots=True)
class SessionLost:
    """The transport could not deliver to this session, or it sent what cannot be read; it is over."""

    session: SessionId
    reason: str


@dataclass(frozen=True, slots=True)
class TasksShortened:
    """A TASKS frame went out without the tasks that ended while their parameters were read."""

    session: SessionId
    sequence: int
    tasks: int
    """What is left in it; nothing, perhaps."""
    payload_bytes: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """The server ends: no further leases, BYE to all agents. Replies None when nothing is open any more."""

    token: Token


@dataclass(frozen=True, slots=True)
class Noted:
    """Something was done or refused elsewhere and belongs into the audit. Replies None."""

    token: Token
    what: str
    target: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Signed:
    """An event with who caused it: if it changes something, its entry of the audit is part of the same turn."""

    event: "Event"
    actor: Actor


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A deadline named by `next_deadline` has come."""


Event = (
    JobDefined
    | JobStopped
    | JobsPurged
    | TasksSubmitted
    | SubmissionAbandoned
    | TaskCancelled
    | ResultDeleted
    | AgentEnrolled
    | KeyIssued
    | KeyWithdrawn
    | KeysSeen
    | AgentJoined
    | JoinTokenMade
    | JoinTokenWithdrawn
    | AgentsRevoked
    | ServerMoves
    | WorkersDrained
    | WorkersPinged
    | WorkersAsked
    | BlobRead
    | BlobGrew
    | BlobKept
    | BlobRefused
    | FrameArrived
    | SessionLost
    | TasksShortened
    | Stopping
    | Noted
    | Signed
    | TimePassed
)
