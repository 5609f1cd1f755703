"""Answers that no DART server wrote: what they mean for a client."""

import pytest

from dart_client.errors import DartError, HostUnreachableError, LimitError, UnavailableError, error_from_answer


@pytest.mark.parametrize(
    ("status", "kind"), [(429, LimitError), (502, UnavailableError), (503, UnavailableError), (504, UnavailableError)]
)
def test_what_a_proxy_says_passes(status, kind):
    """Without our shape the status counts, and `Retry-After`, where it is a number of seconds."""
    error = error_from_answer(status, None, "7")
    assert (type(error), error.status, error.details) == (kind, status, {"retry_after": 7})
    assert error_from_answer(status, ["no shape"], "Fri, 27 Nov 2026 10:00:00 GMT").details == {}
    assert type(error_from_answer(500, None)) is DartError


def test_what_the_server_says_counts_more():
    """Its code, and its own `retry_after`."""
    members = {"error": {"code": 70, "message": "m", "category": "host unreachable", "retry_after": 0.5}}
    error = error_from_answer(502, members, "9")
    assert (type(error), error.details["retry_after"]) == (HostUnreachableError, 0.5)
