"""What the poller makes of single answers; the real server is in the integration tests."""

from types import SimpleNamespace
from typing import Any

import pytest

import dart_client
from dart_client import TaskFuture
from dart_client.errors import MalformedError
from dart_client.poller import AMOUNT, Poller

JOB = SimpleNamespace(client=SimpleNamespace(connection=None))
"""Of futures whose results have no large parts, so that nothing is fetched."""


class Answers:
    """Stands where the connection is: each call takes the next of the given answers, or raises it."""

    closed = False

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[dict[str, Any], str]] = []

    def call(self, _method, _target, *, query=None, accept="application/msgpack", **_):
        self.calls.append((query or {}, accept))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def page(cursor, *results):
    return {"results": list(results), "cursor": cursor, "job": {"id": "1", "status": 1}}


@pytest.fixture
def poller_of(monkeypatch):
    def make(answers, *ids):
        poller = Poller(answers, "j")
        monkeypatch.setattr("threading.Thread.start", lambda _: None)  # the test polls by itself
        poller.begin_post(len(ids))
        futures = [TaskFuture(JOB, poller.condition, task_id) for task_id in ids]
        poller.end_post(futures, (), waited=False)
        return poller, futures

    return make


def test_one_unreadable_value_fails_its_own_future_only(poller_of):
    """The page is read result by result until the bad one is found; those before and after it are fine."""
    bad = MalformedError("cannot be read")
    answers = Answers(
        bad, page("1", {"id": "1", "success": "a"}), bad, page("2", {"id": "2", "success": "?"}),
        page("3", {"id": "3", "success": "c"}),
    )  # fmt: skip
    poller, (first, second, third) = poller_of(answers, "1", "2", "3")
    for _ in range(4):
        poller._poll()
    assert (first.result(0), third.result(0)) == ("a", "c")
    with pytest.raises(MalformedError):
        second.result(0)
    asked = [(query["after"], query["amount"], accept.rpartition("/")[2]) for query, accept in answers.calls]
    assert asked == [
        ("0", AMOUNT, "msgpack"), ("0", 1, "msgpack"), ("1", 1, "msgpack"), ("1", 1, "json"), ("2", AMOUNT, "msgpack"),
    ]  # fmt: skip


def test_results_that_overtake_their_submission_find_their_futures(poller_of):
    """Kept while a submission is under way, forgotten when none is."""
    poller, (first,) = poller_of(Answers(page("5", {"id": "7", "success": "b"}, {"id": "9", "success": "x"})), "1")
    poller.begin_post(1)
    poller._poll()
    late = TaskFuture(JOB, poller.condition, "7")
    poller.end_post([late], (), waited=False)
    assert late.result(0) == "b"
    assert poller._early == {}
    assert not first.done()


def test_an_error_of_the_server_ends_the_futures(poller_of):
    """A revoked key, for one: no later poll would do better."""
    poller, (future,) = poller_of(Answers(dart_client.ForbiddenError("revoked")), "1")
    assert poller._poll_or_explain() > 0
    with pytest.raises(dart_client.ForbiddenError):
        future.result(0)


def test_a_quick_task_after_a_quick_one_waits_for_its_result(poller_of):
    """Its result comes with the answer; after a slow one, or with others open, there is no waiting."""
    answers = Answers(page("1", {"id": "1", "success": 0}))
    poller, _ = poller_of(answers, "1")
    poller._poll()
    assert poller.begin_post(1) > 0
    (second,) = [TaskFuture(JOB, poller.condition, "2")]
    poller.end_post([second], [{"id": "2", "success": "with the answer"}], waited=True)
    assert second.result(0) == "with the answer"
    assert poller.begin_post(1) > 0
    assert poller.begin_post(1) == 0.0
    poller.end_post([TaskFuture(JOB, poller.condition, "3")], (), waited=True)
    assert poller.begin_post(1) == 0.0
