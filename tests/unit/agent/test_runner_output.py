"""A runner's output: text for the log, lines with their task."""

from dart.agent import runner_format as wire
from dart.agent.runner_output import OutputSplitter
from dart.ids import Attempt, AttemptRef, TaskId

MARK = b"\0secret of sixteen"
FIRST, SECOND = (AttemptRef(TaskId(number), Attempt(1, 2)) for number in (7, 8))


def mark(ref):
    return MARK + wire.MARK.pack(ref.task_id, *ref.attempt)


def splitter(rate=100, chars=20):
    return OutputSplitter(MARK, line_chars_max=chars, lines_per_second_max=rate)


def test_lines_belong_to_the_task_whose_mark_follows():
    """What stands behind the last mark is the running task's; marks are in neither text nor lines."""
    text, lines = splitter().split(b"one\ntwo\n" + mark(FIRST) + b"three\n", SECOND, 0.0)
    assert text == b"one\ntwo\nthree\n"
    assert lines == [(FIRST, ("one", "two")), (SECOND, ("three",))]


def test_what_follows_a_mark_is_not_the_marked_tasks():
    """Its result may not have been read yet; then the next one that the runner has is meant."""
    _, lines = splitter().split(b"one\n" + mark(FIRST) + b"two\n", FIRST, 0.0, (), (FIRST, SECOND))
    assert lines == [(FIRST, ("one",)), (SECOND, ("two",))]
    _, lines = splitter().split(b"one\n" + mark(SECOND) + b"two\n", FIRST, 0.0, (), (FIRST, SECOND))
    assert lines == [(SECOND, ("one",)), (None, ("two",))]


def test_a_line_without_end_ends_with_its_task():
    """The next task's first line does not begin in it."""
    _, lines = splitter().split(b"no end" + mark(FIRST) + b"next\n", SECOND, 0.0)
    assert lines == [(FIRST, ("no end",)), (SECOND, ("next",))]


def test_a_line_in_pieces_is_one_line():
    """A line is told when it is whole; the log has its bytes at once."""
    cut = splitter()
    assert cut.split(b"ab", FIRST, 0.0) == (b"ab", [])
    assert cut.split(b"cd\r\n", FIRST, 0.0) == (b"cd\r\n", [(FIRST, ("abcd",))])


def test_a_mark_in_pieces_is_a_mark():
    """However a mark is cut, none of it gets into the log."""
    data = b"text" + mark(FIRST)
    for at in range(4, len(data)):
        cut = splitter()
        first, _ = cut.split(data[:at], FIRST, 0.0)
        second, lines = cut.split(data[at:], None, 0.0)
        assert (first + second, lines) == (b"text", [(FIRST, ("text",))])


def test_what_only_looks_like_a_mark_is_text():
    """Bytes held back because a mark might begin there come later, or at the end."""
    cut = splitter()
    assert cut.split(b"a" + MARK[:3], FIRST, 0.0)[0] == b"a"
    assert cut.split(b"b\n", FIRST, 0.0) == (MARK[:3] + b"b\n", [(FIRST, ("a\0seb",))])
    assert cut.split(MARK[:5], FIRST, 0.0)[0] == b""
    assert cut.end(FIRST, 0.0) == (MARK[:5], [(FIRST, ("\0secr",))])


def test_an_unmarked_end_ends_a_line():
    """When a task has ended without mark, the next one's text does not continue its line; with one, it is its own."""
    cut = splitter()
    cut.split(b"first", FIRST, 0.0)
    assert cut.split(b"second\n", SECOND, 0.0, {FIRST})[1] == [(FIRST, ("first",)), (SECOND, ("second",))]
    cut.split(b"fi", FIRST, 0.0)
    assert cut.split(b"rst" + mark(FIRST) + b"x\n", SECOND, 0.0, {FIRST})[1] == [(FIRST, ("first",)), (SECOND, ("x",))]


def test_long_lines_are_cut():
    """The log has them whole, the broker their beginning."""
    text, lines = splitter(chars=3).split(b"abcdef\n", FIRST, 0.0)
    assert (text, lines) == (b"abcdef\n", [(FIRST, ("abc [...]",))])


def test_an_endless_line_does_not_grow():
    """Without any line break it is passed on in pieces."""
    _, lines = splitter(chars=3).split(b"x" * 13, FIRST, 0.0)
    assert lines == [(FIRST, ("xxx [...]",))]


def test_too_many_lines_are_counted():
    """Above the rate they are left out, and how many is said; a second later there is room again."""
    cut = splitter(rate=2)
    text, lines = cut.split(b"1\n2\n3\n4\n", FIRST, 0.0)
    assert text == b"1\n2\n3\n4\n"
    assert lines == [(FIRST, ("1", "2", "[2 lines left out here; they are in the worker's log file]"))]
    assert cut.split(b"5\n", FIRST, 0.0)[1] == []
    assert cut.split(b"6\n", FIRST, 1.0)[1][0][1][0] == "6"


def test_text_that_is_no_utf8_is_shown_all_the_same():
    """Odd bytes are replaced in lines and kept in the log."""
    assert splitter().split(b"\xff\n", None, 0.0) == (b"\xff\n", [(None, ("�",))])
