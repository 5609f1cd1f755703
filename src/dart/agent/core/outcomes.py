"""Results from the moment a task ended until the broker's ACK: kept in memory, spooled, sent, forgotten."""

from collections.abc import Iterable

from dart.agent.blob_events import PieceRead
from dart.agent.core import auditing, credit, result_blobs
from dart.agent.core.state import SPOOLED_EARLIER, Held, Kept, Phase, SpoolMode, State
from dart.agent.events import RunnerResult, SpoolForget, SpoolWrite, Started
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef, StoreId
from dart.wire.messages import Result, Results, Welcome

WINDOW_BATCHES = 4
"""Batches of results that may be on their way without ACK: what the socket has to hold at most."""
RESULT_BYTES = 256
"""What a kept result costs beside its payload."""


def keep(state: State, held: Held, result: RunnerResult) -> None:
    """Keep what a runner wrote."""
    _keep(
        state,
        held,
        Result(
            result.ref,
            state.identity.name,
            state.identity.host,
            result.start_time_ms,
            result.duration_seconds,
            result.success,
            result.error_code,
            result.payload,
            result_blobs.named(state, held, result),
        ),
    )


def keep_error(state: State, held: Held, code: int, text: str, *, start: float, duration: float) -> None:
    """Keep an outcome that this agent decided itself."""
    identity = state.identity
    payload = portable_text(text)
    start_time_ms = int(start * 1000)
    result = Result(held.lease.ref, identity.name, identity.host, start_time_ms, duration, False, code, payload)
    _keep(state, held, result)


def portable_text(text: str) -> bytes:
    """A text as portable value: a MessagePack str with a 32-bit length."""
    data = text.encode("utf-8", "replace")
    return b"\xdb" + len(data).to_bytes(4, "big") + data


def _keep(state: State, held: Held, result: Result) -> None:
    store_id = held.store_id
    auditing.note(state, held, result)
    result_blobs.hand_over(state, held, result)
    state.kept[result.ref] = Kept(result, store_id, kept_at=state.now)
    state.kept_bytes += _size(result)
    state.unspooled.append(result.ref)
    if state.phase is Phase.LIVE and store_id == state.store_id:
        state.to_send.append(result.ref)


def _size(result: Result) -> int:
    return len(result.payload) + RESULT_BYTES


def on_started(state: State, event: Started) -> None:
    """Results of earlier boots are ours to deliver."""
    for store_id, result in event.stored:
        state.kept[result.ref] = Kept(result, store_id, write_number=SPOOLED_EARLIER, kept_at=state.now)
        state.kept_bytes += _size(result)
        result_blobs.on_stored(state, result)
        if not state.identity.store_id:
            state.store_id = store_id


def forget(state: State, refs: Iterable[AttemptRef]) -> None:
    """These are durable at the broker, or not wanted."""
    spooled: list[AttemptRef] = []
    for ref in refs:
        kept = state.kept.pop(ref, None)
        if kept is None:
            continue
        state.kept_bytes -= _size(kept.result)
        result_blobs.let(state, kept.result)
        if kept.sent:
            state.session.in_flight -= 1
            state.session.in_flight_bytes -= len(kept.result.payload)
        if kept.write_number:
            spooled.append(ref)
    if spooled:
        state.commands.append(SpoolForget(tuple(spooled)))


def on_welcome(state: State, welcome: Welcome) -> None:
    """Decide anew what is to be sent: all results of this store but those the broker wants held."""
    for kept in state.kept.values():
        kept.sent = False
    forget(state, (*welcome.forget, *welcome.drop))
    # Ids that the store does not know are held; what HELLO had no room to name must not slip past that.
    first_held = min((ref.task_id for ref in welcome.hold), default=None)
    named = {*welcome.send, *welcome.keep} if welcome.hold else frozenset[AttemptRef]()
    state.to_send.clear()
    held_back = 0
    for ref, kept in state.kept.items():
        beyond = first_held is not None and ref.task_id >= first_held and ref not in named
        kept.held_back = beyond or kept.store_id != welcome.store_id
        if kept.held_back:
            held_back += 1
        else:
            state.to_send.append(ref)
    if held_back and held_back != state.held_back_said:
        state.say(
            "warning",
            f"{held_back} results belong to another store than {welcome.store_id} or are unknown to it (was the server "
            "replaced or restored from a backup?); they are kept",
        )
    state.held_back_said = held_back


def spool(state: State) -> None:
    """Hand results to the spool as the mode says."""
    if not state.unspooled:
        return
    waits = state.identity.spool_mode is SpoolMode.LAZY and state.phase is Phase.LIVE and not state.leaving
    due = state.now - state.limits.spool_lazy_seconds
    by_store: dict[StoreId, list[Result]] = {}
    while state.unspooled:
        kept = state.kept.get(state.unspooled[0])
        if kept is not None:
            if waits and kept.kept_at > due:
                break
            by_store.setdefault(kept.store_id, []).append(kept.result)
        state.unspooled.popleft()
    for store_id, results in by_store.items():
        state.writes += 1
        for result in results:
            state.kept[result.ref].write_number = state.writes
        state.commands.append(SpoolWrite(state.writes, store_id, tuple(results)))


def spool_deadline(state: State) -> float | None:
    """When the oldest lazily kept result is to be written."""
    if not state.unspooled:
        return None
    kept = state.kept.get(state.unspooled[0])
    return state.now if kept is None else kept.kept_at + state.limits.spool_lazy_seconds


def flush(state: State) -> None:
    """Send what may be sent, with the credit it frees, in batches that the broker takes."""
    welcome = state.session.welcome
    if state.phase is not Phase.LIVE or welcome is None:
        return
    window = WINDOW_BATCHES * welcome.batch_bytes_max
    while state.to_send and state.session.in_flight_bytes < window:
        batch = _next_batch(state, welcome)
        if not batch:
            break
        state.send(Results(tuple(batch), credit.tell(state)))


def _next_batch(state: State, welcome: Welcome) -> list[Result]:
    batch: list[Result] = []
    batch_bytes = 0
    while state.to_send and len(batch) < welcome.batch_items_max:
        ref = state.to_send[0]
        kept = state.kept.get(ref)
        if kept is not None:
            if not _on_disk_first(state, kept):
                break
            _fit(state, kept, welcome)
            size = len(kept.result.payload)
            if batch and batch_bytes + size > welcome.batch_bytes_max:
                break
            batch.append(kept.result)
            batch_bytes += size
            kept.sent = True
        state.to_send.popleft()
    state.session.in_flight += len(batch)
    state.session.in_flight_bytes += batch_bytes
    return batch


def _on_disk_first(state: State, kept: Kept) -> bool:
    if state.identity.spool_mode is not SpoolMode.BEFORE_SEND:
        return True
    return kept.write_number != 0 and kept.write_number <= state.synced


def _fit(state: State, kept: Kept, welcome: Welcome) -> None:
    """A value that the broker would not take becomes an error that names both sizes."""
    result = kept.result
    size, most, limit = len(result.payload), min(welcome.value_bytes_max, welcome.frame_bytes_max), "value_bytes_max"
    if size <= most:
        size, most, limit = (
            max((blob.size for blob in result.blobs), default=0),
            welcome.blob_bytes_max,
            "blob_bytes_max",
        )
    if size > most:
        text = f"the result has {size} bytes, the broker takes {most} ({limit}); return less or raise the limit"
        _spoil(state, kept, TaskErrorCode.TOO_LARGE, text)


def _spoil(state: State, kept: Kept, code: int, text: str) -> None:
    """A result that cannot be delivered becomes an error."""
    former, payload = kept.result, portable_text(text)
    kept.result = former._replace(success=False, error_code=code, payload=payload, blobs=())
    state.kept_bytes += _size(kept.result) - _size(former)
    result_blobs.let(state, former)


def on_piece_read(state: State, event: PieceRead) -> None:
    """A piece of a blob that results name goes out. Where it is lost, the broker gets errors in their place."""
    for ref in result_blobs.on_read(state, event):
        kept = state.kept[ref]
        if kept.sent and state.phase is Phase.LIVE:
            kept.sent = False
            state.session.in_flight -= 1
            state.session.in_flight_bytes -= len(kept.result.payload)
            state.to_send.append(ref)
        text = (
            f"the blob {event.sha256.hex()}, which the result names, cannot be read from this worker's cache any more"
        )
        _spoil(state, kept, TaskErrorCode.BLOB_UNAVAILABLE, text)


def all_acknowledged(state: State) -> bool:
    """Whether the broker has everything that this session may send."""
    return not state.to_send and state.session.in_flight == 0
