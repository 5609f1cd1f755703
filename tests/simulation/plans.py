"""Plans: which steps there are and when, drawn from the seed before anything runs."""

from itertools import cycle, islice

from dart.broker.core.model import OnLost, TaskPolicy
from simulation.client import AFTER
from simulation.faults import FAULTS, JOBS, SECONDS, Step
from simulation.world import EPOCH

OFTEN = {
    "lossy line": 0.4,
    "echoing line": 0.4,
    "late line": 0.4,
    "seldom messages meddled with": 0.7,
    "cancel": 0.4,
    "drain": 0.4,
    "disk full": 0.4,
    "agent killed with results unsent": 0.4,
}
"""In what part of all plans, where it is more than usual."""
QUICK_SHARE = 0.35
"""Of the plans in which tasks are many and take next to no time, so that many are on their way to each runner."""
QUICKER = 0.001
QUICK_TASKS = 90


def draw_plan(chance):
    """All steps of a run, in order of time."""
    steps = [_draw_submission(chance, number) for number in range(chance.randint(3, 8))]
    for _ in range(chance.randint(2, 6)):
        way = chance.choice(("poll", "wait", "list"))
        arguments = {"job": chance.choice(JOBS), "way": way, "seconds": chance.uniform(0.1, 5.0)}
        steps.append(Step(chance.uniform(0.5, SECONDS), "look", arguments))
    kinds = [kind for kind in FAULTS if chance.random() < OFTEN.get(kind, 0.17)]
    for kind in kinds:
        # Harm to clients' own work is done once, or little would be left to be harmed otherwise.
        times = (
            1
            if kind in {"stop", "purge", "cloned agent", "new agent of an old name", "agent revoked"}
            else chance.randint(1, 3)
        )
        for _ in range(times):
            arguments = {
                "host": chance.randrange(12),
                "amount": round(chance.random(), 3),
                "seconds": round(chance.uniform(0.2, 8.0), 2),
            }
            steps.append(Step(chance.uniform(0.3, SECONDS), kind, arguments))
    if chance.random() < QUICK_SHARE:
        _quicker(steps)
    return sorted((step._replace(at=round(step.at, 3)) for step in steps), key=lambda step: step.at)


def _quicker(steps):
    """The tasks of all submissions take next to no time, and those of the first are many."""
    submissions = [step for step in steps if step.kind == "submit"]
    for step in submissions:
        specs = step.arguments["specs"]
        amount = QUICK_TASKS if step is submissions[0] else len(specs)
        step.arguments["specs"] = [
            (policy, behaviour | {"seconds": round(QUICKER * behaviour["seconds"], 6)})
            for policy, behaviour in islice(cycle(specs), amount)
        ]


def _draw_submission(chance, number):
    policy_of_all = _draw_policy(chance)
    specs = []
    for _ in range(chance.choice((1, 2, 3, 5, 8, 20))):
        policy = policy_of_all if chance.random() < 0.7 else _draw_policy(chance)
        specs.append((policy, _draw_behaviour(chance)))
    arguments = {
        "job": chance.choice(JOBS),
        "specs": specs,
        "key": f"key {number}" if chance.random() < 0.7 else "",
        "copies": 1,
        "leave_after": round(chance.random() * 0.03, 4) if chance.random() < 0.1 else None,
    }
    if arguments["key"] and chance.random() < 0.3:
        arguments["copies"] = 2
    return Step(chance.uniform(0.1, SECONDS * 0.8), "submit", arguments)


def _draw_policy(chance):
    expires = chance.random() < 0.12
    return TaskPolicy(
        location=chance.choice(("", "", "ant", "bee")),
        requires=chance.choice((("gpu",), (AFTER,), (AFTER, "gpu"), (), (), (), (), (), ())),
        priority=chance.choice((0, 0, 0, 1, 5)),
        timeout_seconds=chance.uniform(0.2, 2.0) if chance.random() < 0.15 else 0.0,
        retries=chance.choice((0, 0, 1, 3)),
        lost_retries=chance.choice((0, 1, 3, 50)),
        on_lost=chance.choice((OnLost.REQUEUE, OnLost.REQUEUE, OnLost.WAIT, OnLost.FAIL)),
        retry_delay_seconds=chance.choice((0.0, 0.5, 3.0)),
        lost_retry_delay_seconds=chance.choice((0.0, 0.0, 20.0, 30.0)),
        expires_at_ms=int((EPOCH + chance.uniform(1.0, 2 * SECONDS)) * 1000) if expires else 0,
    )


def _draw_behaviour(chance):
    kind = chance.random()
    if kind < 0.6:
        seconds = chance.uniform(0.005, 0.3)
    elif kind < 0.93:
        seconds = chance.uniform(0.3, 3.0)
    else:
        seconds = chance.uniform(3.0, 15.0)
    return {
        "seconds": round(seconds, 4),
        "fails": chance.choice((1, 2, 9)) if chance.random() < 0.3 else 0,
        "dies": 1 if chance.random() < 0.04 else 0,
        "talks": chance.random() < 0.35,
        "padding": chance.choice((0, 0, 40, 300)),
    }
