"""Finding what a payload refers to, without decoding it."""

import pytest

from dart.wire import values
from dart.wire.blob_references import ENCODED, MARK, Named, named_in, references_in

FIRST, SECOND = b"\xc7" * 32, bytes(range(32))


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_references_are_found_wherever_they_stand(kind):
    """Each once, in order, with its size, whether the blob is encoded or not."""
    value = [values.BlobReference(FIRST, 3), {"x": values.BlobReference(SECOND, 1 << 40, encoded=True)}]
    payload = values.encode([*value, values.BlobReference(FIRST, 3)])
    assert references_in(kind(payload), 64) == (Named(FIRST, 3), Named(SECOND, 1 << 40))
    assert named_in(payload) >= {FIRST, SECOND}


def test_no_more_are_looked_for_than_are_wanted():
    """One beyond tells that there are more; a payload of nothing but references costs no more than that."""
    payload = values.encode([values.BlobReference(bytes([n]) * 32, n) for n in range(10)])
    assert len(references_in(payload, 3)) == 4
    assert len(references_in(payload, 10)) == 10


def test_what_is_too_short_is_none():
    """The mark stands there by chance."""
    assert references_in(MARK + bytes(39), 64) == ()
    assert references_in(MARK + bytes(40), 64) == (Named(bytes(32), 0),)
    assert references_in(b"", 64) == ()
    assert named_in(b"text") == set()


def test_marks_overlap():
    """A reference that begins within what looks like one is found too."""
    true = MARK + SECOND + (5 | ENCODED).to_bytes(8, "big")
    assert Named(SECOND, 5) in references_in(MARK + b"x" * 4 + true, 64)
