"""Whose child is whose, and what is killed."""

import os
import subprocess
import sys

import pytest

from dart.agent import escaped
from dart.agent.escaped import Escaped
from harness.waiting import wait_until

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def child():
    process = subprocess.Popen(SLEEP, env={"DART_SCRATCH": "/tmp/dart-test/1"}, start_new_session=True)
    wait_until(lambda: escaped.origin(process.pid), explain="it does not start")
    yield process
    process.kill()
    process.wait()


def test_both_ways_find_the_same_children(child):
    """Kernels without a list of children are asked for all processes."""
    listed = escaped.own_children()
    assert child.pid in listed
    assert set(escaped._children_by_parent(os.getpid())) == set(listed)


def test_a_process_says_where_it_came_from(child):
    """By the variable that it was started with; nobody, if it is gone."""
    assert escaped.origin(child.pid) == "/tmp/dart-test/1"
    assert escaped.origin(2**22 + 1) == ""


@pytest.mark.parametrize("living", [(), ("/tmp/dart-test/1",)])
def test_who_is_no_agent_kills_nobody(child, living):
    """A test that holds a supervisor has children of its own."""
    assert not Escaped(adopt=False).end((), living)
    assert child.poll() is None


@pytest.fixture
def adopting(child):
    """As in an agent, whose children are nobody else's; the test's own parent is left alone."""
    held = Escaped(adopt=True)
    if not held._active:
        pytest.skip("an emulator: no children are handed over")
    held._before = frozenset(pid for pid in escaped.own_children() if pid != child.pid)
    yield held
    held.close()


def test_who_names_a_runner_that_is_no_more_is_killed(child, adopting):
    """And who names one that lives is not."""
    assert not adopting.end((), ["/tmp/dart-test/1"])
    assert child.poll() is None
    assert adopting.end((), ["/tmp/dart-test/2"])
    wait_until(lambda: not adopting.end((), ["/tmp/dart-test/2"]), explain="it is not reaped")
    assert child.pid not in escaped.own_children()


def test_who_says_nothing_has_until_the_next_look(child, adopting, monkeypatch):
    """It may be starting another program at this moment; without any runner there is nothing to wait for."""
    monkeypatch.setattr(escaped, "origin", lambda _: "")
    assert adopting.end((), ["/tmp/dart-test/1"])
    assert child.poll() is None
    assert adopting.end((), ["/tmp/dart-test/1"])
    wait_until(lambda: not adopting.end((), ()), explain="it is not reaped")
    assert child.pid not in escaped.own_children()


def test_what_was_there_before_is_left_alone(child):
    """Whoever runs an agent inside of a process of other work."""
    held = Escaped(adopt=True)
    assert not held.end((), ())
    held.close()
    assert child.poll() is None


def test_what_an_agent_of_another_run_left_is_killed(child):
    """It names a directory below that agent's."""
    escaped.end_all_of("/tmp/dart-tes")
    assert child.poll() is None
    escaped.end_all_of("/tmp/dart-test")
    assert child.wait(10) == -9
