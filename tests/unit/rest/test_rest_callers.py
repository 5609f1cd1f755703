"""What keys are made of, which names they allow, and how wrong ones are counted."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from dart.broker.core.access import NameRule, Scope
from dart.errors import ForbiddenError, InvalidRequestError
from dart.limits import Limits
from dart.networks import network
from dart.rest import caller, key_text
from dart.rest.caller import Caller, allows
from dart.rest.failures import Failures

LIMITS = Limits()


def test_made_keys_have_256_random_bits_and_their_id():
    """43 characters of base64 are 32 bytes; no two are alike."""
    made = [key_text.new_key() for _ in range(50)]
    assert len({text for _, text in made}) == len({key_id for key_id, _ in made}) == 50
    for key_id, text in made:
        assert (len(text), key_text.id_in(text), key_text.is_weak(text)) == (65, key_id, False)
    for other in ("000", "dart_" + "A" * 43, made[0][1][:-1], made[0][1] + "x", made[0][1] + "\n", ""):
        assert key_text.id_in(other) is None


def test_nothing_that_is_kept_gives_a_text_away():
    """A chosen text is hashed with the pepper, so the store alone is no help in guessing."""
    assert key_text.peppered(b"a", "000") != key_text.peppered(b"b", "000") != key_text.digest("000")
    assert key_text.name_of(b"a") != key_text.name_of(b"b")
    assert len(key_text.peppered(b"a", "\udcff")) == len(key_text.digest("\udcff")) == 32


@pytest.mark.parametrize("text", ["000", "short but odd 1", "a" * 40, "abcabcabcabcabcabc"])
def test_weak_texts(text):
    """Short ones, and long ones of few different characters."""
    assert key_text.is_weak(text)
    assert not key_text.is_weak("correct horse battery")


@pytest.mark.parametrize("text", ["", " 000", "000 ", "a\nb", "a\0b", "x" * 513, "dart_000"])
def test_texts_that_cannot_be_keys(text):
    """Those that no header can carry, and those that look like made ones."""
    with pytest.raises(InvalidRequestError, match="`text`"):
        key_text.check_chosen(text, 512)
    assert key_text.check_chosen("000", 512) == "000"


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (NameRule(), ["a", "", "x" * 255], []),
        (NameRule(("a.b",)), ["a.b"], ["axb", "a.b ", "A.B", ""]),
        (NameRule((), "a.b"), ["a.b", "axb"], ["a.bc", "xa.b", "", "a\nb"]),
        (NameRule(("c",), "a.b"), ["a.b", "c"], ["cc", ""]),
        (NameRule((), "("), [], ["", "("]),
        (NameRule((), "a" * 1001), ["a" * 1001], ["a"]),
    ],
)
def test_names_that_a_rule_means(rule, yes, no):
    """Listed ones as they are, others by the pattern as a whole; a broken pattern means none."""
    assert [name for name in yes if not allows(rule, name)] == []
    assert [name for name in no if allows(rule, name)] == []


def test_a_pattern_that_takes_too_long_allows_nothing():
    """The time for one name is bounded."""
    assert not allows(NameRule((), "(?:a?){30}a{30}" * 3 + "b|" + ".*a" * 12 + "b"), "a" * 200)


def test_a_pattern_that_took_too_long_once_is_tried_again(monkeypatch):
    """The machine may have been busy: nobody is shut out until the server ends."""
    rule = NameRule((), "slow-.*")
    with monkeypatch.context() as busy:
        busy.setattr("dart.rest.caller._compiled", lambda _: SimpleNamespace(fullmatch=_too_slow))
        assert not allows(rule, "slow-1")
    assert allows(rule, "slow-1")


def _too_slow(_name, timeout):
    raise TimeoutError(timeout)


def test_long_paths_are_not_remembered():
    """Whoever has a bound key may ask for as many jobs as he likes; what cannot be a name takes no memory."""
    before = caller._matches.cache_info().currsize
    assert allows(NameRule((), "x+"), "x" * 5000)
    assert caller._matches.cache_info().currsize == before


def test_a_caller_says_what_it_may_not():
    """With the key's name and what it is bound to."""
    phone = Caller("1", "phone", Scope.SUBMIT, NameRule(tuple("abcdefg"), "j.*"), NameRule((), "w.*"))
    phone.check_job("a")
    phone.check_worker("w1")
    phone.check_location("w1")
    with pytest.raises(ForbiddenError, match=r"key phone .* job 'x'.*'a', .*others and names like 'j\.\*'"):
        phone.check_job("x")
    with pytest.raises(ForbiddenError, match=r"worker 'x'.*bound to names like 'w"):
        phone.check_location("x")
    with pytest.raises(ForbiddenError, match="needs a `location`") as caught:
        phone.check_location("")
    assert caught.value.details == {"field": "location"}
    Caller("1", "free", Scope.SUBMIT).check_location("")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_failures_of_an_address_are_forgiven_one_by_one():
    """And the level does not rise beyond its limit, so who stops is soon forgiven."""
    clock = Clock()
    failures = Failures(replace(LIMITS, key_failures_max=3, key_failure_seconds=2.0), clock)
    for _ in range(3):
        assert failures.wait_seconds("192.0.2.1") == 0
        failures.add("192.0.2.1")
    assert failures.wait_seconds("192.0.2.1") == 2.0
    assert failures.wait_seconds("192.0.2.2") == 0
    for _ in range(100):
        failures.add("192.0.2.1")
    clock.now += 2.0
    assert failures.wait_seconds("192.0.2.1") == 0
    failures.add("192.0.2.1")
    assert failures.wait_seconds("192.0.2.1") == 2.0
    clock.now += 1000.0
    assert failures.wait_seconds("192.0.2.1") == 0


def test_failures_over_all_have_a_limit_too():
    """Many addresses help an attacker no further, and take bounded memory."""
    clock = Clock()
    failures = Failures(replace(LIMITS, key_failures_overall_max=50, key_addresses_max=10), clock)
    for number in range(50):
        assert failures.wait_seconds(f"192.0.2.{number}") == 0
        failures.add(f"192.0.2.{number}")
    assert failures.wait_seconds("198.51.100.1") == pytest.approx(0.05)
    assert len(failures._levels) == 10
    clock.now += 0.06
    assert failures.wait_seconds("198.51.100.1") == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("::1", "::/64"),
        ("", ""),
        ("/run/x", ""),
    ],
)
def test_what_counts_as_one_address(address, expected):
    """A network of IPv6, since whoever has one address of it has them all."""
    assert network(address) == expected
