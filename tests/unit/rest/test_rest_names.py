"""Names and module paths: what is acceptable."""

from functools import partial

import pytest

from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.rest import names

LIMITS = Limits()


@pytest.mark.parametrize(
    "name", ["w", "task_0_2026-11-22T08:19:01.770818", "worker#name-:0", "a b", "\u00e9\u4e2d", "x" * 255]
)
def test_names_are_any_printable_text(name):
    """As old programs make them."""
    assert names.check_name(name, "name", LIMITS) == name


@pytest.mark.parametrize("name", ["", "a/b", "a\x00", "a\n", "\x7f", "\u2028", "\ud800", "x" * 256, "x" * 10_000])
def test_names_that_would_hurt_are_refused(name):
    """Empty, with `/`, not printable, too long."""
    with pytest.raises(InvalidRequestError, match="name"):
        names.check_name(name, "name", LIMITS)


@pytest.mark.parametrize("path", ["m", "sub/dir/count_words_worker", "/m", "a.b/c"])
def test_module_paths(path):
    """Relative, `/` between folders; one leading `/` means the prefix itself."""
    assert names.check_module_path(path, LIMITS) == path


@pytest.mark.parametrize(
    "path", ["", "/", "//m", "../m", "a/../m", "a//b", "a/", "./m", "m.py", "a\\b", "a\x00", "a\nb", "x" * 1025, "/.."]
)
def test_module_paths_that_climb_out_or_mean_nothing_are_refused(path):
    """And the message names the member."""
    with pytest.raises(InvalidRequestError, match="module_path"):
        names.check_module_path(path, LIMITS)


def test_methods_are_identifiers():
    """Nothing else can be called."""
    assert names.check_method("count_words", LIMITS) == "count_words"
    for wrong in ("", "a.b", "a b", "1a", "x" * 256, "os.system('x')"):
        with pytest.raises(InvalidRequestError, match="method"):
            names.check_method(wrong, LIMITS)


def test_capabilities_are_sorted_and_empty_ones_ignored():
    """Without repeats, bounded in number."""
    assert names.check_capabilities(["b", "", "a", "b"], "requires", LIMITS) == ("a", "b")
    with pytest.raises(InvalidRequestError, match="capabilities_max"):
        names.check_capabilities([str(n) for n in range(257)], "requires", LIMITS)


def test_tags_may_be_empty_and_have_slashes():
    """They are in no path."""
    check = partial(names.check_tag, field="tag", limits=LIMITS)
    assert check("") == ""
    assert check("a/b") == "a/b"
    for wrong in ("a\n", "x" * 256):
        with pytest.raises(InvalidRequestError, match="tag"):
            check(wrong)
