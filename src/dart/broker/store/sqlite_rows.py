"""Values that the SQLite store keeps as MessagePack, there and back."""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgpack

from dart.broker.core.access import NameRule
from dart.broker.core.model import JobConfig, OnLost, Retention, Standing, TaskPolicy
from dart.ids import Attempt, AttemptRef, TaskId


@lru_cache(maxsize=4096)
def pack_policy(policy: TaskPolicy) -> bytes:
    """Equal policies give equal bytes, so that recovery can share one object among their tasks."""
    return _pack(
        (
            policy.location,
            policy.requires,
            int(policy.priority),
            float(policy.timeout_seconds),
            int(policy.retries),
            int(policy.lost_retries),
            policy.on_lost.value,
            int(policy.expires_at_ms),
            float(policy.retry_delay_seconds),
            float(policy.lost_retry_delay_seconds),
            # Most have none.
            *((policy.traceparent,) if policy.traceparent else ()),
        )
    )


def unpack_policy(packed: bytes) -> TaskPolicy:
    """What `pack_policy` packed."""
    policy = TaskPolicy(*_unpack(packed))
    return policy._replace(requires=tuple(policy.requires), on_lost=OnLost(policy.on_lost))


def pack_config(config: JobConfig) -> bytes:
    """A job's configuration."""
    module_path, method, defaults, standing, retention = config
    packed = None if standing is None else (*standing[:2], pack_policy(standing.policy))
    return _pack((module_path, method, defaults, packed, retention))


def unpack_config(packed: bytes) -> JobConfig:
    """What `pack_config` packed."""
    module_path, method, defaults, standing, retention = _unpack(packed)
    return JobConfig(
        module_path,
        method,
        dict(defaults),
        None if standing is None else Standing(standing[0], standing[1], unpack_policy(standing[2])),
        Retention(*retention),
    )


def pack_rule(rule: NameRule) -> bytes:
    """Which names are meant."""
    return _pack(rule)


def unpack_rule(packed: bytes) -> NameRule:
    """What `pack_rule` packed."""
    names, regex = _unpack(packed)
    return NameRule(tuple(names), regex)


def pack_attempts(attempts: Iterable[AttemptRef]) -> bytes:
    """The attempts of a lease, as one flat array."""
    return _pack([number for ref in attempts for number in (ref.task_id, *ref.attempt)])


def unpack_attempts(packed: bytes) -> tuple[AttemptRef, ...]:
    """What `pack_attempts` packed."""
    numbers = iter(_unpack(packed))
    return tuple(
        AttemptRef(TaskId(task_id), Attempt(incarnation, number))
        for task_id, incarnation, number in zip(numbers, numbers, numbers, strict=True)
    )


def id_list(ids: Iterable[int]) -> str:
    """For `IN (SELECT value FROM json_each(?))`: one prepared statement whatever the number of ids."""
    return json.dumps(list(ids), separators=(",", ":"))


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _unpack(packed: bytes) -> Any:
    return msgpack.unpackb(packed)
