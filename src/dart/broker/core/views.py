"""What the outside may know of the broker's state: plain copies, made on demand."""

from typing import NamedTuple

from dart.broker.core.model import JobConfig, JobStatus, TaskPolicy, TaskState
from dart.ids import AgentId, JobId, TaskId


class AgentView(NamedTuple):
    """One connected agent."""

    id: AgentId
    """Fingerprint of its key."""
    name: str
    host: str
    slots: int
    busy: int
    """Slots with a lease, at most `slots`."""
    leases: int
    capabilities: tuple[str, ...]
    facts: dict[str, str]
    draining: bool
    silent_seconds: float
    """Since anything was heard."""


class WorkerView(NamedTuple):
    """All connected agents of one name."""

    name: str
    slots: int
    """Of all of them together; REST calls it `count`."""
    capabilities: tuple[str, ...]
    """Sorted union."""
    hosts: tuple[str, ...]
    agents: tuple[AgentView, ...]


class JobView(NamedTuple):
    """A job and how far it is."""

    id: JobId
    name: str
    status: JobStatus
    config: JobConfig
    defined_at_ms: int
    counts: dict[TaskState, int]
    """Tasks by state; states without a task are left out; STAGED never appears."""
    workers: tuple[str, ...]
    """Distinct worker names among its recorded outcomes, for matching patterns."""


class TaskView(NamedTuple):
    """An open task."""

    id: TaskId
    state: TaskState
    policy: TaskPolicy
    tag: str
    worker: str
    """Name of the agent that holds it, or empty."""
    host: str
    attempts: int
    start_time_ms: int
    fraction: float
    """-1: nothing reported."""
    progress_text: str
    pending_reason: str
    """Why it does not run; empty unless QUEUED or LEASED."""
