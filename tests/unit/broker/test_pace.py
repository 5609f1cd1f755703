"""Waiting for a store that cannot be written."""

from dart.broker.pace import FORGOTTEN_SECONDS, RETRY_SECONDS_MAX, RETRY_SECONDS_MIN, Pace


def test_waits_double_up_to_a_bound():
    """The first attempt is made at once."""
    pace = Pace()
    waits = [pace.first_wait(1000.0), *(pace.next_wait() for _ in range(8))]
    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, RETRY_SECONDS_MAX, RETRY_SECONDS_MAX]


def test_a_success_that_does_not_last_counts_as_none():
    """So a disk that takes a probe and nothing else is not tried ten times a second."""
    pace = Pace()
    pace.first_wait(0.0)
    pace.next_wait()
    pace.succeeded(1.0)
    assert pace.first_wait(2.0) == 2 * RETRY_SECONDS_MIN
    pace.succeeded(3.0)
    assert pace.first_wait(3.5 + FORGOTTEN_SECONDS) == 0.0
    assert pace.seconds == RETRY_SECONDS_MIN
