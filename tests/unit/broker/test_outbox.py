"""Ordered release."""

from dart.broker.core.commands import Note
from dart.broker.outbox import Barrier, Outbox


def notes(outbox):
    return [entry.text for entry in outbox.ready()]


def test_an_entry_waits_for_its_turn():
    """It is shown when its turn is durable, not before."""
    outbox = Outbox()
    outbox.put(1, Note("info", "a"))
    assert notes(outbox) == []
    outbox.committed(1)
    assert notes(outbox) == ["a"]
    assert notes(outbox) == []


def test_order_is_kept():
    """What depends on nothing still comes after what waits."""
    outbox = Outbox()
    outbox.put(0, Note("info", "now"))
    outbox.put(1, Note("info", "first"))
    outbox.put(2, Note("info", "second"))
    assert notes(outbox) == ["now"]
    outbox.committed(2)
    assert notes(outbox) == ["first", "second"]


def test_what_comes_while_showing_is_shown_too():
    """An entry that causes another one does not leave it behind."""
    outbox = Outbox()
    shown = []
    outbox.put(0, Barrier(lambda _void: outbox.put(0, Note("info", "caused"))))
    for entry in outbox.ready():
        if isinstance(entry, Barrier):
            entry.call(False)
        else:
            shown.append(entry.text)
    assert shown == ["caused"]


def test_bytes_are_counted_until_durable():
    """By turn."""
    outbox = Outbox()
    outbox.weigh(1, 10)
    outbox.weigh(2, 5)
    assert outbox.bytes == 15
    outbox.committed(1)
    assert outbox.bytes == 5
    outbox.committed(2)
    assert outbox.bytes == 0


def test_a_late_notice_does_not_take_back():
    """A number once durable stays so."""
    outbox = Outbox()
    outbox.committed(5)
    outbox.committed(3)
    assert outbox.durable == 5


def test_void_empties_it():
    """Everything comes out, to be told so."""
    outbox = Outbox()
    outbox.put(1, Note("info", "a"))
    outbox.weigh(1, 10)
    assert [entry.text for entry in outbox.void()] == ["a"]
    assert (len(outbox), outbox.bytes) == (0, 0)
