"""What a policy's members mean, and what its file may not be."""

import json
from pathlib import Path

import pytest

from dart.agent.audit_log import AuditLines
from dart.agent.events import AuditEntry
from dart.agent.policy import _READERS, ENVIRONMENT, Policy, read_policy
from dart.errors import ConfigError, TaskErrorCode
from dart.ids import Attempt, AttemptRef, StoreId, TaskId
from dart.wire.messages import Lease

REF = AttemptRef(TaskId(1), Attempt(1, 1))


def code(policy: Policy, module_path: str, method: str, **more) -> int | None:
    refusal = policy.refusal(module_path, method, **more)
    return None if refusal is None else refusal.error_code


def test_the_page_for_owners_has_every_member():
    """Of the policy, of the default environment, and of a line of the audit log."""
    page = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
    line = json.loads(
        AuditLines("k").line(AuditEntry(Lease(REF, "", "", "", 0.0, b""), StoreId(""), "", 0, 0.0, 0, b""))
    )
    for name in (*_READERS, *ENVIRONMENT, *line):
        assert f"`{name}`" in page, name


def test_without_a_file_whatever_lies_below_the_prefix_may_run():
    """Any module path that stays below the prefix, any plain method; no bound of size or time of the owner's own."""
    policy = Policy()
    assert code(policy, "a/b", "run", parameter_bytes=1 << 40) is None
    assert policy.result_refusal(1 << 40) is None
    assert (policy.seconds_max(0.0), policy.seconds_max(3.0)) == (0.0, 3.0)
    assert not policy.has_rules
    assert not policy.accept_pickle
    assert not policy.accept_code
    assert not policy.accept_modules


def test_a_smaller_time_limit_wins():
    """Whichever is smaller; a task without timeout gets the owner's."""
    policy = read_policy({"task_seconds_max": 10})
    assert [policy.seconds_max(timeout) for timeout in (0.0, 3.0, 30.0)] == [10.0, 3.0, 10.0]


def test_sizes_are_bounded():
    """What is larger than the owner allows is refused by its own code; the bound itself is allowed."""
    policy = read_policy({"parameter_bytes_max": 10, "result_bytes_max": 20})
    assert code(policy, "m", "f", parameter_bytes=10) is None
    assert code(policy, "m", "f", parameter_bytes=11) == TaskErrorCode.POLICY_REFUSED
    assert policy.result_refusal(20) is None
    assert policy.result_refusal(21).error_code == TaskErrorCode.POLICY_REFUSED


@pytest.mark.parametrize(
    "members",
    [
        [],
        None,
        {"alow": []},
        {"allow": "m:f"},
        {"allow": [1]},
        {"accept_pickle": 1},
        {"parameter_bytes_max": True},
        {"parameter_bytes_max": 1.5},
        {"parameter_bytes_max": -1},
        {"result_bytes_max": None},
        {"memory_bytes_max": 1000},
        {"task_seconds_max": 0},
        {"task_seconds_max": float("nan")},
        {"task_seconds_max": float("inf")},
        {"environment": ["DART_KEY"]},
        {"environment": ["A*B"]},
        {"environment": [""]},
        {"isolation": []},
        {"isolation": {"nonsense": 1}},
    ],
)
def test_nothing_is_read_with_half_an_eye(members):
    """Unknown members, wrong types and values without meaning are told, never passed over."""
    with pytest.raises(ConfigError):
        read_policy(members)


def test_the_environment_is_a_list_of_names():
    """Without a policy what tells where things are; secrets, DART's own and what bends Python never."""
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONPATH": "/x",
        "DART_KEY": "k",
        "MSGPACK_PUREPYTHON": "1",
        "TOKEN": "t",
    }
    assert Policy().passed_on(given) == {"PATH": "/bin", "LC_ALL": "C"}
    assert read_policy({"environment": ["*"]}).passed_on(given) == {"PATH": "/bin", "LC_ALL": "C", "TOKEN": "t"}
    assert read_policy({"environment": ["TOKEN"]}).passed_on(given) == {"TOKEN": "t"}
    assert read_policy({"environment": []}).passed_on(given) == {}
