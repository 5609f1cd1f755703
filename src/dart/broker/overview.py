"""What people look at while work goes on: workers and jobs as rows of a table, a part of it at a time, and the pulse.

Costs follow what is shown. What must look at everything looks at names and numbers only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import nsmallest
from typing import Final, Generic, NamedTuple, TypeVar

from dart.broker.core import views
from dart.broker.core.model import Agent, Job, JobStatus, TaskState
from dart.broker.core.state import Core, milliseconds
from dart.broker.measures import Measures
from dart.broker.service import Service

T = TypeVar("T")
LOADS_KEPT: Final = 60
"""Of each worker: how busy it was, at so many looks."""


class Pulse(NamedTuple):
    """The whole server at one moment, in numbers; costs a step for each agent."""

    workers: int
    """Names that are connected."""
    agents: int
    slots: int
    busy: int
    """Slots with a lease."""
    open_tasks: int
    """Those that are still being let in included."""


class WorkerRow(NamedTuple):
    """A worker, connected or only enrolled."""

    name: str
    connected: bool
    hosts: tuple[str, ...]
    architectures: tuple[str, ...]
    versions: tuple[str, ...]
    """Of its agents."""
    slots: int
    busy: int
    draining: bool
    last_contact_ms: int
    """0: not since the server was started."""
    loads: tuple[int, ...]
    """Percent of its slots that were busy, the oldest first."""


class JobRow(NamedTuple):
    """A job and how far it is."""

    name: str
    status: JobStatus
    standing: bool
    module_path: str
    method: str
    defined_at_ms: int
    counts: dict[TaskState, int]
    """States without a task are left out."""


class Rows(NamedTuple, Generic[T]):
    """A part of a table."""

    rows: Sequence[T]
    total: int
    """Of the whole table, as far as it matches."""


class Overview:
    """Looks at the core of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loads: dict[str, deque[int]] = {}

    @property
    def now_ms(self) -> int:
        """Unix time by the service's clock."""
        return milliseconds(self._service.now)

    @property
    def measures(self) -> Measures:
        """What the service counts."""
        return self._service.measures

    def pulse(self) -> Pulse:
        """As of now."""
        core = self._service.reactor.state
        agents = core.sessions.values()
        slots = sum(agent.slots for agent in agents)
        return Pulse(len(core.connected), len(agents), slots, _busy(agents), len(core.tasks) + core.reserved)

    def note_loads(self) -> None:
        """Remember how busy each worker is; to be called at regular times. Who is gone for long is forgotten."""
        core = self._service.reactor.state
        for name in core.connected.keys() - self._loads.keys():
            self._loads[name] = deque(maxlen=LOADS_KEPT)
        for name, loads in list(self._loads.items()):
            agents = core.connected.get(name, {}).values()
            slots = sum(agent.slots for agent in agents)
            busy = sum(min(agent.slots, len(agent.leases)) for agent in agents)
            loads.append(100 * busy // slots if slots else 0)
            if not agents and not any(loads):
                del self._loads[name]

    def held_tasks(self, worker: str, *, sees: Callable[[str], bool], amount: int) -> list[tuple[str, views.TaskView]]:
        """Tasks that its connected agents hold, each with the name of its job; at most so many, of jobs one sees."""
        return views.held_tasks(self._service.reactor.state, worker, sees, amount)

    async def workers(
        self, *, sees: Callable[[str], bool], match: str, state: str, order: str, offset: int, amount: int
    ) -> Rows[WorkerRow]:
        """A part of the workers, those that are not connected included.

        Args:
            sees: Whether who asks may see this name.
            match: Stands somewhere in the name, a host or the architecture, whatever its case; empty: all.
            state: `connected`, `away`, or `draining`, of which all agents are; empty: all.
            order: `name`; `busy`: the busiest first; `contact`: the longest silent first, who was not heard of last.
            offset: So many are left out.
            amount: At most so many.
        """
        core = self._service.reactor.state
        names = {
            known.name for known in core.enrolments.values() if not known.revoked_at_ms and not known.name_is_pattern
        }
        found = [name for name in names | core.connected.keys() if sees(name) and _is_so(core, name, state)]
        if match:
            found = [name for name in found if match.lower() in _searched(name, core.connected.get(name, {}).values())]
        keys: dict[str, Callable[[str], tuple[float, str]]] = {
            "name": lambda name: (0, name),
            "busy": lambda name: (-_busy(core.connected.get(name, {}).values()), name),
            "contact": lambda name: (self._heard_at_ms(core, name, heard) or 1 << 62, name),
        }
        heard = _heard_by_name(core) if order == "contact" else {}
        chosen = nsmallest(offset + amount, found, key=keys[order])[offset:]
        if chosen and order != "contact":
            heard = _heard_by_name(core)
        rows = [self._worker(core, name, heard) for name in chosen]
        await self._service.durable()
        return Rows(rows, len(found))

    async def jobs(
        self, *, sees: Callable[[str], bool] | None, match: str, is_open: bool, order: str, offset: int, amount: int
    ) -> Rows[JobRow]:
        """A part of the jobs.

        Args:
            sees: Whether who asks may see this name; None: all.
            match: Stands somewhere in the name, whatever its case; empty: all.
            is_open: Only those with tasks that are not finished.
            order: `newest` first, or by `name`.
            offset: So many are left out.
            amount: At most so many.
        """
        core = self._service.reactor.state
        found: Iterable[Job] = reversed(core.jobs.values())
        total = len(core.jobs)
        if sees is not None or match or is_open:
            wanted = match.lower()
            found = [
                job
                for job in found
                if (not is_open or job.open) and wanted in job.name.lower() and (sees is None or sees(job.name))
            ]
            total = len(found)
        if order == "name":
            found = nsmallest(offset + amount, found, key=lambda job: job.name)
        rows = [_job(core, job) for job in _part(found, offset, amount)]
        await self._service.durable()
        return Rows(rows, total)

    def _worker(self, core: Core, name: str, heard: dict[str, int]) -> WorkerRow:
        agents = list(core.connected.get(name, {}).values())
        return WorkerRow(
            name,
            bool(agents),
            _values(agent.host for agent in agents),
            _values(agent.facts.get("architecture", "") for agent in agents),
            _values(agent.facts.get("agent_version", "") for agent in agents),
            sum(agent.slots for agent in agents),
            _busy(agents),
            _is_so(core, name, "draining"),
            self._heard_at_ms(core, name, heard),
            tuple(self._loads.get(name, ())),
        )

    @staticmethod
    def _heard_at_ms(core: Core, name: str, heard: dict[str, int]) -> int:
        sessions = [agent.session for agent in core.connected.get(name, {}).values()]
        return max((milliseconds(it.heard_at) for it in sessions if it is not None), default=heard.get(name, 0))


def _is_so(core: Core, name: str, state: str) -> bool:
    """Whether a worker is connected, away or draining; empty: whatever it is."""
    agents = core.connected.get(name)
    if state == "draining":
        return agents is not None and all(agent.draining for agent in agents.values())
    return not state or (agents is not None) == (state == "connected")


def _heard_by_name(core: Core) -> dict[str, int]:
    """When names without a session were heard last."""
    found: dict[str, int] = {}
    for agent_id, at in core.heard_at.items():
        known = core.enrolments.get(agent_id)
        if known is not None:
            found[known.name] = max(found.get(known.name, 0), milliseconds(at))
    return found


def _searched(name: str, agents: Iterable[Agent]) -> str:
    return "\n".join((name, *(f"{agent.host}\n{agent.facts.get('architecture', '')}" for agent in agents))).lower()


def _busy(agents: Iterable[Agent]) -> int:
    return sum(min(agent.slots, len(agent.leases)) for agent in agents)


def _values(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(filter(None, found))))


def _part(found: Iterable[Job], offset: int, amount: int) -> list[Job]:
    return [job for _, job in zip(range(offset + amount), found, strict=False)][offset:]


def _job(core: Core, job: Job) -> JobRow:
    return JobRow(
        job.name,
        job.status,
        job.config.standing is not None,
        job.config.module_path,
        job.config.method,
        job.defined_at_ms,
        views.task_counts(core, job),
    )
