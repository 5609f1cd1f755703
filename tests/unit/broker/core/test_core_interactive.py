"""A few tasks beside thousands: agents are given less ahead while somebody waits for answers."""

import pytest

from harness.recorder import Recorder

LIMITS = {
    "interactive_tasks_max": 2,
    "interactive_backlog_min": 100,
    "interactive_seconds": 4.0,
    "interactive_leases_max": 40,
    "slice_tasks_max": 150,
}


@pytest.fixture
def loaded():
    """Two agents that would take 60 ahead each, and a backlog."""
    r = Recorder(**LIMITS)
    r.define()
    r.agents = [r.agent(name, slots=1, credit=61) for name in ("w", "v")]
    r.submit(150, location="w")
    r.submit(150, location="v")
    return r


def held(r):
    return [len(r.core.agents[agent.id].leases) for agent in r.agents]


def finish_half(r):
    """And have credit for as many."""
    for agent in r.agents:
        done = list(r.core.agents[agent.id].leases.values())[:31]
        agent.finish(*(ref for ref in agent.given if ref.task_id in {lease.task.id for lease in done}))
        agent.credit(31)


def test_agents_hold_less_ahead_for_a_while(loaded):
    """Each its slots and its share of what all together may have; all of it again when nobody asks any more."""
    r = loaded
    assert held(r) == [61, 61]
    r.submit(1, location="w")
    finish_half(r)
    assert held(r) == [30, 30], "what is held already is more than the share"
    finish_half(r)
    assert held(r) == [21, 21], "20 is the half of 40"
    r.wait(3.9)
    r.submit(2, location="w")
    r.wait(3.9)
    r.agents[0].heartbeat()
    assert held(r) == [21, 21]
    r.wait(0.2)
    r.agents[0].heartbeat()
    assert min(held(r)) > 30, "both at once, though one of them has said nothing"


def test_a_large_submission_asks_for_no_room(loaded):
    """Its sender waits for all of it."""
    r = loaded
    r.submit(3, location="w")
    finish_half(r)
    assert held(r) == [61, 61]


def test_no_backlog_no_share():
    """A few tasks beside a few others change nothing."""
    r = Recorder(**LIMITS)
    r.agent(slots=1, credit=61)
    r.define()
    r.submit(99)
    r.submit(1)
    assert r.core.interactive_share == 0


def test_each_agent_has_some_ahead():
    """However many share: eight, or one for each of its slots."""
    r = Recorder(**{**LIMITS, "interactive_leases_max": 15})
    few, many = r.agent("w", slots=1, credit=61), r.agent("v", slots=12, credit=61)
    r.define()
    r.submit(150, location="nobody")
    r.submit(1, location="w")
    r.submit(60, location="w")
    r.submit(60, location="v")
    r.wait(1)
    assert [len(agent.given) for agent in (few, many)] == [9, 24]


def test_the_limit_of_prefetch_holds_all_the_same():
    """Whoever wants nothing ahead has nothing ahead."""
    r = Recorder(**LIMITS, prefetch_max=0)
    agent = r.agent(slots=1, credit=61)
    r.define()
    r.submit(150)
    r.submit(1)
    assert len(agent.given) == 1


def test_large_submissions_come_in_smaller_slices(loaded):
    """So that no turn is long."""
    r = loaded
    r.submit(1, location="w")
    before = len(r.core.tasks)
    r.submit(150, location="nobody")
    assert len(r.core.tasks) - before == 80, "two slices of 40 a turn"
