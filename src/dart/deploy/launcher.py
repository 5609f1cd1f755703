"""Agents on hosts over SSH: added, removed; all hosts at once, in threads, off the event loop."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from dart.deploy.bundles import Bundles
from dart.deploy.plan import (
    Facts,
    Failed,
    Host,
    HostFaultError,
    Steps,
    Wanted,
    check_space,
    parse_host,
    plan,
    read_facts,
    report,
)
from dart.errors import DartError, HostUnreachableError, NotAvailableYetError
from dart.limits import Limits

if TYPE_CHECKING:
    from dart.deploy.ssh import Session, SshOptions

T = TypeVar("T")
_LOOK_SECONDS = 0.05
_LOG_LINES = 6


class NewAgent(NamedTuple):
    """An agent that the broker has just admitted."""

    id: str
    files: dict[str, str]
    """What its home needs, by file name; secret."""


class Broker(Protocol):
    """What is asked of the server; on the loop."""

    server: str
    """Names this server for good: its folder on hosts."""

    def address(self) -> tuple[str, int]:
        """Where agents connect, as others are told."""

    def knows(self, agent_id: str) -> bool:
        """Whether such an agent may connect."""

    def is_connected(self, agent_id: str) -> bool:
        """Whether it has said HELLO and not left since."""

    async def admit(self, name: str, agents_url: str) -> NewAgent:
        """Make keys for a new agent and admit them; `agents_url` empty: where others are told to connect."""

    async def drain(self, agent_ids: Sequence[str]) -> None:
        """Ask these to finish and leave; unknown ones are no error."""

    async def revoke(self, agent_ids: Sequence[str]) -> None:
        """Let these never connect again; unknown ones are no error."""


class Up(NamedTuple):
    """A host where all came up."""

    host: str
    agents: tuple[str, ...]
    warnings: tuple[str, ...]


class Launcher:
    """Adds and removes agents on hosts.

    Args:
        broker: The server.
        folder: For bundles that were made.
        limits: Bounds of all waits, and of hosts at once.
    """

    def __init__(self, broker: Broker, folder: Path, limits: Limits) -> None:
        self._broker = broker
        self._limits = limits
        self._bundles = Bundles(folder, limits)
        self._threads: ThreadPoolExecutor | None = None
        # One call after the other at each host: two would take each other's beginnings for leftovers.
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    def close(self) -> None:
        """Begin nothing new; what a thread is in ends by its own bound."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def add(self, hosts: Sequence[str], wanted: Wanted, options: "SshOptions") -> list[Up]:
        """Start one agent on each host, and wait until the broker has welcomed all of them.

        Raises:
            HostUnreachableError: Names each host that failed, where and why; and those that came up.
            InvalidRequestError: A host's name is none.
        """

        async def one(host: Host) -> Up:
            return await self._with(host, options, lambda session: self._add(session, wanted))

        return await self._all(hosts, one, done="Came up")

    async def remove(
        self, hosts: Sequence[str], options: "SshOptions", *, drain_seconds: float, stop_seconds: float = 0.0
    ) -> list[Up]:
        """Let all agents that this server started on these hosts leave, and remove what it put there.

        Those that were started otherwise are left alone. Repeated it does nothing.

        Args:
            hosts: Where.
            options: How they are reached.
            drain_seconds: How long agents may finish what they run.
            stop_seconds: How long they may take to stop after that; 0: as the limits say.

        Raises:
            HostUnreachableError: Names each host that failed, where and why.
            InvalidRequestError: A host's name is none.
        """
        stop = stop_seconds or self._limits.ssh_stop_seconds

        async def one(host: Host) -> Up:
            return await self._with(host, options, lambda session: self._remove(session, drain_seconds, stop))

        return await self._all(hosts, one, done="Removed")

    # ---- all hosts ----

    async def _all(self, hosts: Sequence[str], do: Callable[[Host], Awaitable[Up]], *, done: str) -> list[Up]:
        parsed = [parse_host(text) for text in dict.fromkeys(hosts)]
        answers = await asyncio.gather(*(self._one(host, do) for host in parsed))
        up = [answer for answer in answers if isinstance(answer, Up)]
        failed = [answer for answer in answers if isinstance(answer, Failed)]
        if failed:
            raise HostUnreachableError(
                report(failed, [one.host for one in up], done=done),
                failed=[one._asdict() for one in failed],
                up=[one.host for one in up],
            )
        return up

    async def _one(self, host: Host, do: Callable[[Host], Awaitable[Up]]) -> Up | Failed:
        try:
            async with asyncio.timeout(self._limits.ssh_host_seconds):
                return (await do(host))._replace(host=host.text)
        except HostFaultError as fault:
            return Failed(host.text, fault.step, fault.reason, fault.stderr)
        except TimeoutError:
            return Failed(host.text, "all steps", f"took more than {self._limits.ssh_host_seconds:.0f} s", "")
        except DartError as error:
            return Failed(host.text, "server", error.message, "")

    async def _with(self, host: Host, options: "SshOptions", do: Callable[["Session"], Awaitable[Up]]) -> Up:
        """Connect, do it, disconnect."""
        try:
            from dart.deploy.ssh import Session  # noqa: PLC0415 - fabric costs a server that needs none 20 MB
        except ImportError as error:
            raise NotAvailableYetError(
                f"SSH needs fabric, which is not installed ({error}): pip install 'dart-runtime[server]'"
            ) from None
        async with self._locks[host.name, host.port or options.port]:
            session = await self._in_thread(lambda: Session(host, options, self._limits))
            try:
                await self._in_thread(session.find_python)
                return await do(session)
            finally:
                await asyncio.shield(self._in_thread(session.close))

    async def _in_thread(self, do: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._limits.ssh_hosts_at_once_max, thread_name_prefix="ssh")
        return await asyncio.get_running_loop().run_in_executor(self._threads, do)

    # ---- one host ----

    async def _look(self, session: "Session", *, reach: bool) -> Facts:
        address, port = self._broker.address()
        request = {"action": "look", "server": self._broker.server, "address": address, "port": port if reach else 0}
        return read_facts(await self._in_thread(lambda: session.call("preflight", request)))

    async def _add(self, session: "Session", wanted: Wanted) -> Up:
        address, port = self._broker.address()
        if is_loopback(address) and not is_loopback(session.address) and not wanted.via_ssh:
            raise HostFaultError(
                "address",
                f"the server tells agents to connect to {address}, which is their own machine to them. Start it with "
                "--agent-host 0.0.0.0 (and --advertise ADDRESS), or add the host with --via-ssh",
            )
        facts = await self._look(session, reach=not wanted.via_ssh)
        known = {one.id for one in facts.agents if self._broker.knows(one.id)}
        steps = plan(facts, wanted, address=f"{address}:{port}", known=known, now=time.time())
        if steps.stop:
            await self._stop(session, steps.stop, seconds=0.0, is_last=False)
        bundle = await self._install(session, facts)
        agent_id = await self._start(session, wanted, steps, bundle)
        return Up("", (agent_id,), steps.warnings)

    async def _install(self, session: "Session", facts: Facts) -> str:
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
            await self._in_thread(lambda: session.call("install", request, blob=data))
        return info.folder

    async def _start(self, session: "Session", wanted: Wanted, steps: Steps, bundle: str) -> str:
        """Start an agent, a new one or one that was there, and wait for its HELLO; its id."""
        agent: dict[str, Any]
        if steps.revive:
            agent = {"id": steps.revive[0]}
        else:
            made = await self._broker.admit(wanted.name, "")
            start = {
                "arguments": wanted.arguments(),
                "bundle": bundle,
                "config": wanted.config,
                "via_ssh": wanted.via_ssh,
            }
            agent = {"id": made.id, "files": {**made.files, "start.json": json.dumps(start)}}
        agent_id = str(agent["id"])
        seconds = self._limits.ssh_join_seconds
        request = {"action": "start", "server": self._broker.server, "agents": [agent], "seconds": seconds}
        fault: HostFaultError | None = None
        try:
            answer = await self._in_thread(lambda: session.call("start", request, seconds=seconds))
            fault = _fault_of(answer, agent_id)
        except HostFaultError as error:
            fault = error
        # Whatever became of the connection: an agent that has said HELLO is up.
        if await self._until(lambda: self._broker.is_connected(agent_id), seconds if fault is None else 1.0):
            return agent_id
        fault = fault or HostFaultError("start", f"the agent was started and did not join within {seconds:.0f} s")
        await asyncio.shield(self._give_up(session, agent_id))
        raise fault

    async def _give_up(self, session: "Session", agent_id: str) -> None:
        """Leave nothing of an agent that did not come up: nobody would look for it."""
        await self._broker.revoke([agent_id])
        try:
            await self._stop(session, (agent_id,), seconds=0.5)
        except HostFaultError:
            return  # the next call finds it there, unknown to the broker

    async def _remove(self, session: "Session", drain_seconds: float, stop_seconds: float) -> Up:
        facts = await self._look(session, reach=False)
        ids = tuple(one.id for one in facts.agents)
        await self._broker.drain([one for one in ids if self._broker.is_connected(one)])
        await self._until(lambda: not any(map(self._broker.is_connected, ids)), drain_seconds)
        gone = await self._stop(session, ids, seconds=stop_seconds)
        await self._broker.revoke(gone)
        return Up("", tuple(gone), ())

    async def _stop(self, session: "Session", ids: Sequence[str], *, seconds: float, is_last: bool = True) -> list[str]:
        """End these and remove what they had; if none is left and `is_last`, all that the server put there."""
        request = {
            "action": "stop", "server": self._broker.server, "ids": list(ids), "seconds": seconds, "is_last": is_last
        }  # fmt: skip
        answer = await self._in_thread(lambda: session.call("stop", request, seconds=seconds))
        return [one for one in ids if one in answer.get("ids", ())]

    async def _until(self, is_so: Callable[[], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() >= end:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True


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
