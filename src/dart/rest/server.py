"""The server itself: where it is, whether it works, and its end."""

import asyncio
import os
from typing import Final

from aiohttp import hdrs, web

from dart.errors import UnavailableError
from dart.rest.answers import answer_of
from dart.rest.call import Answer, Call
from dart.rest.schemas import Members

_PIECE_BYTES: Final = 1 << 20


async def show(call: Call) -> Answer:
    """`GET /server/`: where the server is, and how it is."""
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
        "late_results": view.late_results,
    }
    return call.answer(servers=[server])


async def stop(call: Call) -> Answer:
    """`DELETE /server/`: stops it in good order; the answer is out before the end begins."""
    await call.members(Members)
    await call.gateway.audit.note("server.stop")
    response: web.Response = answer_of(call.answer(), messagepack=call.messagepack)
    response.force_close()
    try:
        await response.prepare(call.request)
        await response.write_eof()
    finally:
        call.gateway.stop()
    return response


async def backup(call: Call) -> Answer:
    """`GET /server/backup/`: the database as of now, to be kept and put back by `dart server restore`."""
    await call.members(Members)
    async with call.gateway.backup() as file:
        await call.gateway.audit.note("backup.take")
        size = await asyncio.to_thread(os.fstat, file.fileno())
        response = web.StreamResponse(headers={hdrs.CONTENT_DISPOSITION: 'attachment; filename="dart-backup.db"'})
        response.content_type = "application/vnd.sqlite3"
        response.content_length = size.st_size
        await response.prepare(call.request)
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            call.refuse_if_gone()
            await response.write(piece)
        await response.write_eof()
    return response


async def health(_: Call) -> Answer:
    """`GET /healthz`: the loop turns."""
    return {"status": "ok"}


async def readiness(call: Call) -> Answer:
    """`GET /readyz`: work is taken; 503 with the reason where it is not."""
    if reason := call.gateway.ready():
        raise UnavailableError(reason, retry_after=1)
    return {"status": "ready"}
