"""Python SDK of DART: it knows the REST contract and nothing else.

>>> from dart_client import Client
>>> with Client():                                         # doctest: +SKIP
...     job = client.job("count", "count_words_worker", "count")
...     counts = list(job.map(["a.txt", "b.txt"]))
"""

from dart.wire.values import BlobReference
from dart_client.bars import progress
from dart_client.client import Client
from dart_client.errors import (
    ClosedError,
    ConfigError,
    ConflictError,
    DamagedFileError,
    DartError,
    ForbiddenError,
    HostUnreachableError,
    InvalidRequestError,
    JobExistsError,
    JobStoppedError,
    LimitError,
    MalformedError,
    NotFoundError,
    OutcomeError,
    ServerUnreachableError,
    TaskCancelled,
    TaskError,
    TaskExpired,
    TaskLost,
    UnauthorizedError,
    UnavailableError,
    UnknownBlobError,
    UnknownJobError,
    UnknownKeyError,
    UnknownTaskError,
    UnknownTokenError,
    UnknownWorkerError,
    UntrustedServerError,
    ValueNotPortableError,
    WorkerOfflineError,
)
from dart_client.events import Event
from dart_client.executor import Executor
from dart_client.futures import TaskFuture
from dart_client.job import Job
from dart_client.results import Result
from dart_client.rounds import Round

__all__ = [
    "BlobReference",
    "Client",
    "ClosedError",
    "ConfigError",
    "ConflictError",
    "DamagedFileError",
    "DartError",
    "Event",
    "Executor",
    "ForbiddenError",
    "HostUnreachableError",
    "InvalidRequestError",
    "Job",
    "JobExistsError",
    "JobStoppedError",
    "LimitError",
    "MalformedError",
    "NotFoundError",
    "OutcomeError",
    "Result",
    "Round",
    "ServerUnreachableError",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFuture",
    "TaskLost",
    "UnauthorizedError",
    "UnavailableError",
    "UnknownBlobError",
    "UnknownJobError",
    "UnknownKeyError",
    "UnknownTaskError",
    "UnknownTokenError",
    "UnknownWorkerError",
    "UntrustedServerError",
    "ValueNotPortableError",
    "WorkerOfflineError",
    "progress",
]
