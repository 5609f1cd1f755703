"""The OpenAPI document and a real server, asked with thousands of requests that fit and that do not."""

from fuzz import rest

SECONDS = 15
REQUESTS_MIN = 10
"""Of each phase; some hundreds on a quiet machine. Enough to know that something was asked at all."""
GROWTH_BYTES_MAX = 64 << 20
"""Jobs and tasks that were taken are kept, as they must be."""


def test_the_server_does_what_its_document_says(tmp_path):
    """No 5xx, no status, type or member that is not in it, no bad data taken, no good data refused, no key ignored."""
    outcome = rest.run(tmp_path, seconds=SECONDS)
    assert not outcome.failed, outcome.output[-20_000:]
    assert min(outcome.requests.values()) >= REQUESTS_MIN, (outcome.requests, outcome.output[-5_000:])
    assert outcome.witness_failures == []
    assert outcome.log_faults == []
    assert outcome.grown_bytes < GROWTH_BYTES_MAX
