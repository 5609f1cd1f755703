"""Whose child is whose, and what is killed."""

import os
import subprocess
import sys

import pytest

from dart.agent import escaped
from dart.agent.escaped import Escaped

SLEEP = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


@pytest.fixture
def child():
    process = subprocess.Popen(SLEEP, env={"DART_SCRATCH": "/tmp/dart-test/1"}, start_new_session=True)
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


def test_what_an_agent_of_another_run_left_is_killed(child):
    """It names a directory below that agent's."""
    escaped.end_all_of("/tmp/dart-tes")
    assert child.poll() is None
    escaped.end_all_of("/tmp/dart-test")
    assert child.wait(10) == -9
