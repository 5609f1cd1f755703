"""The simulator itself: it repeats itself, shrinks, reaches, and finds every fault that is planted."""

import os
import subprocess
import sys

import pytest

from dart.broker.core import lifecycle
from dart.wire.codec import MESSAGE_TYPES
from simulation.faults import KINDS
from simulation.plants import PLANTS, find, planted
from simulation.reach import MISHAPS, NEVER_SENT, Reach
from simulation.run import main, plan_of, simulate
from simulation.shrink import shrink

SEEDS = range(3_000, 3_040)
"""Others than those of `make sim`."""


def test_promises_hold():
    """In some seeds; `make sim` runs many more."""
    broken = [(outcome.seed, outcome.fault) for outcome in map(simulate, SEEDS) if outcome.fault]
    assert broken == []


def test_a_seed_repeats_itself_in_another_process():
    """To the event, also where strings hash otherwise: or no failure could be replayed."""
    program = (
        "from simulation import run, cluster, world, reach\n"
        "for seed in (3001, 3002, 3003):\n"
        "    one = world.World(seed)\n"
        "    cluster.Cluster(one, reach.Reach()).run(run.plan_of(seed))\n"
        "    print(one.events, one.now, *one.story(), sep='\\n')\n"
    )
    told = []
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        told.append(run.stdout)
    assert told[0].count("\n") > 100
    assert told[0] == told[1]


def test_a_shrunk_list_fails_and_nothing_can_be_taken_from_it():
    """Delta debugging finds what matters, wherever it stands, and stops when its runs are used up."""
    needed = {3, 47, 48}
    assert shrink(list(range(50)), lambda steps: needed <= set(steps)) == [3, 47, 48]
    assert shrink([1], lambda _steps: True) == [1]
    assert len(shrink(list(range(50)), lambda steps: needed <= set(steps), runs_max=1)) == 50


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_fault_is_found_and_shrunk(plant):
    """Within `seeds_max` seeds; what is left of its plan fails still, and not without the plant."""
    found = find(plant)
    assert found is not None, f"{plant.seeds_max} seeds did not find it"
    assert len(found.shrunk) <= max(2, len(found.plan) // 2)
    with planted(plant):
        assert simulate(found.seed, found.shrunk).fault
    assert simulate(found.seed, found.shrunk).fault == ""


def test_a_failing_seed_is_told_with_its_replay(capsys, monkeypatch):
    """One line to run it again, the shrunk plan, the last events."""
    monkeypatch.setattr(sys, "argv", ["run", "--seed", "1"])
    with planted(PLANTS[0]):
        assert main() == 1
    told = capsys.readouterr().out
    assert "make sim SEED=1\n" in told
    assert "shrunk from " in told
    assert "its last " in told
    assert main() == 0
    assert "all promises kept" in capsys.readouterr().out


def full_reach():
    """A reach that has everything."""
    reach = Reach()
    reach.seeds, reach.events = 2000, [200] * 2000
    reach.rows.update(lifecycle.TABLE.keys())
    reach.kinds.update(dict.fromkeys(KINDS, 200))
    reach.deep = 100
    names = [message.__name__ for message in MESSAGE_TYPES.values() if message not in NEVER_SENT]
    reach.mishaps.update({(name, mishap): 100 for name in names for mishap in MISHAPS})
    return reach


def test_reach_tells_what_is_missing():
    """Rows, faults, mishaps of messages, events: each by itself."""
    assert full_reach().shortfalls(KINDS) == []
    reach = full_reach()
    row = next(iter(lifecycle.TABLE))
    del reach.rows[row]
    assert reach.shortfalls(KINDS) == ["row STAGED ADMIT of the lifecycle table was never taken"]
    reach = full_reach()
    reach.kinds["clone"] = 0
    reach.kinds["stop"] = 199
    assert reach.shortfalls(KINDS) == ["stop happened in 199 of 2000 seeds only"]
    reach = full_reach()
    reach.mishaps["Recall", "dropped"] = 99
    assert reach.shortfalls(KINDS) == ["Recall was dropped 99 times, not 100"]
    reach = full_reach()
    reach.deep = 99
    assert reach.shortfalls(KINDS) == ["pipelines were deep in 99 seeds, not 100"]
    reach = full_reach()
    reach.events[:1001] = [199] * 1001
    assert reach.shortfalls(KINDS) == ["the median seed has 199 events, not 200"]


def test_a_message_that_begins_to_be_sent_is_to_be_counted():
    """It may not stay among the exceptions."""
    reach = full_reach()
    reach.sent["Ask"] = 1
    assert reach.shortfalls(KINDS) == ["Ask is sent now: it is to be counted like the others"]


def test_plans_are_drawn_from_the_seed():
    """Sorted by time, and the same each time."""
    plan = plan_of(7)
    assert plan == plan_of(7)
    assert plan != plan_of(8)
    assert [step.at for step in plan] == sorted(step.at for step in plan)
