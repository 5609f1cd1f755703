"""All messages between broker and agents, by direction; `docs/protocol.md` is their specification.

These are plain data. How they become frames is `codec.py`'s business; what they do is the cores'.
Every frame of a session carries a running number (from 1, one sequence a direction), so that a lost frame shows
at the next one and is healed by one means only: a new session with HELLO.
"""

from typing import NamedTuple

from dart.ids import AttemptRef, BootId, SessionId, StoreId

PROTOCOL_VERSION = 1
PROTOCOL_VERSIONS = (1,)
"""Versions this release speaks, its own and the previous one."""

Buffer = bytes | memoryview


class Named(NamedTuple):
    """A blob that a payload may refer to."""

    sha256: bytes
    size: int
    """Bytes of the blob, as the reference says."""


# ---- agent -> broker ----


class Hello(NamedTuple):
    """First message of a session: who and what the agent is, and what it still has of earlier sessions."""

    versions: tuple[int, ...]
    name: str
    slots: int
    capabilities: tuple[str, ...]
    host: str
    boot_id: BootId
    store_id: StoreId
    """The store it last knew; empty if none."""
    attempts: tuple[AttemptRef, ...]
    """Every lease it holds that has no result yet, started or not."""
    results: tuple[AttemptRef, ...]
    """Every result it keeps without ACK."""
    facts: dict[str, str]
    """Probed facts for people: architecture, byte order, word size, Python, version, cores, memory."""
    draining: bool
    questions: bool = False
    """Whether it answers ASK; older agents end the session on a message that they do not know."""


class Credit(NamedTuple):
    """How many more tasks and payload bytes the agent takes, absolutely, as of the TASKS frame `seen`.

    What the broker sent after `seen` counts against it, so neither a lost nor a late frame makes it drift.
    """

    tasks: int
    payload_bytes: int
    seen: int
    """Running number of the last TASKS frame received in this session; 0 if none."""


class Released(NamedTuple):
    """These leases were not started and are given back; no attempt is counted."""

    attempts: tuple[AttemptRef, ...]


class Start(NamedTuple):
    """A task that began to run."""

    ref: AttemptRef
    start_time_ms: int
    """Unix time by the agent's clock, milliseconds."""


class Started(NamedTuple):
    """Tasks that run already for a while (short ones go unmentioned). May be dropped."""

    starts: tuple[Start, ...]


class ProgressReport(NamedTuple):
    """What a running task says of itself."""

    ref: AttemptRef
    fraction: float
    """0.0 to 1.0."""
    text: str


class Progress(NamedTuple):
    """Latest report of each task that made one. May be dropped."""

    reports: tuple[ProgressReport, ...]


class Log(NamedTuple):
    """Lines that tasks printed. May be dropped first."""

    lines: tuple[tuple[AttemptRef, str], ...]


class Result(NamedTuple):
    """The outcome of one attempt."""

    ref: AttemptRef
    worker: str
    host: str
    start_time_ms: int
    """Unix time by the agent's clock, milliseconds."""
    duration_seconds: float
    success: bool
    error_code: int
    """`errors.TaskErrorCode`; 0 on success or when the method raised."""
    payload: Buffer
    """A portable value: what the method returned, or the error's text."""
    blobs: tuple[Named, ...] = ()
    """Those that the value refers to and that the agent has for the broker to fetch."""


class Results(NamedTuple):
    """Outcomes, and the credit that they free."""

    results: tuple[Result, ...]
    credit: Credit | None


class BlobGet(NamedTuple):
    """Asks for a piece of a large value."""

    sha256: bytes
    offset: int
    size: int
    ref: AttemptRef | None = None
    """The lease whose parameter names it; without one nothing is answered."""


class BlobPiece(NamedTuple):
    """A piece of a large value that a result of this agent names; answers a BLOB_ASK."""

    sha256: bytes
    offset: int
    total: int
    """Size of the whole value in bytes; 0: it cannot be read any more, and another result follows."""
    data: Buffer


class Told(NamedTuple):
    """The answer to an ASK."""

    nonce: int
    error: str
    """Why it was not done; empty: it was."""
    facts: dict[str, str]


# ---- broker -> agent ----


class NextServer(NamedTuple):
    """Where on the same host agents are to connect from now on."""

    port: int
    public_key: bytes
    """32 bytes: the broker's CURVE key there."""


class Welcome(NamedTuple):
    """Answer to HELLO: the terms of this session, and what to do with each attempt and result it named."""

    version: int
    session: SessionId
    store_id: StoreId
    incarnation: int
    heartbeat_seconds: float
    silence_seconds: float
    lease_seconds: float
    frame_bytes_max: int
    value_bytes_max: int
    batch_items_max: int
    batch_bytes_max: int
    server: str
    """Name and version of the server, for people."""
    keep: tuple[AttemptRef, ...]
    """Attempts to go on with."""
    drop: tuple[AttemptRef, ...]
    """Attempts to interrupt; nobody waits for their results."""
    send: tuple[AttemptRef, ...]
    """Results to send (again)."""
    forget: tuple[AttemptRef, ...]
    """Results that are recorded or not wanted."""
    hold: tuple[AttemptRef, ...]
    """Results of another store or above its highest id: keep them and say so."""
    next: NextServer | None = None
    """While the broker's key changes: where the new one counts."""
    blob_bytes_max: int = 0
    """A larger blob is not taken with a result; 0: none is, the broker does not know them."""


class Lease(NamedTuple):
    """One task, given for one attempt."""

    ref: AttemptRef
    job: str
    module_path: str
    method: str
    timeout_seconds: float
    """0.0: none."""
    parameter: Buffer
    """A portable value."""
    traceparent: str = ""
    """What it belongs to, for those who trace (W3C Trace Context); empty: nothing."""


class Tasks(NamedTuple):
    """Leases."""

    leases: tuple[Lease, ...]


class Recall(NamedTuple):
    """Give these leases back if they are not started."""

    attempts: tuple[AttemptRef, ...]


class Ack(NamedTuple):
    """These results are durable (or not wanted): the agent may forget them."""

    attempts: tuple[AttemptRef, ...]


class Cancel(NamedTuple):
    """Interrupt these attempts; no result is wanted."""

    attempts: tuple[AttemptRef, ...]


class Blob(NamedTuple):
    """A piece of a large value."""

    sha256: bytes
    offset: int
    total: int
    """Size of the whole value in bytes; 0: the broker does not have it, or that lease does not name it."""
    data: Buffer


class BlobAsk(NamedTuple):
    """Asks for a piece of a blob that a result names; a BLOB_PIECE answers."""

    sha256: bytes
    offset: int
    size: int


class Ask(NamedTuple):
    """Asks the agent itself for something, beside all tasks. TOLD with the same `nonce` answers, if anything does."""

    nonce: int
    what: str
    """`about`: versions here, and as the owner's Python tells them. `modules`: those that were pushed, by name, with
    their SHA-256. `push`: take the modules in `data`. `remove`: drop the one called `name`."""
    name: str
    data: Buffer
    """For `push`: a portable value, a map from path to bytes."""


# ---- both ways ----


class Heartbeat(NamedTuple):
    """The link is alive. A `nonce` other than 0 asks for an answer with the same `nonce` and `reply` set."""

    nonce: int
    reply: bool
    load: float
    """Busy slots by slots, 0.0 to 1.0; 0.0 from the broker."""
    spool_full: bool = False
    """The agent takes nothing until results were acknowledged or its disk can be written; false from the broker."""
    spooled: int = 0
    """Results that the agent keeps until they are acknowledged; 0 from the broker."""
    spooled_bytes: int = 0
    """What they take of the spool's limit."""


class Drain(NamedTuple):
    """To the agent: finish what is started, give the rest back, leave. From it: that is what it does now."""

    reason: str


class Bye(NamedTuple):
    """The sender leaves; what an agent still held is lost with it."""

    reason: str


class Error(NamedTuple):
    """A coded complaint; the receiver acts by `code`, people read `text`."""

    code: int
    text: str


class ErrorCode:
    """Codes of ERROR."""

    MALFORMED = 1
    """A frame could not be read; it was dropped."""
    UNSUPPORTED_VERSION = 2
    """No common protocol version."""
    UNKNOWN_TYPE = 3
    """A message type that this side does not know."""
    SAY_HELLO = 4
    """No session, or frames are missing: begin a new session with HELLO."""
    NAME_REFUSED = 5
    """The key is not enrolled for this name."""
    SUPERSEDED = 6
    """A newer agent with the same key is connected; this one stops taking tasks."""
    REVOKED = 7
    """The key was revoked."""
    OVER_LIMIT = 8
    """More than the broker takes (agents, slots, capabilities)."""


AgentMessage = (
    Hello
    | Credit
    | Released
    | Started
    | Progress
    | Log
    | Results
    | BlobGet
    | Told
    | BlobPiece
    | Heartbeat
    | Drain
    | Bye
    | Error
)
BrokerMessage = Welcome | Tasks | Recall | Ack | Cancel | Blob | Ask | BlobAsk | Heartbeat | Drain | Bye | Error
Message = AgentMessage | BrokerMessage


class Frame(NamedTuple):
    """One message with its running number, as it was received or is to be sent."""

    sequence: int
    message: Message


class Malformed(NamedTuple):
    """What the codec makes of bytes that are no message: never an exception."""

    code: int
    """An `ErrorCode`: MALFORMED, UNSUPPORTED_VERSION or UNKNOWN_TYPE."""
    text: str
