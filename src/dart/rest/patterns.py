"""`worker_regex`: ECMAScript-like patterns over whole names, within a time that nobody else notices."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import regex

from dart.errors import InvalidRequestError
from dart.limits import Limits

EXPANDED_MAX: Final = 10_000
"""Repetitions written with numbers may make a pattern at most so long: the compiler unrolls some of them."""
DEPTH_MAX: Final = 50
_LINE_END_OR_NOT: Final = "[^\\n\\r\\u2028\\u2029]"
_QUANTIFIER: Final = regex.compile(r"[*+?]|\{(\d{1,6})(,(\d{0,6}))?\}")
_GROUP_HEAD: Final = regex.compile(r"\((?:\?(?::|=|!|<=|<!|<[A-Za-z_]\w{0,50}>))?")


@dataclass(slots=True)
class _Part:
    """What is known of a piece of a pattern."""

    length: int = 0
    """Of the text with all counted repetitions written out."""
    loops: bool = False
    """Has an unlimited repetition."""
    anchored: bool = False
    """Has something that stands outside every unlimited repetition and takes a character."""


class _Group:
    """An open bracket: its alternatives so far and what was read last."""

    def __init__(self) -> None:
        self.length = 0
        self.loops_freely = False
        self.anchored_always = True
        self.sequence: list[_Part] = []

    def end_alternative(self) -> None:
        loops = any(part.loops for part in self.sequence)
        anchored = any(part.anchored for part in self.sequence)
        self.length += sum(part.length for part in self.sequence) + 1
        self.loops_freely = self.loops_freely or (loops and not anchored)
        self.anchored_always = self.anchored_always and anchored
        self.sequence = []

    def as_part(self) -> _Part:
        self.end_alternative()
        return _Part(self.length, self.loops_freely, self.anchored_always)


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
        ends_at = time.perf_counter() + self._limits.pattern_milliseconds_max / 1000
        compiled = compile_pattern(pattern, self._limits)
        found = []
        try:
            for name in names:
                # The least that the library takes for a limit; 0 would mean none.
                left = max(ends_at - time.perf_counter(), 1e-6)
                if compiled.fullmatch(name, timeout=left):
                    found.append(name)
        except TimeoutError:
            raise _refused(
                f"takes longer than {self._limits.pattern_milliseconds_max} ms for {len(names)} names"
                " (limit pattern_milliseconds_max); make it simpler"
            ) from None
        except MemoryError:
            raise _refused("is too complex; make it simpler") from None
        return tuple(found)


def compile_pattern(pattern: str, limits: Limits) -> Any:
    """The pattern, checked and translated.

    Raises:
        InvalidRequestError: It is no pattern, too long, or of a form that can take exponential time.
    """
    if len(pattern) > limits.pattern_chars_max:
        raise _refused(f"has {len(pattern)} characters; at most {limits.pattern_chars_max} are allowed")
    translated = _Translation(pattern).text()
    try:
        return regex.compile(translated, regex.ASCII | regex.VERSION0)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError, KeyError, IndexError) as error:
        raise _refused(f"is no pattern: {str(error)[:200]}") from None


class _Translation:
    """One walk over a pattern: what each token becomes, and what is repeated how."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._groups = [_Group()]

    def text(self) -> str:
        """The pattern for the `regex` module, after a look at what it repeats."""
        out: list[str] = []
        position = 0
        while position < len(self._pattern):
            end = self._token_end(position)
            piece = self._pattern[position:end]
            out.append(_LINE_END_OR_NOT if piece == "." else "\\" + piece if piece in ("{", "}") else piece)
            position = end
            if sum(group.length + sum(part.length for part in group.sequence) for group in self._groups) > EXPANDED_MAX:
                raise _refused("repeats too much; use smaller numbers in its curly brackets")
        return "".join(out)

    def _token_end(self, position: int) -> int:
        """Take the token that begins here; where it ends."""
        mark = self._pattern[position]
        sequence = self._groups[-1].sequence
        if mark == "(":
            return self._open(position)
        if mark == ")":
            self._close()
        elif mark == "|":
            self._groups[-1].end_alternative()
        elif quantifier := _QUANTIFIER.match(self._pattern, position):
            if sequence:
                _repeat(sequence, quantifier)
            # A `?` after a quantifier only says how it repeats.
            end: int = quantifier.end()
            return end + self._pattern.startswith("?", end)
        elif mark == "\\":
            sequence.append(_Part(1, anchored=self._pattern[position + 1 : position + 2] not in ("b", "B")))
            return position + 2
        elif mark not in "^$":
            sequence.append(_Part(1, anchored=True))
            if mark == "[":
                return _class_end(self._pattern, position)
        return position + 1

    def _open(self, position: int) -> int:
        head = _GROUP_HEAD.match(self._pattern, position)
        if self._pattern.startswith("(?", position) and head.end() - position < 3:
            raise _refused("has a group that begins with `(?` and is none of (?: (?= (?! (?<= (?<! (?<name>")
        if len(self._groups) > DEPTH_MAX:
            raise _refused(f"has groups nested deeper than {DEPTH_MAX}")
        self._groups.append(_Group())
        end: int = head.end()
        return end

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise _refused("is no pattern: a bracket is closed that was not opened")
        closed = self._groups.pop().as_part()
        self._groups[-1].sequence.append(closed)


def _repeat(sequence: list[_Part], quantifier: Any) -> None:
    """Apply a quantifier to the part before it."""
    part = sequence[-1]
    text = quantifier[0]
    unlimited = text in ("*", "+") or (quantifier[2] is not None and not quantifier[3])
    if unlimited and part.loops:
        raise _refused("repeats without limit what may itself repeat without limit, as in (a+)+; make it simpler")
    least = 1 if text == "+" else 0 if text in ("*", "?") else int(quantifier[1])
    most = int(quantifier[3] or quantifier[1]) if quantifier[1] is not None else 1
    sequence[-1] = _Part(
        part.length * max(1, most), part.loops or unlimited, part.anchored and least > 0 and not unlimited
    )


def _class_end(pattern: str, start: int) -> int:
    """Where the character class that begins here has ended."""
    position = start + 1
    while position < len(pattern) and pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return min(position + 1, len(pattern))


def _refused(what: str) -> InvalidRequestError:
    return InvalidRequestError(f"Member `worker_regex` {what}.", field="worker_regex")
