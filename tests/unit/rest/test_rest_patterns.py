"""`worker_regex`: what matches, what is refused, and how long it may take."""

import time
from dataclasses import replace

import pytest

from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.rest.patterns import Patterns, compile_pattern

NAMES = ("w-1", "worker#name-:0", "device.one+2", "\u0661", "a" * 40 + "!")


def match(pattern, names=NAMES, limits=None):
    return Patterns(limits or Limits()).match(pattern, names, scope="job")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (".*", NAMES),
        ("w", ()),
        ("w.1", ("w-1",)),
        (r"w-\d", ("w-1",)),
        (r"\d", ()),
        (r"device\.one\+2", ("device.one+2",)),
        ("^w-1$", ("w-1",)),
        ("(?:w|v)-[0-9]+?", ("w-1",)),
        ("(?<letter>w).*", ("w-1", "worker#name-:0")),
        ("([a-z]+[#-])+.*", ("w-1", "worker#name-:0")),
        ("[^a]*", ("w-1", "device.one+2", "\u0661")),
        (r"[\]w]-1", ("w-1",)),
        ("a{40}!", (NAMES[4],)),
        ("a{4,}!", (NAMES[4],)),
        ("w{e<=9}", ()),
        ("}", ()),
        (r"\bw-1\b", ("w-1",)),
        ("|w-1", ("w-1",)),
        ("(a|w)?-?1", ("w-1",)),
    ],
)
def test_the_whole_name_must_match_as_in_ecmascript(pattern, expected):
    r"""`.` is no line end, `\d` is ASCII, `{` that is no repetition is itself."""
    assert match(pattern) == expected


def test_a_dot_is_no_line_end():
    """Of all four kinds."""
    assert match(".", ("\n", "\r", "\u2028", "\u2029", "\x85")) == ("\x85",)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$", "(a*)*", "(.*)*x", r"(\w+\s?)*$", "(a+|b)+", "((a+)b?)*", "(x+x+)+y", "(?=a+)+", "a**", "(a{2,})+",
        "(((((a{999}){999}){999}){999}){999})", "a{1,1000}" * 100, "(a{200}){200}",
    ],
)  # fmt: skip
def test_patterns_of_a_form_that_explodes_are_refused_unrun(pattern):
    """By their look, so that it does not depend on the names of the day."""
    with pytest.raises(InvalidRequestError) as caught:
        match(pattern, ())
    assert caught.value.details["field"] == "worker_regex"


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "[", "\\", "x{2,1}", "(?R)", "(?i)w", "(?P<x>w)", r"\k<x>", "(?#c)", "(" * 60 + ")" * 60, "x" * 1001],
)
def test_what_is_no_pattern_is_refused(pattern):
    """Inline flags, recursion and other extensions among it."""
    with pytest.raises(InvalidRequestError, match="worker_regex"):
        match(pattern)


def test_a_pattern_that_takes_too_long_ends_in_time():
    """However many names there are, all together."""
    began = time.perf_counter()
    with pytest.raises(InvalidRequestError, match="20 ms"):
        match("(a|aa)+$", ["a" * length + "!" for length in range(60, 90)])
    assert time.perf_counter() - began < 0.5


def test_matches_are_remembered_until_a_name_is_added():
    """A poll repeats the same pattern several times a second."""
    patterns = Patterns(replace(Limits(), patterns_cached_max=2))
    names = ["w-1"]
    first = patterns.match("w.*", names, scope=1)
    assert patterns.match("w.*", names, scope=1) is first
    names.append("w-2")
    assert patterns.match("w.*", names, scope=1) == ("w-1", "w-2")
    assert patterns.match("w.*", ["w-3"], scope=2) == ("w-3",)
    assert len(patterns._matches) == 2


def test_the_library_s_own_complaints_are_ours():
    """Whatever it raises."""
    with pytest.raises(InvalidRequestError, match="is no pattern"):
        compile_pattern("[b-a]", Limits())
