"""Patterns over names of workers, within a time that nobody else notices."""

import time
from collections import OrderedDict
from collections.abc import Sequence

from dart.limits import Limits
from dart.patterns import compile_pattern, refused


class Patterns:
    """Matches patterns against names and remembers what matched."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._matches: OrderedDict[tuple[object, str, int], tuple[str, ...]] = OrderedDict()

    def match(self, pattern: str, names: Sequence[str], *, scope: object) -> tuple[str, ...]:
        """Those of the names that the pattern matches as a whole.

        Args:
            pattern: At most `pattern_chars_max` characters.
            names: Distinct; within a scope they are only ever added to.
            scope: What the names belong to, for the cache.

        Raises:
            InvalidRequestError: It is no pattern, or takes longer than `pattern_milliseconds_max`.
        """
        key = (scope, pattern, len(names))
        found = self._matches.get(key)
        if found is None:
            found = self._matches[key] = self._match(pattern, names)
            if len(self._matches) > self._limits.patterns_cached_max:
                self._matches.popitem(last=False)
        else:
            self._matches.move_to_end(key)
        return found

    def _match(self, pattern: str, names: Sequence[str]) -> tuple[str, ...]:
        compiled = compile_pattern(pattern, self._limits)
        ends_at = time.perf_counter() + self._limits.pattern_milliseconds_max / 1000
        found = []
        try:
            for name in names:
                # The least that the library takes for a limit; 0 would mean none.
                left = max(ends_at - time.perf_counter(), 1e-6)
                if compiled.fullmatch(name, timeout=left):
                    found.append(name)
        except TimeoutError:
            raise refused(
                f"takes longer than {self._limits.pattern_milliseconds_max} ms for {len(names)} names"
                " (limit pattern_milliseconds_max); make it simpler"
            ) from None
        except MemoryError:
            raise refused("is too complex; make it simpler") from None
        return tuple(found)
