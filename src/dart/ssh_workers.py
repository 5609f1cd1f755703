"""The server's part for agents on hosts over SSH: what REST asks for, done by the launcher with the broker's means."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dart.broker.config import SSH_PORT, SshDefaults
from dart.broker.gateway import Gateway
from dart.broker.hosts import HostsDone, NewWorkers, SshWanted
from dart.deploy.launcher import Launcher, NewAgent, Up
from dart.deploy.plan import Wanted
from dart.errors import InvalidRequestError
from dart.ids import AgentId
from dart.limits import Limits
from dart.wire import curve

KNOWN_HOSTS = "ssh_known_hosts"
BUNDLES = "bundles"
_SERVER_CHARS = 16


class SshWorkers:
    """Implements `dart.broker.hosts.Hosts`.

    Args:
        gateway: The broker's front door.
        defaults: The server's own options.
        folder: The state directory.
        limits: All bounds.
    """

    def __init__(self, gateway: Gateway, defaults: SshDefaults, folder: Path, limits: Limits) -> None:
        self._gateway = gateway
        self._defaults = defaults
        self._folder = folder
        self._limits = limits
        self._launcher = Launcher(_Broker(gateway), folder / BUNDLES, limits)

    async def add(self, wanted: NewWorkers, ssh: SshWanted) -> HostsDone:
        """Start an agent on each host."""
        agent = Wanted(
            name=wanted.name,
            slots=wanted.slots,
            capabilities=wanted.capabilities,
            shm_bytes=wanted.shm_bytes,
            config=wanted.config,
        )
        return _told(await self._launcher.add(wanted.hosts, agent, self._options(ssh)))

    async def remove(self, hosts: Sequence[str], ssh: SshWanted) -> HostsDone:
        """Let this server's agents on these hosts leave."""
        options = self._options(ssh)
        return _told(await self._launcher.remove(hosts, options, drain_seconds=self._limits.ssh_drain_seconds))

    def close(self) -> None:
        """Begin nothing new."""
        self._launcher.close()

    def _options(self, ssh: SshWanted) -> Any:
        from dart.deploy.ssh import SshOptions  # noqa: PLC0415 - fabric costs a server that needs none 20 MB

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


class _Broker:
    """What the launcher asks of the broker."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.server = str(gateway.server().store_id)[:_SERVER_CHARS]

    def address(self) -> tuple[str, int]:
        return self._gateway.address.agent_host, self._gateway.address.agent_port

    def knows(self, agent_id: str) -> bool:
        return self._gateway.enrolments.knows(AgentId(agent_id))

    def is_connected(self, agent_id: str) -> bool:
        return self._gateway.enrolments.is_connected(AgentId(agent_id))

    async def admit(self, name: str, agents_url: str) -> NewAgent:
        pair = curve.KeyPair.make()
        answer = await self._gateway.enrolments.enroll(pair.public, name)
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
        for agent_id in agent_ids:
            await self._gateway.enrolments.drain(AgentId(agent_id))

    async def revoke(self, agent_ids: Sequence[str]) -> None:
        for agent_id in agent_ids:
            await self._gateway.enrolments.revoke_agent(AgentId(agent_id))


def _told(done: Sequence[Up]) -> HostsDone:
    return HostsDone(
        {one.host: one.agents for one in done},
        tuple(f"{one.host}: {warning}." for one in done for warning in one.warnings),
    )
