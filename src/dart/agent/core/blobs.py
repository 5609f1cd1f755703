"""Large values that tasks name: found in the agent's cache or fetched, once each, before runners get the tasks.

A parameter is not decoded, so what it seems to name may be chance: then the broker does not have it, the task goes on
without, and the runner, which decodes, says whether that was wrong.
"""

from itertools import islice
from typing import Final

from dart.agent.blob_events import BlobCrowded, BlobFault, BlobFind, BlobGone, BlobHere, BlobLack, BlobReady, BlobWrite
from dart.agent.core.state import Phase, State, Wanted, WantedStage
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef
from dart.wire.messages import Blob, BlobGet, Named, ProgressReport
from dart.wire.piece_window import TELL_SECONDS, adapted, share_of

TRIES_MAX: Final = 2
"""A blob that came damaged so often is not asked for again."""
TOLD_MAX: Final = 16
"""Tasks for which it is told how far a blob is."""


def take(state: State, ref: AttemptRef, named: tuple[Named, ...]) -> None:
    """Put a task that is held into the queue, or let it wait for its blobs."""
    state.held[ref].blobs = tuple(blob.sha256 for blob in named)
    lacking = set()
    for blob in named:
        wanted = state.blobs.get(blob.sha256)
        if wanted is None:
            wanted = state.blobs[blob.sha256] = Wanted(blob.size)
            if blob.sha256 not in state.blobs_going:
                state.commands.append(BlobFind(blob.sha256, blob.size))
        wanted.tasks[ref] = None
        if wanted.stage is not WantedStage.SETTLED:
            lacking.add(blob.sha256)
    if lacking:
        state.waiting[ref] = lacking
    else:
        state.queue.append(ref)


# ---- what the cache tells ----


def on_here(state: State, event: BlobHere) -> None:
    """So much of a blob is in the cache."""
    wanted = state.blobs.get(event.sha256)
    if wanted is None or wanted.stage is WantedStage.SETTLED:
        return
    if wanted.stage is not WantedStage.FETCHING or not wanted.here <= event.size <= wanted.received:
        # A word from before it was looked for again may be among them: the last one counts.
        wanted.stage = WantedStage.FETCHING
        wanted.received = wanted.asked = event.size
    wanted.here = event.size
    _tell(state, event.sha256, wanted)


def _tell(state: State, sha256: bytes, wanted: Wanted) -> None:
    if state.phase is not Phase.LIVE or state.now < wanted.told_at + TELL_SECONDS:
        return
    wanted.told_at = state.now
    share = 100 * wanted.here // max(1, wanted.size)
    text = f"fetching blob {sha256.hex()[:12]}: {share} % of {wanted.size} bytes"
    for ref in islice(wanted.tasks, TOLD_MAX):
        state.progress[ref] = ProgressReport(ref, 0.0, text)


def on_ready(state: State, event: BlobReady) -> None:
    """All of it is here and has its hash."""
    wanted = state.blobs.get(event.sha256)
    if wanted is None or wanted.stage is WantedStage.SETTLED:
        return
    if not _refuse(state, event.sha256, wanted):
        _settle(state, event.sha256, wanted)


def on_fault(state: State, event: BlobFault) -> None:
    """The cache could not keep it, or it was not what its name says."""
    wanted = state.blobs.get(event.sha256)
    if wanted is None or wanted.stage is WantedStage.SETTLED:
        return
    wanted.failures += 1
    if event.damaged and wanted.failures < TRIES_MAX:
        wanted.stage = WantedStage.LOOKING
        state.say("warning", f"blob {event.sha256.hex()}: {event.reason}; it is fetched again", bounded=True)
        state.commands.append(BlobFind(event.sha256, wanted.size))
    else:
        code = TaskErrorCode.BLOB_MISSING if event.damaged else TaskErrorCode.BLOB_UNAVAILABLE
        _lack(state, event.sha256, wanted, code, event.reason)


def on_crowded(state: State, event: BlobCrowded) -> None:
    """Tasks use all of the cache."""
    wanted = state.blobs.get(event.sha256)
    if wanted is not None and wanted.stage is WantedStage.LOOKING:
        wanted.stage = WantedStage.CROWDED


def on_gone(state: State, event: BlobGone) -> None:
    """The cache has let it go; who has named it since has it looked for now."""
    state.blobs_going.remove(event.sha256)
    wanted = state.blobs.get(event.sha256)
    if wanted is not None:
        state.commands.append(BlobFind(event.sha256, wanted.size))


def look_again(state: State) -> None:
    """Blobs that had no room are looked for again when one was let go; without hope of that their tasks go on."""
    crowded = [(sha256, wanted) for sha256, wanted in state.blobs.items() if wanted.stage is WantedStage.CROWDED]
    if crowded and state.blob_let:
        for sha256, wanted in crowded:
            wanted.stage = WantedStage.LOOKING
            state.commands.append(BlobFind(sha256, wanted.size))
    elif (
        crowded
        and not _will_be_fetched(state)
        and not any(held.blobs and ref not in state.waiting for ref, held in state.held.items())
    ):
        sha256, wanted = crowded[0]
        reason = (
            f"it has {wanted.size} bytes, and what other tasks wait for fills this worker's cache of "
            f"{state.limits.blob_cache_bytes_max} bytes (blob_cache_bytes_max)"
        )
        _lack(state, sha256, wanted, TaskErrorCode.BLOB_UNAVAILABLE, reason)
    state.blob_let = False


# ---- what the broker sends ----


def _will_be_fetched(state: State) -> bool:
    """Whether blobs that tasks made make room some day; those of another store's results stay."""
    return any(state.kept[ref].store_id == state.store_id for refs in state.offered.values() for ref in refs)


def on_piece(state: State, message: Blob) -> None:
    """The next piece is written down; what was not asked for, or comes twice, is ignored."""
    wanted = state.blobs.get(message.sha256)
    if wanted is None or wanted.stage is not WantedStage.FETCHING:
        return
    if message.total != wanted.size:
        _look_for(state, message.sha256, wanted, message.total)
        return
    size = len(message.data)
    if message.offset != wanted.received or not size or wanted.received + size > wanted.size:
        return
    if wanted.received + size - wanted.here > state.limits.blob_fetch_bytes_max + state.limits.blob_piece_bytes:
        return
    if _refuse(state, message.sha256, wanted):
        return
    state.session.pieces = adapted(state.session.pieces, state.now - wanted.asked_at)
    wanted.received += size
    wanted.asked = max(wanted.asked, wanted.received)
    wanted.asked_at = state.now
    state.commands.append(BlobWrite(message.sha256, wanted.received - size, message.data))


def _look_for(state: State, sha256: bytes, wanted: Wanted, total: int) -> None:
    """The broker knows another size: that of the reference may be wrong in one task and right in another."""
    wanted.failures += 1
    if total and wanted.failures < TRIES_MAX:
        wanted.size, wanted.stage = total, WantedStage.LOOKING
        state.commands.append(BlobFind(sha256, total))
    else:
        reason = "the server does not have it; send it again, and then the task"
        _lack(state, sha256, wanted, TaskErrorCode.BLOB_MISSING, reason)


def _refuse(state: State, sha256: bytes, wanted: Wanted) -> bool:
    """A blob that is one, not chance, counts as the parameter of its task."""
    most = state.identity.policy.parameter_bytes_max
    if most is None or wanted.size <= most:
        return False
    reason = f"it has {wanted.size} bytes, at most {most} are accepted (parameter_bytes_max)"
    _lack(state, sha256, wanted, TaskErrorCode.POLICY_REFUSED, reason)
    return True


def _lack(state: State, sha256: bytes, wanted: Wanted, code: int, reason: str) -> None:
    """Its tasks go on without; the runner that needs it says why."""
    state.commands.append(BlobLack(sha256, code, reason))
    _settle(state, sha256, wanted)


def _settle(state: State, sha256: bytes, wanted: Wanted) -> None:
    wanted.stage = WantedStage.SETTLED
    for ref in wanted.tasks:
        lacking = state.waiting[ref]
        lacking.remove(sha256)
        if not lacking:
            del state.waiting[ref]
            state.progress.pop(ref, None)
            state.queue.append(ref)


# ---- asking ----


def on_welcome(state: State) -> None:
    """What was asked for in the last session does not come any more."""
    for wanted in state.blobs.values():
        wanted.asked = wanted.received


def ask_on(state: State) -> None:
    """Ask for what fits."""
    if state.phase is not Phase.LIVE or not state.blobs:
        return
    limits = state.limits
    fetching = list(islice(_fetching(state), limits.blob_fetches_max))
    if not fetching:
        return
    share = share_of(state.session.pieces, len(fetching), limits)
    for sha256, wanted in fetching:
        if wanted.asked > wanted.received and _silent_at(state, wanted) <= state.now:
            wanted.asked = wanted.received
        while wanted.asked < wanted.size and wanted.asked - wanted.here < share:
            if wanted.asked == wanted.received:
                wanted.asked_at = state.now
            size = min(limits.blob_piece_bytes, wanted.size - wanted.asked)
            state.send(BlobGet(sha256, wanted.asked, size, next(iter(wanted.tasks))))
            wanted.asked += size


def _fetching(state: State) -> list[tuple[bytes, Wanted]]:
    return [(sha256, wanted) for sha256, wanted in state.blobs.items() if wanted.stage is WantedStage.FETCHING]


def _silent_at(state: State, wanted: Wanted) -> float:
    welcome = state.session.welcome
    return wanted.asked_at + (state.limits.silence_seconds if welcome is None else welcome.silence_seconds)


def deadline(state: State) -> float | None:
    """When to ask again for what did not come."""
    if state.phase is not Phase.LIVE or not state.blobs:
        return None
    fetching = (wanted for _, wanted in _fetching(state)[: state.limits.blob_fetches_max])
    return min((_silent_at(state, wanted) for wanted in fetching if wanted.asked > wanted.received), default=None)
