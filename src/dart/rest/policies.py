"""Where and how tasks run, as requests say it: the members of tasks and jobs turned into policies."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dart.broker.core.model import IfOffline, OnLost, TaskPolicy
from dart.broker.core.tokens import token_of
from dart.errors import InvalidRequestError, UnknownJobError
from dart.ids import JobId
from dart.limits import Limits
from dart.rest import names
from dart.rest.member_types import PRIORITY_MAX, RETRIES_MAX
from dart.rest.schemas import NewTask, choice, integer, seconds

MEMBERS = (
    "requires",
    "priority",
    "timeout",
    "retries",
    "retry_delay",
    "lost_retries",
    "lost_retry_delay",
    "on_lost",
    "if_offline",
    "expires",
    "after",
)
"""Members that tasks have, and jobs as defaults of their tasks."""

_DEFAULT = TaskPolicy()


def check_members(given: Mapping[str, Any], limits: Limits) -> dict[str, str | int | float | list[str]]:
    """The given ones of `MEMBERS` with their proper types, or `InvalidRequestError` that names the wrong one."""
    checked: dict[str, str | int | float | list[str]] = {}
    for name, value in given.items():
        if name == "requires":
            checked[name] = list(names.check_requires(value, name, limits))
        elif name == "priority":
            checked[name] = integer(value, name, minimum=-PRIORITY_MAX, maximum=PRIORITY_MAX)
        elif name in {"retries", "lost_retries"}:
            checked[name] = integer(value, name, maximum=RETRIES_MAX)
        elif name == "after":
            checked[name] = list(names.check_jobs(value, name, limits))
        elif name in {"timeout", "expires", "retry_delay", "lost_retry_delay"}:
            checked[name] = seconds(value, name)
        elif name == "on_lost":
            checked[name] = choice(value, name, tuple(OnLost))
        else:
            checked[name] = choice(value, name, tuple(IfOffline))
    return checked


class Policies:
    """Policies of one submission; entries that say the same share one.

    Args:
        defaults: The job's, already checked.
        limits: Bounds of names and numbers.
        standing: Standing jobs by name: what `after` may name.
        traceparent: What the request belongs to, for those who trace.
        check_job: Raises for a job that the caller must not name; what the job itself comes after is not asked.
    """

    def __init__(
        self,
        defaults: Mapping[str, Any],
        limits: Limits,
        standing: Mapping[str, JobId] | None = None,
        check_job: Callable[[str], None] = lambda _: None,
        *,
        traceparent: str = "",
    ) -> None:
        self._traceparent = traceparent
        self._defaults = defaults
        self._standing = standing or {}
        self._check_job = check_job
        self._limits = limits
        self._known: dict[Any, tuple[TaskPolicy, IfOffline]] = {}
        self._plain: dict[str, tuple[TaskPolicy, IfOffline]] = {}
        self._now_ms = int(time.time() * 1000)

    def of(self, task: NewTask, location: str | None = None) -> tuple[TaskPolicy, IfOffline]:
        """The policy of an entry, and what happens if nobody matches; `location` stands in for the entry's."""
        where = task.location if location is None else location
        if (
            task.requires is msgspec.UNSET is task.priority is task.timeout is task.retries is task.lost_retries
            and task.on_lost is msgspec.UNSET is task.if_offline is task.expires is task.after
            and task.retry_delay is msgspec.UNSET is task.lost_retry_delay
        ):
            found = self._plain.get(where)
            if found is None:
                found = self._plain[where] = self._make(where, {})
            return found
        given = {name: value for name in MEMBERS if (value := getattr(task, name)) is not msgspec.UNSET}
        key = (where, *((name, tuple(value) if type(value) is list else value) for name, value in given.items()))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._make(where, given)
        return found

    def _make(self, location: str, given: Mapping[str, Any]) -> tuple[TaskPolicy, IfOffline]:
        if location:
            names.check_name(location, "location", self._limits)
        checked = check_members(given, self._limits)
        for job in checked.get("after", ()):  # type: ignore[union-attr]
            self._check_job(str(job))
        said = {**self._defaults, **checked}
        expires = float(said.get("expires", 0.0))
        policy = TaskPolicy(
            location=location,
            requires=tuple(sorted((*said.get("requires", ()), *self._tokens(said.get("after", ()))))),
            priority=said.get("priority", 0),
            timeout_seconds=float(said.get("timeout", 0.0)),
            retries=said.get("retries", 0),
            retry_delay_seconds=float(said.get("retry_delay", _DEFAULT.retry_delay_seconds)),
            lost_retries=said.get("lost_retries", 3),
            lost_retry_delay_seconds=float(said.get("lost_retry_delay", _DEFAULT.lost_retry_delay_seconds)),
            on_lost=OnLost(said.get("on_lost", OnLost.REQUEUE)),
            expires_at_ms=self._now_ms + int(expires * 1000) if expires else 0,
            traceparent=self._traceparent,
        )
        return policy, IfOffline(said.get("if_offline", IfOffline.QUEUE))

    def _tokens(self, jobs: Sequence[str]) -> list[str]:
        """What a worker carries that has done these standing jobs."""
        for name in jobs:
            if name not in self._standing:
                text = f"There is no standing job {name!r}; `after` names jobs that were defined with `standing`."
                raise UnknownJobError(text, field="after", job=name)
        return [token_of(self._standing[name]) for name in jobs]


def one_if_offline(found: set[IfOffline]) -> IfOffline:
    """What a submission does if nobody matches: it is accepted or refused as a whole."""
    if len(found) > 1:
        raise InvalidRequestError(
            "Member `if_offline` must be the same for all tasks of one submission, which is accepted or refused as a"
            " whole.",
            field="if_offline",
        )
    return next(iter(found), IfOffline.QUEUE)
