"""The state of the core, and the few operations on it that every subject needs."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from dart.broker.core.access import ApiKey, JoinToken
from dart.broker.core.commands import Command, Note, Persist, Send
from dart.broker.core.events import Token
from dart.broker.core.id_table import IdTable
from dart.broker.core.model import Agent, Enrolment, Idempotency, IdGap, Job, Session, Task, TaskState
from dart.broker.core.ready_queue import ReadyQueues
from dart.broker.core.records import Record
from dart.broker.core.takers import Takers
from dart.errors import UnknownJobError
from dart.ids import AgentId, AttemptRef, BootId, JobId, JoinTokenId, KeyId, LeaseId, SessionId, StoreId, TaskId
from dart.limits import Limits
from dart.wire.messages import BrokerMessage, NextServer


@dataclass(slots=True)
class Submission:
    """Tasks whose last slice has not come, or that are being admitted."""

    first_id: TaskId
    last_id: TaskId
    job: Job
    idempotency: Idempotency | None
    next_id: int
    """Id of the next task that comes."""
    staged: deque[Task] = field(default_factory=deque)
    """By id."""
    early: int = 0
    """Of `staged`: let in before their turn, and passed over when that comes."""

    @property
    def waiting(self) -> int:
        """Tasks that are still to be let in."""
        return len(self.staged) - self.early

    def at(self, task_id: int) -> Task | None:
        """The task of this id, if it is waiting to be let in."""
        if not self.staged or not self.staged[0].id <= task_id < self.next_id:
            return None
        task = self.staged[task_id - self.staged[0].id]
        return task if task.state is TaskState.STAGED else None


@dataclass(slots=True)
class Stop:
    """A job whose tasks are being cancelled."""

    job: Job
    pages: list[int] = field(default_factory=list)
    """Pages of its open tasks that are still to be looked at, the next one last."""
    cancelled: int = 0
    askers: list[tuple[Token, int]] = field(default_factory=list)
    """Who waits for the end, and how many had been cancelled when they asked."""


@dataclass(slots=True)
class StandingJob:
    """A standing job and who had it."""

    job: Job
    pattern: Any
    """The compiled `worker_regex`; None: all names match."""
    given: set[str]
    """Worker names that had a task of this job, finished or not."""


@dataclass(slots=True)
class Core:
    """All that the broker knows. Only the `on_*` functions of this package change it."""

    limits: Limits
    store_id: StoreId
    incarnation: int
    highest_id: int

    jobs: dict[str, Job] = field(default_factory=dict)
    standing: dict[JobId, StandingJob] = field(default_factory=dict)
    """Those of `jobs` that are standing, stopped ones too."""
    tasks: IdTable[Task] = field(default_factory=IdTable)
    """All open tasks, without those that are staged."""
    submissions: dict[int, Submission] = field(default_factory=dict)
    """Open ones, by first id."""
    admitting: deque[Submission] = field(default_factory=deque)
    """Complete ones whose tasks are let in, some each turn."""
    reserved: int = 0
    """Ids of submissions in `submissions` and `admitting` whose tasks are not in `tasks` yet."""
    stops: dict[JobId, Stop] = field(default_factory=dict)
    """Jobs whose tasks are being cancelled, the one first whose turn is next."""

    gaps: tuple[IdGap, ...] = ()
    """Ids that were given after the backup that this store was restored from; in order."""
    next_server: NextServer | None = None
    """Where agents are to connect from now on, while the broker's key changes."""

    keys: dict[KeyId, ApiKey] = field(default_factory=dict)
    """API keys; expired and revoked ones too."""
    join_tokens: dict[JoinTokenId, JoinToken] = field(default_factory=dict)
    enrolments: dict[AgentId, Enrolment] = field(default_factory=dict)
    agents: dict[AgentId, Agent] = field(default_factory=dict)
    """Those that are connected or hold leases."""
    heard_at: dict[AgentId, float] = field(default_factory=dict)
    """When agents that had a session since the start, and have none, were heard last."""
    sessions: dict[SessionId, Agent] = field(default_factory=dict)
    connected: dict[str, dict[AgentId, Agent]] = field(default_factory=dict)
    """Agents with a session, by name."""
    superseded: dict[AgentId, deque[BootId]] = field(default_factory=dict)
    """Boots that gave way to a newer one with the same key; the latest few of each agent."""

    drained: dict[AgentId, BootId] = field(default_factory=dict)
    """Boots that a client asked to drain: told again when they say HELLO."""

    ready: ReadyQueues = field(default_factory=ReadyQueues)
    takers: Takers = field(default_factory=Takers)
    """Agents with room, by queue."""
    givers: dict[str, dict[tuple[str, ...], dict[AgentId, None]]] = field(default_factory=dict)
    """Agents that may be asked for spare leases of a queue's tasks, by location and required capabilities."""
    lease_counts: dict[LeaseId, int] = field(default_factory=dict)
    """What is still out of each TASKS frame."""
    leases_given: int = 0
    recalls: dict[AgentId, tuple[AgentId, int]] = field(default_factory=dict)
    """Holders that were sent RECALL and have not answered: for whom, and how many."""
    asked: dict[AgentId, int] = field(default_factory=dict)
    """For how many leases RECALLs are out for an agent: sums of `recalls`."""
    hungry: dict[AgentId, None] = field(default_factory=dict)
    """Agents that placement left with an idle slot and credit."""
    held_up: dict[AgentId, None] = field(default_factory=dict)
    """Agents with credit for whom the next task is too large: another agent may take that one out of their way."""

    started_at: float = 0.0
    joined_at: float = 0.0
    """When an agent was last welcomed for the first time since the start; the start itself until then."""
    agent_timers: list[tuple[float, AgentId]] = field(default_factory=list)
    """Heap; an entry counts if `armed` has the same time."""
    armed: dict[AgentId, float] = field(default_factory=dict)
    expiries: list[tuple[int, TaskId]] = field(default_factory=list)
    """Heap of Unix ms; entries of finished tasks are skipped, and swept out when they are the most."""
    expiring: int = 0
    """Tasks in `tasks` that expire."""
    upkeep: list[tuple[float, JobId, str, bool]] = field(default_factory=list)
    """Heap: when to look after which job; whether after its results, or after the job itself, which was stopped."""
    delays: list[tuple[float, TaskId]] = field(default_factory=list)
    """Heap; an entry counts while its task is DELAYED until that time. Others are swept out when they are the most."""
    delayed: int = 0
    """Tasks in `tasks` that are DELAYED."""

    interactive_until: float = 0.0
    interactive_share: int = 0
    """Leases beyond its slots that an agent is given while somebody submits a few tasks at a time beside a large
    backlog (`interactive.py`); 0: nobody does."""

    stopping: bool = False
    late_results: int = 0
    """Results that did not count: their task was finished, or had a later attempt."""
    foreign_attempts: int = 0
    """Attempts that an agent named although they were another one's, or nobody's."""

    # Of this turn; empty between turns.
    commands: list[Command] = field(default_factory=list)
    slice_left: int = 0
    """Tasks that may still be cancelled with their jobs."""
    ripe: dict[AgentId, None] = field(default_factory=dict)
    """Agents whose room may have grown."""
    freed: dict[AgentId, None] = field(default_factory=dict)
    """Holders that have answered a RECALL, so that they may be asked again."""
    closed_leases: list[LeaseId] = field(default_factory=list)
    happened: list[Any] = field(default_factory=list)
    """What people may watch (`happenings.Happening`); of all turns since the shell last took it."""
    finished_jobs: dict[JobId, Job] = field(default_factory=dict)
    """Jobs with new outcomes."""
    cancels: dict[AgentId, list[AttemptRef]] = field(default_factory=dict)
    """What each agent is to interrupt."""
    fetchers: dict[AgentId, None] = field(default_factory=dict)
    """Agents that may be asked for more of the blobs that their results name."""
    settled: dict[AgentId, list[AttemptRef]] = field(default_factory=dict)
    """Results of each agent that waited for their blobs and are to be acknowledged."""


def persist(core: Core, record: Record) -> None:
    """Have this remembered."""
    core.commands.append(Persist(record))


def note(core: Core, level: str, text: str, agent_id: AgentId | None = None, *, refusal: bool = False) -> None:
    """Have this logged; with the agent that could have it logged again and again, if there is one."""
    core.commands.append(Note(level, text, agent_id or "", refusal))


def session_of(agent: Agent) -> Session:
    """The session of a connected agent."""
    if agent.session is None:
        raise RuntimeError(f"agent {agent.id} of name {agent.name!r} is not connected.")
    return agent.session


def next_sequence(agent: Agent, now: float) -> tuple[SessionId, int]:
    """Session and running number of the next frame to a connected agent."""
    session = session_of(agent)
    session.sent += 1
    session.sent_at = now
    return session.id, session.sent


def send(core: Core, agent: Agent, message: BrokerMessage, now: float) -> None:
    """Send a message to a connected agent."""
    session_id, sequence = next_sequence(agent, now)
    core.commands.append(Send(session_id, sequence, message))


def milliseconds(now: float) -> int:
    """Unix time in ms."""
    return int(now * 1000)


def is_beyond(core: Core, task_id: TaskId) -> bool:
    """Whether this store cannot know of this id: it never gave it, or was restored to a time before it did."""
    return task_id > core.highest_id or any(gap.first_id <= task_id <= gap.last_id for gap in core.gaps)


def unknown_job(name: str) -> UnknownJobError:
    """The refusal for a name that no job has."""
    return UnknownJobError(f"No job is called {name!r}; define it first.", job=name)
