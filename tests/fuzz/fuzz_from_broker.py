"""What a broker sends: as with agents."""

from dart.wire.codec import decode_from_broker
from fuzz.fuzz_from_agent import check_with
from fuzz.vectors import messages


def seeds() -> list[bytes]:
    return messages("broker")


def check(data: bytes) -> None:
    check_with(data, decode_from_broker)
