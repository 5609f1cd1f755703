"""Log lines that others could multiply, and what may stand in one."""

import logging

import pytest

from dart.complaints import BURST, SUBJECTS_MAX, WINDOW_SECONDS, Complaints
from dart.logs import MESSAGE_CHARS_MAX, log_to_stderr, one_line


class Bounded:
    """Complaints by a clock and a timer of the test's own."""

    def __init__(self):
        self.now = 1000.0
        self.timers = []
        self.complaints = Complaints(logging.getLogger("test.complaints"), lambda: self.now)
        self.complaints.later = lambda seconds, call: self.timers.append((self.now + seconds, call))

    def passes(self, seconds):
        """Time goes by; timers ring."""
        self.now += seconds
        due, self.timers = [t for t in self.timers if t[0] <= self.now], [t for t in self.timers if t[0] > self.now]
        for _, call in due:
            call()


@pytest.fixture
def bounded(caplog):
    caplog.set_level("INFO", logger="test.complaints")
    return Bounded()


def test_they_are_few_and_counted(bounded, caplog):
    """A burst, then silence, then one line that says how much was left out."""
    for number in range(BURST + 5):
        bounded.complaints.warn(f"bad {number}")
    assert len(caplog.messages) == BURST
    bounded.now += WINDOW_SECONDS
    bounded.complaints.warn("again")
    assert caplog.messages[BURST:] == ["5 more such lines were left out.", "again"]
    assert bounded.complaints.total == BURST + 6


def test_a_flood_that_stopped_is_counted_too(bounded, caplog):
    """Nobody has to complain again for the rest to be told; and it is told once."""
    for _ in range(BURST + 5):
        bounded.complaints.warn("bad")
    bounded.passes(WINDOW_SECONDS)
    assert caplog.messages[BURST:] == ["5 more such lines were left out."]
    assert bounded.timers == []
    bounded.passes(10 * WINDOW_SECONDS)
    assert len(caplog.messages) == BURST + 1


def test_a_window_that_began_later_is_waited_for(bounded, caplog):
    """One timer serves all subjects."""
    for _ in range(BURST + 1):
        bounded.complaints.warn("bad", "one")
    bounded.passes(WINDOW_SECONDS / 2)
    for _ in range(BURST + 2):
        bounded.complaints.warn("bad", "two")
    bounded.passes(WINDOW_SECONDS / 2)
    assert caplog.messages[-1] == "1 more such lines about one were left out."
    bounded.passes(WINDOW_SECONDS)
    assert caplog.messages[-1] == "2 more such lines about two were left out."


def test_the_end_tells_what_was_left_out(bounded, caplog):
    """A process that stops within the window says it before."""
    bounded.complaints.later = None
    for _ in range(BURST + 3):
        bounded.complaints.say(logging.INFO, "noise", "somebody")
    bounded.complaints.close()
    assert caplog.messages[-1] == "3 more such lines about somebody were left out."
    bounded.complaints.tell()


def test_one_subject_does_not_silence_another(bounded, caplog):
    """Each has lines of its own; with very many of them, the last share some, so that memory and log stay bounded."""
    for _ in range(100):
        bounded.complaints.warn("loud", "loud")
    bounded.complaints.warn("quiet", "quiet")
    assert caplog.messages[-1] == "quiet"
    for number in range(2 * SUBJECTS_MAX):
        bounded.complaints.warn("many", f"subject {number}")
    assert len(bounded.complaints._windows) <= SUBJECTS_MAX + 1
    assert len(caplog.messages) <= BURST + 1 + SUBJECTS_MAX + BURST


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\x00c", "a\\x0ab\\x0d\\x00c"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31mred", "\\x9b31mred"),
        ("line\u2028line", "line\\u2028line"),
        ("txt.\u202eexe", "txt.\\u202eexe"),
        ("\ud800", "\\ud800"),
        ("Zürich 東京 🙂", "Zürich 東京 🙂"),
    ],
)
def test_text_from_outside_does_nothing(text, shown):
    """No line break, no command to a terminal, no turned direction; other letters stay as they are."""
    assert one_line(text) == shown


def test_a_huge_text_has_an_end():
    """A line has a bound, and says how long the text was."""
    assert one_line("x" * 100_000) == "x" * MESSAGE_CHARS_MAX + "... (100000 characters)"


def test_log_injection_is_impossible(capsys):
    """Neither a message nor the text of an error begins a line that looks like an event."""
    forged = "2026-01-01 00:00:00,000 INFO    dart.server all is well"
    logger = logging.getLogger("dart")
    kept = logger.handlers[:], logger.level, logger.propagate
    try:
        log_to_stderr()
        logging.getLogger("dart.test").warning("name=%s", f"x\n{forged}")
        try:
            int(f"x\n{forged}\x1b[2J")
        except ValueError:
            logging.getLogger("dart.test").exception("failed")
    finally:
        logger.handlers[:], logger.level, logger.propagate = kept
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(forged)] == []
    assert "\x1b" not in "".join(lines)
    assert [line for line in lines if line.startswith("  | ValueError:") and "\\x1b[2J" in line]
