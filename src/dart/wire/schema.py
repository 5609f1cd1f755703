"""Members of message bodies: one `Kind` each, which checks what came from outside and flattens what goes out.

`cold.py` and `batches.py` put them together. Readers raise `Wrong`, which never leaves the codec.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dart.ids import Attempt, AttemptRef, TaskId
from dart.limits import Limits

ID_MAX = (1 << 63) - 1
TIME_MS_MAX = 1 << 53
"""Milliseconds that every language's numbers hold exactly, both ways from 1970."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_HEX_32 = re.compile(r"[0-9a-f]{32}")
_tuple = tuple.__new__


class Wrong(Exception):  # noqa: N818 - a verdict on bytes, not a fault of ours
    """Why a member is refused, beginning with its name."""


class Kind(NamedTuple):
    """How one member is written and read."""

    write: Callable[[Any, Limits], Any]
    read: Callable[[Any, str, Limits], Any]
    """Of value, the member's name and limits; raises `Wrong`."""


def _as_it_is(value: Any, _limits: Limits) -> Any:
    return value


def shown(value: Any) -> str:
    """A value from outside for a message: short, whatever it is."""
    if isinstance(value, (str, bytes)):
        return repr(value[:40])
    return repr(value) if value is None or isinstance(value, (bool, int, float)) else type(value).__name__


def whole(value: Any, name: str, *, least: int = 0, most: int = ID_MAX) -> int:
    """An integer in a range; True is none."""
    if type(value) is not int or not least <= value <= most:
        raise Wrong(f"{name} must be an integer of {least}..{most}, not {shown(value)}")
    return value


def number(value: Any, name: str, *, most: float = math.inf) -> float:
    """A finite number from 0 on; an integer counts, for some languages write 1.0 so."""
    if type(value) not in (int, float) or not 0 <= value <= most or value == math.inf:
        raise Wrong(f"{name} must be a finite number of 0..{most}, not {shown(value)}")
    return float(value)


def text(value: Any, name: str, *, most: int, least: int = 0, control: bool = False) -> str:
    """A string with a bounded number of characters, with or without control characters."""
    if type(value) is not str or not least <= len(value) <= most:
        raise Wrong(f"{name} must be text of {least}..{most} characters, not {shown(value)}")
    if not control and _CONTROL.search(value):
        raise Wrong(f"{name} must not contain control characters: {shown(value)}")
    return value


def listed(value: Any, name: str, *, most: int, least: int = 0) -> list[Any]:
    """An array with a bounded number of elements."""
    if type(value) is not list or not least <= len(value) <= most:
        raise Wrong(f"{name} must be an array of {least}..{most} elements")
    return value


def leading(value: Any, name: str, members: int, *, appended: int = 0) -> list[Any]:
    """The first `members` elements of an array; later versions may append more, earlier ones have fewer `appended`."""
    if type(value) is not list or len(value) < members - appended:
        raise Wrong(f"{name} must be an array of {members - appended} members")
    return value if len(value) <= members else value[:members]


def reference(value: Any, name: str) -> AttemptRef:
    """A task and the attempt at it: `[task id, incarnation, number]`."""
    task_id, incarnation, attempt = leading(value, name, 3)
    whole(task_id, name, least=1)
    whole(incarnation, name)
    whole(attempt, name)
    return _tuple(AttemptRef, (TaskId(task_id), _tuple(Attempt, (incarnation, attempt))))


def flat(ref: AttemptRef) -> tuple[int, int, int]:
    """The opposite of `reference`."""
    (task_id, (incarnation, attempt)) = ref
    return task_id, incarnation, attempt


def clipped(value: str, characters: int) -> str:
    """Free text is cut rather than refused by the other side."""
    return value if len(value) <= characters else value[: characters - 1] + "…"


# ---- kinds ----


def integer(least: int = 0, most: int = ID_MAX) -> Kind:
    """An integer within fixed bounds."""
    return Kind(_as_it_is, lambda value, name, _limits: whole(value, name, least=least, most=most))


def decimal(most: float = math.inf) -> Kind:
    """A number of 0..`most`."""
    return Kind(_as_it_is, lambda value, name, _limits: number(value, name, most=most))


def _read_flag(value: Any, name: str, _limits: Limits) -> bool:
    if type(value) is not bool:
        raise Wrong(f"{name} must be true or false, not {shown(value)}")
    return value


def _read_32_bytes(value: Any, name: str, _limits: Limits) -> bytes:
    if type(value) is not bytes or len(value) != 32:
        raise Wrong(f"{name} must be 32 bytes")
    return value


def hexadecimal(*, empty: bool = False) -> Kind:
    """32 lower-case hexadecimal digits, or nothing where that has a meaning."""

    def read(value: Any, name: str, _limits: Limits) -> str:
        if type(value) is str and (_HEX_32.fullmatch(value) or (empty and not value)):
            return value
        raise Wrong(f"{name} must be 32 lower-case hexadecimal digits, not {shown(value)}")

    return Kind(_as_it_is, read)


def name_of(characters_limit: str = "name_chars_max", *, least: int = 1) -> Kind:
    """A name: bounded by a limit, without control characters."""

    def read(value: Any, name: str, limits: Limits) -> str:
        return text(value, name, least=least, most=getattr(limits, characters_limit))

    return Kind(_as_it_is, read)


def prose(characters_limit: str = "text_chars_max") -> Kind:
    """Free text for people."""

    def write(value: str, limits: Limits) -> str:
        return clipped(value, getattr(limits, characters_limit))

    def read(value: Any, name: str, limits: Limits) -> str:
        return text(value, name, most=getattr(limits, characters_limit), control=True)

    return Kind(write, read)


def at_most_one(element: Kind) -> Kind:
    """An array of one element or none: what there may be."""

    def write(value: Any, limits: Limits) -> list[Any]:
        return [] if value is None else [element.write(value, limits)]

    def read(value: Any, name: str, limits: Limits) -> Any:
        items = listed(value, name, most=1)
        return element.read(items[0], name, limits) if items else None

    return Kind(write, read)


def several(element: Kind, amount_limit: str = "batch_items_max", *, least: int = 0) -> Kind:
    """An array of one kind."""

    def write(value: Sequence[Any], limits: Limits) -> list[Any]:
        return [element.write(item, limits) for item in value]

    def read(value: Any, name: str, limits: Limits) -> tuple[Any, ...]:
        items = listed(value, name, least=least, most=getattr(limits, amount_limit))
        return tuple([element.read(item, name, limits) for item in items])

    return Kind(write, read)


def record(make: Callable[..., Any], /, *, appended: int = 0, **members: Kind) -> Kind:
    """An array with a member each, in this order.

    The last `appended` ones were added within a protocol version: where they are missing, `make` knows a default.
    """
    kinds = tuple(members.items())

    def write(value: Sequence[Any], limits: Limits) -> list[Any]:
        return [kind.write(item, limits) for item, (_, kind) in zip(value, kinds, strict=True)]

    def read(value: Any, name: str, limits: Limits) -> Any:
        items = leading(value, name, len(kinds), appended=appended)
        return make(*(kind.read(item, member, limits) for item, (member, kind) in zip(items, kinds, strict=False)))

    return Kind(write, read)


def _read_facts(value: Any, name: str, limits: Limits) -> dict[str, str]:
    if type(value) is not dict or len(value) > limits.facts_max:
        raise Wrong(f"{name} must be a map of at most {limits.facts_max} entries")
    for key, fact in value.items():
        text(key, name, least=1, most=limits.name_chars_max)
        text(fact, name, most=limits.text_chars_max, control=True)
    return value


def _write_facts(value: dict[str, str], limits: Limits) -> dict[str, str]:
    return {key: clipped(fact, limits.text_chars_max) for key, fact in value.items()}


FLAG = Kind(_as_it_is, _read_flag)
BYTES_32 = Kind(_as_it_is, _read_32_bytes)
"""A SHA-256 or a CURVE key."""
FACTS = Kind(_write_facts, _read_facts)
REFERENCE = Kind(lambda ref, _limits: flat(ref), lambda value, name, _limits: reference(value, name))
