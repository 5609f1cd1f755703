"""`worker_regex`: ECMAScript-like patterns, refused where a look at them shows that they could take for ever."""

import re
from dataclasses import dataclass
from typing import Any, Final

from dart.errors import InvalidRequestError
from dart.limits import Limits

EXPANDED_MAX: Final = 10_000
"""Repetitions written with numbers may make a pattern at most so long: the compiler unrolls some of them."""
DEPTH_MAX: Final = 50
_LINE_END_OR_NOT: Final = "[^\\n\\r\\u2028\\u2029]"
_QUANTIFIER: Final = re.compile(r"[*+?]|\{(\d{1,6})(,(\d{0,6}))?\}")
_GROUP_HEAD: Any = re.compile(r"\((?:\?(?::|=|!|<=|<!|<[A-Za-z_]\w{0,50}>))?")


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


def compile_pattern(pattern: str, limits: Limits) -> Any:
    """The pattern, checked and translated.

    Raises:
        InvalidRequestError: It is no pattern, too long, or of a form that can take exponential time.
    """
    if len(pattern) > limits.pattern_chars_max:
        raise refused(f"has {len(pattern)} characters; at most {limits.pattern_chars_max} are allowed")
    translated = _Translation(pattern).text()
    import regex  # noqa: PLC0415 - a start without patterns needs none of it

    try:
        return regex.compile(translated, regex.ASCII | regex.VERSION0)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError, KeyError, IndexError) as error:
        raise refused(f"is no pattern: {str(error)[:200]}") from None


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
                raise refused("repeats too much; use smaller numbers in its curly brackets")
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
            raise refused("has a group that begins with `(?` and is none of (?: (?= (?! (?<= (?<! (?<name>")
        if len(self._groups) > DEPTH_MAX:
            raise refused(f"has groups nested deeper than {DEPTH_MAX}")
        self._groups.append(_Group())
        end: int = head.end()
        return end

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise refused("is no pattern: a bracket is closed that was not opened")
        closed = self._groups.pop().as_part()
        self._groups[-1].sequence.append(closed)


def _repeat(sequence: list[_Part], quantifier: Any) -> None:
    """Apply a quantifier to the part before it."""
    part = sequence[-1]
    text = quantifier[0]
    unlimited = text in ("*", "+") or (quantifier[2] is not None and not quantifier[3])
    if unlimited and part.loops:
        raise refused("repeats without limit what may itself repeat without limit, as in (a+)+; make it simpler")
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


def refused(what: str) -> InvalidRequestError:
    """The complaint about a pattern."""
    return InvalidRequestError(f"Member `worker_regex` {what}.", field="worker_regex")
