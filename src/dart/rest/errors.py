"""Errors as answers: the one place where a class of error becomes an HTTP status and the one shape it has."""

from dart.errors import (
    ConflictError,
    DartError,
    ForbiddenError,
    HostUnreachableError,
    InvalidRequestError,
    LimitError,
    MalformedError,
    MethodNotAllowedError,
    NotAvailableYetError,
    NotFoundError,
    StoreError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    ValueNotPortableError,
)

STATUSES: dict[type[DartError], int] = {
    MalformedError: 400,
    InvalidRequestError: 400,
    ValueNotPortableError: 400,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    NotFoundError: 404,
    MethodNotAllowedError: 405,
    ConflictError: 409,
    TooLargeError: 413,
    UnsupportedMediaTypeError: 415,
    LimitError: 429,
    HostUnreachableError: 502,
    StoreError: 503,
    UnavailableError: 503,
    NotAvailableYetError: 503,
}
"""By class; a subclass has its parent's status. What is not listed is our fault: 500."""

_INTERNAL = "The server failed at this request; its log has the details under the request id of this answer."
_STORE = "The store cannot be read or written now; the server's log says why. Try again later."
_BY_HTTP_STATUS: dict[int, type[DartError]] = {
    400: MalformedError,
    404: NotFoundError,
    405: MethodNotAllowedError,
    413: TooLargeError,
    415: UnsupportedMediaTypeError,
    417: MalformedError,
}


def status_of(error: DartError) -> int:
    """The HTTP status of an error."""
    for parent in type(error).__mro__:
        if parent in STATUSES:
            return STATUSES[parent]
    return 500


def members_of(error: DartError) -> dict[str, object]:
    """`{"error": {...}}`: what an answer shows of an error; of the server's own faults, nothing inside."""
    if status_of(error) == 500:
        return {"error": {"code": DartError.code, "message": _INTERNAL, "category": DartError.category}}
    message = _STORE if isinstance(error, StoreError) else error.message
    details = {} if isinstance(error, StoreError) else error.details
    shown = {name: value for name, value in details.items() if value is not None}
    return {"error": {"code": error.code, "message": message, "category": error.category, **shown}}


def from_http(status: int, reason: str) -> DartError:
    """The error for a complaint of the HTTP library itself (routing, a bad request line)."""
    kind = _BY_HTTP_STATUS.get(status, MalformedError if 400 <= status < 500 else DartError)
    return kind(reason)
