"""What answers say: one type a call, for the OpenAPI document and for the tests, which hold real answers against it."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

Id = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9]{1,19}$"})]
"""Decimal digits."""
Milliseconds = Annotated[int, Meta(extra_json_schema={"description": "Unix time", "minimum": 0})]
Seconds = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
Amount = Annotated[int, Meta(extra_json_schema={"minimum": 0})]


class Answer(TypedDict):
    """What every answer may say; members may be added in later versions."""

    warnings: NotRequired[list[str]]
    """Members that are not known and were ignored."""


class HostDone(TypedDict):
    """Agents that came to a host, or left it."""

    host: str
    agents: list[str]
    """Their ids."""


class HostsDone(Answer):
    """What was done on hosts."""

    hosts: NotRequired[list[HostDone]]


class Address(TypedDict):
    """Where something listens."""

    host: str
    port: int


class Server(Address):
    """The server, its REST interface, and under `agent` where agents connect."""

    agent: Address
    version: str
    store_id: str
    incarnation: int
    started_at: Milliseconds
    agents: Amount
    open_tasks: Amount
    late_results: Amount


class Servers(Answer):
    """`GET /server/`."""

    servers: list[Server]


class Health(TypedDict):
    """`GET /healthz`, `GET /readyz`."""

    status: str


class Worker(TypedDict):
    """All agents of one name."""

    name: str
    count: Amount
    capabilities: list[str]
    facts: dict[str, list[str]]
    hosts: list[str]
    busy: Amount
    draining: bool


class WorkerAgent(TypedDict):
    """One of them: what is known of its key, and while it is connected, what it says."""

    id: str
    connected: bool
    enrolled_at: Milliseconds
    name_is_pattern: NotRequired[bool]
    token: NotRequired[str]
    last_contact: NotRequired[Milliseconds]
    host: NotRequired[str]
    slots: NotRequired[Amount]
    busy: NotRequired[Amount]
    leases: NotRequired[Amount]
    capabilities: NotRequired[list[str]]
    facts: NotRequired[dict[str, str]]
    draining: NotRequired[bool]
    spool_full: NotRequired[bool]
    silent_seconds: NotRequired[Seconds]
    results_held: NotRequired[Amount]


class Workers(Answer):
    """`GET /worker/`."""

    workers: list[Worker]


class WorkerName(TypedDict):
    """Which worker."""

    name: str


class Draining(Answer):
    """`POST /worker/{name}/drain/`."""

    worker: WorkerName
    draining: Amount


class Pinged(TypedDict):
    """How one agent answered."""

    agent: str
    host: str
    answered: bool
    milliseconds: NotRequired[Annotated[float, Meta(extra_json_schema={"minimum": 0})]]
    versions: NotRequired[dict[str, str]]
    error: NotRequired[str]


class Pings(Answer):
    """`POST /worker/{name}/ping/`."""

    worker: WorkerName
    agents: list[Pinged]
