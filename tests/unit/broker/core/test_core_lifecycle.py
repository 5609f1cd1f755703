"""The table of transitions."""

from itertools import product
from pathlib import Path

import pytest

from dart.broker.core.lifecycle import (
    FINAL_STATES,
    HELD_STATES,
    OPEN_STATES,
    TABLE,
    IllegalTransitionError,
    Transition,
    move,
    new_task,
    next_attempt,
    page,
    story,
)
from dart.broker.core.model import Job, JobConfig, JobStatus, TaskPolicy, TaskState
from dart.ids import Attempt, JobId, TaskId

EXPECTED = """
STAGED ADMIT QUEUED | QUEUED LEASE LEASED | QUEUED ADOPT LEASED | QUEUED RETRY QUEUED | QUEUED SUCCEED SUCCEEDED
QUEUED FAIL FAILED | QUEUED CANCEL CANCELLED | QUEUED EXPIRE EXPIRED | LEASED START RUNNING | LEASED RELEASE QUEUED
LEASED LOSE QUEUED | LEASED RETRY QUEUED | LEASED SUCCEED SUCCEEDED | LEASED FAIL FAILED | LEASED CANCEL CANCELLED
LEASED EXPIRE EXPIRED | LEASED GIVE_UP LOST | RUNNING LOSE QUEUED | RUNNING RETRY QUEUED | RUNNING SUCCEED SUCCEEDED
QUEUED DELAY DELAYED | DELAYED RESUME QUEUED | DELAYED ADOPT LEASED | DELAYED RETRY QUEUED
DELAYED SUCCEED SUCCEEDED | DELAYED FAIL FAILED | DELAYED CANCEL CANCELLED | DELAYED EXPIRE EXPIRED
RUNNING FAIL FAILED | RUNNING CANCEL CANCELLED | RUNNING EXPIRE EXPIRED | RUNNING GIVE_UP LOST
"""


@pytest.fixture
def task():
    job = Job(JobId(1), "job", JobConfig("m", "f", {}), JobStatus.RUNNING, 0)
    return new_task(TaskId(2), job, TaskPolicy("w"), "", 1)


def test_table_is_what_was_agreed():
    """Every transition stands here a second time, by hand: a change must be meant."""
    rows = {tuple(row.split()) for line in EXPECTED.strip().splitlines() for row in line.split("|")}
    assert {(before.name, what.name, after.name) for (before, what), after in TABLE.items()} == rows


@pytest.mark.parametrize(("state", "transition"), list(product(TaskState, Transition)))
def test_moves_follow_the_table(task, state, transition):
    """A transition of the table is made, and the job's counts with it; any other is a fault that tells the story."""
    task.state = state
    if state in OPEN_STATES:
        task.job.counts[state] = 1
    if (state, transition) in TABLE:
        move(task, transition)
        assert task.state is TABLE[state, transition]
        assert task.job.counts == [int(other is task.state) for other in TaskState]
    else:
        with pytest.raises(IllegalTransitionError, match=rf"{transition.name} cannot happen to task 2 of job 'job'"):
            move(task, transition)
        assert task.state is state


def test_final_states_are_final():
    """No transition leads out of a final state, and every open one can be cancelled and expire."""
    assert not {before for before, _ in TABLE} & set(FINAL_STATES)
    for state in OPEN_STATES:
        assert TABLE[state, Transition.CANCEL] is TaskState.CANCELLED
        assert TABLE[state, Transition.EXPIRE] is TaskState.EXPIRED
    assert set(HELD_STATES) < set(OPEN_STATES)


def test_attempts_grow(task):
    """Numbers of attempts grow also over incarnations, and start behind what was counted before a restart."""
    assert next_attempt(task, 1) == Attempt(1, 1)
    task.attempt = Attempt(1, 1)
    assert next_attempt(task, 2) == Attempt(2, 1_000_001), "the one before was given back"
    task.attempt, task.errors, task.losses = None, 2, 3
    assert next_attempt(task, 2) == Attempt(2, 6)


def test_story_names_everything(task):
    """A fault can be understood from its text alone."""
    assert story(task) == "task 2 of job 'job', STAGED, no attempt, agent none, 0 errors, 0 losses, location 'w'"
    task.attempt = Attempt(3, 4)
    assert "attempt 3.4" in story(task)


def test_page_is_up_to_date():
    """`docs/states.md` is what the table says; `python docs/make_states.py` writes it."""
    root = next(parent for parent in Path(__file__).parents if (parent / "pyproject.toml").exists())
    assert (root / "docs" / "states.md").read_text(encoding="utf-8") == page()
    assert "LEASED --> RUNNING: START" in page()
