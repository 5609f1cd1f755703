"""Errors as answers."""

import inspect

import pytest

from dart import errors
from dart.errors import DartError
from dart.rest.answers import error_answer
from dart.rest.errors import STATUSES, from_http, members_of, status_of

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DartError)]
EXPECTED = {
    "DartError": 500, "ConfigError": 500, "DamagedFileError": 500, "StoreError": 503,
    "UnavailableError": 503, "NotAvailableYetError": 503,
    "HostUnreachableError": 502, "LimitError": 429, "UnsupportedMediaTypeError": 415, "TooLargeError": 413,
    "ConflictError": 409, "JobExistsError": 409, "JobStoppedError": 409, "IdempotencyConflictError": 409,
    "WorkerOfflineError": 409, "MethodNotAllowedError": 405, "NotFoundError": 404, "UnknownJobError": 404,
    "UnknownTaskError": 404, "UnknownWorkerError": 404, "UnknownKeyError": 404, "UnknownBlobError": 404,
    "UnknownTokenError": 404, "ForbiddenError": 403, "UnauthorizedError": 401,
    "MalformedError": 400, "InvalidRequestError": 400, "ValueNotPortableError": 400,
}  # fmt: skip


def test_every_error_has_the_status_of_the_contract():
    """The table is complete."""
    assert {kind.__name__: status_of(kind("m")) for kind in CLASSES} == EXPECTED
    assert set(STATUSES) <= set(CLASSES)


def test_an_answer_has_code_message_category_and_details():
    """Details that are not there are left out: no member is ever null."""
    shown = members_of(errors.UnknownJobError("no such job", job="j", field=None))
    assert shown == {"error": {"code": 31, "message": "no such job", "category": "not found", "job": "j"}}


@pytest.mark.parametrize(
    "error", [DartError("secret", path="/secret"), errors.ConfigError("secret"), errors.DamagedFileError("secret")]
)
def test_our_own_faults_show_nothing_of_the_inside(error):
    """The log has them."""
    shown = members_of(error)["error"]
    assert (shown["code"], "secret" in str(shown)) == (1, False)


def test_troubles_of_the_store_show_no_paths():
    """Its messages are for the server's owner."""
    shown = members_of(errors.StoreError("/srv/dart.db: disk full", path="/srv"))["error"]
    assert (shown["code"], "/srv" in str(shown)) == (90, False)


def test_headers_go_with_the_errors():
    """When to come back, and how to say who one is."""
    response = error_answer(errors.LimitError("m", retry_after=0.2), messagepack=False)
    assert (response.status, response.headers["Retry-After"]) == (429, "1")
    assert error_answer(errors.UnauthorizedError("m"), messagepack=True).headers["WWW-Authenticate"] == "Bearer"


def test_the_http_library_s_refusals_have_our_classes():
    """400 and 4xx malformed, 5xx ours."""
    codes = {400: 10, 404: 30, 405: 35, 413: 50, 415: 51, 417: 10, 431: 10, 500: 1, 505: 1}
    assert {status: from_http(status, "m").code for status in codes} == codes
