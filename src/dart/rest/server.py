"""The server itself: where it is, whether it works, and its end."""

from aiohttp import web

from dart.errors import UnavailableError
from dart.rest.answers import answer_of
from dart.rest.call import Answer, Call
from dart.rest.schemas import Members


async def show(call: Call) -> Answer:
    """`GET /server/`."""
    await call.members(Members)
    view = call.gateway.server()
    server = {
        "host": view.host,
        "port": view.port,
        "agent": {"host": view.agent_host, "port": view.agent_port},
        "version": view.version,
        "store_id": view.store_id,
        "incarnation": view.incarnation,
        "started_at": view.started_at_ms,
        "agents": view.agents,
        "open_tasks": view.open_tasks,
    }
    return call.answer(servers=[server])


async def stop(call: Call) -> Answer:
    """`DELETE /server/`: the answer is out before the end begins."""
    await call.members(Members)
    response: web.Response = answer_of(call.answer(), messagepack=call.messagepack)
    response.force_close()
    try:
        await response.prepare(call.request)
        await response.write_eof()
    finally:
        call.gateway.stop()
    return response


async def health(_: Call) -> Answer:
    """`GET /healthz`: the loop turns."""
    return {"status": "ok"}


async def readiness(call: Call) -> Answer:
    """`GET /readyz`: work is taken; 503 with the reason where it is not."""
    if reason := call.gateway.ready():
        raise UnavailableError(reason, retry_after=1)
    return {"status": "ready"}
