"""What answers say of keys of all kinds, join tokens and the audit; see `answer_schemas.py`."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from dart.rest.answer_schemas import Amount, Answer, Id, Milliseconds, WorkerName


class JoinToken(TypedDict):
    """A join token, without its text."""

    id: str
    name: str
    state: Literal["valid", "used up", "expired", "revoked"]
    uses: Amount
    uses_max: Amount
    created_at: Milliseconds
    expires_at: Milliseconds
    created_by: str


class JoinTokens(Answer):
    """`GET /token/`."""

    tokens: list[JoinToken]


class MadeJoinToken(Answer):
    """`POST /token/`; a repetition of the request does not see the text again."""

    token: JoinToken
    text: NotRequired[str]


class LeftAgent(TypedDict):
    """An agent that has not come by the new key yet."""

    name: str
    id: str
    connected: bool
    last_contact: NotRequired[Milliseconds]


class Rotation(TypedDict):
    """How far the change of the broker's key is."""

    on: bool
    agents_url: str
    former_agents_url: NotRequired[str]
    moved: Amount
    left: list[LeftAgent]


class OneRotation(Answer):
    """`/server/rotation/`."""

    rotation: Rotation


class Revoked(Answer):
    """`POST /worker/{name}/revoke/`."""

    worker: WorkerName
    revoked: Amount


class Enrolled(Answer):
    """`POST /enroll/`."""

    agent_id: str
    agent: str
    server_public_key: str
    store_id: str


class Key(TypedDict):
    """An API key without its text; `admin` is the one of the state directory."""

    id: str
    name: str
    scope: Annotated[str, Meta(extra_json_schema={"enum": ["read", "submit", "admin"]})]
    valid: bool
    reason: NotRequired[str]
    """Why it is not."""
    jobs: NotRequired[list[str]]
    job_regex: NotRequired[str]
    workers: NotRequired[list[str]]
    worker_regex: NotRequired[str]
    weak: NotRequired[bool]
    """Whether its text could be guessed."""
    created_at: NotRequired[Milliseconds]
    expires_at: NotRequired[Milliseconds]
    last_used_at: NotRequired[Milliseconds]
    """Roughly, at most a minute early."""
    revoked_at: NotRequired[Milliseconds]


class Keys(Answer):
    """`GET /key/`."""

    keys: list[Key]


class AddedKey(Answer):
    """`POST /key/`."""

    key: Key
    text: NotRequired[str]
    """What programs send: told this once, never again, and not for a text that the caller chose."""


class RevokedId(TypedDict):
    """A key that counts no more."""

    id: str
    revoked_at: Milliseconds


class RevokedKey(Answer):
    """`DELETE /key/{key_id}/`."""

    key: RevokedId


class AuditEntry(TypedDict):
    """Who did what."""

    id: Id
    at: Milliseconds
    who: str
    what: str
    target: str
    outcome: str
    address: str
    request: str
    """The request id, as its answer and the log have it."""


class Audit(Answer):
    """`GET /audit/`."""

    audit: list[AuditEntry]
    next: NotRequired[Id]
