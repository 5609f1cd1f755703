"""What the hooks make of requests: those that fit still fit, and those that do not still do not."""

import pytest

from fuzz.rest_hooks import map_body

TOO_MANY = [f"j{number}" for number in range(1001)]


@pytest.mark.parametrize("member", ["jobs", "job_regex", "workers", "worker_regex"])
def test_a_bound_admin_becomes_one_who_submits(member):
    """The member that binds stays, since it may be the one that is wrong on purpose."""
    assert map_body(None, {"scope": "admin", member: TOO_MANY}) == {"scope": "submit", member: TOO_MANY}


def test_other_keys_stay_as_they_are():
    """Admins that nothing binds, other scopes, and what is no scope."""
    for body in ({"scope": "admin"}, {"scope": "read", "jobs": TOO_MANY}, {"scope": ["admin"], "jobs": []}, [], None):
        assert map_body(None, body) == body


def test_all_entries_say_the_same_of_workers_that_are_away():
    """Where one says something, all do; what is no such word stays wrong."""
    entries = [{"tag": "a"}, {"if_offline": "fail"}, {"if_offline": "queue"}, {"if_offline": 7}, {"if_offline": []}, 1]
    assert map_body(None, {"location_and_parameters": entries})["location_and_parameters"] == [
        {"tag": "a", "if_offline": "fail"},
        {"if_offline": "fail"},
        {"if_offline": "fail"},
        {"if_offline": 7},
        {"if_offline": []},
        1,
    ]


def test_entries_that_say_nothing_of_it_stay_so():
    """Also where one is wrong, or there are none."""
    for entries in ([{"tag": "a"}, {"if_offline": None}], [], {"if_offline": "queue"}, "x"):
        assert map_body(None, {"location_and_parameters": entries}) == {"location_and_parameters": entries}
