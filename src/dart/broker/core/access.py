"""Who may do what: API keys, join tokens, and the notes of what was done."""

from enum import IntEnum
from typing import NamedTuple

from dart.ids import JoinTokenId, KeyId


class Scope(IntEnum):
    """What a key allows; a greater one contains the lesser."""

    OPEN = 0
    """Needs no key; no key has it."""
    READ = 1
    SUBMIT = 2
    """Also jobs, tasks and results."""
    ADMIN = 3
    """Everything."""


class NameRule(NamedTuple):
    """Which names: those listed, and those that the pattern matches as a whole. Neither: all."""

    names: tuple[str, ...] = ()
    regex: str = ""

    @property
    def is_open(self) -> bool:
        """Whether all names are meant."""
        return not self.names and not self.regex


class ApiKey(NamedTuple):
    """A key of the REST interface, without its text."""

    id: KeyId
    name: str
    """For people; several keys may have it."""
    digest: bytes
    """Of its text; how it was made follows from `pepper`."""
    pepper: str
    """Empty: SHA-256 of a text that the server drew. Otherwise an HMAC with the secret of this name."""
    is_weak: bool
    """Whether its text could be guessed: it counts on loopback, elsewhere only if the server was told so."""
    scope: Scope
    jobs: NameRule
    """Jobs that it may use and see."""
    workers: NameRule
    """Workers that its tasks may reach."""
    created_at_ms: int
    expires_at_ms: int
    """0: never."""
    last_used_at_ms: int = 0
    """Roughly; 0: not yet."""
    revoked_at_ms: int = 0
    """0: it is not."""


class JoinToken(NamedTuple):
    """What lets an agent enrol its own key, without its secret."""

    id: JoinTokenId
    digest: bytes
    """Of the secret."""
    name: str
    """The worker name that it may claim, or a pattern for it."""
    name_is_pattern: bool
    created_at_ms: int
    expires_at_ms: int
    """0: never."""
    uses_max: int
    uses: int = 0
    revoked_at_ms: int = 0
    """0: it is not."""
    created_by: str = ""
    """Name of the key that made it."""


class Actor(NamedTuple):
    """Who does something, as the audit tells it; never a secret."""

    who: str
    """A key by name and id, an agent by the begin of its fingerprint, or the server itself."""
    address: str = ""
    """Where from; empty: from within, or by a unix socket."""
    request_id: str = ""


SERVER = Actor("server")
"""Nobody outside asked for it."""


class AuditEntry(NamedTuple):
    """Who did what, without parameters or secrets."""

    at_ms: int
    who: str
    what: str
    """Noun and verb, as in `job.stop`."""
    target: str
    """What it was done to."""
    outcome: str
    """`done` with what came of it, or `refused` with why."""
    address: str
    request_id: str


class AuditRow(NamedTuple):
    """An entry as the store has it."""

    sequence: int
    """Grows with each entry, never reused: the cursor of the list."""
    entry: AuditEntry
