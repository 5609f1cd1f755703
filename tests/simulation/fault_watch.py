"""Faults of the program that the broker's shell catches and logs: they break a run all the same."""

import logging


class FaultWatch(logging.Handler):
    """A fault of the program that the shell caught and logged breaks the run all the same."""

    world = None

    def emit(self, record):
        if record.exc_info is not None and self.world is not None:
            self.world.fail(f"{record.getMessage()} {record.exc_info[1]!r}")


WATCH = FaultWatch(logging.ERROR)


def watch_faults(world):
    """Have faults logged by the broker break this world's run."""
    log = logging.getLogger("dart")
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.handlers[:] = [WATCH]
    WATCH.world = world
