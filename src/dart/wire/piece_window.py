"""How many pieces of blobs to have under way: few on a slow link, where other messages would wait behind them.

Whoever receives asks, so both sides reckon in the same way.
"""

from typing import Final

from dart.limits import Limits

PIECES_AT_FIRST: Final = 2
"""Under way in a new session; more, as long as they come soon."""
SOON_SECONDS: Final = 0.5
"""A piece that took longer makes room for others: CANCEL must not wait behind many of them."""
TELL_SECONDS: Final = 1.0
"""Between two reports of how far a blob is."""


def adapted(pieces: int, seconds: float) -> int:
    """More while pieces follow one another closely, fewer on a slow link."""
    return pieces + 1 if seconds < SOON_SECONDS else max(1, pieces // 2)


def share_of(pieces: int, blobs: int, limits: Limits) -> int:
    """Bytes of each of so many blobs that may be under way, so that a small one does not wait for a large one."""
    window = min(pieces, max(1, limits.blob_fetch_bytes_max // limits.blob_piece_bytes))
    return max(1, window // blobs) * limits.blob_piece_bytes
