"""Records on disk: read back to the bit, and as far as they are whole."""

import pytest

from dart.agent import spool_file
from dart.wire.messages import Named
from harness.agent_recorder import OTHER_STORE, STORE, ref, result

RECORDS = [spool_file.pack_result(STORE, result(n, b"payload %d" % n)) for n in range(1, 4)]
WHOLE = spool_file.MAGIC + b"".join(RECORDS)


def ids(contents: spool_file.Contents) -> list[int]:
    return [ref.task_id for ref in contents.results]


def test_what_is_written_is_read():
    """Every member of a result, its store, and marks of what is forgotten."""
    odd = result(2**63 - 1)._replace(
        worker="w\udc80ä", success=False, error_code=105, start_time_ms=-1, duration_seconds=0.1
    )
    naming = result(2)._replace(blobs=(Named(b"h" * 32, 5), Named(b"i" * 32, 2**62)))
    data = (
        spool_file.MAGIC
        + spool_file.pack_result(STORE, result(1))
        + spool_file.pack_result(OTHER_STORE, odd)
        + spool_file.pack_result(STORE, naming)
        + spool_file.pack_forget([ref(1), ref(7)])
    )
    contents = spool_file.read_segment(data)
    assert contents.results == {
        ref(1): (STORE, result(1)),
        odd.ref: (OTHER_STORE, odd),
        naming.ref: (STORE, naming),
    }
    assert contents.forgotten == {ref(1), ref(7)}
    assert (contents.whole_bytes, contents.damaged_bytes) == (len(data), 0)


@pytest.mark.parametrize("cut", range(1, len(RECORDS[2])))
def test_a_torn_tail_costs_the_torn_record_only(cut):
    """Wherever the power went, what is before stays."""
    contents = spool_file.read_segment(WHOLE[:-cut])
    assert ids(contents) == [1, 2]
    assert (contents.whole_bytes, contents.damaged_bytes) == (len(WHOLE) - len(RECORDS[2]), 0)


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\xff" * 100, b"\x9c\x01" * 50])
def test_rubbish_at_the_end_is_a_torn_tail(tail):
    """Blocks that were never written hold zeros or old bytes."""
    contents = spool_file.read_segment(WHOLE + tail)
    assert ids(contents) == [1, 2, 3]
    assert (contents.whole_bytes, contents.damaged_bytes) == (len(WHOLE), 0)


@pytest.mark.parametrize("place", range(len(RECORDS[1])))
def test_damage_in_the_middle_costs_the_damaged_record_only(place):
    """One byte turned anywhere in the second record: the third is found again."""
    position = len(spool_file.MAGIC) + len(RECORDS[0]) + place
    data = bytearray(WHOLE)
    data[position] ^= 0x55
    contents = spool_file.read_segment(bytes(data))
    assert ids(contents) == [1, 3]
    assert (contents.whole_bytes, contents.damaged_bytes) == (len(WHOLE), len(RECORDS[1]))


def test_a_damaged_beginning_costs_nothing_else():
    """Without its magic bytes a segment is damaged, its records are not."""
    contents = spool_file.read_segment(b"XXXXXXXX" + WHOLE[8:])
    assert ids(contents) == [1, 2, 3]
    assert contents.damaged_bytes > 0


@pytest.mark.parametrize("data", [b"", b"DART", spool_file.MAGIC, b"\0" * 50])
def test_nothing_is_nothing(data):
    """An empty or barely begun file."""
    contents = spool_file.read_segment(data)
    assert (ids(contents), contents.damaged_bytes) == ([], 0)


def test_a_whole_record_of_another_kind_is_damage():
    """Check sums right, content unknown: not taken, not an exception."""
    strange = spool_file._record(b"\x92\x07\x01") + spool_file._record(b"\xc1")
    contents = spool_file.read_segment(spool_file.MAGIC + strange + RECORDS[0])
    assert ids(contents) == [1]
    assert contents.damaged_bytes == len(strange)
