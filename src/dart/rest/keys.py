"""API keys: listed, added, revoked."""

from typing import Any

from dart.broker.core.access import ApiKey, NameRule, Scope
from dart.errors import ConflictError, InvalidRequestError
from dart.ids import KeyId
from dart.patterns import compile_pattern
from dart.rest import key_text, names, schemas
from dart.rest.auth import ADMIN_ID, LEGACY
from dart.rest.call import Answer, Call

_SCOPES = {"read": Scope.READ, "submit": Scope.SUBMIT, "admin": Scope.ADMIN}
_BOUND_NAMES_MAX = 1000


async def list_all(call: Call) -> Answer:
    """`GET /key/`: all keys, without their texts, those that count no more too."""
    await call.members(schemas.Members)
    ring = call.tools.keys
    own = [{"id": name, "name": name, "scope": "admin", "valid": True} for name in (ADMIN_ID, *ring.legacy_ids)]
    return call.answer(keys=[*own, *(_members(call, key) for key in await call.gateway.keys.all())])


async def add(call: Call) -> Answer:
    """`POST /key/`: adds a key; the answer has its text, this once."""
    wanted = await call.members(schemas.NewKey)
    scope = _SCOPES[schemas.choice(wanted.scope, "scope", tuple(_SCOPES))]
    name = names.check_name(wanted.name, "name", call.limits) if wanted.name else ""
    if name == ADMIN_ID or name.startswith(LEGACY):
        raise InvalidRequestError(
            f"Member `name` must not be {ADMIN_ID!r} or begin with {LEGACY!r}: logs name other keys so.", field="name"
        )
    jobs = _rule(call, "job", wanted.jobs, wanted.job_regex)
    workers = _rule(call, "worker", wanted.workers, wanted.worker_regex)
    if scope is Scope.ADMIN and not (jobs.is_open and workers.is_open):
        raise InvalidRequestError(
            "Member `scope`: a key that may do everything cannot be bound to jobs or workers; use submit or read.",
            field="scope",
        )
    seconds = schemas.seconds(wanted.expires, "expires")
    key_id, text = key_text.new_key()
    is_chosen = bool(wanted.text)
    told: list[str] = []

    async def do() -> Answer:
        ring = call.tools.keys
        if is_chosen:
            _check_chosen(call, wanted.text)
        key = await call.gateway.keys.add(
            key_id,
            name=name or key_id,
            digest=ring.sealed(wanted.text) if is_chosen else key_text.digest(text),
            pepper=ring.pepper_name if is_chosen else "",
            is_weak=is_chosen and key_text.is_weak(wanted.text),
            scope=scope,
            jobs=jobs,
            workers=workers,
            seconds=seconds,
        )
        if not is_chosen:
            told.append(text)
        return {"key": _members(call, key)}

    # What is remembered for repetitions has no text in it.
    answer = await call.once(do)
    return {**answer, "text": told[0]} if told and isinstance(answer, dict) else answer


async def revoke(call: Call) -> Answer:
    """`DELETE /key/{key_id}/`: the key counts no more from the next request on, and long polls that it waits in end."""
    await call.members(schemas.Members)
    key_id = call.part("key_id")
    if key_id == ADMIN_ID:
        raise ConflictError(
            "The key of the state directory always counts, so that nobody locks himself out. To have another one, write"
            " it into the file admin.key there; it counts from the next request on."
        )
    if key_id in call.tools.keys.legacy_ids:
        raise ConflictError("This key was given with --legacy-key; start the server without that option.")

    async def do() -> Answer:
        return {"key": {"id": key_id, "revoked_at": await call.gateway.keys.revoke(KeyId(key_id))}}

    return await call.once(do)


def _rule(call: Call, noun: str, listed: list[str], regex: str) -> NameRule:
    """Which jobs or workers are meant."""
    if len(listed) > _BOUND_NAMES_MAX:
        raise InvalidRequestError(
            f"Member `{noun}s` lists {len(listed)} names; at most {_BOUND_NAMES_MAX} are allowed. Use a pattern.",
            field=f"{noun}s",
        )
    if regex:
        try:
            compile_pattern(regex, call.limits)
        except InvalidRequestError as error:
            field = f"{noun}_regex"
            raise InvalidRequestError(error.message.replace("worker_regex", field, 1), field=field) from None
    found = {names.check_name(name, f"{noun}s[]", call.limits) for name in listed}
    return NameRule(tuple(sorted(found)), regex)


def _check_chosen(call: Call, text: str) -> None:
    key_text.check_chosen(text, call.limits.key_chars_max)
    ring = call.tools.keys
    if key_text.is_weak(text) and not ring.weak_keys_count:
        raise ConflictError(
            "This text can be guessed, and others than this machine reach the server. Leave `text` away and the server"
            " makes a key; or choose 16 characters or more; or start the server with --allow-weak-key if you know who"
            " can reach its port.",
            field="text",
        )
    if ring.is_taken(text):
        raise ConflictError("There is a key with this text already; revoke that one first.", field="text")


def _members(call: Call, key: ApiKey) -> dict[str, Any]:
    trouble = call.tools.keys.trouble(key)
    shown: dict[str, Any] = {"id": key.id, "name": key.name, "scope": key.scope.name.lower(), "valid": not trouble}
    optional = {
        "reason": trouble,
        "jobs": list(key.jobs.names),
        "job_regex": key.jobs.regex,
        "workers": list(key.workers.names),
        "worker_regex": key.workers.regex,
        "weak": key.is_weak,
        "created_at": key.created_at_ms,
        "expires_at": key.expires_at_ms,
        "last_used_at": key.last_used_at_ms,
        "revoked_at": key.revoked_at_ms,
    }
    return shown | {name: value for name, value in optional.items() if value}
