"""Who may call what: the keys that a server knows, and what is said to whom it does not know."""

import asyncio
import hmac
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from dart.broker.core.access import ApiKey
from dart.broker.core.access import Scope as Scope  # noqa: PLC0414 - part of what this file is about
from dart.complaints import Complaints
from dart.errors import LimitError, UnauthorizedError
from dart.ids import KeyId
from dart.limits import Limits
from dart.networks import network
from dart.rest import key_text
from dart.rest.caller import NOBODY, Caller
from dart.rest.failures import Failures
from dart.rest.sessions import Secrets, Sessions
from dart.rest.signal import Signal

_log = logging.getLogger("dart.rest")
ADMIN_ID = "admin"
"""Stands for the key of the state directory, which is in no store."""
_NO_SESSION = "This session has ended, or never was; log in again."
LEGACY = "legacy-"
"""Begins the names of the keys on the server's command line."""
_LOOPBACK = ("127.", "::/64")
"""How networks of this very machine begin."""


class AdminKeySource(Protocol):
    """Where the key of the state directory comes from; it may be replaced at any time."""

    version: int

    def text(self) -> str:
        """The key as it is now; empty: none."""


class StoredKeys(Protocol):
    """What is needed of the keys in the store."""

    on_revoked: Callable[[], None]

    def get(self, key_id: KeyId) -> ApiKey | None:
        """One key."""

    def peppered(self) -> list[ApiKey]:
        """Keys whose text somebody chose."""

    def used(self, keys: Sequence[ApiKey]) -> None:
        """Remember that they were used."""

    @property
    def now_ms(self) -> int:
        """The time by which keys expire."""


class KeyRing:
    """The keys that this server knows: one of the state directory, those of the store, those of its command line.

    Args:
        admin: The key of the state directory, which always counts.
        stored: Keys in the store; None: there are none.
        limits: How many wrong keys are answered as such.
        legacy_keys: Texts written into old programs; each may do everything.
        pepper: What the texts that people choose are hashed with.
        weak_keys_count: Whether keys of the store that could be guessed are taken.
    """

    def __init__(
        self,
        admin: AdminKeySource,
        stored: StoredKeys,
        limits: Limits,
        *,
        legacy_keys: Iterable[str] = (),
        pepper: bytes = b"",
        weak_keys_count: bool = True,
    ) -> None:
        self._admin = admin
        self._stored = stored
        self._limits = limits
        self._legacy = [(f"{LEGACY}{n}", key_text.digest(text)) for n, text in enumerate(legacy_keys, 1)]
        self._pepper = pepper
        self.pepper_name = key_text.name_of(pepper)
        self.weak_keys_count = weak_keys_count
        self.failures = Failures(limits)
        self.sessions = Sessions(lambda: stored.now_ms, limits)
        self._complaints = Complaints(_log)
        self._complaints.later = asyncio.get_running_loop().call_later
        self._acquainted: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Which weak keys were used from which addresses, the latest few."""
        self.changed = Signal()
        """Keys were revoked or replaced: whoever waits should look whether his own counts still."""
        stored.on_revoked = self.changed.ring

    @property
    def legacy_ids(self) -> list[str]:
        """Names of the keys on the server's command line."""
        return [name for name, _ in self._legacy]

    def caller(self, text: str | None, needed: Scope, address: str = "") -> Caller:
        """The owner of this key, if it may do what needs this scope.

        Raises:
            UnauthorizedError: No key, an unknown one, one that expired or was revoked.
            LimitError: An unknown one, after too many of them.
            ForbiddenError: Known, but its scope is too small.
        """
        if text is None:
            raise UnauthorizedError(
                "No key was given. Send `Authorization: Bearer KEY`, or make `key` the first member of the body."
            )
        caller = self._find(text, address)
        if caller is None:
            raise self._wrong_key(text, address)
        caller.check_scope(needed)
        return caller

    def caller_in_session(self, secrets: Secrets) -> Caller:
        """The owner of the key that this session was begun with; `UnauthorizedError` if either counts no more."""
        caller = self.sessions.find(secrets.cookie, secrets.proof)
        if caller is None:
            raise UnauthorizedError(_NO_SESSION)
        if (reason := self.gone(caller)) is not None:
            self.sessions.end(caller.session)
            raise reason
        return caller

    def end_session(self, caller: Caller) -> None:
        """End the session that this caller came by, with all that waits in it."""
        self.sessions.end(caller.session)
        self.changed.ring()

    def is_taken(self, text: str) -> bool:
        """Whether a key that counts has this text, which somebody chose; for those who may see all keys."""
        digest = key_text.digest(text)
        key = self._chosen(text)
        return (
            hmac.compare_digest(digest, key_text.digest(self._admin_text()))
            or any(hmac.compare_digest(digest, known) for _, known in self._legacy)
            or (key is not None and not self.trouble(key))
        )

    def sealed(self, text: str) -> bytes:
        """What is kept of a text that somebody chose; goes with `pepper_name`."""
        return key_text.peppered(self._pepper, text)

    def trouble(self, key: ApiKey) -> str:
        """Why a key of the store does not count, or nothing."""
        if key.revoked_at_ms:
            return f"was revoked at {_when(key.revoked_at_ms)}"
        if 0 < key.expires_at_ms <= self._stored.now_ms:
            return f"expired at {_when(key.expires_at_ms)}"
        if key.pepper and key.pepper != self.pepper_name:
            return "was added with another key.pepper in the state directory; add it again"
        if key.is_weak and not self.weak_keys_count:
            return "can be guessed, so it counts on loopback only; the server's owner may allow it (--allow-weak-key)"
        return ""

    def gone(self, caller: Caller) -> UnauthorizedError | None:
        """Why a caller that was let in would not be now; None: it would."""
        if caller.session and not self.sessions.is_open(caller.session):
            return UnauthorizedError(_NO_SESSION)
        if caller.id == ADMIN_ID:
            self._admin_text()
            is_old = caller.version != self._admin.version
            return UnauthorizedError("The admin key was replaced; use the new one.") if is_old else None
        if caller == NOBODY or caller.id in self.legacy_ids:
            return None
        key = self._stored.get(KeyId(caller.id))
        trouble = "was revoked" if key is None else self.trouble(key)
        return _refusal(caller.name, trouble) if trouble else None

    async def until_gone(self, caller: Caller) -> UnauthorizedError:
        """Wait until this caller would not be let in any more; why."""
        while (reason := self.gone(caller)) is None:
            await asyncio.wait([self.changed.future()], timeout=self.seconds_left(caller))
        return reason

    def seconds_left(self, caller: Caller) -> float | None:
        """Until the caller's key expires; None: never."""
        return (caller.expires_at_ms - self._stored.now_ms) / 1000 if caller.expires_at_ms else None

    def _admin_text(self) -> str:
        """The admin key as it is now; whoever waits with one that it replaced hears of it."""
        version = self._admin.version
        text = self._admin.text()
        if self._admin.version != version:
            self.changed.ring()
        return text

    def _find(self, text: str, address: str) -> Caller | None:
        """Whose key this is. What is compared with a secret takes as long for a wrong key as for a right one."""
        digest = key_text.digest(text)
        admin = self._admin_text()
        if admin and hmac.compare_digest(key_text.digest(admin), digest):
            return Caller(ADMIN_ID, ADMIN_ID, Scope.ADMIN, version=self._admin.version)
        key_id = key_text.id_in(text)
        if key_id is not None:
            key = self._stored.get(key_id)
            if key is None or not hmac.compare_digest(key.digest, digest):
                return None
            return self._let_in(key)
        return self._find_chosen(text, digest, address)

    def _find_chosen(self, text: str, digest: bytes, address: str) -> Caller | None:
        """Whose key a text is that somebody chose.

        Weak ones could be guessed: where too many wrong keys come from, they are taken only if that address has used
        this very key before. On loopback there is nothing to protect in this way.
        """
        legacy = [name for name, known in self._legacy if hmac.compare_digest(known, digest)]
        key = self._chosen(text)
        if not legacy and key is None:
            return None
        pair = legacy[0] if legacy or key is None else key.id, network(address)
        if key_text.is_weak(text) and pair[1] and not pair[1].startswith(_LOOPBACK):
            if pair not in self._acquainted and self.failures.wait_seconds(address) > 0:
                return None
            self._acquainted[pair] = None
            self._acquainted.move_to_end(pair)
            if len(self._acquainted) > self._limits.key_addresses_max:
                self._acquainted.popitem(last=False)
        return Caller(legacy[0], legacy[0], Scope.ADMIN) if legacy or key is None else self._let_in(key)

    def _chosen(self, text: str) -> ApiKey | None:
        """The latest key of the store with a text that somebody chose; one that counts before one that does not."""
        sealed = self.sealed(text)
        found = [key for key in self._stored.peppered() if hmac.compare_digest(key.digest, sealed)]
        return max(found, key=lambda key: (not self.trouble(key), key.created_at_ms), default=None)

    def _let_in(self, key: ApiKey) -> Caller:
        if trouble := self.trouble(key):
            raise _refusal(key.name, trouble)
        self._stored.used([key])
        return Caller(key.id, key.name, key.scope, key.jobs, key.workers, key.expires_at_ms)

    def failure(self, what: str, address: str, told: str) -> UnauthorizedError | LimitError:
        """Count something wrong that was to let somebody in, a key or a join token; what to answer.

        Args:
            what: `key` or `join token`.
            address: Where it came from.
            told: What is said of it, as long as there are few.
        """
        wait = self.failures.wait_seconds(address)
        self.failures.add(address)
        self._complaints.warn(f"A wrong {what} came from {address or 'a unix socket'}.", network(address))
        if wait > 0:
            return LimitError(
                f"Too many wrong keys were tried lately (limit key_failures_max); see that the {what} is right, and "
                "wait.",
                retry_after=math.ceil(wait),
            )
        return UnauthorizedError(told)

    def _wrong_key(self, text: str, address: str) -> UnauthorizedError | LimitError:
        hint = ""
        if text == "000":
            hint = (
                " Programs with the key 000 written into them are let in by a server that was started with"
                " `dart server start --legacy-key 000`, or told `dart key add --text 000 --scope admin`."
            )
        return self.failure("key", address, f"The server does not know this key.{hint}")


def bearer_key(header: str | None) -> str | None:
    """The key of an Authorization header; None: there is no header.

    Raises:
        UnauthorizedError: There is one, of another kind.
    """
    if header is None:
        return None
    kind, _, key = header.partition(" ")
    if kind.lower() != "bearer" or not key.strip():
        raise UnauthorizedError("The Authorization header must be `Bearer KEY`.")
    return key.strip()


def _refusal(name: str, trouble: str) -> UnauthorizedError:
    return UnauthorizedError(f"The key {name} {trouble}.")


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
