"""Collections are seldom, and free lists are given back."""

import gc
import sys

from dart.garbage import collect_seldom, trim


def fill():
    """Tuples that are freed into another list than they were taken from."""
    kept = [tuple(number for number in range(17)) for _ in range(1000)]
    kept.clear()


def test_what_freed_tuples_take_is_given_back():
    """After `trim` as many blocks are taken as before the tuples were made; without it they stay."""
    gc.collect()
    before = sys.getallocatedblocks()
    fill()
    assert sys.getallocatedblocks() - before > 900
    trim()
    assert abs(sys.getallocatedblocks() - before) < 200


def test_garbage_of_old_generations_stays_collectable():
    """What was frozen meanwhile is let go again."""

    class Knot:
        pass

    knots = [Knot() for _ in range(100)]
    gc.collect()
    for knot in knots:
        knot.self = knot
    frozen = gc.get_freeze_count()
    del knot
    knots.clear()
    trim()
    assert gc.get_freeze_count() == frozen
    assert gc.collect() >= 100


def test_objects_that_live_are_seldom_looked_at():
    """As many as all tasks on their way through an agent are made without a single collection."""
    before = gc.get_threshold()
    counted = []
    try:
        collect_seldom()
        gc.collect()
        gc.callbacks.append(lambda phase, _: counted.append(phase))
        kept = [[] for _ in range(50_000)]
        gc.callbacks.pop()
    finally:
        gc.set_threshold(*before)
    assert len(kept) == 50_000
    assert counted == []
