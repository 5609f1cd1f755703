"""Messages <-> frames, and nothing but frames and messages: no socket, no session, no decision.

`[header][payload 0][payload 1]...`, the header in MessagePack: `[version, type, sequence, body]`. What comes from
outside is read strictly and never raises: it becomes a `Frame` or a `Malformed`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgpack

from dart.limits import Limits
from dart.wire import batches, messages
from dart.wire.cold import COLD
from dart.wire.messages import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSIONS,
    AgentMessage,
    Ask,
    Blob,
    BlobPiece,
    BrokerMessage,
    Buffer,
    ErrorCode,
    Frame,
    Malformed,
    Message,
    Results,
    Tasks,
)
from dart.wire.payloads import Packer, Slicer
from dart.wire.schema import ID_MAX, Kind, Wrong, leading, whole

_DEFAULTS = Limits()


class _Form(NamedTuple):
    """How a message's body is written and read."""

    number: int
    message: type[Message]
    write: Callable[[Any, Packer, Limits], list[Any]]
    read: Callable[[Any, Slicer, Limits], Message]


def _cold(number: int, message: type[Message], body: Kind) -> _Form:
    name = message.__name__.upper()

    def write(value: Any, _packer: Packer, limits: Limits) -> list[Any]:
        return body.write(value, limits)  # type: ignore[no-any-return]

    def read(value: Any, _slicer: Slicer, limits: Limits) -> Message:
        return body.read(value, name, limits)  # type: ignore[no-any-return]

    return _Form(number, message, write, read)


_FORMS = (
    *(_cold(*cold) for cold in COLD),
    _Form(7, Results, batches.write_results, batches.read_results),
    _Form(10, BlobPiece, batches.write_piece, partial(batches.read_piece, BlobPiece)),
    _Form(34, Tasks, batches.write_tasks, batches.read_tasks),
    _Form(38, Blob, batches.write_piece, partial(batches.read_piece, Blob)),
    _Form(39, Ask, batches.write_ask, batches.read_ask),
)
_BY_CLASS = {form.message: form for form in _FORMS}
_FROM_AGENT = {form.number: form for form in _FORMS if form.message in AgentMessage.__args__}
_FROM_BROKER = {form.number: form for form in _FORMS if form.message in BrokerMessage.__args__}
_ANY_VERSION = frozenset({_BY_CLASS[messages.Hello].number, _BY_CLASS[messages.Error].number})
"""Their bodies are the same for ever, so that any two versions can find out what they have in common."""

MESSAGE_TYPES: dict[int, type[Message]] = {form.number: form.message for form in sorted(_FORMS)}
"""1..31 from agents, 33..63 from the broker, 65..95 both ways."""


def encode(frame: Frame, *, limits: Limits = _DEFAULTS, version: int = PROTOCOL_VERSION) -> list[Buffer]:
    """The frames of one message; payloads above 64 KiB are passed on without a copy.

    `version` is the one that WELCOME chose for the session; before it, and outside sessions, the sender's own.

    Free text is cut to its limit. The number of items and bytes is the sender's duty: it splits.
    """
    form = _BY_CLASS[type(frame.message)]
    packer = Packer(limits.frames_per_message_max)
    header = [version, form.number, frame.sequence, form.write(frame.message, packer, limits)]
    try:
        packed = msgpack.packb(header, use_bin_type=True)
    except UnicodeEncodeError:
        # What tasks print and hosts are called may hold lone surrogates; a question mark will do there.
        packed = msgpack.packb(header, use_bin_type=True, unicode_errors="replace")
    return [packed, *packer.frames()]


def decode_from_agent(parts: Sequence[Buffer], limits: Limits) -> Frame | Malformed:
    """What an agent sent. Payloads up to 64 KiB are bytes of their own, larger ones views of the frames given."""
    return _decode(parts, limits, _FROM_AGENT)


def decode_from_broker(parts: Sequence[Buffer], limits: Limits) -> Frame | Malformed:
    """What the broker sent; as `decode_from_agent`."""
    return _decode(parts, limits, _FROM_BROKER)


def _decode(parts: Sequence[Buffer], limits: Limits, forms: dict[int, _Form]) -> Frame | Malformed:
    try:
        _check_sizes(parts, limits)
        version, number, sequence, body = leading(_unpack(parts[0], limits), "header", 4)
        whole(version, "version", least=1, most=255)
        whole(number, "type", most=255)
        if version not in PROTOCOL_VERSIONS and number not in _ANY_VERSION:
            spoken = ", ".join(map(str, PROTOCOL_VERSIONS))
            return Malformed(ErrorCode.UNSUPPORTED_VERSION, f"protocol version {version} is not spoken, but {spoken}")
        form = forms.get(number)
        if form is None:
            return Malformed(ErrorCode.UNKNOWN_TYPE, f"message type {number} is not known here")
        # 0 is for complaints outside any session.
        whole(sequence, "sequence", least=0 if form.message is messages.Error else 1, most=ID_MAX)
        slicer = Slicer(parts[1:])
        message = form.read(body, slicer, limits)
        slicer.end()
    except Wrong as wrong:
        return Malformed(ErrorCode.MALFORMED, str(wrong))
    return Frame(sequence, message)


def _check_sizes(parts: Sequence[Buffer], limits: Limits) -> None:
    if not 1 <= len(parts) <= 1 + limits.frames_per_message_max:
        raise Wrong(f"a message has a header and at most {limits.frames_per_message_max} payload frames")
    if len(parts[0]) > limits.header_bytes_max:
        raise Wrong(f"the header has {len(parts[0])} bytes, at most {limits.header_bytes_max} are taken")
    payload_bytes = sum(map(len, parts)) - len(parts[0])
    payload_bytes_max = limits.value_bytes_max + limits.batch_bytes_max
    if payload_bytes > payload_bytes_max:
        raise Wrong(f"the payloads have {payload_bytes} bytes, at most {payload_bytes_max} are taken")


def _unpack(header: Buffer, limits: Limits) -> Any:
    try:
        return msgpack.unpackb(
            header,
            max_array_len=min(len(header), max(limits.batch_items_max, limits.hello_items_max)),
            max_map_len=min(len(header), limits.facts_max),
        )
    except Exception as error:  # noqa: BLE001 - whatever the decoder raises, the bytes are at fault
        raise Wrong(f"the header is no MessagePack: {str(error) or type(error).__name__}"[:200]) from None
