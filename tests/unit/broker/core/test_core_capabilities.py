"""What satisfies a requirement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dart.broker.core.capabilities import Capabilities, fault_of, is_name, read_requirement, version_of

FACTS = {"python": "3.11.2", "memory_gib": "4", "architecture": "armv7l", "numpy": "1.26.0rc1", "kernel": "v6"}
PI = Capabilities(("gpu", "site=oslo", "site = ulm", "odd>=name", "c++", "!not"), FACTS)


@pytest.mark.parametrize(
    "text",
    [
        "gpu", "c++", "odd>=name", "!not",
        "site=oslo", "site=ulm", "site = ulm",
        "architecture=armv7l", "architecture!=x86_64", "site!=rome", "colour!=red",
        "python>=3.9", "python>=3.11.2", "python>3", "python<3.12", "python<=3.11.2", "python >= 3.9",
        "memory_gib>=4", "memory_gib>3.9", "memory_gib=4", "memory_gib<=4.0",
        "numpy>=1.26", "numpy<=1.26", "numpy<1.26.1",
        "!fpga", "! fpga", "!python<3.9", "!!gpu", "!site=rome", "!architecture!=armv7l",
    ],
)  # fmt: skip
def test_what_is_satisfied(text):
    """Names, values, comparisons and what is not, with facts and with capabilities that name a value."""
    assert PI.satisfy(text)
    assert PI.cover((text, "gpu"))
    assert PI.lacking((text,)) == []


@pytest.mark.parametrize(
    "text",
    [
        "fpga", "GPU", "gp", "", "site=rome", "site!=oslo", "architecture=arm", "architecture!=armv7l",
        "python>=3.12", "python>3.11.2", "python<3.9", "python=3.11", "python<=3.11.1",
        "memory_gib>=5", "memory_gib>4", "memory_gib=4.0", "colour=red", "colour>=1", "colour<1",
        "kernel>=5", "numpy>1.26", "!gpu", "!!fpga", "!python>=3.9", "!colour!=red", "!c++",
        "python>=three", "a=b=c",
    ],
)  # fmt: skip
def test_what_is_not_satisfied(text):
    """A comparison with what is unknown or no version never holds; only `!` and `!=` are satisfied by absence."""
    assert not PI.satisfy(text)
    assert not PI.cover(("gpu", text))
    assert PI.lacking(("gpu", text)) == [text]


def test_capabilities_can_be_added_and_say_what_they_are():
    """The addition leaves the original as it was and keeps the facts."""
    more = PI.adding("fpga")
    assert more.cover(("fpga", "python>=3.9"))
    assert not PI.satisfy("fpga")
    assert repr(Capabilities(("b", "a"), {"k": "v"})) == "Capabilities(['a', 'b'], {'k': 'v'})"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("memory_gib>=5", "memory_gib is 4"),
        ("!site=oslo", "site is oslo and ulm"),
        ("colour!=red", "colour is not known"),
        ("fpga", ""),
    ],
)
def test_what_is_known_instead_is_told(text, values):
    """For the reason why a task waits."""
    assert PI.values_of(text) == values


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.11.2", (3, 11, 2)), ("4", (4,)), ("2.0.0+cpu", (2,)), ("0", (0,)), ("0.0", (0,)), ("rc1", ()), ("", ())],
)
def test_versions(text, version):
    """Whole numbers with dots between them; zeros at the end mean nothing."""
    assert version_of(text) == version


@pytest.mark.parametrize("text", ["gpu", "c++", "a=b", "a=b=c", "python>=3.9", "!x", "a b", "worker#1:0", "a!b"])
def test_what_can_be_asked_for(text):
    """Names are free."""
    assert not fault_of(text)


@pytest.mark.parametrize("text", ["!", "!!", "python>=three", "!python<x", ">=4", "memory_gib>=", "=x", "x="])
def test_what_nobody_could_ever_satisfy_is_told(text):
    """A comparison with no number, and one that lacks a part, would wait for ever."""
    assert fault_of(text)


def test_names_are_told_from_conditions():
    """A name alone is one."""
    assert [is_name(text) for text in ("gpu", "!gpu", "a=b", "a>=1", "a=b=c")] == [True, False, False, False, True]


@given(st.text(alphabet="ab1.=<>! \0é", max_size=12), st.sets(st.text(alphabet="ab1=<", min_size=1), max_size=3))
def test_any_text_means_something_and_its_negation_the_contrary(text, names):
    """No text raises; `!` turns the answer round, unless a capability has the very name with `!`."""
    capable = Capabilities(names, {"a": "1.1"})
    assert isinstance(fault_of(text), str)
    assert read_requirement(text).negated in {True, False}
    if text.strip() and not text[0].isspace():
        assert capable.satisfy(f"!{text}") is not capable.satisfy(text)
