"""Agents on hosts over SSH: added, removed, replaced; all hosts at once, in threads, off the event loop."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from dart.deploy.bundles import Bundles
from dart.deploy.one_host import Broker, OneHost, Up
from dart.deploy.plan import Failed, Host, HostFaultError, Wanted, parse_host, report
from dart.deploy.ssh_options import SshOptions
from dart.deploy.tunnels import Tunnels
from dart.errors import DartError, HostUnreachableError
from dart.limits import Limits

if TYPE_CHECKING:
    from dart.deploy.ssh import Session

T = TypeVar("T")


class HostsFailedError(HostUnreachableError):
    """Some hosts failed; `up` are those that did not."""

    def __init__(self, failed: Sequence[Failed], up: Sequence[Up], *, done: str) -> None:
        names = [one.host for one in up]
        super().__init__(report(failed, names, done=done), failed=[one._asdict() for one in failed], up=names)
        self.up = tuple(up)


class Server(Protocol):
    """What the server is asked for."""

    def local_address(self) -> tuple[str, int]:
        """Where this machine itself finds the broker; asked for in any thread."""

    def broker_of(self, host: Host) -> Broker:
        """The broker as it is there for one host."""


class Launcher:
    """Adds, removes and replaces agents on hosts.

    Args:
        server: The server.
        folder: For bundles that were made.
        limits: Bounds of all waits, and of hosts at once.
        wheelhouse: What bundles are made of, in place of what pip is configured for.
    """

    def __init__(self, server: Server, folder: Path, limits: Limits, wheelhouse: Path | None = None) -> None:
        self._server = server
        self._limits = limits
        self._bundles = Bundles(folder, limits, wheelhouse)
        self._tunnels = Tunnels(server.local_address, limits)
        self._threads: ThreadPoolExecutor | None = None
        # One call after the other at each host: two would take each other's beginnings for leftovers.
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    def close(self) -> None:
        """Begin nothing new; what a thread is in ends by its own bound."""
        self._tunnels.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def add(
        self, hosts: Sequence[str], wanted: Wanted, options: SshOptions, *, tunnel_port: Callable[[str], int]
    ) -> list[Up]:
        """Start one agent on each host, and wait until the broker has welcomed all of them.

        Args:
            hosts: `[USER@]HOST[:PORT]`.
            wanted: How each is to be.
            options: How the hosts are reached.
            tunnel_port: Where earlier agents of a host find the broker there; 0: there are none.

        Raises:
            HostsFailedError: Names each host that failed, where and why; and those that came up.
            InvalidRequestError: A host's name is none.
        """

        async def do(host: Host, there: OneHost) -> Up:
            port = await self._tunnel(host, options, tunnel_port(host.text)) if wanted.via_ssh else 0
            return (await there.add(wanted, tunnel_port=port))._replace(tunnel_port=port)

        return await self._all(hosts, options, do, done="Came up", seconds=self._limits.ssh_host_seconds)

    async def remove(
        self, hosts: Sequence[str], options: SshOptions, *, drain_seconds: float, stop_seconds: float
    ) -> list[Up]:
        """Let all agents that this server started on these hosts leave, and remove what it put there.

        Those that were started otherwise are left alone. Repeated it does nothing.

        Args:
            hosts: Where.
            options: How they are reached.
            drain_seconds: How long agents may finish what they run.
            stop_seconds: How long they may take to stop after that.

        Raises:
            HostsFailedError: Names each host that failed, where and why.
            InvalidRequestError: A host's name is none.
        """

        async def do(host: Host, there: OneHost) -> Up:
            gone = await there.remove(drain_seconds=drain_seconds, stop_seconds=stop_seconds)
            await self._in_thread(lambda: self._tunnels.drop(host.text))
            return gone

        return await self._all(hosts, options, do, done="Removed", seconds=self._limits.ssh_host_seconds)

    async def upgrade(
        self, hosts: Sequence[str], options: SshOptions, *, everyone: bool, tunnel_port: Callable[[str], int]
    ) -> list[Up]:
        """Replace this server's agents on these hosts by those of its own version, one by one on each host.

        Args:
            hosts: Where.
            options: How they are reached.
            everyone: Also those that are of this version.
            tunnel_port: As for `add`.

        Raises:
            HostsFailedError: Names each host that failed, where and why.
            InvalidRequestError: A host's name is none.
        """

        async def do(host: Host, there: OneHost) -> Up:
            port = tunnel_port(host.text)
            port = await self._tunnel(host, options, port) if port else 0
            return (await there.upgrade(tunnel_port=port, everyone=everyone))._replace(tunnel_port=port)

        return await self._all(hosts, options, do, done="Upgraded", seconds=self._limits.ssh_upgrade_seconds)

    def resume_tunnel(self, host: str, options: SshOptions, port: int) -> None:
        """Open the tunnel of a host again, where agents of an earlier run look for the broker."""
        parsed = parse_host(host)
        self._tunnels.resume(parsed, lambda: _connect(parsed, options, self._limits), port=port)

    # ---- all hosts ----

    async def _all(
        self,
        hosts: Sequence[str],
        options: SshOptions,
        do: Callable[[Host, OneHost], Awaitable[Up]],
        *,
        done: str,
        seconds: float,
    ) -> list[Up]:
        parsed = [parse_host(text) for text in dict.fromkeys(hosts)]
        answers = await asyncio.gather(*(self._one(host, options, do, seconds) for host in parsed))
        up = [answer for answer in answers if isinstance(answer, Up)]
        failed = [answer for answer in answers if isinstance(answer, Failed)]
        if failed:
            raise HostsFailedError(failed, up, done=done)
        return up

    async def _one(
        self, host: Host, options: SshOptions, do: Callable[[Host, OneHost], Awaitable[Up]], seconds: float
    ) -> Up | Failed:
        try:
            async with asyncio.timeout(seconds):
                return (await self._with(host, options, do))._replace(host=host.text)
        except HostFaultError as fault:
            return Failed(host.text, fault.step, fault.reason, fault.stderr)
        except TimeoutError:
            return Failed(host.text, "all steps", f"took more than {seconds:.0f} s", "")
        except DartError as error:
            return Failed(host.text, "server", error.message, "")
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # A host answers what it likes; that is no reason to leave the others alone.
            return Failed(host.text, "answer", f"what came back cannot be understood ({type(error).__name__})", "")

    async def _with(self, host: Host, options: SshOptions, do: Callable[[Host, OneHost], Awaitable[Up]]) -> Up:
        """Connect, do it, disconnect."""
        async with self._locks[host.name, host.port or options.port]:
            session = await self._in_thread(lambda: _connect(host, options, self._limits))
            try:
                await self._in_thread(session.find_python)
                broker = self._server.broker_of(host)
                return await do(host, OneHost(session, broker, self._bundles, self._limits, self._in_thread))
            finally:
                await asyncio.shield(self._in_thread(session.close))

    async def _tunnel(self, host: Host, options: SshOptions, port: int) -> int:
        connect = lambda: _connect(host, options, self._limits)  # noqa: E731 - given on as it is
        return await self._in_thread(lambda: self._tunnels.ensure(host, connect, port=port))

    async def _in_thread(self, do: Callable[[], T]) -> T:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._limits.ssh_hosts_at_once_max, thread_name_prefix="ssh")
        return await asyncio.get_running_loop().run_in_executor(self._threads, do)


def _connect(host: Host, options: SshOptions, limits: Limits) -> "Session":
    from dart.deploy.ssh import Session  # noqa: PLC0415 - fabric costs a server that needs none of it 20 MB

    return Session(host, options, limits)
