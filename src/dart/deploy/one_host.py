"""What is done on one host, step by step, over an open session; and what the server is asked for it."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from dart.deploy.bundles import Bundles
from dart.deploy.plan import Facts, HostFaultError, Wanted, check_space, plan, read_facts
from dart.deploy.tunnels import ADDRESS
from dart.errors import DartError
from dart.limits import Limits

if TYPE_CHECKING:
    from dart.deploy.ssh import Session

T = TypeVar("T")
_LOOK_SECONDS = 0.05
_LOG_LINES = 6
_NOTE_CHARS = 300
_BROKEN_SECONDS = 1.0
"""How long an agent may take to join after the connection that started it broke off."""


class NewAgent(NamedTuple):
    """An agent that the broker has just admitted."""

    id: str
    files: dict[str, str]
    """What its home needs, by file name; secret."""


class Broker(Protocol):
    """What is asked of the server for one host; on the loop.

    Ids come from the host, which may name any: those of agents that were not admitted for it are unknown here.
    """

    server: str
    """Names this server for good: its folder on hosts."""

    def address(self) -> tuple[str, int]:
        """Where agents connect, as others are told."""

    def knows(self, agent_id: str) -> bool:
        """Whether such an agent may connect."""

    def name_of(self, agent_id: str) -> str:
        """The name that such an agent was admitted for; empty: it is unknown."""

    def is_connected(self, agent_id: str) -> bool:
        """Whether it has said HELLO and not left since."""

    async def admit(self, name: str, agents_url: str) -> NewAgent:
        """Make keys for a new agent and admit them; `agents_url` empty: where others are told to connect."""

    async def drain(self, agent_ids: Sequence[str]) -> None:
        """Ask these to finish and leave; unknown ones are no error."""

    async def revoke(self, agent_ids: Sequence[str]) -> None:
        """Let these never connect again; unknown ones are no error."""


class Up(NamedTuple):
    """A host where all was done."""

    host: str
    agents: tuple[str, ...]
    warnings: tuple[str, ...]
    tunnel_port: int = 0
    """Where its agents find the broker on their own machine; 0: they reach it without a tunnel."""


class InThread(Protocol):
    """Runs what blocks in a thread."""

    async def __call__(self, do: Callable[[], T]) -> T:
        """Do it there; what it gives, or raises."""


class OneHost:
    """The steps on a host.

    Args:
        session: Open, with a Python that was found.
        broker: The server.
        bundles: What agents are made of.
        limits: Bounds of all waits.
        in_thread: Runs what blocks.
    """

    def __init__(
        self,
        session: "Session",
        broker: Broker,
        bundles: Bundles,
        limits: Limits,
        in_thread: "InThread",
    ) -> None:
        self._session = session
        self._broker = broker
        self._bundles = bundles
        self._limits = limits
        self._in_thread = in_thread
        self._notes: list[str] = []

    async def add(self, wanted: Wanted, *, tunnel_port: int) -> Up:
        """One agent more, or one again that was there; returns when the broker has welcomed it.

        Args:
            wanted: How it is to be.
            tunnel_port: Where it finds the broker on its own machine; 0: it connects by itself.
        """
        address, port = (ADDRESS, tunnel_port) if tunnel_port else self._broker.address()
        if not tunnel_port and is_loopback(address) and not is_loopback(self._session.address):
            raise HostFaultError(
                "address",
                f"the server tells agents to connect to {address}, which is their own machine to them. Start it with "
                "--agent-host 0.0.0.0 (and --advertise ADDRESS), or add the host with --via-ssh",
            )
        facts = await self._look(address, port)
        known = {one.id for one in facts.agents if self._broker.knows(one.id)}
        steps = plan(facts, wanted, address=f"{address}:{port}", known=known, now=time.time())
        if steps.stop:
            await self._stop(steps.stop, seconds=0.0, is_last=False)
        bundle = await self._install(facts)
        if steps.revive:
            agent_id = await self._start({"id": steps.revive[0]})
        else:
            agent_id = await self._start(await self._make(wanted.name, _start(wanted, bundle), tunnel_port))
        return Up("", (agent_id,), (*steps.warnings, *self._notes))

    async def remove(self, *, drain_seconds: float, stop_seconds: float) -> Up:
        """All agents of this server leave, and what it put there is removed."""
        ids = tuple(one.id for one in (await self._look()).agents)
        await self._drain(ids, drain_seconds)
        gone = await self._stop(ids, seconds=stop_seconds)
        await self._broker.revoke(gone)
        return Up("", tuple(gone), ())

    async def upgrade(self, *, tunnel_port: int, everyone: bool) -> Up:
        """Replace agents one by one: the new one works before the old one leaves.

        Args:
            tunnel_port: As for `add`.
            everyone: Also those that are of this version.
        """
        facts = await self._look()
        bundle = await self._install(facts)
        made = []
        for old in facts.agents:
            # Not the name that the host says: it would be given a key for whatever worker it likes.
            name = self._broker.name_of(old.id)
            if not old.running or not name:
                continue
            if not everyone and old.start.get("bundle") == bundle:
                continue
            start = {**old.start, "bundle": bundle}
            made.append(await self._start(await self._make(name, start, tunnel_port if start.get("via_ssh") else 0)))
            await self._drain([old.id], self._limits.ssh_upgrade_drain_seconds)
            await self._broker.revoke(await self._stop([old.id], seconds=self._limits.ssh_stop_seconds))
        return Up("", tuple(made), tuple(dict.fromkeys(self._notes)))

    # ---- steps ----

    async def _look(self, address: str = "", port: int = 0) -> Facts:
        """What the host is; and whether it reaches this address, if one is given."""
        request = {"action": "look", "server": self._broker.server, "address": address, "port": port}
        return read_facts(await self._in_thread(lambda: self._session.call("preflight", request)))

    async def _install(self, facts: Facts) -> str:
        """See to it that the host has its bundle; the name of its folder."""
        target = facts.target()
        try:
            info, data = await self._in_thread(lambda: self._bundles.get(target, host_pyzmq=facts.has_pyzmq))
        except DartError as error:
            raise HostFaultError("bundle", error.message) from None
        if info.folder not in facts.bundles:
            check_space(facts, len(data))
            request = {
                "action": "install",
                "server": self._broker.server,
                "bundle": info.folder,
                "bytes": len(data),
                "sha256": info.sha256,
            }
            await self._in_thread(lambda: self._session.call("install", request, blob=data))
        return info.folder

    async def _make(self, name: str, start: dict[str, Any], tunnel_port: int) -> dict[str, Any]:
        """A new agent, admitted by the broker, with what its home needs."""
        made = await self._broker.admit(name, f"tcp://{ADDRESS}:{tunnel_port}" if tunnel_port else "")
        return {"id": made.id, "files": {**made.files, "start.json": json.dumps(start)}}

    async def _start(self, agent: dict[str, Any]) -> str:
        """Start an agent, a new one or one that was there, and wait for its HELLO; its id."""
        agent_id = str(agent["id"])
        seconds = self._limits.ssh_join_seconds
        request = {"action": "start", "server": self._broker.server, "agents": [agent], "seconds": seconds}
        fault: HostFaultError | None
        try:
            answer = await self._in_thread(lambda: self._session.call("start", request, seconds=seconds))
            fault = _fault_of(answer, agent_id)
            self._notes += [str(answer["note"])[:_NOTE_CHARS]] if answer.get("note") else []
        except HostFaultError as error:
            fault = error
        # Whatever became of the connection: an agent that has said HELLO is up.
        patience = seconds if fault is None else _BROKEN_SECONDS
        if await self._until(lambda: self._broker.is_connected(agent_id), patience):
            return agent_id
        fault = fault or HostFaultError("start", f"the agent was started and did not join within {seconds:.0f} s")
        await asyncio.shield(self._give_up(agent_id))
        raise fault

    async def _give_up(self, agent_id: str) -> None:
        """Leave nothing of an agent that did not come up: nobody would look for it."""
        await self._broker.revoke([agent_id])
        try:
            await self._stop((agent_id,), seconds=0.5)
        except HostFaultError:
            return  # the next call finds it there, unknown to the broker

    async def _drain(self, ids: Sequence[str], seconds: float) -> None:
        """Let agents finish what they run, for at most so long."""
        await self._broker.drain([one for one in ids if self._broker.is_connected(one)])
        await self._until(lambda: not any(map(self._broker.is_connected, ids)), seconds)

    async def _stop(self, ids: Sequence[str], *, seconds: float, is_last: bool = True) -> list[str]:
        """End these and remove what they had; if none is left and `is_last`, all that the server put there."""
        request = {
            "action": "stop", "server": self._broker.server, "ids": list(ids), "seconds": seconds, "is_last": is_last
        }  # fmt: skip
        answer = await self._in_thread(lambda: self._session.call("stop", request, seconds=seconds))
        return [one for one in ids if one in answer.get("ids", ())]

    async def _until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True


def _start(wanted: Wanted, bundle: str) -> dict[str, Any]:
    """What a home keeps of how its agent is started."""
    return {
        "arguments": wanted.arguments(),
        "bundle": bundle,
        "config": wanted.config,
        "via_ssh": wanted.via_ssh,
    }


def is_loopback(address: str) -> bool:
    """Whether it means the machine itself to whoever is told it; an address that is unknown does not."""
    return address in {"localhost", "::1"} or address.startswith("127.")


def _fault_of(answer: dict[str, Any], agent_id: str) -> HostFaultError | None:
    """Why the agent did not begin; None: it did."""
    for one in answer.get("agents", ()):
        if one.get("id") == agent_id and one.get("died"):
            lines = str(one.get("log", "")).strip().splitlines()[-_LOG_LINES:]
            return HostFaultError(
                "start", f"the agent ended at once with exit code {one.get('code')}", "\n".join(lines)
            )
    return None
