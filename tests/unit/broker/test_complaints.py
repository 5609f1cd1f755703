"""Warnings that strangers could multiply."""

import logging

from dart.broker import complaints
from dart.broker.complaints import BURST, WINDOW_SECONDS, Complaints


def test_they_are_few_and_counted(monkeypatch, caplog):
    """A burst, then silence, then one line that says how much was left out."""
    now = [1_000.0]
    monkeypatch.setattr(complaints.time, "monotonic", lambda: now[0])
    logger = logging.getLogger("test.complaints")
    few = Complaints(logger)
    with caplog.at_level("WARNING", logger="test.complaints"):
        for number in range(BURST + 5):
            few.warn(f"bad {number}")
        assert len(caplog.messages) == BURST
        now[0] += WINDOW_SECONDS
        few.warn("again")
    assert caplog.messages[BURST:] == ["5 more such warnings were left out.", "again"]
    assert few.total == BURST + 6
