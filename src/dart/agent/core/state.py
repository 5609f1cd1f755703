"""What an agent knows: one object, changed only by the functions of this package."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from dart.agent.blob_events import BlobFree, BlobLet
from dart.agent.events import AuditEntry, Command, Say, Send, Slot
from dart.agent.policy import Policy
from dart.ids import AttemptRef, BootId, StoreId
from dart.limits import Limits
from dart.wire.messages import AgentMessage, Lease, NextServer, ProgressReport, Result, Welcome
from dart.wire.piece_window import PIECES_AT_FIRST

SPOOLED_EARLIER = -1
NO_STORE = StoreId("")


class SpoolMode(Enum):
    """When a result is written to disk."""

    EAGER = "eager"
    """At once, while it is also sent."""
    LAZY = "lazy"
    """Only when no ACK comes soon, the link is down or the agent stops: kind to SD cards."""
    BEFORE_SEND = "before_send"
    """Synced to disk first, sent then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who this agent is and how it was told to behave; fixed for the life of the process."""

    name: str
    slots: int
    capabilities: tuple[str, ...]
    host: str
    boot_id: BootId
    facts: dict[str, str]
    store_id: StoreId = NO_STORE
    """The store known from enrolment; empty: none."""
    next_server: NextServer | None = None
    """Where the server wanted this agent to connect, when it was last heard; None: no other place."""
    spool_mode: SpoolMode = SpoolMode.EAGER
    stop_grace_seconds: float = 5.0
    """How long running tasks may go on after the first request to stop; infinity: to their end."""
    policy: Policy = field(default_factory=Policy)
    """What the owner lets run here."""


class Phase(Enum):
    """Where the link to the broker stands."""

    WAITING = "waiting"
    """No socket; a new one at `retry_at`."""
    CONNECTING = "connecting"
    """A socket was asked for or said HELLO; WELCOME is awaited."""
    LIVE = "live"
    """Welcomed."""
    CLOSED = "closed"
    """Left for good."""


class Fate(Enum):
    """What is to become of an attempt that a runner has."""

    WANTED = "wanted"
    RECALLED = "recalled"
    """Released if it turns out not to be begun."""
    ABANDONED = "abandoned"
    """Nobody waits for its result."""
    TIMED_OUT = "timed_out"
    """Killed for running too long; its result says so."""


@dataclass(slots=True)
class Held:
    """An attempt without a result: in the queue while `slot` is None, else in that slot's pipeline."""

    lease: Lease
    store_id: StoreId
    slot: Slot | None = None
    fate: Fate = Fate.WANTED
    blobs: tuple[bytes, ...] = ()
    """What its parameter names."""
    made: dict[bytes, int] = field(default_factory=dict)
    """Blobs that it wrote so far, and their sizes."""


class WantedStage(Enum):
    """Where a blob stands that a task names."""

    LOOKING = "looking"
    """The cache was asked for it."""
    CROWDED = "crowded"
    """The cache has no room until another one is let go."""
    FETCHING = "fetching"
    SETTLED = "settled"
    """It is here, or its tasks go on without."""


@dataclass(slots=True)
class Wanted:
    """A blob that held attempts name."""

    size: int
    stage: WantedStage = WantedStage.LOOKING
    tasks: dict[AttemptRef, None] = field(default_factory=dict)
    here: int = 0
    """Bytes in the cache."""
    received: int = 0
    """Bytes in the cache or on their way into it."""
    asked: int = 0
    """Bytes received, or asked for in this session."""
    asked_at: float = 0.0
    """When the last piece came, or was asked for with none under way."""
    failures: int = 0
    told_at: float = 0.0


@dataclass(slots=True)
class SlotState:
    """One runner: the first of its pipeline is the one that runs."""

    ready: bool = False
    failed: bool = False
    """Its runner could not be started the last time."""
    killed: bool = False
    """Kill was asked for; RunnerDied follows."""
    taking: bool = False
    """TakeBack was asked for; TakenBack follows."""
    stale: bool = False
    """Modules were switched since its runner began; it takes nothing more and is replaced when it is done."""
    pipeline: deque[AttemptRef] = field(default_factory=deque)
    began_at: float = 0.0
    """When the first of the pipeline began."""
    steal_at: float = 0.0
    """From when on another, idle slot may have what waits here."""
    start_told: bool = False


@dataclass(slots=True)
class Kept:
    """A result without ACK."""

    result: Result
    store_id: StoreId
    write_number: int = 0
    """The SpoolWrite that holds it; 0: not handed to the spool; `SPOOLED_EARLIER`: kept from an earlier boot."""
    sent: bool = False
    """In the present session."""
    held_back: bool = False
    """Of another store, or of a task that the present one does not know: kept, not sent."""
    kept_at: float = 0.0


@dataclass(slots=True)
class Session:
    """What belongs to one socket; a new one starts with every LinkUp."""

    sent: int = 0
    """Running number of the last frame sent."""
    heard: int = 0
    """Running number of the last frame received."""
    server: NextServer | None = None
    """Where its socket goes."""
    hello_store_id: StoreId = NO_STORE
    welcome: Welcome | None = None
    tasks_seen: int = 0
    """Running number of the last TASKS frame."""
    credit_left: int = 0
    """Of the credit last told, how much the broker has not used."""
    credit_told: bool = False
    live_since: float = 0.0
    """When WELCOME came."""
    tasks_taken: int = 0
    """Leases that came."""
    tasks_allowed: int = 0
    """As many may have come by now: the most that any credit told so far allows."""
    full_told: bool = False
    """Whether the broker was last told that the spool is full."""
    nonce: int = 0
    nonce_sent_at: float = 0.0
    in_flight: int = 0
    """Results sent and not acknowledged."""
    in_flight_bytes: int = 0
    """Their payload."""
    pieces: int = PIECES_AT_FIRST
    """Pieces of blobs that may be under way."""


@dataclass(slots=True)
class State:
    """All that an agent knows."""

    identity: Identity
    limits: Limits
    slots: tuple[SlotState, ...]
    questions: int = 0
    """Of the broker, which wait for an answer."""
    now: float = 0.0
    """Time of the present call."""
    commands: list[Command] = field(default_factory=list)
    """Of the present call."""

    # The link
    phase: Phase = Phase.WAITING
    session: Session = field(default_factory=Session)
    started: bool = False
    retry_at: float | None = None
    failures: int = 0
    """Attempts to connect since the last WELCOME."""
    lost_because: str = ""
    """What was last said of a lost link; the same is not said again and again."""
    jitter: float = 0.5
    last_heard_at: float = 0.0
    last_sent_at: float = 0.0
    store_id: StoreId = NO_STORE
    """The store last known."""
    facts: dict[str, str] = field(default_factory=dict)
    round_trip_seconds: float = 0.0
    next_server: NextServer | None = None
    """Where the server wants this agent to connect."""

    # Tasks
    queue: deque[AttemptRef] = field(default_factory=deque)
    held: dict[AttemptRef, Held] = field(default_factory=dict)
    held_bytes: int = 0
    """Parameters of all held attempts."""
    waiting: dict[AttemptRef, set[bytes]] = field(default_factory=dict)
    """Held attempts that are not in the queue yet, and the blobs they wait for."""
    blobs: dict[bytes, Wanted] = field(default_factory=dict)
    """All that held attempts name."""
    blobs_going: set[bytes] = field(default_factory=set)
    """Those let go, before the cache says that they are gone: what it tells of them until then is of the past."""
    blob_let: bool = False
    """One was let go since others were looked for that had no room."""
    duration_seconds: float | None = None
    """Moving average of how long tasks run; None: unknown."""

    # Results
    kept: dict[AttemptRef, Kept] = field(default_factory=dict)
    kept_bytes: int = 0
    offered: dict[bytes, dict[AttemptRef, int]] = field(default_factory=dict)
    """Blobs that these name, which of them do, and with which size."""
    offered_bytes: int = 0
    reading: int = 0
    """Pieces of them that are being read."""
    to_send: deque[AttemptRef] = field(default_factory=deque)
    unspooled: deque[AttemptRef] = field(default_factory=deque)
    writes: int = 0
    """SpoolWrites so far."""
    synced: int = 0
    spool_full: bool = False
    audit_stuck: bool = False
    """Nothing may run that could not be written down."""
    audited: list[AuditEntry] = field(default_factory=list)
    """Of the present call."""
    full_said: bool = False
    held_back_said: int = 0
    """Results held back, as people were last told."""

    # Reports
    progress: dict[AttemptRef, ProgressReport] = field(default_factory=dict)
    log: deque[tuple[AttemptRef, str]] = field(default_factory=deque)
    log_left_out: int = 0
    """Lines that were dropped since some were sent last."""
    reports_sent_at: float = 0.0

    # Leaving
    leaving: bool = False
    """Nothing more is taken; what runs may end."""
    killing: bool = False
    """What still runs is being killed."""
    kill_at: float | None = None
    flush_until: float | None = None
    """Everything has ended; until then ACKs are waited for."""
    exit_code: int = 0
    exited: bool = False

    def free(self, ref: AttemptRef) -> None:
        """Hold an attempt no more: it ended, or left."""
        held = self.held.pop(ref)
        self.held_bytes -= len(held.lease.parameter)
        self.progress.pop(ref, None)
        self.waiting.pop(ref, None)
        for sha256 in held.blobs:
            self._let(sha256, ref)
        self.unmake(held)

    def unmake(self, held: Held) -> None:
        """What an attempt made is not needed: no result names it."""
        if held.made:
            self.commands += map(BlobFree, held.made)
            held.made.clear()
            self.blob_let = True

    def _let(self, sha256: bytes, ref: AttemptRef) -> None:
        """One attempt less names this blob."""
        wanted = self.blobs[sha256]
        if next(iter(wanted.tasks)) == ref:
            wanted.asked = wanted.received  # in its name the broker may not answer any more
        del wanted.tasks[ref]
        if not wanted.tasks:
            del self.blobs[sha256]
            if sha256 not in self.blobs_going:
                self.blobs_going.add(sha256)
                self.blob_let = True
                self.commands.append(BlobLet(sha256))

    def send(self, message: AgentMessage) -> None:
        """Send in the present session; the caller has made sure that there is one."""
        self.session.sent += 1
        self.last_sent_at = self.now
        self.commands.append(Send(self.session.sent, message))

    def say(self, level: str, text: str, *, bounded: bool = False) -> None:
        """Write a log line; a bounded one is left out where the broker has many of them written."""
        self.commands.append(Say(level, text, bounded))

    def running(self) -> int:
        """How many slots are at work."""
        return sum(1 for slot in self.slots if slot.pipeline)


def new_state(identity: Identity, limits: Limits) -> State:
    """The state of an agent that has just been started."""
    slots = tuple(SlotState() for _ in range(identity.slots))
    return State(
        identity=identity,
        limits=limits,
        slots=slots,
        store_id=identity.store_id,
        facts=dict(identity.facts),
        next_server=identity.next_server,
    )
