"""API keys come, go, and are seen in use."""

from dart.broker.core.access import ApiKey
from dart.broker.core.commands import Refuse, Reply
from dart.broker.core.events import KeyIssued, KeysSeen, KeyWithdrawn
from dart.broker.core.records import KeyAdded, KeyForgotten, KeyRevoked, KeysUsed
from dart.broker.core.state import Core, milliseconds, persist
from dart.errors import ConflictError, LimitError, UnknownKeyError
from dart.ids import KeyId


def on_key_issued(core: Core, event: KeyIssued, now: float) -> None:
    """Take a new key; of those that count no more the oldest makes room for it."""
    key = event.key
    if key.id in core.keys:
        text = f"There is a key {key.id!r} already; add the new one again, under another id."
        core.commands.append(Refuse(event.token, ConflictError(text)))
        return
    if len(core.keys) >= core.limits.keys_max and not _make_room(core, milliseconds(now)):
        text = f"There are {len(core.keys)} keys that count (limit keys_max); revoke one that nobody uses."
        core.commands.append(Refuse(event.token, LimitError(text)))
        return
    core.keys[key.id] = key
    persist(core, KeyAdded(key))
    core.commands.append(Reply(event.token, key.id))


def on_key_withdrawn(core: Core, event: KeyWithdrawn, now: float) -> None:
    """Let a key count no more; repeated: nothing further."""
    key = core.keys.get(event.id)
    if key is None:
        text = f"There is no key {event.id[:100]!r}; `dart key list` shows the ids of all keys."
        core.commands.append(Refuse(event.token, UnknownKeyError(text)))
        return
    if not key.revoked_at_ms:
        key = core.keys[key.id] = key._replace(revoked_at_ms=milliseconds(now))
        persist(core, KeyRevoked(key.id, key.revoked_at_ms))
    core.commands.append(Reply(event.token, key.revoked_at_ms))


def on_keys_seen(core: Core, event: KeysSeen, now: float) -> None:
    """Remember roughly when keys were used: a little later than it was, and not each time."""
    at_ms = milliseconds(now)
    stale_ms = at_ms - int(core.limits.key_use_seconds * 1000)
    used = [key for key_id in event.ids if (key := core.keys.get(key_id)) and key.last_used_at_ms <= stale_ms]
    for key in used:
        core.keys[key.id] = key._replace(last_used_at_ms=at_ms)
    if used:
        persist(core, KeysUsed(tuple((key.id, at_ms) for key in used)))


def _make_room(core: Core, now_ms: int) -> bool:
    """Forget the key that has counted no more for longest; False: all count."""
    gone = [(ended, key.id) for key in core.keys.values() if (ended := _ended_at_ms(key, now_ms))]
    if not gone:
        return False
    _, oldest = min(gone)
    _forget(core, oldest)
    return True


def _ended_at_ms(key: ApiKey, now_ms: int) -> int:
    """Since when it counts no more; 0: it counts."""
    return key.revoked_at_ms or (key.expires_at_ms if 0 < key.expires_at_ms <= now_ms else 0)


def _forget(core: Core, key_id: KeyId) -> None:
    del core.keys[key_id]
    persist(core, KeyForgotten(key_id))
