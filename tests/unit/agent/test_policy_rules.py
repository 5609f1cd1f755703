"""Rules of a policy: what they mean, and which can never mean anything."""

import pytest

from dart.agent.policy import read_policy
from dart.agent.policy_rules import matches, read_rule
from dart.errors import ConfigError, TaskErrorCode


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        ("a:f", ["a:f"], ["a:g", "b:f", "a/a:f", "A:f", "a:F", "aa:f"]),
        ("a/b:*", ["a/b:f", "a/b:g"], ["a:f", "b:f", "a/b/c:f"]),
        ("a/*:f*", ["a/b:f", "a/b:fx"], ["a:f", "a/b/c:f", "a/b:g"]),
        ("*:f", ["a:f"], ["a/b:f"]),
        ("**:f", ["a:f", "a/b/c:f"], ["a:g"]),
        ("a/**:f", ["a:f", "a/b:f", "a/b/c:f"], ["b/a:f"]),
        ("**/x:f", ["x:f", "a/x:f", "a/b/x:f"], ["x/a:f", "ax:f"]),
        ("a/**/x:f", ["a/x:f", "a/b/c/x:f"], ["a/b:f", "x:f"]),
        ("t*n_*:*x*", ["train_1:axb", "tn_:x"], ["train:x", "train_1:y"]),
        ("**/**:f", ["a:f", "a/b:f"], ["a:g"]),
    ],
)
def test_what_a_rule_means(rule, yes, no):
    """Names are equal letter by letter; `*` stays within its part, `**` goes over parts."""
    read = read_rule("allow", rule)
    for call, meant in [*((call, True) for call in yes), *((call, False) for call in no)]:
        assert matches(read, *call.split(":")) is meant, call


@pytest.mark.parametrize(
    "rule",
    [
        *("", ":", "m", "m:", ":f", "m:f:g", "m.f", "/m:f", "../m:f", "a/../m:f", "./m:f", "a//m:f", "a/:f"),
        *("m.py:f", "pack/__init__:f", "__main__:f", "m:__init__", "m:os.system", "m:a b", "m:-", "m\n:f", "m:f\0"),
        *("m?:f", "m[ab]:f", "{a,b}:f", "a**b:f", "a/**b:f", "m:f**", "m\\x:f", "m:\N{LATIN SMALL LIGATURE FI}nd"),
    ],
)
def test_a_rule_that_could_never_match_is_refused(rule):
    """A mistyped rule would otherwise allow less than its owner thinks, or deny nothing at all."""
    for member in ("allow", "deny"):
        with pytest.raises(ConfigError, match=f"^{member}: "):
            read_policy({member: [rule]})


def allowed(policy, module, method):
    refusal = policy.refusal(module, method)
    assert refusal is None or refusal.error_code == TaskErrorCode.POLICY_REFUSED
    return refusal is None


def test_allow_is_all_that_may_run():
    """With the member, nothing else does; an empty list allows nothing."""
    policy = read_policy({"allow": ["count:words", "fed/**:train"]})
    assert allowed(policy, "count", "words")
    assert allowed(policy, "/count", "words")
    assert allowed(policy, "fed/a/b", "train")
    assert not allowed(policy, "count", "letters")
    assert not allowed(policy, "fed/a", "delete")
    assert not allowed(read_policy({"allow": []}), "count", "words")


def test_deny_is_stronger():
    """Whichever stands first, and however exact the other is."""
    policy = read_policy({"allow": ["a:f", "a:g"], "deny": ["**:f"]})
    assert not allowed(policy, "a", "f")
    assert allowed(policy, "a", "g")


def test_deny_without_allow():
    """Everything else may run."""
    policy = read_policy({"deny": ["secret/**:*"]})
    assert not allowed(policy, "secret/a", "f")
    assert not allowed(policy, "/secret/a", "f")
    assert allowed(policy, "open", "f")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        *(
            (path, TaskErrorCode.REFUSED)
            for path in ("//secret", "a/../secret", "./secret", "a//b", "", "/", "secret/")
        ),
        *((path, TaskErrorCode.REFUSED) for path in ("secret/__init__", "secret\0", "..", "../secret", "/../secret")),
    ],
)
def test_no_other_spelling_of_a_path_gets_past(path, code):
    """What is not the one spelling of a path is refused, whatever the rules say."""
    policy = read_policy({"deny": ["secret:*"]})
    assert policy.refusal(path, "f").error_code == code


@pytest.mark.parametrize("method", ["os.system", "__init__", "f ", "", "f()", "a.b"])
def test_no_other_kind_of_method_gets_past(method):
    """Plain names only, with every rule there is."""
    policy = read_policy({"allow": ["**:*"]})
    assert policy.refusal("m", method).error_code == TaskErrorCode.POLICY_REFUSED


def test_a_denied_name_is_denied_in_every_form_of_unicode():
    """Composed or not, with compatibility letters: somebody may take them for the same. Allowing is exact."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    for form in (composed, apart):
        policy = read_policy({"deny": [f"{form}:*", "m:find"]})
        assert not allowed(policy, composed, "f")
        assert not allowed(policy, apart, "f")
        assert not allowed(policy, "m", "\N{LATIN SMALL LIGATURE FI}nd")
        assert not allowed(policy, "\N{FULLWIDTH LATIN SMALL LETTER M}", "find")
    policy = read_policy({"allow": [f"{composed}:*"]})
    assert allowed(policy, composed, "f")
    assert not allowed(policy, apart, "f")


def test_an_exact_rule_names_its_method():
    """Only then may a module's imported or hidden method run; a pattern does not mean them."""
    policy = read_policy({"allow": ["a:_f", "b:*", "c*:f"]})
    assert policy.names("a", "_f")
    assert policy.names("/a", "_f")
    assert not policy.names("b", "f")
    assert not policy.names("c", "f")
    assert not read_policy({"deny": ["a:f"]}).names("a", "f")
    assert not read_policy({"allow": ["*:f"]}).names("*", "f"), "a file may be called so"


def test_verdicts_are_remembered_within_a_bound(monkeypatch):
    """A broker that makes up names does not make the agent grow."""
    monkeypatch.setattr("dart.agent.policy._JUDGED_MAX", 5)
    policy = read_policy({"deny": ["m3:*"]})
    assert [policy.refusal(f"m{number}", "f") is None for number in range(9)] == [number != 3 for number in range(9)]
    assert len(policy._judged) <= 5


def test_a_task_that_brings_its_code_is_refused_unless_accepted():
    """No client can send any yet; the owner's word holds already."""
    assert read_policy({}).refusal("m", "f", ships_code=True).error_code == TaskErrorCode.POLICY_REFUSED
    assert read_policy({"accept_code": True}).refusal("m", "f", ships_code=True) is None
