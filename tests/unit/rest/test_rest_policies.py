"""Policies of tasks from what requests say."""

import msgspec
import pytest

from dart.broker.core.model import IfOffline, OnLost, TaskPolicy
from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.rest.policies import MEMBERS, Policies, check_members, one_if_offline
from dart.rest.schemas import NewJob, NewTask

LIMITS = Limits()


def test_tasks_and_jobs_have_the_same_members():
    """So that a job can be the default of its tasks."""
    for kind in (NewTask, NewJob):
        assert set(MEMBERS) < set(kind.__struct_fields__)


def test_entries_that_say_the_same_share_one_policy():
    """A submission of thousands has few."""
    policies = Policies({}, LIMITS)
    plain = [policies.of(NewTask(location="w"))[0] for _ in range(3)]
    said = [policies.of(NewTask(location="w", requires=["b", "a"], priority="2"))[0] for _ in range(3)]
    assert plain[0] is plain[1] is plain[2]
    assert said[0] is said[1] is said[2]
    assert plain[0] == TaskPolicy(location="w")
    assert said[0] == TaskPolicy(location="w", requires=("a", "b"), priority=2)
    assert policies.of(NewTask(), "v")[0] == TaskPolicy(location="v")


def test_all_members():
    """What a task says wins over its job's defaults; `expires` counts from now."""
    policies = Policies({"retries": 2, "on_lost": "wait", "priority": 1, "if_offline": "fail"}, LIMITS)
    task = NewTask(timeout="1.5", retries=3, lost_retries=0, expires=60, if_offline="queue")
    policy, if_offline = policies.of(task)
    assert policy._replace(expires_at_ms=0) == TaskPolicy(
        priority=1, timeout_seconds=1.5, retries=3, lost_retries=0, on_lost=OnLost.WAIT
    )
    assert policy.expires_at_ms == policies._now_ms + 60_000
    assert if_offline is IfOffline.QUEUE
    assert policies.of(NewTask())[1] is IfOffline.FAIL


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("requires", ["a/b"]), ("priority", 10**7), ("priority", "x"), ("timeout", -1), ("timeout", float("nan")),
        ("retries", -1), ("lost_retries", "x"), ("on_lost", "x"), ("if_offline", "x"), ("expires", float("inf")),
    ],
)  # fmt: skip
def test_wrong_members_are_named(member, value):
    """In jobs as in tasks."""
    for attempt in (
        lambda: check_members({member: value}, LIMITS),
        lambda: Policies({}, LIMITS).of(msgspec.structs.replace(NewTask(), **{member: value})),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            attempt()
        assert caught.value.details["field"].startswith(member)


def test_a_location_is_a_name():
    """Or empty: any."""
    with pytest.raises(InvalidRequestError, match="location"):
        Policies({}, LIMITS).of(NewTask(location="a/b"))


def test_a_submission_is_accepted_or_refused_as_a_whole():
    """So `if_offline` cannot differ within."""
    assert one_if_offline(set()) is IfOffline.QUEUE
    assert one_if_offline({IfOffline.FAIL}) is IfOffline.FAIL
    with pytest.raises(InvalidRequestError, match="if_offline"):
        one_if_offline({IfOffline.FAIL, IfOffline.QUEUE})
