"""Who may call what: keys, their scopes, and the search for a key in a request that has no Authorization header."""

import hashlib
import hmac
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from dart.errors import ForbiddenError, UnauthorizedError


class Scope(IntEnum):
    """What a key allows; a greater one contains the lesser."""

    OPEN = 0
    """Needs no key."""
    READ = 1
    SUBMIT = 2
    """Also jobs, tasks and results."""
    ADMIN = 3
    """Everything."""


class Caller(NamedTuple):
    """A known key."""

    name: str
    """For logs; never the key."""
    scope: Scope


class KeyRing:
    """The keys that this server knows, as digests.

    Args:
        admin_key: The key of the state directory; empty: none.
        legacy_keys: Texts written into old programs; each may do everything.
    """

    def __init__(self, admin_key: str = "", legacy_keys: Iterable[str] = ()) -> None:
        self._callers: list[tuple[bytes, Caller]] = []
        if admin_key:
            self.add(admin_key, name="admin", scope=Scope.ADMIN)
        for number, text in enumerate(legacy_keys, 1):
            self.add(text, name=f"legacy-{number}", scope=Scope.ADMIN)

    def add(self, text: str, *, name: str, scope: Scope) -> None:
        """Register a key."""
        self._callers.append((_digest(text), Caller(name, scope)))

    def find(self, text: str) -> Caller | None:
        """Whose key this is. Takes as long for a wrong key as for a right one."""
        digest = _digest(text)
        found = None
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                found = caller
        return found


def caller_of(keys: KeyRing, text: str | None, needed: Scope) -> Caller:
    """The owner of this key, if it may do what needs this scope.

    Raises:
        UnauthorizedError: No key, or an unknown one.
        ForbiddenError: Known, but its scope is too small.
    """
    if text is None:
        raise UnauthorizedError(
            "No key was given. Send `Authorization: Bearer KEY`, or make `key` the first member of the body."
        )
    caller = keys.find(text)
    if caller is None:
        hint = ""
        if text == "000":
            hint = (
                " Programs with the key 000 written into them are let in by a server that was started with"
                " `dart server start --legacy-key 000`."
            )
        raise UnauthorizedError(f"The server does not know this key.{hint}")
    if caller.scope < needed:
        raise ForbiddenError(
            f"The key {caller.name} has the scope {caller.scope.name.lower()};"
            f" this call needs {needed.name.lower()}. Use a key with that scope.",
            scope=needed.name.lower(),
        )
    return caller


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


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
