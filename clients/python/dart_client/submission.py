"""Bodies of submissions: each parameter is encoded once and put between bytes that are made once a policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgpack

from dart.wire import values
from dart_client.errors import InvalidRequestError, ValueNotPortableError

TASKS_FIRST = 1000
"""Tasks of the first POST of a large submission: small, so that workers begin early."""
TASKS_MAX = 5000
"""Tasks of a POST: large enough that a request costs nothing a task, small enough to begin early."""
BYTES_MAX = 8 << 20
"""Bytes of a POST, unless one parameter alone is larger."""

POLICY_MEMBERS = frozenset(
    {
        "requires",
        "after",
        "priority",
        "timeout",
        "retries",
        "retry_delay",
        "lost_retries",
        "lost_retry_delay",
        "on_lost",
        "if_offline",
        "expires",
        "tag",
    }
)
"""With `location` and `parameter` fewer than 16: the head of an entry's map is one byte."""


class Entry(NamedTuple):
    """One task, ready to send."""

    prefix: bytes
    parameter: bytes


def prefix_of(location: str, policy: dict[str, Any]) -> bytes:
    """What stands before the parameter: the opening of the entry's map and all its other members.

    Raises:
        InvalidRequestError: A member that no task has.
    """
    unknown = sorted(set(policy) - POLICY_MEMBERS)
    if unknown:
        raise InvalidRequestError(
            f"A task has no member {unknown[0]!r}; there are location, parameter, {', '.join(sorted(POLICY_MEMBERS))}.",
            field=unknown[0],
        )
    members = {name: list(value) if isinstance(value, tuple) else value for name, value in policy.items()}
    members = {name: value for name, value in members.items() if value is not None}
    if location:
        members["location"] = location
    packed = b"".join(msgpack.packb(name) + msgpack.packb(value) for name, value in members.items())
    return b"".join((bytes([0x80 + len(members) + 1]), packed, msgpack.packb("parameter")))


def encode_parameter(parameter: Any) -> bytes:
    """One parameter as a portable value.

    Raises:
        ValueNotPortableError: It has a part that cannot be sent; the message has the path to it.
    """
    try:
        return values.encode(parameter, where="parameter")
    except values.NotPortable as error:
        raise ValueNotPortableError(str(error)) from None


def posts(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Cut a submission into pieces that are sent one after the other."""
    piece: list[Entry] = []
    size = 0
    limit = TASKS_FIRST
    for entry in entries:
        length = len(entry.prefix) + len(entry.parameter)
        if piece and (len(piece) >= limit or size + length > BYTES_MAX):
            yield piece
            piece, size, limit = [], 0, TASKS_MAX
        piece.append(entry)
        size += length
    if piece:
        yield piece


def body_of(piece: list[Entry]) -> bytes:
    """`{"location_and_parameters": [entries]}` in MessagePack."""
    count = len(piece)
    return b"".join(
        (
            b"\x81",
            msgpack.packb("location_and_parameters"),
            b"\xdd",
            count.to_bytes(4, "big"),
            *(part for entry in piece for part in entry),
        )
    )
