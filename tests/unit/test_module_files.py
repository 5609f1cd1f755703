"""What may be pushed as a module."""

import pytest

from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.module_files import name_of

LIMITS = Limits(module_files_max=4, module_bytes_max=10)


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["train.py"], "train"),
        (["_x9.py"], "_x9"),
        (["p/__init__.py"], "p"),
        (["p/b/c-d.csv", "p/__init__.py", "p/b/__init__.py"], "p"),
    ],
)
def test_modules(files, name):
    """One file, or a package with whatever lies in it."""
    assert name_of(dict.fromkeys(files, b"x"), LIMITS) == name


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["a.txt"],
        ["9.py"],
        ["a-b.py"],
        ["a.b.py"],
        [".py"],
        ["a.py", "b.py"],
        ["p/a.py"],
        ["p/__init__.py", "q/__init__.py"],
        ["p/__init__.py", "p.py"],
        ["p/__init__.py", "p/a", "p/a/b.py"],
        ["../p.py"],
        ["/p.py"],
        ["p/../../x.py", "p/__init__.py"],
        ["p/./a.py", "p/__init__.py"],
        ["p//a.py", "p/__init__.py"],
        ["p/.ssh", "p/__init__.py"],
        ["p/a\0.py", "p/__init__.py"],
        ["p/a\n.py", "p/__init__.py"],
        ["p/" + "a/" * 16 + "b.py", "p/__init__.py"],
        ["p/" + "a" * 101, "p/__init__.py"],
        ["p/ä.py", "p/__init__.py"],
        ["p\\a.py"],
    ],
)
def test_anything_else_is_refused(files):
    """Whatever climbs out, hides, or is no Python module."""
    with pytest.raises(InvalidRequestError):
        name_of(dict.fromkeys(files, b""), LIMITS)


def test_number_and_size_are_bounded():
    """By name of the limit."""
    with pytest.raises(InvalidRequestError, match="module_bytes_max"):
        name_of({"a.py": b"x" * 11}, LIMITS)
    with pytest.raises(InvalidRequestError, match="module_files_max"):
        name_of({"p/__init__.py": b"", **{f"p/{n}.py": b"" for n in range(4)}}, LIMITS)
