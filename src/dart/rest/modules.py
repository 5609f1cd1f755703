"""Modules that administrators push onto workers whose owners allow it."""

from typing import Any

from dart.broker.answers import Ping
from dart.module_files import name_of
from dart.rest import module_schemas, schemas
from dart.rest.call import Answer, Call
from dart.rest.workers import pinged
from dart.wire import values

_ABSENT = "not connected, nothing was done there; repeat it when it is"


async def list_all(call: Call) -> Answer:
    """`GET /module/`: the pushed modules of each connected agent, with their SHA-256."""
    wanted = await call.members(module_schemas.ModulesWanted)
    workers = await _workers(call, wanted.worker_regex)
    asked = call.gateway.ask(workers, "modules", _wait(call, wanted))
    return _told(call, await call.waiting(asked) or [], await _absent(call, wanted.worker_regex))


async def push(call: Call) -> Answer:
    """`POST /module/`: gives a module to the matching agents, which use it from their next task on."""
    wanted = await call.members(module_schemas.PushedModule)
    texts = {f"{wanted.name}.py": wanted.source}
    if wanted.files:
        texts = {f"{wanted.name}/{path}": text for path, text in {"__init__.py": wanted.source, **wanted.files}.items()}
    files = {path: text.encode() for path, text in texts.items()}
    name = name_of(files, call.limits)
    workers = await _workers(call, wanted.worker_regex)
    data = values.encode(files, bytes_max=call.limits.value_bytes_max)

    async def do() -> Answer:
        pings = await call.gateway.ask(workers, "push", _wait(call, wanted), data=data)
        await _note(call, "module.push", name, pings)
        return _told(call, pings, await _absent(call, wanted.worker_regex))

    return await call.once(do)


async def remove(call: Call) -> Answer:
    """`DELETE /module/{name}/`: takes a module away from the matching agents."""
    wanted = await call.members(module_schemas.ModulesWanted)
    workers = await _workers(call, wanted.worker_regex)
    name = call.part("name")

    async def do() -> Answer:
        pings = await call.gateway.ask(workers, "remove", _wait(call, wanted), name=name)
        await _note(call, "module.remove", name, pings)
        return _told(call, pings, await _absent(call, wanted.worker_regex))

    return await call.once(do)


async def _workers(call: Call, pattern: str) -> list[str]:
    """Names of the connected workers that match and that the caller may see."""
    names = [one.name for one in await call.gateway.workers() if call.caller.sees_worker(one.name)]
    if pattern:
        names = list(call.tools.patterns.match(pattern, tuple(names), scope=tuple(names)))
    return names


def _wait(call: Call, wanted: module_schemas.PushedModule | module_schemas.ModulesWanted) -> float:
    return min(schemas.seconds(wanted.wait, "wait"), call.limits.wait_seconds_max)


def _told(call: Call, pings: list[Ping], absent: list[dict[str, Any]]) -> Answer:
    agents = [
        pinged(one) | {"worker": one.name} | ({"modules": dict(one.facts)} if one.milliseconds >= 0 else {})
        for one in pings
    ]
    asked = {one.agent_id for one in pings}
    return call.answer(agents=agents + [one for one in absent if one["agent"] not in asked])


async def _absent(call: Call, pattern: str) -> list[dict[str, Any]]:
    """Agents that a pattern means and that were not asked, for they are not connected."""
    if not pattern:
        return []
    known = [one for one in await call.gateway.enrolments.of("") if not (one.connected or one.name_is_pattern)]
    names = tuple(dict.fromkeys(one.name for one in known if call.caller.sees_worker(one.name)))
    matching = set(call.tools.patterns.match(pattern, names, scope=names))
    return [
        {"worker": one.name, "agent": one.id, "host": "", "answered": False, "error": _ABSENT}
        for one in known
        if one.name in matching
    ]


async def _note(call: Call, what: str, name: str, pings: list[Ping]) -> None:
    done = sum(one.milliseconds >= 0 and not one.error for one in pings)
    await call.gateway.audit.note(what, name, f"done, by {done} of {len(pings)} agents")
