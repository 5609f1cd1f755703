"""The change of the broker's key: begun, looked at, finished."""

from typing import Any

from dart.broker.key_rotation import KeyRotation, RotationView
from dart.errors import NotAvailableYetError
from dart.rest import schemas
from dart.rest.call import Answer, Call
from dart.rest.member_types import PORT_MAX


async def show(call: Call) -> Answer:
    """`GET /server/rotation/`: how far the change of the broker's key is, and who has not followed."""
    await call.members(schemas.Members)
    return call.answer(rotation=_members(_rotation(call).view()))


async def begin(call: Call) -> Answer:
    """`POST /server/rotation/`: lets a new key of the broker count too, at a port of its own, and tells the agents."""
    wanted = await call.members(schemas.NewRotation)
    port = schemas.integer(wanted.agent_port, "agent_port", maximum=PORT_MAX)

    async def do() -> Answer:
        return call.answer(rotation=_members(await _rotation(call).begin(port)))

    return await call.once(do)


async def finish(call: Call) -> Answer:
    """`POST /server/rotation/finish/`: lets the new key alone count; who has not followed must enrol anew."""
    wanted = await call.members(schemas.RotationEnd)
    leave_behind = schemas.flag(wanted.leave_behind, "leave_behind")

    async def do() -> Answer:
        return call.answer(rotation=_members(await _rotation(call).finish(leave_behind=leave_behind)))

    return await call.once(do)


def _rotation(call: Call) -> KeyRotation:
    if call.gateway.rotation is None:
        raise NotAvailableYetError("The key of this server's broker cannot be changed.")
    return call.gateway.rotation


def _members(view: RotationView) -> dict[str, Any]:
    return {
        "on": view.is_on,
        "agents_url": view.agents_url,
        **({"former_agents_url": view.former_url} if view.former_url else {}),
        "moved": view.moved,
        "left": [
            {
                "name": agent.name,
                "id": agent.id,
                "connected": agent.connected,
                **({"last_contact": agent.heard_at_ms} if agent.heard_at_ms else {}),
            }
            for agent in view.left
        ],
    }
