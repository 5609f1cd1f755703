"""A segment of the spool, as a disk may leave it: read as far as it is whole, and what is appended is found again."""

from dart.agent.spool_file import MAGIC, pack_forget, pack_result, read_segment
from dart.ids import Attempt, AttemptRef, StoreId, TaskId
from dart.wire.messages import Result

STORE = StoreId("5" * 32)
REF = AttemptRef(TaskId(987_654_321), Attempt(7, 3))
RESULT = Result(REF, "worker", "host", 1_700_000_000_000, 0.5, success=True, error_code=0, payload=b"\xc0")
RECORD = pack_result(STORE, RESULT)


def seeds() -> list[bytes]:
    one = MAGIC + RECORD
    other = pack_result(STORE, RESULT._replace(ref=AttemptRef(TaskId(5), Attempt(1, 1)), payload=b"\xc4\x03abc"))
    return [
        b"",
        MAGIC[:5],
        one,
        one + other + pack_forget([REF]),
        one[:-3] + other,
        one[:20] + b"\0" * 40 + other,
        bytes(64),
    ]


def check(data: bytes) -> None:
    contents = read_segment(data)
    assert 0 <= contents.whole_bytes <= len(data)
    assert 0 <= contents.damaged_bytes <= max(len(data), 1)
    for ref, (store_id, result) in contents.results.items():
        assert result.ref == ref
        assert isinstance(store_id, str)
    # After what a crash left of it an agent goes on behind the last whole record.
    appended = read_segment((data[: contents.whole_bytes] or MAGIC) + RECORD)
    assert appended.results[REF] == (STORE, RESULT)
    assert contents.results.keys() <= appended.results.keys()
