"""What a worker can do, and whether that is what a task requires.

A worker has *capabilities*, names that its owner gives it, and *facts*, which its agent found out: `python` is
`3.11.2`, `memory_gib` is `4`. A capability such as `site=oslo` counts as a fact, too. A requirement is one of

    gpu               a capability of this very name, whatever characters it has
    key=value         a fact of exactly this value
    key>=1.2          a fact of at least this version; also >, <=, <
    key!=value        not key=value: also where nothing is known of the key
    !requirement      not that

Versions are whole numbers with dots between them, and what follows is left out: `3.11.2` is above `3.9`, `1.26.0rc1`
equals `1.26`. Numbers are versions of one part.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple, Self

_CONDITION = re.compile(r"(?P<key>[^=<>!]*[^=<>!\s])\s*(?P<sign>>=|<=|!=|=|>|<)\s*(?P<value>[^=<>!\s][^=<>!]*)")
_VERSION = re.compile(r"\d{1,18}(?:\.\d{1,18})*", re.ASCII)
_SIGNS = "=<>!"
_REMEMBERED = 4096
"""Texts whose meaning is kept: few differ, and each is asked about again at every turn."""


class Condition(NamedTuple):
    """A requirement that is more than a name."""

    key: str
    sign: str
    value: str
    version: tuple[int, ...]
    """Of the value; empty: it is none."""


class Requirement(NamedTuple):
    """What one text asks for."""

    negated: bool
    name: str
    """The capability that satisfies it by its very name."""
    condition: Condition | None


@lru_cache(maxsize=_REMEMBERED)
def read_requirement(text: str) -> Requirement:
    """What this text asks for. What is no condition is a name."""
    if text.startswith("!") and len(text) > 1:
        inner = read_requirement(text[1:].lstrip())
        return inner._replace(negated=not inner.negated)
    found = _CONDITION.fullmatch(text)
    if found is None:
        return Requirement(negated=False, name=text, condition=None)
    key, sign, value = found["key"].strip(), found["sign"], found["value"].strip()
    if sign == "!=":
        return Requirement(negated=True, name=f"{key}={value}", condition=Condition(key, "=", value, ()))
    return Requirement(negated=False, name=text, condition=Condition(key, sign, value, version_of(value)))


def is_name(text: str) -> bool:
    """Whether this asks for a capability by its name alone."""
    negated, _, condition = read_requirement(text)
    return condition is None and not negated


def fault_of(text: str) -> str:
    """Why no worker could ever satisfy this requirement as it is meant; empty: one could."""
    name = text.lstrip("!").lstrip()
    if not name:
        return "has nothing after its `!`"
    condition = read_requirement(name).condition
    if condition is None:
        # A name may have any of these signs within it, but `>=4` and `memory>=` are conditions that lack a part.
        if name[0] in _SIGNS or name[-1] in "=<>":
            return "lacks the name before its sign, or the value after it"
        return ""
    if condition.sign != "=" and not condition.version:
        return f"compares with {condition.value!r}, which is no number or version such as 4 or 3.11"
    return ""


@lru_cache(maxsize=_REMEMBERED)
def version_of(text: str) -> tuple[int, ...]:
    """The version that a text begins with, without zeros at its end; empty: it does not begin with one.

    Zero itself is `(0,)`.
    """
    found = _VERSION.match(text)
    if found is None:
        return ()
    parts = [int(part) for part in found[0].split(".")]
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def _holds(condition: Condition, value: str) -> bool:
    if condition.sign == "=":
        return value == condition.value
    version, wanted = version_of(value), condition.version
    if not version or not wanted:
        return False
    if condition.sign == ">=":
        return version >= wanted
    if condition.sign == "<=":
        return version <= wanted
    return version > wanted if condition.sign == ">" else version < wanted


class Capabilities:
    """What one agent can do. Immutable.

    Args:
        names: Capabilities, and tokens of standing jobs.
        facts: What the agent found out, by key.
    """

    __slots__ = ("_facts", "_values", "names")

    def __init__(self, names: Iterable[str] = (), facts: Mapping[str, str] | None = None) -> None:
        self.names = frozenset(names)
        self._facts = dict(facts or {})
        self._values: dict[str, list[str]] = {key: [value] for key, value in self._facts.items()}
        for name in self.names:
            key, sign, value = name.partition("=")
            if sign:
                self._values.setdefault(key.strip(), []).append(value.strip())

    def __repr__(self) -> str:
        return f"Capabilities({sorted(self.names)}, {self._facts})"

    def adding(self, name: str) -> Self:
        """The same and one more."""
        return type(self)(self.names | {name}, self._facts)

    def cover(self, requires: Iterable[str]) -> bool:
        """Whether all of this is satisfied."""
        return self.names.issuperset(requires) or all(map(self.satisfy, requires))

    def lacking(self, requires: Iterable[str]) -> list[str]:
        """What of this is not satisfied, in its order."""
        return [text for text in requires if not self.satisfy(text)]

    def values_of(self, text: str) -> str:
        """What is known of the key that a requirement asks about, as `memory_gib is 2`; empty: it asks for a name."""
        condition = read_requirement(text).condition
        if condition is None:
            return ""
        values = self._values.get(condition.key)
        return f"{condition.key} is {' and '.join(sorted(values))}" if values else f"{condition.key} is not known"

    def satisfy(self, text: str) -> bool:
        """Whether one requirement is satisfied."""
        if text in self.names:
            return True
        negated, name, condition = read_requirement(text)
        held = name in self.names or (
            condition is not None and any(_holds(condition, value) for value in self._values.get(condition.key, ()))
        )
        return held is not negated
