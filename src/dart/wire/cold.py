"""Bodies of all messages but those with payloads: a table of members, in the order they are written.

`docs/protocol.md` is this table in words; new members go to the end of a body, where older receivers ignore them.
"""

from typing import NamedTuple

from dart.wire import messages
from dart.wire.schema import (
    BYTES_32,
    FACTS,
    FLAG,
    REFERENCE,
    TIME_MS_MAX,
    Kind,
    at_most_one,
    decimal,
    hexadecimal,
    integer,
    name_of,
    prose,
    record,
    several,
)

INT32_MAX = (1 << 31) - 1
PORT_MAX = (1 << 16) - 1

_ATTEMPTS = several(REFERENCE)
_RECONCILED = several(REFERENCE, "hello_items_max")

CREDIT = record(messages.Credit, tasks=integer(), payload_bytes=integer(), seen=integer())

HELLO = record(
    messages.Hello,
    appended=1,
    versions=several(integer(1, 255), "facts_max", least=1),
    name=name_of(),
    slots=integer(1, INT32_MAX),
    capabilities=several(name_of(), "capabilities_max"),
    host=name_of(least=0),
    boot_id=hexadecimal(),
    store_id=hexadecimal(empty=True),
    attempts=_RECONCILED,
    results=_RECONCILED,
    facts=FACTS,
    draining=FLAG,
    questions=FLAG,
)

_NEXT_SERVER = record(messages.NextServer, port=integer(1, PORT_MAX), public_key=BYTES_32)

WELCOME = record(
    messages.Welcome,
    appended=2,
    version=integer(1, 255),
    session=integer(1),
    store_id=hexadecimal(),
    incarnation=integer(),
    heartbeat_seconds=decimal(),
    silence_seconds=decimal(),
    lease_seconds=decimal(),
    frame_bytes_max=integer(),
    value_bytes_max=integer(),
    batch_items_max=integer(1),
    batch_bytes_max=integer(),
    server=prose(),
    keep=_RECONCILED,
    drop=_RECONCILED,
    send=_RECONCILED,
    forget=_RECONCILED,
    hold=_RECONCILED,
    next=at_most_one(_NEXT_SERVER),
    blob_bytes_max=integer(),
)

_START = record(messages.Start, ref=REFERENCE, start_time_ms=integer(-TIME_MS_MAX, TIME_MS_MAX))
_REPORT = record(messages.ProgressReport, ref=REFERENCE, fraction=decimal(1.0), text=prose("progress_chars_max"))
_LINE = record(lambda ref, line: (ref, line), ref=REFERENCE, line=prose())


class Cold(NamedTuple):
    """A message with its number and its body."""

    number: int
    message: type[messages.Message]
    body: Kind


COLD = (
    Cold(1, messages.Hello, HELLO),
    Cold(2, messages.Credit, CREDIT),
    Cold(3, messages.Released, record(messages.Released, attempts=_ATTEMPTS)),
    Cold(4, messages.Started, record(messages.Started, starts=several(_START))),
    Cold(5, messages.Progress, record(messages.Progress, reports=several(_REPORT))),
    Cold(6, messages.Log, record(messages.Log, lines=several(_LINE))),
    Cold(
        8,
        messages.BlobGet,
        record(
            messages.BlobGet,
            appended=1,
            sha256=BYTES_32,
            offset=integer(),
            size=integer(1),
            ref=at_most_one(REFERENCE),
        ),
    ),
    Cold(9, messages.Told, record(messages.Told, nonce=integer(1), error=prose(), facts=FACTS)),
    Cold(33, messages.Welcome, WELCOME),
    Cold(35, messages.Recall, record(messages.Recall, attempts=_ATTEMPTS)),
    Cold(36, messages.Ack, record(messages.Ack, attempts=_ATTEMPTS)),
    Cold(37, messages.Cancel, record(messages.Cancel, attempts=_ATTEMPTS)),
    Cold(40, messages.BlobAsk, record(messages.BlobAsk, sha256=BYTES_32, offset=integer(), size=integer(1))),
    Cold(
        65,
        messages.Heartbeat,
        record(
            messages.Heartbeat,
            appended=2,
            nonce=integer(),
            reply=FLAG,
            load=decimal(1.0),
            spool_full=FLAG,
            spooled=integer(),
            spooled_bytes=integer(),
        ),
    ),
    Cold(66, messages.Drain, record(messages.Drain, reason=prose())),
    Cold(67, messages.Bye, record(messages.Bye, reason=prose())),
    Cold(68, messages.Error, record(messages.Error, code=integer(1, INT32_MAX), text=prose())),
)
