"""How seldom Python looks for garbage, and memory that it keeps of freed objects, given back from time to time.

CPython keeps up to 2,000 freed tuples of each length up to 20. A tuple that grew while it was made, as
`tuple(generator)` does, is freed into another list than it was taken from; so in a process that runs for days these
lists fill up, to some megabytes. A collection of all generations empties them, but where nothing is garbage Python
never makes one, and with a million tasks it would hold the process up for seconds.
"""

import gc

_THRESHOLD = 100_000
TRIM_SECONDS = 60.0
"""Between two times of giving back; in between the lists do what they are for."""


def collect_seldom() -> None:
    """Have many objects made between two collections: tasks come by the thousand and are no garbage.

    With Python's own 700 an agent spends a twentieth of its time on collections that find nothing.
    """
    gc.set_threshold(_THRESHOLD, 20, 20)


def trim() -> None:
    """Empty the free lists. Costs microseconds, however much the process holds."""
    gc.collect(1)
    # What is frozen is not looked at: the full collection that follows finds nothing to do but this.
    gc.freeze()
    gc.collect()
    gc.unfreeze()
