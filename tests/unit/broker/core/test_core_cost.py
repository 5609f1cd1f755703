"""What a task costs does not depend on how much else there is: counted in calls of functions, never in time."""

import sys

import pytest

from harness.recorder import Recorder


def counted(r, action):
    """Calls of functions, Python's and C's, that the core's turns took."""
    handle, calls = r.reactor.handle, [0]

    def count(_frame, event, _argument):
        calls[0] += event in ("call", "c_call")

    def counting(event, now):
        sys.setprofile(count)
        try:
            return handle(event, now)
        finally:
            sys.setprofile(None)

    r.reactor.handle = counting
    action()
    del r.reactor.handle
    return calls[0]


def cost(jobs, queued, finished):
    """Of one task from its submission to its result, in a queue that this number of jobs share."""
    r = Recorder()
    agent = r.agent(slots=2, credit=2)
    for number in range(jobs):
        r.define(f"job-{number}")
    r.submit(finished, "job-0")
    while len(r.core.tasks):
        agent.finish(*agent.given[-2:], credit=2)
    for number in range(jobs):
        r.submit(queued // jobs, f"job-{number}")

    def one():
        r.submit(1, "job-0")
        agent.finish(agent.given[-1], credit=1)

    one()
    return counted(r, one)


FEW = {"jobs": 4, "queued": 40, "finished": 2}


@pytest.mark.parametrize("more", [{"jobs": 40}, {"queued": 1000}, {"finished": 100}])
def test_a_task_costs_the_same_whatever_else_there_is(more):
    """Ten times the jobs that wait for their turn, twenty-five times the tasks, fifty times those that have ended."""
    assert cost(**{**FEW, **more}) == pytest.approx(cost(**FEW), rel=0.05)
