"""What the calls about agents on hosts take."""

from typing import Annotated

import msgspec

from dart.rest.member_types import (
    SHM_BYTES_MAX,
    SLOTS_MAX,
    Capabilities,
    Flag,
    Hosts,
    Integer,
    Name,
    Port,
    whole,
)
from dart.rest.schemas import Members


class Ssh(msgspec.Struct):
    """How hosts are reached; old programs write the names with hyphens."""

    username: str = ""
    port: Port | msgspec.UnsetType = msgspec.UNSET
    public_key: str = ""
    private_key: str = ""
    passphrase: str = ""
    host_keys: str = ""


class NewWorkers(Members, kw_only=True):
    """`POST /worker/`."""

    name: Name
    hosts: Hosts
    workers_per_host: Annotated[Integer, whole(1, SLOTS_MAX)] = 1
    capabilities: Capabilities = msgspec.field(default_factory=list)
    shm_size: Annotated[Integer, whole(0, SHM_BYTES_MAX, "bytes")] = 0
    config: str = ""
    via_ssh: Flag = False
    ssh: Ssh = msgspec.field(default_factory=Ssh)


class GoneWorkers(Members, kw_only=True):
    """`DELETE /worker/`."""

    hosts: list[str] | str | None = None
    ssh: Ssh = msgspec.field(default_factory=Ssh)


class Upgrade(Members, kw_only=True):
    """`POST /host/upgrade/`."""

    hosts: Hosts
    everyone: Flag = False
    ssh: Ssh = msgspec.field(default_factory=Ssh)
