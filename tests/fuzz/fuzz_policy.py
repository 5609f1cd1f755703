"""The owner's policy file: a policy or a `ConfigError`; what it allows, no spelling of a name slips past."""

import json
import time

from dart.agent.policy import Policy, read_policy
from dart.agent.policy_file import _json
from dart.agent.policy_rules import canonical, matches
from dart.errors import ConfigError

SECONDS_MAX = 1.0


def seeds() -> list[bytes]:
    policies = (
        {},
        {"allow": ["folder/**:*"], "deny": ["folder/secret:run"]},
        {"allow": ["a*b/c:do_*"], "task_seconds_max": 5},
        {"parameter_bytes_max": 100, "accept_pickle": False, "environment": ["HOME", "X_*"], "audit": True},
        {"isolation": {"user": "nobody"}},
        {"allow": ["**/a/**/b/**:*a*a*"]},
    )
    tries = (b"folder/module\0run", b"folder/secret\0run", b"x/a/y/b/z\0aaaaaaaaa", "ﬁle/x\0run".encode())
    return [json.dumps(policy).encode() + b"\xff" + name for policy in policies for name in tries]


def check(data: bytes) -> None:
    content, _, tried = data.partition(b"\xff")
    try:
        policy = read_policy(_json(content))
    except ConfigError as error:
        assert error.message.isprintable(), error.message
        return
    except (ValueError, RecursionError):
        return  # what the reader of the file makes a ConfigError of
    assert isinstance(policy, Policy)
    module, _, method = tried.decode("utf-8", "replace")[:2000].partition("\0")
    began = time.perf_counter()
    for rule in policy.deny:
        assert matches(rule, canonical(module), canonical(method)) in (True, False)
    for rule in policy.allow or ():
        if matches(rule, module, method) and rule.exact:
            assert (rule.module, rule.method) == (module, method)
    assert time.perf_counter() - began < SECONDS_MAX
