"""The ring of events: numbers, bounds, and readers that are too slow or come back."""

import pytest

from dart.broker.core.happenings import JobChanged, TaskPrinted, TaskProgressed
from dart.broker.event_ring import Cursor, EventRing
from dart.errors import LimitError
from dart.limits import Limits


def ring(**limits):
    return EventRing(Limits(**limits), clock=lambda: 1.5)


def changes(*names):
    return [JobChanged(name, "", "", "defined") for name in names]


def names(entries):
    return [entry.happening.job for entry in entries]


def test_a_reader_gets_what_comes_after_its_cursor():
    """In order, as many as it takes at a time."""
    it = ring()
    it.tell(changes("old"), False)
    cursor = it.now()
    it.tell(changes("a", "b", "c"), False)
    entries, cursor, missed = it.read(cursor, 2)
    assert (names(entries), missed, entries[0].at_ms) == (["a", "b"], None, 1500)
    entries, cursor, missed = it.read(cursor, 2)
    assert (names(entries), missed) == (["c"], None)
    assert it.read(cursor, 2) == ([], it.now(), None)
    assert names(it.read(it.oldest(), 9)[0]) == ["old", "a", "b", "c"]


def test_who_is_too_slow_is_told_how_much_is_gone():
    """And goes on with the oldest that is there."""
    it = ring(events_kept_max=2)
    cursor = it.now()
    it.tell(changes("a", "b", "c", "d", "e"), False)
    entries, cursor, missed = it.read(cursor, 9)
    assert (names(entries), missed.amount) == (["d", "e"], 3)
    assert it.read(cursor, 9)[2] is None


def test_texts_count_by_their_size():
    """A few long lines push out as much as many short ones."""
    it = ring(events_kept_bytes_max=10_000)
    for text in ("x" * 6000, "y" * 6000):
        it.tell([TaskPrinted("j", "", "w", 1, (text,))], False)
    assert len(it) == 1
    it.tell([TaskProgressed("j", "", "w", 1, 0.5, "z" * 6000)], False)
    assert len(it) == 1
    it.tell([TaskPrinted("j", "", "w", 1, ("x" * 20_000,))], False)
    assert len(it) == 0
    assert it.read(it.oldest(), 9) == ([], it.now(), None)


def test_another_start_is_another_ring():
    """Ids of before mean nothing now: a gap of nobody knows how much, then all that there is."""
    it = ring()
    it.tell(changes("a"), False)
    before = it.now()
    it.tell(changes("never"), True)
    it.tell(changes("b"), False)
    entries, _, missed = it.read(before, 9)
    assert (names(entries), missed.amount) == (["b"], -1)
    assert "started again" in missed.reason


def test_an_id_of_the_future_is_a_gap():
    """It was never given; what happens from now on is what there is to tell."""
    it = ring()
    it.tell(changes("a"), False)
    entries, cursor, missed = it.read(Cursor(it.now().epoch, 99), 9)
    assert (entries, cursor, missed.amount) == ([], it.now(), -1)


def test_readers_are_woken_and_bounded():
    """Each by its own event; one too many is refused with the limit's name."""
    it = ring(event_streams_max=1)
    with it.watch() as woken:
        it.tell(changes("a"), False)
        assert woken.is_set()
        with pytest.raises(LimitError, match="event_streams_max"), it.watch():
            pass
    assert it.readers == 0
