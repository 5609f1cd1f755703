"""Wrong keys: counted by address and over all, so that nobody guesses at will; in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

from dart.limits import Limits
from dart.networks import network

_OVERALL_SECONDS: Final = 0.05
"""After so long one wrong key is forgiven over all."""


class _Level(NamedTuple):
    failures: float
    at: float


class Failures:
    """Levels that rise with each failure and fall with time.

    Args:
        limits: `key_failures_max` and its neighbours.
        clock: Seconds that never run backwards.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._levels: OrderedDict[str, _Level] = OrderedDict()
        self._overall = _Level(0.0, clock())

    def wait_seconds(self, address: str) -> float:
        """How long until a further wrong key from this address is answered as such; 0: now."""
        limits = self._limits
        own = self._now(self._levels.get(network(address)), limits.key_failure_seconds)
        overall = self._now(self._overall, _OVERALL_SECONDS)
        return max(
            (own + 1 - limits.key_failures_max) * limits.key_failure_seconds,
            (overall + 1 - limits.key_failures_overall_max) * _OVERALL_SECONDS,
            0.0,
        )

    def add(self, address: str) -> None:
        """Count a wrong key. A level ends at its limit: who stops is soon forgiven, however long it went on."""
        limits, at = self._limits, self._clock()
        where = network(address)
        own = self._now(self._levels.pop(where, None), limits.key_failure_seconds)
        overall = self._now(self._overall, _OVERALL_SECONDS)
        self._levels[where] = _Level(min(own + 1.0, limits.key_failures_max), at)
        self._overall = _Level(min(overall + 1.0, limits.key_failures_overall_max), at)
        if len(self._levels) > limits.key_addresses_max:
            self._levels.popitem(last=False)

    def _now(self, level: _Level | None, seconds: float) -> float:
        if level is None:
            return 0.0
        return max(0.0, level.failures - (self._clock() - level.at) / seconds)
