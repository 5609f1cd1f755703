"""Workers: who is connected, asked to leave, measured."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from dart.broker.answers import Ping
from dart.broker.config import HOST_KEYS, is_host_keys
from dart.broker.core.views import AgentView, EnrolledView, WorkerView
from dart.broker.hosts import Hosts, HostsDone, NewWorkers, SshWanted
from dart.errors import DartError, InvalidRequestError, NotAvailableYetError, UnknownWorkerError
from dart.rest import host_schemas, names, schemas
from dart.rest.bodies import decode_members
from dart.rest.call import Answer, Call
from dart.rest.member_types import PORT_MAX, SHM_BYTES_MAX, SLOTS_MAX
from dart.rest.tasks import shown_task

TASKS_SHOWN: Final = 100
"""Of those that a worker holds; how many there are is told agent by agent."""
_log = logging.getLogger("dart.rest")


async def list_all(call: Call) -> Answer:
    """`GET /worker/`: the connected workers, one entry a name."""
    await call.members(schemas.Members)
    workers = await call.gateway.workers()
    return call.answer(workers=[_members(worker) for worker in workers if call.caller.sees_worker(worker.name)])


async def show(call: Call) -> Answer:
    """`GET /worker/{name}/`: one worker with its agents, also those that are enrolled and not connected."""
    await call.members(schemas.Members)
    name = call.part("name")
    enrolled = await call.gateway.enrolments.of(name)
    worker = await call.gateway.worker(name)
    if not enrolled and worker is None:
        text = f"No agent of the name {name!r} is enrolled; `dart worker list` shows the connected ones."
        raise UnknownWorkerError(text, worker=name)
    worker = worker or WorkerView(name, 0, (), (), ())
    agents = {agent.id: agent for agent in worker.agents}
    shown = [{**_enrolled(one), **(_agent(agents[one.id]) if one.id in agents else {})} for one in enrolled]
    held = call.gateway.overview.held_tasks(name, sees=call.caller.sees_job, amount=TASKS_SHOWN)
    tasks = [{"job": job, **shown_task(task)} for job, task in held]
    return call.answer(worker={**_members(worker), "agents": shown, "tasks": tasks})


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
    named = [call.part("name")]
    if schemas.flag(wanted.runner, "runner"):
        pings = await call.waiting(call.gateway.ask(named, "about", wait)) or []
    else:
        pings = await call.waiting(call.gateway.ping(named, wait)) or []
    agents = [pinged(one) | ({"versions": dict(one.facts)} if one.facts else {}) for one in pings]
    return call.answer(worker={"name": call.part("name")}, agents=agents)


def pinged(one: Ping) -> dict[str, Any]:
    """How an agent answered."""
    return {
        "agent": one.agent_id,
        "host": one.host,
        "answered": one.milliseconds >= 0,
        **({"milliseconds": round(one.milliseconds, 3)} if one.milliseconds >= 0 else {}),
        **({"error": one.error} if one.error else {}),
    }


async def add(call: Call) -> Answer:
    """`POST /worker/`: starts an agent on each host over SSH; answers when all of them are connected."""
    wanted = await _with_ssh(call, host_schemas.NewWorkers)
    names.check_name(wanted.name, "name", call.limits)
    capabilities = names.check_capabilities(wanted.capabilities, "capabilities", call.limits)
    slots = schemas.integer(wanted.workers_per_host, "workers_per_host", minimum=1, maximum=SLOTS_MAX)
    shm_bytes = schemas.integer(wanted.shm_size, "shm_size", maximum=SHM_BYTES_MAX)
    ssh = _ssh(wanted.ssh)
    if not wanted.hosts or not all(wanted.hosts):
        raise InvalidRequestError("Member `hosts` must name at least one host, none of them empty.", field="hosts")
    new = NewWorkers(
        wanted.name,
        tuple(wanted.hosts),
        slots,
        capabilities,
        shm_bytes,
        wanted.config,
        schemas.flag(wanted.via_ssh, "via_ssh"),
    )
    hosts = _hosts(call, f"Start them there by hand: `dart agent start --server URL --name {wanted.name}`.")
    return await _done(call, lambda: hosts.add(new, ssh), "worker.add", f"{wanted.name} on {', '.join(wanted.hosts)}")


async def remove(call: Call) -> Answer:
    """`DELETE /worker/`: nothing to stop is no error, since old programs rely on it."""
    wanted = await _with_ssh(call, host_schemas.GoneWorkers)
    ssh = _ssh(wanted.ssh)
    if not wanted.hosts or isinstance(wanted.hosts, str):
        _log.info(
            "asked to stop workers, with hosts %.300r, which is no list of hosts; nothing is stopped", wanted.hosts
        )
        return call.answer()
    gone = tuple(filter(None, wanted.hosts))
    hosts = _hosts(call, "Stop the agent there with `dart agent stop`, or drain it with `dart worker drain NAME`.")
    return await _done(call, lambda: hosts.remove(gone, ssh), "worker.remove", ", ".join(gone))


async def upgrade(call: Call) -> Answer:
    """`POST /host/upgrade/`: replaces the agents that were started over SSH by this version, one by one."""
    wanted = await _with_ssh(call, host_schemas.Upgrade)
    ssh = _ssh(wanted.ssh)
    hosts = _hosts(call, "Start their agents anew by hand.")
    named, everyone = tuple(wanted.hosts), schemas.flag(wanted.everyone, "everyone")
    return await _done(call, lambda: hosts.upgrade(named, ssh, everyone=everyone), "worker.upgrade", ", ".join(named))


def _hosts(call: Call, instead: str) -> Hosts:
    if call.gateway.hosts is None:
        raise NotAvailableYetError(f"This server does not reach other hosts. {instead}")
    return call.gateway.hosts


async def _done(call: Call, do: Callable[[], Awaitable[HostsDone]], what: str, target: str) -> Answer:
    """Do it to its end, also when the caller goes away in between: half of it would help nobody."""

    async def noted() -> Answer:
        audit = call.gateway.audit
        try:
            done = await do()
        except DartError as error:
            await audit.note(what, target, f"failed: {error.message}"[: call.limits.text_chars_max])
            raise
        await audit.note(what, target)
        call.warnings += done.warnings
        return call.answer(hosts=[{"host": host, "agents": list(agents)} for host, agents in done.agents.items()])

    return await call.once(lambda: call.tools.undisturbed.finish(noted()))


def _ssh(wanted: host_schemas.Ssh) -> SshWanted:
    port = 0
    if wanted.port is not msgspec.UNSET:
        port = schemas.integer(wanted.port, "ssh.port", minimum=1, maximum=PORT_MAX)
    if wanted.host_keys and not is_host_keys(wanted.host_keys):
        raise InvalidRequestError(f"Member `ssh.host_keys` must be {HOST_KEYS}.", field="ssh.host_keys")
    return SshWanted(wanted.username, port, wanted.private_key, wanted.passphrase, wanted.host_keys)


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


def _enrolled(agent: EnrolledView) -> dict[str, Any]:
    """What is known of an agent's key; its id is the key's fingerprint."""
    return {
        "id": agent.id,
        "connected": agent.connected,
        "enrolled_at": agent.enrolled_at_ms,
        **({"name_is_pattern": True} if agent.name_is_pattern else {}),
        **({"token": agent.token_id} if agent.token_id else {}),
        **({"last_contact": agent.heard_at_ms} if agent.heard_at_ms else {}),
    }


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
