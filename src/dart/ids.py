"""Identities: what names a task, an attempt, an agent; the bottom of the import order."""

from typing import NamedTuple, NewType

TaskId = NewType("TaskId", int)
"""1..2^63-1, unique for the life of a store, never reused; a task's result has the same id."""

JobId = NewType("JobId", int)
"""Drawn from the same never-reused sequence as task ids; a name defined again gets a new one."""

LeaseId = NewType("LeaseId", int)
"""Names one TASKS frame in the store."""

AgentId = NewType("AgentId", str)
"""Lower-case hex SHA-256 of the agent's CURVE public key (32 raw bytes): who an agent is."""

SessionId = NewType("SessionId", int)
"""Names one connection of an agent within one run of the broker."""

BootId = NewType("BootId", str)
"""32 hex digits, drawn by an agent at each start."""

StoreId = NewType("StoreId", str)
"""32 hex digits of the UUID made with the database."""

KeyId = NewType("KeyId", str)
"""Names an API key in lists and logs; no secret."""

JoinTokenId = NewType("JoinTokenId", str)
"""Names a join token in lists and logs; no secret."""


class Attempt(NamedTuple):
    """One try to run a task: the broker's incarnation that gave it and the task's running number (from 1)."""

    incarnation: int
    number: int


class AttemptRef(NamedTuple):
    """An attempt together with the task it belongs to: what messages name."""

    task_id: TaskId
    attempt: Attempt
