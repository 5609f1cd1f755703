"""What answers say of jobs, tasks and results; see `answer_schemas.py`."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from dart.rest.answer_schemas import Amount, Answer, Id, Milliseconds, Seconds, Worker, WorkerAgent
from dart.rest.member_types import STATE_NAMES

Status = Annotated[Literal[0, 1, 2], Meta(extra_json_schema={"description": "0 unknown, 1 running, 2 stopped"})]
State = Annotated[str, Meta(extra_json_schema={"enum": list(STATE_NAMES)})]
ErrorCode = Annotated[int, Meta(extra_json_schema={"description": "where a task failed otherwise than by raising"})]
Value = Annotated[Any, Meta(extra_json_schema={"description": "what JSON lacks is an object with `__dart__`"})]


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
    encoding: NotRequired[Literal["base64", "damaged"]]
    error_code: NotRequired[ErrorCode]
    tag: NotRequired[str]


class Results(Answer):
    """`GET /job/{job}/results/`."""

    results: list[Result]
    job: JobById
    cursor: NotRequired[Id]


class OneResult(Answer):
    """`GET /job/{job}/results/{id}/`."""

    result: Result


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
    result_bytes: NotRequired[Amount]
    """As encoded, where one finished task was asked for."""


class HeldTask(Task):
    """One that a worker holds."""

    job: str


class WholeWorker(Worker):
    """A worker, each of its agents, and what it is given to do."""

    agents: list[WorkerAgent]
    tasks: list[HeldTask]


class OneWorker(Answer):
    """`GET /worker/{name}/`."""

    worker: WholeWorker


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
