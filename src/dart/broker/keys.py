"""The API keys as REST needs them: found at once, changed durably."""

from collections.abc import Callable, Sequence

from dart.broker.core import events
from dart.broker.core.access import ApiKey, NameRule, Scope
from dart.broker.service import Service
from dart.ids import KeyId
from dart.limits import Limits


class Keys:
    """The keys in the store of one service."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service = service
        self._limits = limits
        self.on_revoked: Callable[[], None] = lambda: None
        """Called when a key counts no more."""

    def get(self, key_id: KeyId) -> ApiKey | None:
        """One key, expired and revoked ones too; also while nothing can be written."""
        return self._service.keys.get(key_id)

    def known(self) -> list[ApiKey]:
        """All keys as the core last knew them."""
        return list(self._service.keys.values())

    def peppered(self) -> list[ApiKey]:
        """Keys whose text somebody chose."""
        return [key for key in self._service.keys.values() if key.pepper]

    async def all(self) -> list[ApiKey]:
        """All keys, oldest first."""
        found = sorted(self._service.keys.values(), key=lambda key: (key.created_at_ms, key.id))
        await self._service.durable()
        return found

    async def add(
        self,
        key_id: KeyId,
        *,
        name: str,
        digest: bytes,
        pepper: str,
        is_weak: bool,
        scope: Scope,
        jobs: NameRule,
        workers: NameRule,
        seconds: float,
    ) -> ApiKey:
        """Register a key for so many seconds (0: for ever), or `LimitError`; the members are those of `ApiKey`."""
        now_ms = self.now_ms
        expires_at_ms = now_ms + int(seconds * 1000) if seconds else 0
        key = ApiKey(key_id, name, digest, pepper, is_weak, scope, jobs, workers, now_ms, expires_at_ms)
        await self._service.ask(lambda token: events.KeyIssued(token, key))
        return key

    async def revoke(self, key_id: KeyId) -> int:
        """Let it count no more, from the next request on, or `UnknownKeyError`; since when, in Unix ms."""
        at_ms: int = await self._service.ask(lambda token: events.KeyWithdrawn(token, key_id))
        self.on_revoked()
        return at_ms

    def used(self, keys: Sequence[ApiKey]) -> None:
        """Remember that they were used just now; nobody waits for it."""
        stale_ms = self.now_ms - int(self._limits.key_use_seconds * 1000)
        seen = tuple(key.id for key in keys if key.last_used_at_ms <= stale_ms)
        if seen:
            self._service.post([events.KeysSeen(seen)])

    @property
    def now_ms(self) -> int:
        """The time by which keys expire."""
        return int(self._service.now * 1000)
