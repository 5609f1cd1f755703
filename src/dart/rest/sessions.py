"""Sessions: what a browser has in the place of a key.

A session is two secrets, and both must be shown: one is a cookie that no script can read, the other a header that no
browser sends by itself. Cookies are shared by all ports of a host and go along with requests that other pages cause;
the storage in which the page keeps the other half is for its own origin alone. Only hashes of both are kept, in memory.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from aiohttp import web

from dart.limits import Limits
from dart.rest.caller import Caller

PROOF_HEADER: Final = "X-Dart-Session"
_SECRET_BYTES: Final = 32


class Secrets(NamedTuple):
    """What the browser gets, once."""

    cookie: str
    proof: str


@dataclass(slots=True)
class _Session:
    caller: Caller
    proof: bytes
    used_at_ms: int


class Sessions:
    """The sessions of one server.

    Args:
        now_ms: The time by which keys expire.
        limits: `sessions_per_key_max`, `session_seconds`, `session_idle_seconds`.
    """

    def __init__(self, now_ms: Callable[[], int], limits: Limits) -> None:
        self._now_ms = now_ms
        self._limits = limits
        self._open: dict[str, _Session] = {}
        """By the hash of the cookie; the oldest first."""

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, caller: Caller) -> tuple[Secrets, Caller]:
        """A session for the owner of a key, and who comes by it. The oldest ones of a key make room for new ones."""
        self._forget()
        mine = [name for name, known in self._open.items() if known.caller.id == caller.id]
        for name in mine[: max(0, len(mine) + 1 - self._limits.sessions_per_key_max)]:
            del self._open[name]
        made = Secrets(secrets.token_urlsafe(_SECRET_BYTES), secrets.token_urlsafe(_SECRET_BYTES))
        now = self._now_ms()
        ends_at_ms = now + int(self._limits.session_seconds * 1000)
        if caller.expires_at_ms:
            ends_at_ms = min(ends_at_ms, caller.expires_at_ms)
        name = _digest(made.cookie).hex()
        known = _Session(caller._replace(session=name, expires_at_ms=ends_at_ms), _digest(made.proof), now)
        self._open[name] = known
        return made, known.caller

    def find(self, cookie: str, proof: str) -> Caller | None:
        """Who comes with these secrets; None: they are not those of an open session."""
        name = _digest(cookie).hex()
        known = self._open.get(name)
        if known is None or not hmac.compare_digest(known.proof, _digest(proof)):
            return None
        if not self._counts(known):
            del self._open[name]
            return None
        known.used_at_ms = self._now_ms()
        return known.caller

    def is_open(self, name: str) -> bool:
        """Whether a session has neither ended nor become too old."""
        known = self._open.get(name)
        return known is not None and self._now_ms() < known.caller.expires_at_ms

    def end(self, name: str) -> None:
        """End it; harmless when repeated."""
        self._open.pop(name, None)

    def _counts(self, known: _Session) -> bool:
        now = self._now_ms()
        idle_ms = int(self._limits.session_idle_seconds * 1000)
        return now < known.caller.expires_at_ms and now < known.used_at_ms + idle_ms

    def _forget(self) -> None:
        for name in [name for name, known in self._open.items() if not self._counts(known)]:
            del self._open[name]


def cookie_name(server: str, *, secure: bool) -> str:
    """What the cookie of this server is called: several servers of one host share all cookies."""
    mark = hashlib.sha256(server.encode()).hexdigest()[:8]
    # Browsers take `__Host-` from this very host over TLS only, and for all of its paths.
    return f"__Host-dart-{mark}" if secure else f"dart-{mark}"


def is_secure(request: web.BaseRequest) -> bool:
    """Whether the browser came over TLS; if something in between ends that, only the page's origin shows it."""
    return request.secure or request.headers.get("Origin", "").startswith("https://")


def secrets_of(request: web.BaseRequest, server: str) -> Secrets | None:
    """What a request shows of a session; None: it does not come by one, whatever cookies it has."""
    proof = request.headers.get(PROOF_HEADER)
    if proof is None:
        return None
    cookies = request.cookies
    found = (cookies.get(cookie_name(server, secure=secure)) for secure in (True, False))
    return Secrets(next(filter(None, found), ""), proof)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
