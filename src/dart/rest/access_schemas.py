"""What answers say of agents' keys, join tokens and the broker's key; see `answer_schemas.py`."""

from typing import Literal, NotRequired, TypedDict

from dart.rest.answer_schemas import Amount, Answer, Milliseconds, WorkerName


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
