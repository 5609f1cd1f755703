"""One root for all errors a person can meet; each class has a stable number, listed in the reference.

REST maps a class to a status in one place (`rest/errors.py`), the SDK maps the number back, the command line
maps it to an exit code. A message is one or two sentences: what is wrong, with which member, what to do.
"""

from typing import Any, ClassVar


class DartError(Exception):
    """Root of all. `code` is stable across releases; `category` is for people.

    Args:
        message: What is wrong and what to do about it.
        details: Further members of the error answer, such as `field` or `job`; JSON scalars only.
    """

    code: ClassVar[int] = 1
    category: ClassVar[str] = "internal"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class MalformedError(DartError):
    """Bytes that are not what they claim to be: broken JSON, MessagePack, or frame."""

    code = 10
    category = "malformed"


class InvalidRequestError(DartError):
    """A well-formed request with a member that is not acceptable; `field` names it."""

    code = 17
    category = "invalid request"


class ValueNotPortableError(DartError):
    """A value that cannot be sent; the message has the path to the part that cannot."""

    code = 18
    category = "invalid request"


class UnauthorizedError(DartError):
    """No key, or a wrong one."""

    code = 20
    category = "unauthorized"


class ForbiddenError(DartError):
    """A known key that may not do this."""

    code = 21
    category = "forbidden"


class NotFoundError(DartError):
    """No such path."""

    code = 30
    category = "not found"


class UnknownJobError(NotFoundError):
    """No job of this name."""

    code = 31


class UnknownTaskError(NotFoundError):
    """No task of this id in this job."""

    code = 32


class UnknownWorkerError(NotFoundError):
    """No connected worker of this name."""

    code = 33


class UnknownKeyError(NotFoundError):
    """No API key of this id."""

    code = 36


class UnknownBlobError(NotFoundError):
    """No blob of this SHA-256."""

    code = 37


class UnknownTokenError(NotFoundError):
    """No join token of this id."""

    code = 34


class MethodNotAllowedError(DartError):
    """The path exists, the method does not."""

    code = 35
    category = "method not allowed"


class ConflictError(DartError):
    """The request contradicts the present state."""

    code = 40
    category = "conflict"


class JobExistsError(ConflictError):
    """A job of this name is already defined."""

    code = 41


class JobStoppedError(ConflictError):
    """The job is stopped and the caller asked for refusal."""

    code = 42


class IdempotencyConflictError(ConflictError):
    """The idempotency key was used before, with another body."""

    code = 43


class WorkerOfflineError(ConflictError):
    """Nobody carries the location and the caller asked not to wait (`if_offline: fail`)."""

    code = 44


class TooLargeError(DartError):
    """Over a limit of size; the message names the limit."""

    code = 50
    category = "too large"


class UnsupportedMediaTypeError(DartError):
    """A body of a type that is not understood."""

    code = 51
    category = "unsupported media type"


class LimitError(DartError):
    """Over a limit of rate or number; the message names the limit."""

    code = 52
    category = "over a limit"


class UnavailableError(DartError):
    """The server is stopping, or its store cannot write; `retry_after` seconds."""

    code = 60
    category = "unavailable"


class HostUnreachableError(DartError):
    """A host could not be reached over SSH."""

    code = 70
    category = "host unreachable"


class NotAvailableYetError(DartError):
    """A call that this version of the server does not offer."""

    code = 71
    category = "not available"


class ConfigError(DartError):
    """Configuration that cannot be used; the message names file or option."""

    code = 80
    category = "configuration"


class DamagedFileError(ConfigError):
    """A file that this program wrote itself and cannot use any more: damaged, cut short, or gone without its twin."""

    code = 81
    category = "damaged"


class StoreError(DartError):
    """The store could not be opened, read or written."""

    code = 90
    category = "store"


class TaskErrorCode:
    """Numbers of `error_code` in a result whose task did not simply raise."""

    RAISED: ClassVar[int] = 0
    """The method raised; the traceback is the error."""
    RUNNER_DIED: ClassVar[int] = 100
    """The runner process ended (signal, `os._exit`, out of memory)."""
    TIMED_OUT: ClassVar[int] = 101
    """Ran longer than the task's timeout."""
    IMPORT_FAILED: ClassVar[int] = 102
    """The module could not be imported or has no such method."""
    REFUSED: ClassVar[int] = 103
    """The agent will not run this (module path climbs out, value cannot be read)."""
    NOT_PORTABLE: ClassVar[int] = 104
    """The method returned something that cannot be sent."""
    TOO_LARGE: ClassVar[int] = 105
    """The result is larger than the agent or the broker takes."""
    POLICY_REFUSED: ClassVar[int] = 106
    """The policy of the worker's owner does not let this run, or its result leave."""
    OUT_OF_MEMORY: ClassVar[int] = 107
    """It needed more memory than there is, or than the agent's owner allows."""
    MODULE_DIFFERS: ClassVar[int] = 108
    """The module here is not the one whose SHA-256 the job names."""
    BLOB_MISSING: ClassVar[int] = 109
    """The server does not have a blob that the parameter names, or it is damaged there."""
    LOST: ClassVar[int] = 110
    """The agent was lost and no retry was left."""
    EXPIRED: ClassVar[int] = 111
    """Not finished before `expires`."""
    BLOB_UNAVAILABLE: ClassVar[int] = 112
    """This worker could not keep a blob that the parameter names; another one may."""
