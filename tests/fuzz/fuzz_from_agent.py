"""What agents send: a message or `Malformed`, whatever the bytes; what is read is written again as the same."""

from dart.limits import KIB, Limits
from dart.wire.codec import decode_from_agent, encode
from dart.wire.messages import Frame, Malformed
from fuzz.vectors import frames_of, messages

LIMITS = Limits()
TIGHT = Limits(
    value_bytes_max=KIB,
    batch_bytes_max=KIB,
    header_bytes_max=KIB,
    batch_items_max=4,
    hello_items_max=4,
    frames_per_message_max=3,
    facts_max=2,
    text_chars_max=20,
    name_chars_max=10,
)


def seeds() -> list[bytes]:
    return messages("agent")


def check(data: bytes) -> None:
    check_with(data, decode_from_agent)


def check_with(data: bytes, decode) -> None:
    parts = frames_of(data)
    frame = decode(parts, LIMITS)
    if isinstance(frame, Malformed):
        assert 0 < len(frame.text) < 1000, frame
        # Complaints are logged and sent: they must not break lines or end in the middle of a character.
        assert frame.text.isprintable(), frame
        frame.text.encode()
    else:
        assert isinstance(frame, Frame)
        again = decode(encode(frame, limits=LIMITS), LIMITS)
        assert again == frame, (again, frame)
    # Within tighter limits it may be refused, and is the same if not.
    tight = decode(parts, TIGHT)
    assert isinstance(tight, Malformed) or tight == frame, (tight, frame)
