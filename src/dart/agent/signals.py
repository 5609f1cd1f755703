"""Signals of a loop that sleeps in a selector: handlers for a while, and a descriptor that gets it out of its sleep."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping


@contextlib.contextmanager
def handled(calls: Mapping[signal.Signals, Callable[[signal.Signals], None]], *, wake: int) -> Iterator[None]:
    """Within it, call these; each signal also writes to the descriptor `wake`."""

    def call(number: int, _frame: object) -> None:
        calls[signal.Signals(number)](signal.Signals(number))

    before = {number: signal.signal(number, call) for number in calls}
    wake_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wake_before)
        for number, handler in before.items():
            signal.signal(number, handler)
