"""What can happen to an agent, and what its core wants done; shared by core, link, spool and supervisor.

All times are seconds of one clock: Unix time that does not jump while the process runs.
"""

from dataclasses import dataclass
from typing import NamedTuple

from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobFree,
    BlobGone,
    BlobHere,
    BlobLack,
    BlobLet,
    BlobMade,
    BlobPin,
    BlobRead,
    BlobReady,
    BlobWrite,
    PieceRead,
)
from dart.ids import AttemptRef, StoreId
from dart.wire.messages import AgentMessage, Ask, BrokerMessage, Buffer, Lease, NextServer, Result

Slot = int
"""0..slots-1."""


# ---- events ----


@dataclass(frozen=True, slots=True)
class Started:
    """The process is up. `stored` are results that the spool kept from earlier boots, oldest first."""

    stored: tuple[tuple[StoreId, Result], ...]


@dataclass(frozen=True, slots=True)
class LinkUp:
    """A new socket is connecting; HELLO may be sent. `jitter` is uniform in [0, 1)."""

    jitter: float
    server: NextServer | None = None
    """Where to; None: without encryption, or it does not matter."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The socket was disconnected, refused or could not send."""

    reason: str
    jitter: float


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A frame of the broker."""

    sequence: int
    message: BrokerMessage


@dataclass(frozen=True, slots=True)
class RunnerReady:
    """The runner of a slot is up and waits."""

    slot: Slot
    facts: dict[str, str]
    """Of the owner's Python: `python`, `implementation`."""


@dataclass(frozen=True, slots=True)
class RunnerFailed:
    """The runner of a slot cannot be started (no such Python, no answer); it is tried again later."""

    slot: Slot
    reason: str


@dataclass(frozen=True, slots=True)
class TasksEnded:
    """Results that a runner wrote, in order; the runner goes on with what was given next."""

    slot: Slot
    results: tuple["RunnerResult", ...]


class RunnerResult(NamedTuple):
    """What a runner says of one attempt."""

    ref: AttemptRef
    start_time_ms: int
    duration_seconds: float
    success: bool
    error_code: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TaskProgressed:
    """A running task reported."""

    ref: AttemptRef
    fraction: float
    text: str


@dataclass(frozen=True, slots=True)
class TaskPrinted:
    """Lines that a running task wrote to stdout or stderr."""

    ref: AttemptRef | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question of the broker. `renew`: modules were switched, runners of before are to end."""

    nonce: int
    error: str
    facts: dict[str, str]
    renew: bool = False


@dataclass(frozen=True, slots=True)
class RunnerDied:
    """A runner ended. All its results came before this."""

    slot: Slot
    reason: str
    """For the error text: `killed by SIGSEGV`, `exited with code 3`, ..."""
    running: AttemptRef | None
    """What it was at; None: nothing."""
    untouched: tuple[AttemptRef, ...]
    """Given to it, certainly not begun."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Answer to TakeBack: these were not begun, in order."""

    slot: Slot
    refs: tuple[AttemptRef, ...]


@dataclass(frozen=True, slots=True)
class SpoolSynced:
    """All results handed to the spool up to this running number of `SpoolWrite` are on disk."""

    number: int


@dataclass(frozen=True, slots=True)
class SpoolFull:
    """The spool could not write (bound, disk); taking tasks ends until `SpoolRoom`."""

    reason: str


@dataclass(frozen=True, slots=True)
class SpoolRoom:
    """The spool writes again."""


@dataclass(frozen=True, slots=True)
class AuditStuck:
    """The audit log cannot be written; no task begins until `AuditGoesOn`."""

    reason: str


@dataclass(frozen=True, slots=True)
class AuditGoesOn:
    """The audit log has all its lines again."""


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Stop in good order (signal or `dart agent stop`); asked twice: at once."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """A deadline named by `next_deadline` has come."""


Event = (
    Started
    | LinkUp
    | LinkDown
    | FrameArrived
    | RunnerReady
    | RunnerFailed
    | TasksEnded
    | TaskProgressed
    | TaskPrinted
    | RunnerDied
    | Answered
    | BlobHere
    | BlobReady
    | BlobFault
    | BlobCrowded
    | BlobGone
    | BlobMade
    | PieceRead
    | TakenBack
    | SpoolSynced
    | SpoolFull
    | SpoolRoom
    | AuditStuck
    | AuditGoesOn
    | StopAsked
    | TimePassed
)


# ---- commands ----


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a fresh socket now, dropping the old one with all that it had queued."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the socket; `flush_seconds` to get out what was sent."""

    flush_seconds: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message on the present socket."""

    sequence: int
    message: AgentMessage


@dataclass(frozen=True, slots=True)
class Give:
    """Hand tasks to a runner, in order; it runs one after the other."""

    slot: Slot
    leases: tuple[Lease, ...]


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Take back from a runner what it has not begun; answered at once by `TakenBack`."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Kill:
    """End a runner: SIGTERM to its process group, SIGKILL after the grace; `RunnerDied` follows, then a fresh one."""

    slot: Slot
    grace_seconds: float


@dataclass(frozen=True, slots=True)
class SpoolWrite:
    """Keep these results; the core counts its SpoolWrites from 1, `SpoolSynced` names that number."""

    number: int
    store_id: StoreId
    results: tuple[Result, ...]


@dataclass(frozen=True, slots=True)
class SpoolForget:
    """These results are not needed any more."""

    refs: tuple[AttemptRef, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer this question; `Answered` follows."""

    question: Ask


class AuditEntry(NamedTuple):
    """One attempt that has ended, or was refused."""

    lease: Lease
    store_id: StoreId
    outcome: str
    """`success`, `error`, `refused`, `timed out`, `died`; `dropped`: nobody waited; `interrupted`: it runs again."""
    start_time_ms: int
    duration_seconds: float
    error_code: int
    output: Buffer
    """The result, or the error's text, as a portable value; empty if there is none."""


@dataclass(frozen=True, slots=True)
class Audit:
    """Write these into the audit log."""

    entries: tuple[AuditEntry, ...]


@dataclass(frozen=True, slots=True)
class Say:
    """A log line."""

    level: str
    text: str
    bounded: bool = False
    """The broker could have it written again and again: few of these a minute."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The broker welcomed this agent (each time)."""

    name: str
    slots: int


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep, durably, where the server wants this agent to connect from now on; None: what it wanted is void."""

    server: NextServer | None


@dataclass(frozen=True, slots=True)
class Revoked:
    """The server has revoked this agent's key: keep that, durably."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Everything is in order: end the process with this code."""

    code: int


Command = (
    Connect
    | Disconnect
    | Send
    | Give
    | TakeBack
    | Kill
    | SpoolWrite
    | SpoolForget
    | Audit
    | Answer
    | BlobFind
    | BlobWrite
    | BlobLack
    | BlobLet
    | BlobPin
    | BlobFree
    | BlobRead
    | Say
    | Joined
    | Remember
    | Revoked
    | Exit
)
