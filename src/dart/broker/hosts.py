"""Agents on other hosts, as clients ask for them; who brings them there is none of the broker's business."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class SshWanted(NamedTuple):
    """How hosts are reached; what is empty comes from the server's own options."""

    username: str = ""
    port: int = 0
    private_key: str = ""
    """Path on the server's machine."""
    passphrase: str = ""
    host_keys: str = ""
    """`known`, `accept-new`, or fingerprints with commas between them."""


class NewWorkers(NamedTuple):
    """Agents that are wanted: one on each host."""

    name: str
    hosts: tuple[str, ...]
    slots: int
    capabilities: tuple[str, ...]
    shm_bytes: int
    config: str = ""
    """Path of a worker.json there."""
    via_ssh: bool = False
    """Whether they reach the broker through a tunnel that the server keeps."""


class HostsDone(NamedTuple):
    """What was done."""

    agents: dict[str, tuple[str, ...]]
    """Ids of the agents that came or went, by host."""
    warnings: tuple[str, ...]


class Hosts(Protocol):
    """Who brings agents to hosts, and away."""

    async def add(self, wanted: NewWorkers, ssh: SshWanted) -> HostsDone:
        """Start an agent on each host and wait until all are connected, or `HostUnreachableError`."""

    async def remove(self, hosts: Sequence[str], ssh: SshWanted) -> HostsDone:
        """Let those leave that were started there so, or `HostUnreachableError`."""

    async def upgrade(self, hosts: Sequence[str], ssh: SshWanted, *, everyone: bool) -> HostsDone:
        """Replace those by this server's version, one by one and without losing a task, or `HostUnreachableError`."""
