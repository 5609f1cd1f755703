"""Room on the store's disk, and what people are told when there is none."""

from dart.broker.store.base import Store
from dart.errors import DartError, UnavailableError


def check_room(store: Store, *, payload_bytes: int, spare_bytes: int) -> None:
    """Refuse a submission that would take the room that outcomes of known tasks need. Raises `UnavailableError`."""
    if store.room() - payload_bytes < spare_bytes:
        raise UnavailableError(
            f"The disk of the store is nearly full: its last {spare_bytes} bytes (limit store_spare_bytes) are kept "
            "for results. Free some space there, or delete results, and submit again.",
            retry_after=5,
        )


def trouble_of(error: DartError) -> str:
    """Why nothing can be written, without the server's paths."""
    reason = error.details.get("reason")
    return f"the store cannot be written: {reason}" if reason else "the store cannot be written"
