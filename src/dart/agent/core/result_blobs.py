"""Large values that tasks made: they stay in the cache until the broker has fetched them and recorded the result."""

from dart.agent.blob_events import BlobFree, BlobMade, BlobPin, BlobRead, PieceRead
from dart.agent.core.state import Held, Phase, State
from dart.agent.events import RunnerResult
from dart.ids import AttemptRef
from dart.wire.blob_references import references_in
from dart.wire.messages import BlobAsk, BlobPiece, Named, Result

# ---- whose they are ----


def on_made(state: State, event: BlobMade) -> None:
    """A running attempt has written a blob, which the cache keeps for it."""
    held = state.held.get(event.ref)
    if held is None or held.slot is None:
        state.commands.append(BlobFree(event.sha256))
    elif event.sha256 in held.made:
        state.commands.append(BlobFree(event.sha256))  # kept twice now
    else:
        held.made[event.sha256] = event.size


def named(state: State, held: Held, result: RunnerResult) -> tuple[Named, ...]:
    """Which of the blobs that an attempt made its result refers to; what stands there by chance it did not make."""
    if not held.made or not result.success:
        return ()
    found = references_in(result.payload, state.limits.blobs_per_task_max)
    # A larger size than it has would be asked for in vain.
    return tuple(Named(blob.sha256, held.made[blob.sha256]) for blob in found if blob.sha256 in held.made)


def hand_over(state: State, held: Held, result: Result) -> None:
    """From the attempt to its result."""
    for blob in result.blobs:
        del held.made[blob.sha256]
        _offer(state, result.ref, blob)


def on_stored(state: State, result: Result) -> None:
    """A result of an earlier boot: its blobs are kept for it again."""
    for blob in result.blobs:
        state.commands.append(BlobPin(blob.sha256, blob.size))
        _offer(state, result.ref, blob)


def _offer(state: State, ref: AttemptRef, blob: Named) -> None:
    state.offered.setdefault(blob.sha256, {})[ref] = blob.size
    state.offered_bytes += blob.size


def let(state: State, result: Result) -> None:
    """A result needs its blobs no more."""
    for sha256, size in result.blobs:
        refs = state.offered[sha256]
        del refs[result.ref]
        if not refs:
            del state.offered[sha256]
        state.offered_bytes -= size
        state.blob_let = True
        state.commands.append(BlobFree(sha256))


# ---- what the broker asks for ----


def on_ask(state: State, message: BlobAsk) -> bool:
    """Have a piece read, if a result names the blob that waits for its ACK; false: too many are being read."""
    limits = state.limits
    if message.sha256 not in state.offered:
        return True
    if state.reading >= limits.blob_pieces_max:
        return False
    state.reading += 1
    state.commands.append(BlobRead(message.sha256, message.offset, min(message.size, limits.blob_piece_bytes)))
    return True


def on_read(state: State, event: PieceRead) -> tuple[AttemptRef, ...]:
    """Send it. If it is lost: the results that cannot be delivered with it."""
    state.reading -= 1
    named = state.offered.get(event.sha256, {})
    lost = tuple(ref for ref, size in named.items() if size != event.total)
    if state.phase is Phase.LIVE and named:
        total, data = (0, b"") if lost else (event.total, event.data)
        state.send(BlobPiece(event.sha256, event.offset, total, data))
    return lost
