"""Those who wait for results, and for answers to pings."""

import pytest

from dart.broker.core.commands import Answered
from dart.broker.pings import Pings
from dart.broker.waiters import Waiters
from dart.errors import LimitError
from dart.ids import AgentId, JobId
from dart.wire.messages import Told


async def test_a_job_wakes_its_own():
    """And nobody else."""
    waiters = Waiters(waiters_max=3)
    mine, other = waiters.join(JobId(1)), waiters.join(JobId(2))
    waiters.wake(JobId(1))
    waiters.wake(JobId(9))
    assert (mine.is_set(), other.is_set()) == (True, False)
    waiters.wake_all()
    assert other.is_set()
    waiters.leave(JobId(1), mine)
    waiters.leave(JobId(2), other)
    assert len(waiters) == 0


async def test_they_are_bounded():
    """A place is free again when one leaves."""
    waiters = Waiters(waiters_max=1)
    first = waiters.join(JobId(1))
    with pytest.raises(LimitError, match="waiters_max"):
        waiters.join(JobId(1))
    waiters.leave(JobId(1), first)
    waiters.join(JobId(1))


async def test_pings_end_when_all_have_answered():
    """Answers that nobody waits for, and second ones, are ignored."""
    pings = Pings()
    one, two = AgentId("1"), AgentId("2")
    with pings.expect(5, [one, two]) as answers:
        pings.answered(Answered(one, 6))
        assert answers.milliseconds == {}
        pings.answered(Answered(one, 5))
        first = dict(answers.milliseconds)
        pings.answered(Answered(one, 5))
        assert answers.milliseconds == first
        told = Told(5, "", {"python": "3.9"})
        pings.answered(Answered(two, 5, told))
        await answers.wait(60)
    pings.answered(Answered(one, 5))
    assert set(answers.milliseconds) == {one, two}
    assert answers.told == {two: told}


async def test_pings_of_nobody_end_at_once():
    """There is nothing to wait for."""
    with Pings().expect(5, []) as answers:
        await answers.wait(60)
