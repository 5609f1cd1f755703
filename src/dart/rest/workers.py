"""Workers: who is connected, asked to leave, measured; and the enrolment of agents."""

import logging
import struct
from typing import Any

from dart.broker.core.views import AgentView, WorkerView
from dart.errors import InvalidRequestError, NotAvailableYetError
from dart.rest import names, schemas
from dart.rest.bodies import decode_members
from dart.rest.call import Answer, Call
from dart.rest.member_types import PORT_MAX, SHM_BYTES_MAX, SLOTS_MAX

_log = logging.getLogger("dart.rest")
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


async def list_all(call: Call) -> Answer:
    """`GET /worker/`: the connected workers, one entry a name."""
    await call.members(schemas.Members)
    workers = await call.gateway.workers()
    return call.answer(workers=[_members(worker) for worker in workers if call.caller.sees_worker(worker.name)])


async def show(call: Call) -> Answer:
    """`GET /worker/{name}/`: one worker with its agents."""
    await call.members(schemas.Members)
    worker = await call.gateway.worker(call.part("name"))
    return call.answer(worker={**_members(worker), "agents": [_agent(agent) for agent in worker.agents]})


async def drain(call: Call) -> Answer:
    """`POST /worker/{name}/drain/`: asks its agents to finish what they run, and leave."""
    await call.members(schemas.Members)
    name = call.part("name")

    async def do() -> Answer:
        return call.answer(worker={"name": name}, draining=await call.gateway.drain(name))

    return await call.once(do)


async def ping(call: Call) -> Answer:
    """`POST /worker/{name}/ping/`: measures how long its agents take to answer."""
    wanted = await call.members(schemas.PingWanted)
    await call.idempotency()
    wait = min(schemas.seconds(wanted.wait, "wait"), call.limits.wait_seconds_max)
    pings = await call.waiting(call.gateway.ping([call.part("name")], wait)) or []
    agents = [
        {
            "agent": one.agent_id,
            "host": one.host,
            "answered": one.milliseconds >= 0,
            **({"milliseconds": round(one.milliseconds, 3)} if one.milliseconds >= 0 else {}),
        }
        for one in pings
    ]
    return call.answer(worker={"name": call.part("name")}, agents=agents)


async def add(call: Call) -> Answer:
    """`POST /worker/`: checked now, offered when the server can reach hosts over SSH."""
    wanted = await _with_ssh(call, schemas.NewWorkers)
    names.check_name(wanted.name, "name", call.limits)
    names.check_capabilities(wanted.capabilities, "capabilities", call.limits)
    schemas.integer(wanted.workers_per_host, "workers_per_host", minimum=1, maximum=SLOTS_MAX)
    schemas.integer(wanted.shm_size, "shm_size", maximum=SHM_BYTES_MAX)
    schemas.integer(wanted.ssh.port, "ssh.port", minimum=1, maximum=PORT_MAX)
    if not wanted.hosts or not all(wanted.hosts):
        raise InvalidRequestError("Member `hosts` must name at least one host, none of them empty.", field="hosts")
    raise NotAvailableYetError(
        "This version of the server does not start agents on other hosts. Start them there by hand:"
        f" `dart agent start --server URL --name {wanted.name}`."
    )


async def remove(call: Call) -> Answer:
    """`DELETE /worker/`: nothing to stop is no error, since old programs rely on it."""
    wanted = await _with_ssh(call, schemas.GoneWorkers)
    schemas.integer(wanted.ssh.port, "ssh.port", minimum=1, maximum=PORT_MAX)
    if not wanted.hosts or isinstance(wanted.hosts, str):
        _log.info(
            "asked to stop workers, with hosts %.300r, which is no list of hosts; nothing is stopped", wanted.hosts
        )
        return call.answer()
    raise NotAvailableYetError(
        "This version of the server does not reach other hosts. Stop the agent there with `dart agent stop`, or let it"
        " finish and leave with `dart worker drain NAME`; agents are started with `dart agent start`."
    )


async def _with_ssh(call: Call, kind: type[schemas.M]) -> schemas.M:
    """Members with both spellings of the names under `ssh`."""
    found = decode_members(await call.body.read(), messagepack=call.body.is_messagepack)
    if call.request.method == "DELETE" and "hosts" in call.request.query:
        found["hosts"] = call.request.query.getall("hosts")
    ssh = found.get("ssh")
    if isinstance(ssh, dict):
        spelled = {str(name).replace("-", "_"): value for name, value in ssh.items()}
        found["ssh"] = {name: value for name, value in spelled.items() if value is not None}
    made, unknown = schemas.read_members(found, kind)
    call.note_unknown(unknown)
    return made


async def enroll(call: Call) -> Answer:
    """`POST /enroll/`: an agent's key is admitted for one name."""
    wanted = await call.members(schemas.NewEnrolment)
    await call.idempotency()
    name = names.check_name(wanted.name, "name", call.limits)
    answer = await call.gateway.enroll(_from_z85(wanted.public_key), name)
    return call.answer(
        agent_id=answer.agent_id,
        agent=answer.agent_url,
        server_public_key=_to_z85(answer.server_public_key),
        store_id=call.gateway.server().store_id,
    )


def _members(worker: WorkerView) -> dict[str, Any]:
    return {
        "name": worker.name,
        "count": worker.slots,
        "capabilities": list(worker.capabilities),
        "facts": _facts(worker),
        "hosts": list(worker.hosts),
        "busy": sum(agent.busy for agent in worker.agents),
        "draining": bool(worker.agents) and all(agent.draining for agent in worker.agents),
    }


def _facts(worker: WorkerView) -> dict[str, list[str]]:
    """What the agents of a name found out: the values of each fact that differ, sorted."""
    found: dict[str, set[str]] = {}
    for agent in worker.agents:
        for key, value in agent.facts.items():
            found.setdefault(key, set()).add(value)
    return {key: sorted(found[key]) for key in sorted(found)}


def _agent(agent: AgentView) -> dict[str, Any]:
    return {
        "id": agent.id,
        "host": agent.host,
        "slots": agent.slots,
        "busy": agent.busy,
        "leases": agent.leases,
        "capabilities": list(agent.capabilities),
        "facts": dict(agent.facts),
        "draining": agent.draining,
        "spool_full": agent.spool_full,
        "silent_seconds": round(agent.silent_seconds, 3),
        "results_held": agent.results_held,
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
