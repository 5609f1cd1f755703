"""Runs seeds: `python -m simulation.run --seeds 2000`, or one again: `python -m simulation.run --seed 123`.

Ends with 1 if a promise is broken or too little was reached. A failing seed is replayed, shrunk and told.
"""

import argparse
import gc
import multiprocessing
import os
import sys
import time
from typing import NamedTuple

from simulation.cluster import Cluster
from simulation.fault_watch import watch_faults
from simulation.faults import KINDS
from simulation.plans import draw_plan
from simulation.reach import Reach, watch_rows
from simulation.shrink import shrink
from simulation.world import BrokenPromiseError, World

CHUNK = 20
DEEP = 4
"""Tasks with one runner, from which on its pipeline counts as deep."""


class Outcome(NamedTuple):
    """What came of one run."""

    seed: int
    fault: str
    """What is broken; empty: nothing."""
    reach: Reach
    story: list
    """The latest events, if it is broken."""


def plan_of(seed):
    """What is to happen in this seed."""
    return draw_plan(World(seed).random_for("plan"))


def simulate(seed, plan=None):
    """Run a seed, with its own plan or another."""
    world = World(seed)
    reach = Reach()
    watch_faults(world)
    watch_rows(reach)
    plan = plan_of(seed) if plan is None else plan
    fault = ""
    try:
        cluster = Cluster(world, reach)
        cluster.run(plan)
    except BrokenPromiseError as error:
        fault = str(error)
    except Exception as error:  # whatever the program raises, it is a finding
        fault = f"{type(error).__name__}: {error}"
        if os.environ.get("SIMULATION_RAISES"):
            raise
    else:
        _count(reach, cluster, plan)
    finally:
        for loop in world.loops:
            loop.bury()
    reach.seeds = 1
    reach.events.append(world.events)
    return Outcome(seed, fault, reach, world.story() if fault else [])


def _count(reach, cluster, plan):
    kinds = {step.kind for step in plan}
    submissions = [step.arguments for step in plan if step.kind == "submit"]
    if any(arguments["copies"] > 1 for arguments in submissions):
        kinds.add("submission repeated")
    if any(len(arguments["specs"]) > cluster.limits.slice_tasks_max for arguments in submissions):
        kinds.add("submission in slices")
    if any(arguments["leave_after"] is not None for arguments in submissions):
        kinds.add("client leaves")
    reach.kinds.update(kinds)
    reach.deep += cluster.ledger.deepest >= DEEP
    reach.outcomes.update(record.state.name for record in cluster.ledger.finished.values())


def _run_chunk(seeds):
    """Of many seeds: what was reached, and the first that failed."""
    reach = Reach()
    gc.disable()  # worlds are full of circles; once a chunk is enough, and often costs a fifth of the time
    try:
        for seed in seeds:
            outcome = simulate(seed)
            reach.add(outcome.reach)
            if outcome.fault:
                return reach, outcome
    finally:
        gc.enable()
        gc.collect()
    return reach, None


def run_many(first, amount, processes):
    """Reach of all seeds, and the first broken one, if any."""
    chunks = [range(start, min(start + CHUNK, first + amount)) for start in range(first, first + amount, CHUNK)]
    total = Reach()
    if processes == 1:
        results = map(_run_chunk, chunks)
        return _gather(total, results)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        return _gather(total, pool.imap(_run_chunk, chunks))


def _gather(total, results):
    for reach, broken in results:
        total.add(reach)
        if broken is not None:
            return total, broken
    return total, None


def tell(outcome, *, write=print, runs_max=400):
    """Replay, shrink and tell a broken run."""
    plan = plan_of(outcome.seed)
    smaller = shrink(plan, lambda steps: bool(simulate(outcome.seed, steps).fault), runs_max=runs_max)
    final = simulate(outcome.seed, smaller)
    write(f"seed {outcome.seed}: {outcome.fault}")
    write(f"replay: make sim SEED={outcome.seed}")
    write(f"shrunk from {len(plan)} steps to {len(smaller)}: {final.fault}")
    for step in smaller:
        write(f"  {step.at:8.3f}  {step.kind}  {step.arguments}")
    write(f"its last {len(final.story)} events:")
    for line in final.story:
        write(line)


def main():
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        outcome = simulate(options.seed)
        if outcome.fault:
            tell(outcome)
            return 1
        print(f"seed {options.seed}: all promises kept, {outcome.reach.events[0]} events")
        return 0
    began = time.monotonic()
    reach, broken = run_many(options.first, options.seeds, options.processes)
    if broken is not None:
        tell(broken)
        return 1
    for line in reach.summary():
        print(line)
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s, {reach.seeds / seconds / options.processes:.0f} seeds a second and core")
    shortfalls = reach.shortfalls(KINDS) if reach.seeds >= 200 else []
    for line in shortfalls:
        print(f"not reached: {line}")
    return 1 if shortfalls else 0


if __name__ == "__main__":
    sys.exit(main())
