"""Whose request it is, and which jobs and workers it may touch."""

from functools import lru_cache
from typing import Any, NamedTuple

from dart.broker.core.access import NameRule, Scope
from dart.errors import ForbiddenError, InvalidRequestError
from dart.limits import Limits
from dart.patterns import compile_pattern

_MATCH_SECONDS = 0.02
"""A pattern that takes longer for one name allows nothing."""
_KEPT = Limits(pattern_chars_max=1 << 20)
"""A pattern that was taken once stays what it is, whatever the limit is now."""


class Caller(NamedTuple):
    """A known key."""

    id: str
    name: str
    """For logs; never the key."""
    scope: Scope
    jobs: NameRule = NameRule()
    """Jobs that it may use and see."""
    workers: NameRule = NameRule()
    """Workers that its tasks may reach, and whose results it may see."""
    expires_at_ms: int = 0
    """0: never."""
    version: int = 0
    """Of the admin key, which may be replaced."""
    session: str = ""
    """Names the session that it came by, in the place of the key."""

    def sees_job(self, name: str) -> bool:
        """Whether it may use and see jobs of this name."""
        return allows(self.jobs, name)

    def sees_worker(self, name: str) -> bool:
        """Whether its tasks may reach workers of this name."""
        return allows(self.workers, name)

    def check_scope(self, needed: Scope) -> None:
        """Raise `ForbiddenError` unless it may do what needs this scope."""
        if self.scope < needed:
            raise ForbiddenError(
                f"The key {self.name} has the scope {self.scope.name.lower()};"
                f" this call needs {needed.name.lower()}. Use a key with that scope.",
                scope=needed.name.lower(),
            )

    def check_job(self, name: str) -> None:
        """Raise `ForbiddenError`, whether or not there is such a job, unless it may use it."""
        if not self.sees_job(name):
            raise ForbiddenError(
                f"The key {self.name} may not use the job {name[:300]!r}: it is bound to {_told(self.jobs)}.",
                job=name[:300],
            )

    def check_worker(self, name: str) -> None:
        """Raise `ForbiddenError`, whether or not there is such a worker, unless its tasks may reach it."""
        if not self.sees_worker(name):
            raise ForbiddenError(
                f"The key {self.name} may not reach the worker {name[:300]!r}: it is bound to {_told(self.workers)}.",
                worker=name[:300],
            )

    def check_location(self, location: str) -> None:
        """Raise `ForbiddenError` unless a task of this location (empty: any) stays where it may be."""
        if not location and not self.workers.is_open:
            raise ForbiddenError(
                f"The key {self.name} is bound to {_told(self.workers)}, so each of its tasks needs a `location` or"
                " `each`: without, it could run anywhere.",
                field="location",
            )
        self.check_worker(location)


NOBODY = Caller("", "nobody", Scope.OPEN)
"""Of calls that need no key."""


def allows(rule: NameRule, name: str) -> bool:
    """Whether a name is meant."""
    if rule.is_open or name in rule.names:
        return True
    if not rule.regex:
        return False
    try:
        return (_matches if len(name) <= _KEPT.name_chars_max else _match)(rule.regex, name)
    except (TimeoutError, MemoryError, InvalidRequestError):
        return False  # not remembered either: the machine may have been busy


def _match(regex: str, name: str) -> bool:
    return _compiled(regex).fullmatch(name, timeout=_MATCH_SECONDS) is not None


_matches = lru_cache(maxsize=16_384)(_match)
"""Remembered: of names, not of whatever somebody writes into a long path."""


@lru_cache(maxsize=1024)
def _compiled(regex: str) -> Any:
    return compile_pattern(regex, _KEPT)


def _told(rule: NameRule) -> str:
    """A rule for people."""
    named = [repr(name) for name in rule.names[:5]] + ["others"] * (len(rule.names) > 5)
    return " and ".join([", ".join(named)] * bool(named) + [f"names like {rule.regex[:100]!r}"] * bool(rule.regex))
