"""Errors of the SDK: one class a number of the server's table, and those of tasks and of the way to the server."""

from __future__ import annotations

import re
from typing import Any, ClassVar


class DartError(Exception):
    """Root of all. `code` is the server's stable number; `details` are further members of its answer.

    Args:
        message: What is wrong and what to do about it.
        status: The HTTP status, 0 where no answer was involved.
        details: Further members of the error answer, such as `field`, `job` or `retry_after`.
    """

    code: ClassVar[int] = 1
    category: ClassVar[str] = "internal"

    def __init__(self, message: str, *, status: int = 0, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.details = details


class MalformedError(DartError):
    """Bytes that nobody can read: of a request, for the server; of an answer or a result, here."""

    code = 10
    category = "malformed"


class InvalidRequestError(DartError):
    """A member of the request is not acceptable; `details["field"]` names it."""

    code = 17
    category = "invalid request"


class ValueNotPortableError(DartError):
    """A parameter that cannot be sent; the message has the path to the part that cannot."""

    code = 18
    category = "invalid request"


class UnauthorizedError(DartError):
    """No key, or a wrong one."""

    code = 20
    category = "unauthorized"


class ForbiddenError(DartError):
    """The key is known and may not do this."""

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
    """No blob of this SHA-256 at the server."""

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
    """Nobody carries the location and the caller asked not to wait."""

    code = 44


class TooLargeError(DartError):
    """Over a limit of size; the message names the limit."""

    code = 50
    category = "too large"


class UnsupportedMediaTypeError(DartError):
    """A body of a type that the server does not understand."""

    code = 51
    category = "unsupported media type"


class LimitError(DartError):
    """Over a limit of rate or number; the message names the limit."""

    code = 52
    category = "over a limit"


class UnavailableError(DartError):
    """The server is stopping, or its store cannot write."""

    code = 60
    category = "unavailable"


class HostUnreachableError(DartError):
    """The server could not reach a host over SSH."""

    code = 70
    category = "host unreachable"


class NotAvailableYetError(DartError):
    """A call that the server's version does not offer."""

    code = 71
    category = "not available"


class ConfigError(DartError):
    """A setting that cannot be used; the message names it. Raised by server and SDK alike."""

    code = 80
    category = "configuration"


class DamagedFileError(ConfigError):
    """A file that server or agent wrote and that cannot be used any more; the message says what to do."""

    code = 81
    category = "damaged"


class StoreError(DartError):
    """The server's store could not be opened, read or written."""

    code = 90
    category = "store"


class ServerUnreachableError(DartError):
    """Nobody answered at the server's address within the time allowed."""

    category = "unreachable"


class UntrustedServerError(ServerUnreachableError):
    """Somebody answered who is not the server that was named: another certificate than the pinned one."""

    category = "untrusted"


class ClosedError(DartError):
    """The client was closed, or made before a fork; make a new one."""

    category = "closed"


class OutcomeError(DartError):
    """A task ended without a value.

    Args:
        message: The error text; for a task that raised, the worker's traceback.
        error_code: 0 if the method raised, else the number of the result (see the reference).
        result: The result as the server gave it.
    """

    category = "task"

    def __init__(self, message: str, *, error_code: int = 0, result: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.error_code = error_code
        self.result = result or {}


class TaskError(OutcomeError):
    """The task's method raised (the text is the worker's traceback), or could not be run."""


class TaskLost(OutcomeError):  # noqa: N818 - an outcome, named as the protocol names it
    """The worker was lost and no retry was left, or the server forgot the task before its result was read."""


class TaskExpired(OutcomeError):  # noqa: N818 - as above
    """Not finished before `expires`."""


class TaskCancelled(OutcomeError):  # noqa: N818 - as above
    """Cancelled at the server, by somebody else or because its job was stopped."""


LOST_CODE = 110
EXPIRED_CODE = 111


def _server_errors() -> dict[int, type[DartError]]:
    """The numbers that a server may send, with their classes."""
    found: dict[int, type[DartError]] = {}
    waiting: list[type[DartError]] = [DartError]
    while waiting:
        known = waiting.pop()
        if "code" in vars(known):
            found[known.code] = known
        waiting.extend(known.__subclasses__())
    return found


ERRORS_BY_CODE = _server_errors()
_SECONDS = re.compile("[0-9]{1,6}")


_BY_STATUS: dict[int, type[DartError]] = {
    429: LimitError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
"""What a proxy in between means, which knows nothing of our codes."""


def error_from_answer(status: int, answer: Any, retry_after: str = "") -> DartError:
    """The typed error for an answer that is not 200.

    Args:
        status: The HTTP status.
        answer: The decoded body, of any shape: a proxy in between may have written it.
        retry_after: The header of that name; a date in it is not understood.
    """
    members = answer.get("error") if isinstance(answer, dict) else None
    wait: dict[str, Any] = {"retry_after": int(retry_after)} if _SECONDS.fullmatch(retry_after) else {}
    if not isinstance(members, dict):
        kind = _BY_STATUS.get(status, DartError)
        return kind(f"The server answered with HTTP status {status} and no explanation.", status=status, **wait)
    details = {
        name: value
        for name, value in members.items()
        if isinstance(name, str) and name not in {"code", "message", "category", "status"}
    }
    code = members.get("code")
    kind = ERRORS_BY_CODE.get(code, DartError) if isinstance(code, int) else DartError
    return kind(str(members.get("message", f"HTTP status {status}")), status=status, **{**wait, **details})


def failure_of(result: dict[str, Any]) -> DartError | None:
    """Why a result has no value; None: it has one, under `success`."""
    if "success" not in result:
        return outcome_error(result)
    if result.get("encoding") != "damaged":
        return None
    reason = result["success"].get("reason", "") if isinstance(result["success"], dict) else ""
    return MalformedError(
        f"Worker {result.get('worker', '')!r} answered with bytes that are no value ({reason}). "
        "Is its agent of another version, or not an agent of DART? The result has the bytes.",
        result=result,
    )


def outcome_error(result: dict[str, Any]) -> OutcomeError:
    """The typed error of a result that has `error`."""
    code = result.get("error_code", 0)
    kind = {LOST_CODE: TaskLost, EXPIRED_CODE: TaskExpired}.get(code, TaskError)
    return kind(str(result["error"]), error_code=code, result=result)
