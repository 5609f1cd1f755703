"""The server's part for agents on hosts over SSH: what REST asks for, done by the launcher with the broker's means."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dart.broker.config import SSH_PORT, SshDefaults
from dart.broker.gateway import Gateway
from dart.broker.hosts import HostsDone, NewWorkers, SshWanted
from dart.deploy.kept_hosts import KeptHost, KeptHosts
from dart.deploy.launcher import HostsFailedError, Launcher
from dart.deploy.one_host import NewAgent, Up
from dart.deploy.plan import Host, Wanted
from dart.deploy.ssh_options import SshOptions
from dart.errors import DartError, InvalidRequestError
from dart.ids import AgentId
from dart.limits import Limits
from dart.wire import curve

KNOWN_HOSTS = "ssh_known_hosts"
BUNDLES = "bundles"
KEPT = "ssh_hosts.json"
_LEAVE_SECONDS = 5.0
"""All of `leave`: the server has promised to be gone in ten."""
_LEAVE_DRAIN_SECONDS = 0.5
_LEAVE_STOP_SECONDS = 2.5
_log = logging.getLogger("dart.ssh")
_SERVER_CHARS = 16
_NAME_CHARS = 8


class SshWorkers:
    """Implements `dart.broker.hosts.Hosts`.

    Args:
        gateway: The broker's front door.
        defaults: The server's own options.
        folder: The state directory.
        limits: All bounds.
        listens_at: Where this machine finds the broker.
    """

    def __init__(
        self, gateway: Gateway, defaults: SshDefaults, folder: Path, limits: Limits, *, listens_at: str
    ) -> None:
        self._gateway = gateway
        self._defaults = defaults
        self._folder = folder
        self._limits = limits
        self._kept = KeptHosts(folder / KEPT)
        self._launcher = Launcher(Server(gateway, listens_at), folder / BUNDLES, limits, defaults.wheelhouse)

    async def add(self, wanted: NewWorkers, ssh: SshWanted) -> HostsDone:
        """Start an agent on each host."""
        agent = Wanted(
            name=wanted.name,
            slots=wanted.slots,
            capabilities=wanted.capabilities,
            shm_bytes=wanted.shm_bytes,
            config=wanted.config,
            via_ssh=wanted.via_ssh,
        )
        options = self._options(ssh)
        with self._keeping(ssh) as came_up:
            done = await self._launcher.add(wanted.hosts, agent, options, tunnel_port=self._tunnel_port)
            came_up.update((one.host, one.tunnel_port) for one in done)
        return _told(done)

    async def upgrade(self, hosts: Sequence[str], ssh: SshWanted, *, everyone: bool) -> HostsDone:
        """Replace this server's agents on these hosts, one by one."""
        options = self._options(ssh)
        return _told(await self._launcher.upgrade(hosts, options, everyone=everyone, tunnel_port=self._tunnel_port))

    def resume(self) -> None:
        """Open the tunnels again that agents of an earlier run need."""
        for kept in self._kept.all():
            if kept.tunnel_port:
                self._launcher.resume_tunnel(kept.host, self._options(_wanted(kept)), kept.tunnel_port)

    async def remove(self, hosts: Sequence[str], ssh: SshWanted) -> HostsDone:
        """Let this server's agents on these hosts leave."""
        options = self._options(ssh)
        try:
            done = await self._launcher.remove(
                hosts,
                options,
                drain_seconds=self._limits.ssh_drain_seconds,
                stop_seconds=self._limits.ssh_stop_seconds,
            )
        except HostsFailedError as error:
            self._kept.forget(one.host for one in error.up)
            raise
        self._kept.forget(one.host for one in done)
        return _told(done)

    async def leave(self) -> None:
        """The server ends for good: let all agents leave that it started over SSH, as far as that can be done now."""
        asked = [(kept.host, self._options(_wanted(kept))) for kept in self._kept.all()]
        removing = (
            self._launcher.remove([host], options, drain_seconds=_LEAVE_DRAIN_SECONDS, stop_seconds=_LEAVE_STOP_SECONDS)
            for host, options in asked
        )
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                for (host, _), done in zip(asked, await asyncio.gather(*removing, return_exceptions=True), strict=True):
                    if isinstance(done, DartError):
                        _log.warning("Its agents wait for the server's return: %s", done.message)
                    elif isinstance(done, BaseException):
                        raise done
                    else:
                        self._kept.forget([host])
        except TimeoutError:
            _log.warning("Not all agents that were started over SSH left within %.0f s.", _LEAVE_SECONDS)

    def close(self) -> None:
        """Begin nothing new."""
        self._launcher.close()

    def _tunnel_port(self, host: str) -> int:
        kept = self._kept.get(host)
        return kept.tunnel_port if kept else 0

    @contextmanager
    def _keeping(self, ssh: SshWanted) -> Iterator[dict[str, int]]:
        """Remember the hosts where agents came up, with the ports of their tunnels; also if others failed."""
        came_up: dict[str, int] = {}
        try:
            yield came_up
        except HostsFailedError as error:
            came_up.update((one.host, one.tunnel_port) for one in error.up)
            raise
        finally:
            like = KeptHost("", ssh.username, ssh.port, ssh.private_key, ssh.host_keys)
            self._kept.keep(
                like._replace(host=host, tunnel_port=port or self._tunnel_port(host)) for host, port in came_up.items()
            )

    def _options(self, ssh: SshWanted) -> SshOptions:
        key = Path(ssh.private_key).expanduser() if ssh.private_key else self._defaults.private_key
        if key is not None and not key.is_file():
            raise InvalidRequestError(
                f"Member `ssh.private_key`: {key} is no file on the server's machine.", field="ssh.private_key"
            )
        return SshOptions(
            username=ssh.username or self._defaults.username,
            port=ssh.port or (0 if self._defaults.port == SSH_PORT else self._defaults.port),
            private_key=key,
            passphrase=ssh.passphrase,
            host_keys=ssh.host_keys or self._defaults.host_keys,
            known_hosts=self._folder / KNOWN_HOSTS,
        )


class Server:
    """Implements `dart.deploy.launcher.Server`."""

    def __init__(self, gateway: Gateway, listens_at: str) -> None:
        self._gateway = gateway
        self._listens_at = listens_at

    def local_address(self) -> tuple[str, int]:
        """Where this machine finds the broker."""
        return self._listens_at, self._gateway.address.agent_port

    def broker_of(self, host: Host) -> "_Broker":
        """The broker for this host alone."""
        return _Broker(self._gateway, host)


class _Broker:
    """What is asked for one host, which may lie: it can name no agents but its own."""

    def __init__(self, gateway: Gateway, host: Host) -> None:
        self._gateway = gateway
        self._origin = f"ssh:{host.name.lower()}"
        # Of its own for each name of a host: under another name of the same machine its agents are strangers, and
        # strangers in this folder are swept away.
        digits = hashlib.sha256(self._origin.encode()).hexdigest()[:_NAME_CHARS]
        self.server = f"{str(gateway.server().store_id)[:_SERVER_CHARS]}-{digits}"

    def address(self) -> tuple[str, int]:
        return self._gateway.address.agent_host, self._gateway.address.agent_port

    def knows(self, agent_id: str) -> bool:
        return bool(self.name_of(agent_id))

    def name_of(self, agent_id: str) -> str:
        return self._gateway.enrolments.name_of(AgentId(agent_id), origin=self._origin)

    def is_connected(self, agent_id: str) -> bool:
        return self.knows(agent_id) and self._gateway.enrolments.is_connected(AgentId(agent_id))

    async def admit(self, name: str, agents_url: str) -> NewAgent:
        pair = curve.KeyPair.make()
        answer = await self._gateway.enrolments.enroll(pair.public, name, origin=self._origin)
        enrolment = {
            "name": name,
            "agents_url": agents_url or answer.agent_url,
            "server_public_key": curve.key_text(answer.server_public_key),
            "store_id": str(answer.store_id),
            "state_directory": "",
        }
        key = {"public": curve.key_text(pair.public), "secret": curve.key_text(pair.secret)}
        return NewAgent(answer.agent_id, {"agent.key": json.dumps(key), "enrolment.json": json.dumps(enrolment)})

    async def drain(self, agent_ids: Sequence[str]) -> None:
        for agent_id in filter(self.knows, agent_ids):
            await self._gateway.enrolments.drain(AgentId(agent_id))

    async def revoke(self, agent_ids: Sequence[str]) -> None:
        for agent_id in filter(self.knows, agent_ids):
            await self._gateway.enrolments.revoke_agent(AgentId(agent_id))


def _wanted(kept: KeptHost) -> SshWanted:
    return SshWanted(kept.username, kept.port, kept.private_key, host_keys=kept.host_keys)


def _told(done: Sequence[Up]) -> HostsDone:
    return HostsDone(
        {one.host: one.agents for one in done},
        tuple(f"{one.host}: {warning}." for one in done for warning in one.warnings),
    )
