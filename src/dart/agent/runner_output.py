"""What a runner printed, pure: the text for the log file, and lines with the task that printed them."""

from collections.abc import Container, Sequence

from dart.agent import runner_format as wire
from dart.ids import Attempt, AttemptRef, TaskId

PrintedLines = list[tuple[AttemptRef | None, tuple[str, ...]]]
"""Lines in order, each group with the task that printed it; None: no task was running."""


class OutputSplitter:
    """Takes the runner's marks out of its output and the lines apart.

    A mark stands where a task has ended that printed something; the bytes before it are that task's.

    Args:
        mark: The secret that begins each mark of this runner.
        line_chars_max: Longer lines are cut; the log file has them whole.
        lines_per_second_max: More are counted, not passed on.
    """

    def __init__(self, mark: bytes, *, line_chars_max: int, lines_per_second_max: int) -> None:
        self._mark = mark
        self._mark_bytes = len(mark) + wire.MARK.size
        self._line_chars_max = line_chars_max
        self._rate = lines_per_second_max
        self._unsure = b""
        self._begun = b""
        self._begun_by: AttemptRef | None = None
        self._allowance = float(lines_per_second_max)
        self._allowed_at = 0.0
        self._left_out = 0

    def split(
        self,
        data: bytes,
        running: AttemptRef | None,
        now: float,
        ended: Container[AttemptRef] = (),
        given: Sequence[AttemptRef] = (),
    ) -> tuple[bytes, PrintedLines]:
        """Text without marks, and lines in order; what follows the last mark is `running`'s.

        `given` is all that the runner is known to have, in order: what follows the mark of one of them, whose result
        has not come yet, is the next one's. `ended` are the tasks whose results came before this data was read: their
        marks have come too, if they have any.
        """
        self._allowance = min(self._allowance + max(now - self._allowed_at, 0.0) * self._rate, float(self._rate))
        self._allowed_at = now
        text, lines = b"", PrintedLines()
        data = self._unsure + data
        self._unsure = b""
        if self._begun and self._begun_by in ended and self._mark_of(self._begun_by) not in data:
            # Its end went unmarked, since all its output (of a child, or of C code) had been read before.
            self._take(b"", self._begun_by, lines, ended=True)
        while (at := data.find(self._mark)) >= 0 and len(data) - at >= self._mark_bytes:
            task_id, incarnation, number = wire.MARK.unpack_from(data, at + len(self._mark))
            text += data[:at]
            marked = AttemptRef(TaskId(task_id), Attempt(incarnation, number))
            self._take(data[:at], marked, lines, ended=True)
            data = data[at + self._mark_bytes :]
            if marked in given:
                running = next(iter(given[given.index(marked) + 1 :]), None)
        keep = len(data) - at if at >= 0 else self._beginning_of_mark(data)
        if keep:
            data, self._unsure = data[:-keep], data[-keep:]
        self._take(data, running, lines, ended=False)
        self._begun_by = running
        return text + data, lines

    def end(self, running: AttemptRef | None, now: float) -> tuple[bytes, PrintedLines]:
        """The runner is gone: what was kept back."""
        unsure, self._unsure = self._unsure, b""
        self._allowed_at = now
        lines = PrintedLines()
        self._take(unsure, running, lines, ended=True)
        return unsure, lines

    def _mark_of(self, ref: AttemptRef | None) -> bytes:
        return b"" if ref is None else self._mark + wire.MARK.pack(ref.task_id, *ref.attempt)

    def _beginning_of_mark(self, data: bytes) -> int:
        """How many bytes at the end may be the first of a mark."""
        for size in range(min(len(self._mark) - 1, len(data)), 0, -1):
            if self._mark.startswith(data[-size:]):
                return size
        return 0

    def _take(self, data: bytes, ref: AttemptRef | None, lines: PrintedLines, *, ended: bool) -> None:
        *whole, rest = (self._begun + data).split(b"\n")
        if ended and rest:
            whole.append(rest)
            rest = b""
        # A line without end is passed on in pieces, so that nothing grows without bound.
        if len(rest) > self._line_chars_max * 4:
            whole.append(rest)
            rest = b""
        self._begun = rest
        passed = whole[: int(self._allowance)]
        self._allowance -= len(passed)
        self._left_out += len(whole) - len(passed)
        texts = [self._line(line) for line in passed]
        if self._left_out and (ended or texts):
            texts.append(f"[{self._left_out} lines left out here; they are in the worker's log file]")
            self._left_out = 0
        if texts:
            lines.append((ref, tuple(texts)))

    def _line(self, line: bytes) -> str:
        text = line.removesuffix(b"\r").decode("utf-8", "replace")
        return text if len(text) <= self._line_chars_max else text[: self._line_chars_max] + " [...]"
