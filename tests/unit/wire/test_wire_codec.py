"""Frames: how payloads share them, what is copied, what is cut, and what later versions may add."""

import msgpack
import pytest

from dart.ids import Attempt, AttemptRef
from dart.limits import Limits
from dart.wire.codec import MESSAGE_TYPES, decode_from_agent, decode_from_broker, encode
from dart.wire.messages import (
    AgentMessage,
    Blob,
    BrokerMessage,
    Bye,
    Credit,
    Error,
    ErrorCode,
    Frame,
    Hello,
    Lease,
    Log,
    Malformed,
    Progress,
    ProgressReport,
    Result,
    Results,
    Tasks,
)

LIMITS = Limits()
KIB_64 = 64 * 1024
HELLO = Hello((1,), "alice", 1, (), "pi", "0" * 32, "", (), (), {}, draining=False)


def ref(number):
    return AttemptRef(number, Attempt(1, 1))


def tasks(*parameters):
    return Tasks(
        tuple(Lease(ref(n), "job", "m.py", "run", 0.0, parameter) for n, parameter in enumerate(parameters, start=1))
    )


def results(*payloads):
    made = tuple(Result(ref(n), "w", "h", 0, 0.0, True, 0, payload) for n, payload in enumerate(payloads, start=1))
    return Results(made, Credit(1, 2, 3))


def parameters(parts):
    return [lease.parameter for lease in decode_from_broker(parts, LIMITS).message.leases]


def test_message_types():
    """Each message has one number; the ranges tell who says it."""
    for number, message in MESSAGE_TYPES.items():
        speakers = (message in AgentMessage.__args__, message in BrokerMessage.__args__)
        assert speakers == {0: (True, False), 1: (False, True), 2: (True, True)}[number // 32]
    assert len(set(MESSAGE_TYPES.values())) == len(MESSAGE_TYPES)


def test_small_payloads_share_a_frame():
    """Up to 64 KiB they are joined, and come back as bytes of their own that do not hold the frame."""
    payloads = [b"a", b"", b"b" * KIB_64, b"c"]
    sent = encode(Frame(1, tasks(*payloads)), limits=LIMITS)
    assert len(sent) == 2
    received = parameters([memoryview(part) for part in sent])
    assert received == payloads
    assert {type(parameter) for parameter in received} == {bytes}


def test_large_payload_is_not_copied():
    """From 64 KiB + 1 a payload is a frame, the same object, and is handed on as the frame that came."""
    large = b"x" * (KIB_64 + 1)
    sent = encode(Frame(1, tasks(b"a", large, b"b", b"c")), limits=LIMITS)
    assert [len(part) for part in sent[1:]] == [1, KIB_64 + 1, 2]
    assert sent[2] is large
    assert parameters(sent)[1] is large
    assert parameters(sent) == [b"a", large, b"b", b"c"]


def test_large_payload_inside_a_frame_is_a_view():
    """Where another implementation joined large payloads, they are read without a copy too."""
    large = b"x" * (KIB_64 + 1)
    header = msgpack.packb([1, 34, 1, [[["j", "m", "f"]], [[1, 1, 1, 0, 0, 0, 1], [2, 1, 1, 0, 0, 0, len(large)]]]])
    received = parameters([header, b"a" + large])
    assert received == [b"a", large]
    assert type(received[1]) is memoryview


def test_number_of_frames_is_bounded():
    """When frames run out, large payloads are joined after all."""
    limits = Limits(frames_per_message_max=5)
    payloads = [bytes([n]) * (KIB_64 + 1) for n in range(8)]
    sent = encode(Frame(1, tasks(b"s", *payloads, b"t")), limits=limits)
    assert len(sent) == 1 + 5
    received = decode_from_broker(sent, limits)
    assert [lease.parameter for lease in received.message.leases] == [b"s", *payloads, b"t"]
    assert decode_from_broker([*sent, b""], limits).code == ErrorCode.MALFORMED


def test_nothing_but_empty_payloads():
    """They are legal, first, last and alone."""
    for payloads in ([b""], [b"", b""], [b"", b"x" * (KIB_64 + 1), b""]):
        assert parameters(encode(Frame(1, tasks(*payloads)), limits=LIMITS)) == payloads


def test_table_rows_are_shared():
    """What many leases have in common is sent once."""
    first, second = (encode(Frame(1, tasks(*[b"x"] * amount)), limits=LIMITS) for amount in (1, 1001))
    assert len(second[0]) - len(first[0]) < 1000 * 18


def test_later_versions_may_append():
    """Members beyond the known ones are ignored, in headers, bodies, items and tables."""
    header = [
        1,
        7,
        9,
        [[["w", "h", "new"]], [[1, 1, 1, 0, 0, 0, True, 0, 0, 1, [], "new"]], [1, 2, 3, "new"], "new"],
        "new",
    ]
    assert decode_from_agent([msgpack.packb(header), b"x"], LIMITS) == Frame(9, results(b"x"))
    references = [1, 3, 2, [[[5, 1, 1, "new"]], "new"]]
    assert decode_from_agent([msgpack.packb(references)], LIMITS).message.attempts == (ref(5),)


def test_integers_for_numbers():
    """Languages that write 1.0 as 1 are understood; the result is a float all the same."""
    header = msgpack.packb([1, 34, 1, [[["j", "m", "f"]], [[1, 1, 1, 0, 2, 0, 1]]]])
    (lease,) = decode_from_broker([header, b"x"], LIMITS).message.leases
    assert (lease.timeout_seconds, type(lease.timeout_seconds)) == (2.0, float)


def test_hello_of_another_version():
    """HELLO and ERROR are read in any version, or nobody could say which versions are spoken."""
    parts = encode(Frame(1, HELLO._replace(versions=(7, 8))), limits=LIMITS)
    header = msgpack.unpackb(parts[0])
    assert decode_from_agent([msgpack.packb([8, *header[1:]])], LIMITS).message.versions == (7, 8)
    assert decode_from_broker([msgpack.packb([8, 68, 0, [2, "no"]])], LIMITS) == Frame(0, Error(2, "no"))
    refused = decode_from_agent([msgpack.packb([8, 67, 1, [""]])], LIMITS)
    assert refused == Malformed(ErrorCode.UNSUPPORTED_VERSION, "protocol version 8 is not spoken, but 1")


def test_the_version_of_the_session():
    """Frames carry the version that WELCOME chose, so that the older side can read them."""
    parts = encode(Frame(1, Bye("")), limits=LIMITS, version=7)
    assert msgpack.unpackb(parts[0])[0] == 7
    assert msgpack.unpackb(encode(Frame(1, Bye("")), limits=LIMITS)[0])[0] == 1


def test_free_text_is_cut():
    """A reason, a line, a fact or a report that is too long is cut by its sender and passes."""
    limits = Limits(text_chars_max=10, progress_chars_max=5)
    long = "\N{DROMEDARY CAMEL}" * 11
    for message, short in (
        (Bye(long), Bye(long[:9] + "…")),
        (Log(((ref(1), long),)), Log(((ref(1), long[:9] + "…"),))),
        (Progress((ProgressReport(ref(1), 0.5, "123456"),)), Progress((ProgressReport(ref(1), 0.5, "1234…"),))),
        (HELLO._replace(facts={"a": long}), HELLO._replace(facts={"a": long[:9] + "…"})),
    ):
        assert decode_from_agent(encode(Frame(1, message), limits=limits), limits) == Frame(1, short)


def test_lone_surrogates_in_free_text():
    """What a task printed cannot stop the message that carries it."""
    sent = encode(Frame(1, Log(((ref(1), "a\udcff"),))), limits=LIMITS)
    assert decode_from_agent(sent, LIMITS) == Frame(1, Log(((ref(1), "a?"),)))


@pytest.mark.parametrize(
    ("limits", "parts", "text"),
    [
        (Limits(header_bytes_max=10), encode(Frame(1, Bye("0123456789"))), "at most 10 are taken"),
        (Limits(value_bytes_max=10, batch_bytes_max=5), encode(Frame(1, results(b"x" * 16))), "at most 15 are taken"),
        (Limits(batch_items_max=1), encode(Frame(1, results(b"x", b"y"))), "results must be an array of 0..1 elements"),
        (Limits(hello_items_max=1), encode(Frame(1, HELLO._replace(results=(ref(1), ref(2))))), "results must be"),
        (Limits(capabilities_max=1), encode(Frame(1, HELLO._replace(capabilities=("a", "b")))), "capabilities must be"),
    ],
)
def test_limits_are_kept(limits, parts, text):
    """Each limit of a message refuses one too many and names itself."""
    found = decode_from_agent(parts, limits)
    assert isinstance(found, Malformed)
    assert text in found.text


def test_reasons_are_short_and_clean():
    """A complaint about bytes from outside quotes little of them, and no control character."""
    for slots in ("\n" * 10_000, b"\x00" * 10_000, [[]] * 1000, 1.5, None):
        header = msgpack.packb([1, 1, 1, [[1], "alice", slots, *list(HELLO)[3:]]])
        found = decode_from_agent([header], LIMITS)
        assert found.text.startswith("slots must be an integer")
        assert len(found.text) < 250
        assert found.text.isprintable()


def test_blob_data_is_a_view():
    """A piece of a large value is handed on without a copy."""
    data = b"x" * (KIB_64 + 1)
    sent = encode(Frame(3, Blob(b"h" * 32, 0, len(data), data)), limits=LIMITS)
    assert sent[1] is data
    assert decode_from_broker(sent, LIMITS).message.data is data


def test_leases_of_different_traces_have_rows_of_their_own():
    """One without a trace is written as ever; what is no traceparent says nothing, another type is refused."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    told = ("", trace, "", "00-nonsense", trace)
    leases = tuple(Lease(ref(n), "job", "m.py", "run", 0.0, b"\xc0", it) for n, it in enumerate(told, start=1))
    sent = encode(Frame(1, Tasks(leases)), limits=LIMITS)
    version, number, sequence, (rows, items) = msgpack.unpackb(sent[0])
    assert rows == [["job", "m.py", "run"], ["job", "m.py", "run", trace], ["job", "m.py", "run", "00-nonsense"]]
    read = decode_from_broker(sent, LIMITS).message.leases
    assert [lease.traceparent for lease in read] == ["", trace, "", "", trace]
    rows[1][3] = 7
    wrong = msgpack.packb([version, number, sequence, [rows, items]])
    assert isinstance(decode_from_broker([wrong, *sent[1:]], LIMITS), Malformed)
