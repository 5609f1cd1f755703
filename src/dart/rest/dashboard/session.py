"""A session for a browser: begun with a key, looked at, ended."""

from typing import Any

from aiohttp import web

from dart.rest import sessions
from dart.rest.answers import answer_of
from dart.rest.call import Answer, Call
from dart.rest.caller import Caller
from dart.rest.schemas import Members


async def begin(call: Call) -> Answer:
    """`POST /session/`: begins a session, which a browser has in the place of the key."""
    await call.members(Members)
    await call.idempotency()
    made, caller = call.tools.keys.sessions.begin(call.caller)
    await call.gateway.audit.note("session.begin", caller.name)
    answer = answer_of({"session": _members(caller), "proof": made.proof}, messagepack=call.messagepack)
    _set_cookie(call, answer, made.cookie, int(call.limits.session_seconds))
    return answer


async def show(call: Call) -> Answer:
    """`GET /session/`: whose key this is, and what it may do; by a session or by the key itself."""
    await call.members(Members)
    return call.answer(session=_members(call.caller))


async def end(call: Call) -> Answer:
    """`DELETE /session/`: ends the session that it comes by; with a key there is none to end."""
    await call.members(Members)
    if call.caller.session:
        call.tools.keys.end_session(call.caller)
        await call.gateway.audit.note("session.end", call.caller.name)
    answer = answer_of(call.answer(), messagepack=call.messagepack)
    _set_cookie(call, answer, "", 0)
    return answer


def _set_cookie(call: Call, answer: web.Response, text: str, seconds: int) -> None:
    secure = sessions.is_secure(call.request)
    name = sessions.cookie_name(call.gateway.server().store_id, secure=secure)
    answer.set_cookie(name, text, max_age=seconds, path="/", httponly=True, secure=secure, samesite="Strict")


def _members(caller: Caller) -> dict[str, Any]:
    """What a key may do; without anything secret."""
    shown: dict[str, Any] = {"key": caller.id, "name": caller.name, "scope": caller.scope.name.lower()}
    for noun, rule in (("job", caller.jobs), ("worker", caller.workers)):
        shown |= {f"{noun}s": list(rule.names)} if rule.names else {}
        shown |= {f"{noun}_regex": rule.regex} if rule.regex else {}
    return shown | ({"expires_at": caller.expires_at_ms} if caller.expires_at_ms else {})
