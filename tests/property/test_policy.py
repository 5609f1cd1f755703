"""The owner's policy, explored: no file ends in a traceback or is half read, and no spelling gets past a rule."""

import json
import posixpath
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dart.agent.policy import NEVER_PASSED, Policy, read_policy
from dart.agent.policy_file import read_policy_file
from dart.agent.policy_rules import Rule, canonical, matches, read_rule
from dart.errors import ConfigError

PARTS = st.text("ab*._-é", min_size=1, max_size=4)
RULES = st.one_of(
    st.builds(
        lambda parts, method: "/".join(parts) + ":" + method,
        st.lists(PARTS | st.just("**"), min_size=1, max_size=4),
        PARTS,
    ),
    st.text(max_size=8),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = {
    "allow": st.lists(RULES, max_size=4),
    "deny": st.lists(RULES, max_size=4),
    "parameter_bytes_max": st.integers(-5, 1 << 70),
    "result_bytes_max": st.integers(-5, 1 << 70),
    "task_seconds_max": st.floats() | st.integers(),
    "memory_bytes_max": st.integers(0, 1 << 70),
    "accept_pickle": st.booleans(),
    "accept_code": st.booleans(),
    "accept_modules": st.booleans(),
    "environment": st.lists(
        st.text("ABD_*=", max_size=5) | st.sampled_from(("PATH", "LC_*", "DART_KEY", "PYTHON*")), max_size=4
    ),
    "audit": st.booleans(),
    "isolation": st.dictionaries(st.sampled_from(("user", "network", "open_files", "x")), JSON, max_size=2),
}


@st.composite
def policies(draw):
    """Members, most of them right; now and then one of another type, or unknown."""
    names = draw(st.lists(st.sampled_from(tuple(MEMBERS)), unique=True))
    members = {name: draw(MEMBERS[name]) for name in names}
    if draw(st.integers(0, 3)) == 0:
        members[draw(st.sampled_from(tuple(MEMBERS)) | st.text(max_size=8))] = draw(JSON)
    return members


def shown(policy: Policy, name: str):
    """What a policy holds of a member, as the file says it."""
    value = getattr(policy, name)
    if name in ("allow", "deny"):
        return [f"{rule.module}:{rule.method}" for rule in value]
    return list(value) if isinstance(value, tuple) else value


@given(policies())
def test_every_member_is_refused_or_in_force(members):
    """Never read with half an eye: what is not refused is there, just as it was written."""
    try:
        policy = read_policy(members)
    except ConfigError:
        return
    for name, value in members.items():
        if name == "isolation":
            assert all(getattr(policy.isolation, key) == setting for key, setting in value.items())
        elif name == "deny":
            assert shown(policy, name) == [canonical(rule) for rule in value]
        else:
            assert shown(policy, name) == value
    assert (policy.allow is None) == ("allow" not in members)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policies")
    (folder / "p.json").touch(0o600)
    (folder / "p.toml").touch(0o600)
    return folder


@given(
    name=st.sampled_from(("p.json", "p.toml")),
    data=st.binary(max_size=60) | policies().map(lambda m: json.dumps(m).encode()),
)
def test_no_file_ends_in_a_traceback(place: Path, name, data):
    """Whatever bytes are there: a policy, or one error that names the file."""
    path = place / name
    path.write_bytes(data)
    try:
        told = read_policy_file(path, 10_000).path
    except ConfigError as error:
        told = error.message
    assert str(path) in told


@given(path=st.text("ab/._\0~é\u0301", max_size=12) | st.text(max_size=12))
def test_a_path_that_is_not_refused_is_the_one_spelling_of_a_file_below_the_prefix(path):
    """Nothing climbs out, and no second spelling of a name gets past a rule about the first."""
    if Policy().refusal(path, "f") is None:
        relative = path.removeprefix("/")
        assert posixpath.normpath("/prefix/" + relative) == "/prefix/" + relative
        denied = read_policy({"deny": [f"{relative}:*"]}) if _can_be_named(relative) else None
        assert denied is None or denied.refusal(path, "f") is not None


def _can_be_named(relative: str) -> bool:
    try:
        read_rule("deny", f"{relative}:*")
    except ConfigError:
        return False
    return True


@given(method=st.text("fF_.()", max_size=6) | st.text(max_size=6))
def test_a_method_that_is_not_refused_is_a_plain_name(method):
    """And not one of Python's own."""
    if Policy().refusal("m", method) is None:
        assert method.isidentifier()
        assert not (method.startswith("__") and method.endswith("__") and len(method) > 3)


def as_expression(rule: Rule) -> str:
    """The same rule as a regular expression, built another way."""

    def part(text):
        return "".join("[^/]*" if sign == "*" else re.escape(sign) for sign in text)

    parts = rule.module.split("/")
    choices = ["".join(f"/{part(one)}" if one != "**" else "(/[^/]+)*" for one in parts)]
    return f"(?:{choices[0]}):{part(rule.method)}"


@given(
    parts=st.lists(
        st.text("ab*", min_size=1, max_size=4).filter(lambda text: "**" not in text) | st.just("**"),
        min_size=1,
        max_size=4,
    ),
    method=st.text("ab*", min_size=1, max_size=4).filter(lambda text: "**" not in text),
    names=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
    called=st.text("ab", min_size=1, max_size=4),
)
def test_rules_mean_what_expressions_of_them_mean(parts, method, names, called):
    """`*` is any run within a part, `**` any run of parts."""
    rule = Rule("/".join(parts), method)
    expected = re.fullmatch(as_expression(rule), f"/{'/'.join(names)}:{called}") is not None
    assert matches(rule, "/".join(names), called) == expected


@given(
    patterns=st.lists(st.text("ADP_TRYHONM*", max_size=4), max_size=4),
    names=st.lists(
        st.text("ADP_TRYHONM", min_size=1, max_size=9) | st.sampled_from(("DART_KEY", "PYTHONPATH", "MSGPACK_X"))
    ),
)
def test_what_is_never_passed_is_never_passed(patterns, names):
    """Whatever patterns an owner writes."""
    try:
        policy = read_policy({"environment": patterns})
    except ConfigError:
        return
    passed = policy.passed_on(dict.fromkeys(names, "x"))
    assert not [name for name in passed if name.startswith(NEVER_PASSED)]
    assert set(passed) <= set(names)


@given(st.text(max_size=8))
def test_one_spelling_for_what_may_be_the_same(text):
    """Stable, and the same for composed and decomposed forms."""
    assert canonical(canonical(text)) == canonical(text)
    assert canonical(unicodedata.normalize("NFD", text)) == canonical(text)
