"""What happens to the large values that tasks name or make, and what the core wants done about them."""

from collections.abc import Callable
from dataclasses import dataclass

from dart.ids import AttemptRef
from dart.wire.messages import Buffer

# ---- events ----


@dataclass(frozen=True, slots=True)
class BlobHere:
    """So many bytes of a blob are in the cache, not all: answers `BlobFind`, and each `BlobWrite`."""

    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class BlobReady:
    """All of a blob is in the cache, and has its hash."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class BlobFault:
    """A blob cannot be kept; or what came was not it (`damaged`), and nothing of that was kept."""

    sha256: bytes
    reason: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class BlobCrowded:
    """The cache has no room for a blob before another one is let go."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class BlobGone:
    """Answers `BlobLet`: whatever was told of this blob before is of the past."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class BlobMade:
    """A running attempt has written a blob; the cache keeps it until `BlobFree`."""

    ref: AttemptRef
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class PieceRead:
    """Answers `BlobRead`."""

    sha256: bytes
    offset: int
    total: int
    """Bytes of the whole blob; 0: it is not here any more."""
    data: Buffer


@dataclass(frozen=True, slots=True)
class Later:
    """No event for the core: something for the agent's loop to do, since it alone may."""

    call: Callable[[], None]


# ---- commands ----


@dataclass(frozen=True, slots=True)
class BlobFind:
    """Look for a blob in the cache, and keep it there until `BlobLet`; `BlobHere` or another event answers."""

    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class BlobWrite:
    """Write the next piece into the cache."""

    sha256: bytes
    offset: int
    data: Buffer


@dataclass(frozen=True, slots=True)
class BlobLack:
    """Tell runners that need this blob, until `BlobLet`, that it is not here and why."""

    sha256: bytes
    code: int
    """Of `TaskErrorCode`."""
    reason: str


@dataclass(frozen=True, slots=True)
class BlobLet:
    """No task needs this blob any more: it may go when others need its room. `BlobGone` answers."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class BlobPin:
    """Keep a blob that is here, once more than before, until `BlobFree`; a result of an earlier boot names it."""

    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class BlobFree:
    """Keep a blob that was made, or pinned, once less: nobody has to be given it any more."""

    sha256: bytes


@dataclass(frozen=True, slots=True)
class BlobRead:
    """Read a piece of a blob; `PieceRead` answers, in the order asked."""

    sha256: bytes
    offset: int
    size: int
