"""What the broker knows of results that wait for their blobs, and of these."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from dart.ids import TaskId
from dart.wire.messages import Result


class ComingStage(Enum):
    """Where a blob stands that a result names."""

    QUEUED = "queued"
    """Others of this agent come first."""
    OPENING = "opening"
    """The disk was asked what it has of it."""
    FETCHING = "fetching"
    WAITING = "waiting"
    """The disk has no room for it now."""


@dataclass(slots=True)
class Coming:
    """A blob on its way from an agent."""

    size: int
    tasks: dict[TaskId, None] = field(default_factory=dict)
    """Whose results wait for it."""
    number: int = 0
    """Of the last `OpenBlob`."""
    stage: ComingStage = ComingStage.QUEUED
    here: int = 0
    """Bytes on the disk."""
    received: int = 0
    """Bytes on the disk or on their way to it."""
    asked: int = 0
    """Bytes received, or asked for."""
    asked_at: float = 0.0
    """When the last piece came, or was asked for with none under way."""
    failures: int = 0
    told_at: float = 0.0


class Arrival(NamedTuple):
    """A result that waits for its blobs; the agent keeps it until then."""

    result: Result
    missing: set[bytes]
