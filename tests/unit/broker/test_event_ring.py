"""The ring of events: numbers, bounds, and readers that are too slow or come back."""

import pytest

from dart.broker.core.happenings import JobChanged, TaskPrinted, TaskProgressed, WorkerChanged
from dart.broker.event_ring import CHANGES, Cursor, EventRing
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


def flood(ring, amount):
    for _ in range(amount // 1000):
        ring.tell([TaskProgressed("j", "", "w", 1, 0.5, "")] * 1000, False)


def test_what_tasks_do_does_not_hide_who_came():
    """Who reads changes alone finds them under any load, once each, in order, with ids that go on; others as before."""
    it = ring()
    it.tell([WorkerChanged("", "", "w", "connected", b"", "h", 2, "")], False)
    it.tell(changes("a"), False)
    flood(it, 30_000)
    it.tell(changes("b"), False)
    cursor, told = it.oldest(changes_only=True), []
    while cursor != it.now():
        entries, cursor, missed = it.read(cursor, 500, changes_only=True)
        assert missed is None
        assert len(entries) <= 500
        told += [entry for entry in entries if isinstance(entry.happening, CHANGES)]
    assert [(entry.number, entry.happening.state) for entry in told] == [
        (1, "connected"),
        (2, "defined"),
        (30_003, "defined"),
    ]
    entries, cursor, _ = it.read(it.oldest(changes_only=True), 1, changes_only=True)
    assert ([entry.number for entry in entries], cursor.number) == ([1], 1)
    assert it.read(cursor, 1, changes_only=True)[0][0].number == 2
    assert it.read(cursor, 1)[2].amount == 10_002


def test_of_changes_the_oldest_go_first():
    """Who still wanted one of those is told; whoever is behind the last that went missed none."""
    it = ring(changes_kept_max=2, events_kept_max=1)
    it.tell(changes("a", "b", "c", "d"), False)
    flood(it, 1000)
    before = it.oldest(changes_only=True)
    assert before.number == 2
    entries, _, missed = it.read(before._replace(number=1), 9, changes_only=True)
    assert (names(entries)[:2], missed.amount, missed.place) == (["c", "d"], 1, before)
    assert it.read(before, 9, changes_only=True)[2] is None
    it.tell([], True)
    assert it.read(it.oldest(changes_only=True), 9, changes_only=True) == ([], it.now(), None)


def test_readers_are_woken_and_bounded():
    """Each by its own event; one too many is refused with the limit's name."""
    it = ring(event_streams_max=1)
    with it.watch() as woken:
        it.tell(changes("a"), False)
        assert woken.is_set()
        with pytest.raises(LimitError, match="event_streams_max"), it.watch():
            pass
    assert it.readers == 0
