"""What answers say: one type a call, for the OpenAPI document and for the tests, which hold real answers against it."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from dart.rest.member_types import STATE_NAMES

Id = Annotated[str, Meta(extra_json_schema={"pattern": "^[0-9]{1,19}$"})]
"""Decimal digits."""
Milliseconds = Annotated[int, Meta(extra_json_schema={"description": "Unix time", "minimum": 0})]
Seconds = Annotated[float, Meta(extra_json_schema={"minimum": 0})]
Amount = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Status = Annotated[Literal[0, 1, 2], Meta(extra_json_schema={"description": "0 unknown, 1 running, 2 stopped"})]
State = Annotated[str, Meta(extra_json_schema={"enum": list(STATE_NAMES)})]
ErrorCode = Annotated[int, Meta(extra_json_schema={"description": "where a task failed otherwise than by raising"})]
Value = Annotated[Any, Meta(extra_json_schema={"description": "what JSON lacks is an object with `__dart__`"})]


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


class WorkerWithAgents(Worker):
    """A worker and each of its agents."""

    agents: list[WorkerAgent]


class Workers(Answer):
    """`GET /worker/`."""

    workers: list[Worker]


class OneWorker(Answer):
    """`GET /worker/{name}/`."""

    worker: WorkerWithAgents


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


class JobStatus(TypedDict):
    """A job by its name."""

    name: str
    status: Status


class JobById(TypedDict):
    """A job by its id."""

    id: Id
    status: Status


class KeptResults(TypedDict):
    """What is kept of a job's results."""

    seconds: NotRequired[Seconds]
    results: NotRequired[Amount]
    bytes: NotRequired[Amount]


class Config(TypedDict):
    """What was given in the definition."""

    module_path: str
    method: str
    requires: NotRequired[list[str]]
    priority: NotRequired[int]
    timeout: NotRequired[Seconds]
    retries: NotRequired[Amount]
    retry_delay: NotRequired[Seconds]
    lost_retries: NotRequired[Amount]
    lost_retry_delay: NotRequired[Seconds]
    on_lost: NotRequired[str]
    if_offline: NotRequired[str]
    expires: NotRequired[Seconds]
    after: NotRequired[list[str]]
    standing: NotRequired[bool]
    worker_regex: NotRequired[str]
    retention: NotRequired[KeptResults]


class Job(JobStatus):
    """A job and how far it is."""

    id: Id
    standing: bool
    config: Config
    defined_at: Milliseconds
    tasks: dict[str, Amount]


class Jobs(Answer):
    """`GET /job/`."""

    jobs: list[Job]
    next: NotRequired[str]


class OneJob(Answer):
    """`GET /job/{job}/`."""

    job: Job


class StatusOfJob(Answer):
    """`POST /job/`, `GET /job/{job}/status/`."""

    job: JobStatus


class StoppedJob(StatusOfJob):
    """`DELETE /job/{job}/`."""

    cancelled: NotRequired[Amount]


class Result(TypedDict):
    """One result; exactly one of `success` and `error` is there."""

    id: Id
    job: str
    host: str
    worker: str
    location: str
    start_time: Milliseconds
    duration: Seconds
    success: NotRequired[Value]
    error: NotRequired[Value]
    encoding: NotRequired[Literal["base64"]]
    error_code: NotRequired[ErrorCode]
    tag: NotRequired[str]


class Results(Answer):
    """`GET /job/{job}/results/`."""

    results: list[Result]
    job: JobById
    cursor: NotRequired[Id]


class Submitted(Answer):
    """`POST /job/{job}/tasks/`."""

    tasks: list[Id]
    locations: NotRequired[list[str]]
    results: NotRequired[list[Result]]
    cursor: NotRequired[Id]


class Progress(TypedDict):
    """What a running task tells of itself."""

    text: str
    fraction: NotRequired[float]


class Task(TypedDict):
    """One task; what does not apply to it is left out."""

    id: Id
    state: State
    location: str
    worker: str
    host: str
    attempts: Amount
    priority: NotRequired[int]
    requires: NotRequired[list[str]]
    after: NotRequired[list[str]]
    pending_reason: NotRequired[str]
    pending_reasons: NotRequired[list[str]]
    progress: NotRequired[Progress]
    duration: NotRequired[Seconds]
    finished_at: NotRequired[Milliseconds]
    error_code: NotRequired[ErrorCode]
    start_time: NotRequired[Milliseconds]
    tag: NotRequired[str]


class Tasks(Answer):
    """`GET /job/{job}/tasks/`."""

    tasks: list[Task]
    next: NotRequired[Id]


class OneTask(Answer):
    """`GET /job/{job}/tasks/{id}/`."""

    task: Task


class TaskId(TypedDict):
    """Which task."""

    id: Id


class CancelledTask(Answer):
    """`DELETE /job/{job}/tasks/{id}/`."""

    task: TaskId
    cancelled: bool


class Key(TypedDict):
    """An API key without its text; `admin` is the one of the state directory."""

    id: str
    name: str
    scope: Annotated[str, Meta(extra_json_schema={"enum": ["read", "submit", "admin"]})]
    valid: bool
    reason: NotRequired[str]
    """Why it is not."""
    jobs: NotRequired[list[str]]
    job_regex: NotRequired[str]
    workers: NotRequired[list[str]]
    worker_regex: NotRequired[str]
    weak: NotRequired[bool]
    """Whether its text could be guessed."""
    created_at: NotRequired[Milliseconds]
    expires_at: NotRequired[Milliseconds]
    last_used_at: NotRequired[Milliseconds]
    """Roughly, at most a minute early."""
    revoked_at: NotRequired[Milliseconds]


class Keys(Answer):
    """`GET /key/`."""

    keys: list[Key]


class AddedKey(Answer):
    """`POST /key/`."""

    key: Key
    text: NotRequired[str]
    """What programs send: told this once, never again, and not for a text that the caller chose."""


class RevokedId(TypedDict):
    """A key that counts no more."""

    id: str
    revoked_at: Milliseconds


class RevokedKey(Answer):
    """`DELETE /key/{key_id}/`."""

    key: RevokedId


class AuditEntry(TypedDict):
    """Who did what."""

    id: Id
    at: Milliseconds
    who: str
    what: str
    target: str
    outcome: str
    address: str
    request: str
    """The request id, as its answer and the log have it."""


class Audit(Answer):
    """`GET /audit/`."""

    audit: list[AuditEntry]
    next: NotRequired[Id]
