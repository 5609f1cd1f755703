"""Faults put into the real code by hand, one at a time: the simulator must find each, or it would find nothing."""

import contextlib
import inspect
import textwrap
from collections.abc import Callable
from typing import NamedTuple

from dart.agent.core import outcomes, session, slots
from dart.broker import committer, outbox
from dart.broker.core import enrolments, reconciliation, recovery, results
from dart.broker.core import outcomes as broker_outcomes
from simulation.run import plan_of, simulate
from simulation.shrink import shrink


class Change(NamedTuple):
    """One piece of a function's text and what stands there instead."""

    function: Callable
    old: str
    new: str


class Plant(NamedTuple):
    """A fault, and how many seeds must do to find it."""

    name: str
    seeds_max: int
    changes: tuple[Change, ...]


PLANTS = (
    Plant(
        "ack before commit",
        30,
        (
            Change(
                outbox.Outbox.put,
                "self._entries.append((number, entry))",
                "self._entries.append((0 if 'Ack(' in repr(entry) else number, entry))",
            ),
        ),
    ),
    Plant(
        "everything before commit",
        30,
        (Change(outbox.Outbox.put, "self._entries.append((number, entry))", "self._entries.append((0, entry))"),),
    ),
    Plant(
        "running attempts dropped at HELLO",
        30,
        (
            Change(
                reconciliation.judge,
                "(verdicts.keep if wanted else verdicts.drop).append(ref)",
                "verdicts.drop.append(ref)",
            ),
        ),
    ),
    Plant(
        "result of a stale attempt accepted",
        300,
        (
            Change(
                reconciliation.judge,
                "wanted = _wanted(core, agent, ref, lease_id, adopted)",
                "wanted = ref.task_id in core.tasks or _wanted(core, agent, ref, lease_id, adopted)",
            ),
            Change(results.on_results, "task.attempt != result.ref.attempt or ", ""),
        ),
    ),
    Plant(
        "spool entry forgotten at send",
        30,
        (
            Change(
                outcomes._next_batch,
                "kept.sent = True",
                "kept.sent = True; state.commands.append(SpoolForget((ref,)))",
            ),
        ),
    ),
    Plant(
        "what a policy refused is retried",
        200,
        (Change(broker_outcomes.take, "result.error_code not in _NEVER_RETRIED", "result.error_code != 103"),),
    ),
    Plant(
        "the policy is not asked",
        60,
        (Change(slots.on_tasks, "if refusal is not None:", "if refusal is not None and refusal.error_code != 106:"),),
    ),
    Plant(
        "what a revoked agent holds waits for it",
        300,
        (Change(enrolments._revoke, "reversed(list(agent.leases.values()))", "()"),),
    ),
    Plant(
        "credit taken for told although its frame was lost",
        200,
        (
            Change(
                session.connect_when_due,
                "state.session = Session()",
                "old = state.session; state.session = Session("
                "credit_told=old.credit_told, credit_left=old.credit_left)",
            ),
        ),
    ),
    Plant(
        "failed commit ignored",
        50,
        (
            Change(
                committer.Committer._commit,
                "self._failed = True\n        self._tell(self._on_failed, error)",
                "self._tell(self._on_committed, number)",
            ),
        ),
    ),
    Plant(
        "ids reused after a restart",
        50,
        (
            Change(
                recovery.recover,
                "recovered.highest_id)",
                "max((task.id for task in recovered.tasks), default=0))",
            ),
        ),
    ),
)


@contextlib.contextmanager
def planted(plant):
    """The changes are in force, for everybody who calls those functions."""
    before = {change.function: change.function.__code__ for change in plant.changes}
    try:
        for function in before:
            text = textwrap.dedent(inspect.getsource(function))
            for change in plant.changes:
                if change.function is function:
                    if text.count(change.old) != 1:
                        raise ValueError(f"what {plant.name!r} changes in {function.__qualname__} is not there once")
                    text = text.replace(change.old, change.new)
            names = {}
            exec(compile(text, "<planted>", "exec"), function.__globals__, names)  # noqa: S102 - text of this project
            function.__code__ = names[function.__name__].__code__
        yield
    finally:
        for function, code in before.items():
            function.__code__ = code


class Finding(NamedTuple):
    """How a plant was found."""

    seed: int
    fault: str
    plan: list
    shrunk: list


def find(plant, *, runs_max=200):
    """Run seeds from 1 on until one breaks, and shrink it; None: `seeds_max` did not do."""
    with planted(plant):
        for seed in range(1, plant.seeds_max + 1):
            outcome = simulate(seed)
            if outcome.fault:
                plan = plan_of(seed)
                smaller = shrink(plan, lambda steps, seed=seed: bool(simulate(seed, steps).fault), runs_max=runs_max)
                return Finding(seed, outcome.fault, plan, smaller)
    return None
