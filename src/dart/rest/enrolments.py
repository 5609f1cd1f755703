"""Agents' keys: enrolled by an admin or a join token, revoked; and the tokens themselves."""

import struct
from typing import Any

from dart.broker.actors import ACTOR
from dart.broker.answers import EnrolmentAnswer
from dart.broker.core.access import JoinToken
from dart.errors import ConfigError, DartError, InvalidRequestError, UnauthorizedError
from dart.rest import names, schemas
from dart.rest.bodies import decode_members
from dart.rest.call import Answer, Call
from dart.rest.caller import NOBODY
from dart.rest.member_types import TOKEN_USES_MAX
from dart.wire import join_token

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_AGENT_CHARS_MIN, _AGENT_CHARS_MAX = 8, 64


async def enroll(call: Call) -> Answer:
    """`POST /enroll/`: admits an agent's key for one name; with a join token no API key is needed."""
    if call.caller is NOBODY and not await _has_token(call):
        raise UnauthorizedError("An agent is enrolled with an admin key, or with member `token`; neither was given.")
    wanted = await call.members(schemas.NewEnrolment)
    await call.idempotency()
    names.check_name(wanted.name, "name", call.limits)
    public_key = _from_z85(wanted.public_key)
    if wanted.token:
        answer = await _join(call, public_key, wanted.name, _read(wanted.token))
    else:
        answer = await call.gateway.enrolments.enroll(public_key, wanted.name)
    return call.answer(
        agent_id=answer.agent_id,
        agent=answer.agent_url,
        server_public_key=_to_z85(answer.server_public_key),
        store_id=answer.store_id,
    )


async def _join(call: Call, public_key: bytes, name: str, token: join_token.JoinText) -> EnrolmentAnswer:
    enrolments = call.gateway.enrolments
    # A genuine token is taken however many wrong ones come; those cost next to nothing, and no log line each.
    if not enrolments.is_genuine(token):
        told = "The server does not know this join token; make one there with `dart agent token`."
        raise call.tools.keys.failure("join token", call.request.remote or "", told)
    ACTOR.set(ACTOR.get()._replace(who=f"join token {token.id}"))
    return await enrolments.join(public_key, name, token)


async def _has_token(call: Call) -> bool:
    """Whether there is one at all: to a stranger without, nothing else is said."""
    try:
        return bool(decode_members(await call.body.read(), messagepack=call.body.is_messagepack).get("token"))
    except DartError:
        return False


def _read(text: str) -> join_token.JoinText:
    try:
        return join_token.read(text)
    except ConfigError as error:
        raise InvalidRequestError(f"Member `token`: {error.message}", field="token") from None


async def make_token(call: Call) -> Answer:
    """`POST /token/`: makes a join token; its text is in this answer alone."""
    wanted = await call.members(schemas.NewToken)
    if not join_token.is_claim(wanted.name):
        raise InvalidRequestError(
            "Member `name` must be printable text without `/`, of at most 255 characters; `*` stands for any "
            f"characters, at most {join_token.STARS_MAX} times.",
            field="name",
        )
    seconds = schemas.seconds(wanted.expires, "expires", maximum=call.limits.join_token_seconds_max)
    if seconds < 1:
        raise InvalidRequestError("Member `expires` must be at least 1 second.", field="expires")
    uses_max = schemas.integer(wanted.uses, "uses", minimum=1, maximum=TOKEN_USES_MAX)
    local = schemas.flag(wanted.local, "local")

    told: list[str] = []

    async def do() -> Answer:
        made = await call.gateway.enrolments.make_token(
            wanted.name, seconds=seconds, uses_max=uses_max, created_by=call.caller.name, for_this_machine=local
        )
        told.append(made.text)
        return call.answer(token=_token(call, made.kept))

    # What is remembered for repetitions has no text in it.
    answer = await call.once(do)
    return {**answer, "text": told[0]} if told and isinstance(answer, dict) else answer


async def list_tokens(call: Call) -> Answer:
    """`GET /token/`: the join tokens, without their texts."""
    await call.members(schemas.Members)
    return call.answer(tokens=[_token(call, token) for token in await call.gateway.enrolments.tokens()])


async def withdraw_token(call: Call) -> Answer:
    """`DELETE /token/{token_id}/`: lets nobody in by it any more; agents that came by it stay."""
    await call.members(schemas.Members)

    async def do() -> Answer:
        await call.gateway.enrolments.withdraw_token(call.part("token_id"))
        return call.answer()

    return await call.once(do)


async def revoke(call: Call) -> Answer:
    """`POST /worker/{name}/revoke/`: cuts its agents off for good, at their next frame."""
    wanted = await call.members(schemas.Revocation)
    name = call.part("name")
    agent = wanted.agent.lower()
    if agent and (not _AGENT_CHARS_MIN <= len(agent) <= _AGENT_CHARS_MAX or agent.strip("0123456789abcdef")):
        raise InvalidRequestError(
            f"Member `agent` must be an agent's id, or its first digits, at least {_AGENT_CHARS_MIN} of them.",
            field="agent",
        )

    async def do() -> Answer:
        return call.answer(worker={"name": name}, revoked=await call.gateway.enrolments.revoke(name, agent))

    return await call.once(do)


def _token(call: Call, token: JoinToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "state": call.gateway.enrolments.state_of(token),
        "uses": token.uses,
        "uses_max": token.uses_max,
        "created_at": token.created_at_ms,
        "expires_at": token.expires_at_ms,
        "created_by": token.created_by,
    }


def _from_z85(text: str) -> bytes:
    """The 32 bytes of a public key (ZeroMQ's RFC 32)."""
    digits = [_Z85.find(mark) for mark in text]
    if len(text) != 40 or -1 in digits:
        raise InvalidRequestError("Member `public_key` must be 40 characters of Z85.", field="public_key")
    words = []
    for start in range(0, 40, 5):
        word = 0
        for digit in digits[start : start + 5]:
            word = word * 85 + digit
        words.append(word)
    try:
        return struct.pack(">8I", *words)
    except struct.error:
        raise InvalidRequestError("Member `public_key` is no Z85: a group is too large.", field="public_key") from None


def _to_z85(data: bytes) -> str:
    return "".join(
        "".join(_Z85[word // 85**place % 85] for place in (4, 3, 2, 1, 0)) for word in struct.unpack(">8I", data)
    )
