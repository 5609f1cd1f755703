"""Finding and importing modules below a prefix, in this very process."""

import importlib
import importlib.util
import os
import pickle
import py_compile
import sys
import textwrap
from pathlib import Path

import pytest

from dart.agent import runner_files, runner_modules
from dart.agent.runner_modules import NotOfferedError, NotThereError, RefusedError, relative_path


@pytest.mark.parametrize("path", ["a", "a/b", "/a/b", "ä b/c-d", "a..b/..c", "a.b"])
def test_paths_below_the_prefix_are_taken(path):
    """One leading `/` means the prefix itself; dots in names are just dots."""
    assert relative_path(path) == path.removeprefix("/")


@pytest.mark.parametrize("path", ["", "/", "//a", "..", "../a", "a/../b", "a/..", "/../a", "a//b", "a/", "./a", "a\0b"])
def test_other_paths_are_refused(path):
    """Whatever climbs out, is absolute, or is no path."""
    with pytest.raises(RefusedError):
        relative_path(path)


def test_a_module_is_imported_once(modules, write):
    """Both spellings of its path mean the same module, and its state is kept."""
    write("sub/m.py", "n = []\ndef f(p):\n    n.append(p)\n    return len(n)")
    assert [modules.find(path, "f")(0) for path in ("sub/m", "/sub/m", "sub/m")] == [1, 2, 3]


def test_modules_of_one_name_live_side_by_side(modules, write):
    """Each is known under its full relative path, and classes in it can be pickled here."""
    for folder in ("a", "b"):
        write(f"{folder}/train.py", f"class C: pass\ndef f(p): return {folder!r}\nwho = C()\ndef get(p): return who")
    assert [modules.find(f"{folder}/train", "f")(0) for folder in ("a", "b", "a")] == ["a", "b", "a"]
    for folder in ("a", "b"):
        thing = modules.find(f"{folder}/train", "get")(0)
        assert type(thing).__module__ == f"{folder}/train"
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)  # noqa: S301


def test_a_plain_module_is_what_its_neighbours_import(modules, write):
    """`import plain_one` beside it finds the same module, not a second copy."""
    write("plain_one.py", "things = []\ndef f(p): return things")
    write("neighbour_one.py", "import plain_one\ndef f(p): return plain_one.things")
    assert modules.find("plain_one", "f")(0) is modules.find("neighbour_one", "f")(0)
    assert sys.modules["plain_one"].__name__ == "plain_one"


def test_a_neighbour_may_have_imported_it_first(modules, write):
    """Then it is loaded again from its file but keeps its name."""
    write("plain_two.py", "def f(p): return __name__")
    write("neighbour_two.py", "import plain_two\ndef f(p): return plain_two.__name__")
    assert modules.find("neighbour_two", "f")(0) == "plain_two"
    assert modules.find("plain_two", "f")(0) == "plain_two"


@pytest.mark.parametrize("name", ["random", "json", "msgpack", "xmlrpc", "a.b"])
def test_a_module_never_takes_anothers_name(modules, write, name):
    """A `random` of the owner runs as a task and stays everybody else's `random`, imported before or not."""
    write(f"{name}.py", "def f(p): return __name__")
    before = sys.modules.get(name)
    assert modules.find(name, "f")(0) == "/" + name
    assert sys.modules.get(name) is before


def test_the_folder_comes_last(modules, write, tmp_path):
    """What lies beside a module can be imported, and hides nothing."""
    write("sub/json.py", "raise AssertionError('the wrong one')")
    write("sub/beside_it.py", "x = 5")
    write("sub/m.py", "import beside_it, json\ndef f(p): return beside_it.x, json.dumps(p)")
    assert modules.find("sub/m", "f")(1) == (5, "1")
    assert sys.path[-1] == str(tmp_path / "prefix" / "sub")


def test_a_package_is_a_module_too(modules, write, tmp_path):
    """Its relative imports work; its folder is the one it lies in."""
    write("sub/pack/__init__.py", "from .inner import x\ndef f(p): return x, __name__")
    write("sub/pack/inner.py", "x = 3")
    assert modules.find("sub/pack", "f")(0) == (3, "sub/pack")
    assert sys.path[-1] == str(tmp_path / "prefix" / "sub")


def test_a_missing_module_names_where_it_was_looked_for(modules, tmp_path):
    """The person who reads it can see what to put where."""
    with pytest.raises(NotThereError, match=str(tmp_path / "prefix" / "sub" / "m.py")):
        modules.find("sub/m", "f")


def test_only_the_prefix_counts(modules):
    """What the owner's Python could import is not a task's module."""
    with pytest.raises(NotThereError):
        modules.find("os/path", "getcwd")


def test_a_method_must_be_there_and_callable(modules, write):
    """Both faults name the method."""
    write("m_methods.py", "x = 5")
    with pytest.raises(NotThereError, match="has no 'y'"):
        modules.find("m_methods", "y")
    with pytest.raises(NotThereError, match="'x' of module 'm_methods' is a int"):
        modules.find("m_methods", "x")


def test_a_failed_import_is_tried_again(modules, write):
    """It leaves nothing behind, so a repaired module works with the next task."""
    path = write("m_fails.py", "raise LookupError('not yet')")
    with pytest.raises(LookupError, match="not yet"):
        modules.find("m_fails", "f")
    assert "m_fails" not in sys.modules
    # Of another size: Python tells a source from the one it compiled within the same second by that alone.
    path.write_text("def f(p): return 'it works now'")
    assert modules.find("m_fails", "f")(0) == "it works now"


def test_links_that_lead_out_are_refused(modules, write, tmp_path):
    """A link to a file or a folder outside; links inside are the owner's business."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "m.py").write_text("raise AssertionError('it ran')")
    (tmp_path / "prefix" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "prefix" / "file.py").symlink_to(tmp_path / "outside" / "m.py")
    for path in ("folder/m", "file"):
        with pytest.raises(RefusedError, match="leads out"):
            modules.find(path, "f")
    write("inside.py", "def f(p): return 1")
    (tmp_path / "prefix" / "link.py").symlink_to(tmp_path / "prefix" / "inside.py")
    assert modules.find("link", "f")(0) == 1


def test_a_module_may_replace_itself(modules, write):
    """As `import` does, what it has put into `sys.modules` counts."""
    write("m_other.py", "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(f=lambda p: 'other')")
    assert modules.find("m_other", "f")(0) == "other"


# ---- what a module offers ----

OFFERS = """
    import functools, math
    from math import sqrt, floor as cut
    from os import system
    from pathlib import Path
    from subprocess import run

    evaluate = eval
    own = lambda p: "own"
    half = functools.partial(pow, 2)

    def plain(p): return "plain"
    def _hidden(p): return "hidden"
    class Made:
        def __init__(self, p): self.p = p
        def __call__(self, p): return "called"
    made = Made(1)
    @functools.lru_cache
    def kept(p): return "kept"
    def __getattr__(name):
        if name.startswith("made_up"): return lambda p: name
        if name == "os.system": return system
        raise AttributeError(name)
"""


def text(source):
    return textwrap.dedent(source)


@pytest.mark.parametrize("method", ["plain", "own", "half", "Made", "made", "kept", "made_up_now"])
def test_what_a_module_makes_it_offers(modules, write, method):
    """Functions, classes, instances, partial and wrapped ones, and what its `__getattr__` makes up."""
    write("offers_a.py", text(OFFERS))
    assert callable(modules.find("offers_a", method))
    assert callable(modules.find("offers_a", method))


@pytest.mark.parametrize("method", ["system", "run", "sqrt", "cut", "Path", "evaluate"])
def test_what_a_module_imported_it_does_not_offer(modules, write, method):
    """Whoever may submit tasks does not get `os.system` because a module of the owner uses it, under any name."""
    write("offers_b.py", text(OFFERS))
    with pytest.raises(NotOfferedError, match=f"{method!r} of module 'offers_b' was imported there"):
        modules.find("offers_b", method)
    assert callable(modules.find("offers_b", method, named=True))
    with pytest.raises(NotOfferedError):
        modules.find("offers_b", method)


def test_a_module_keeps_what_begins_with_an_underscore(modules, write):
    """As `import *` does; the owner can name it."""
    write("offers_c.py", text(OFFERS))
    with pytest.raises(NotOfferedError, match="keeps it to itself"):
        modules.find("offers_c", "_hidden")
    assert modules.find("offers_c", "_hidden", named=True)(1) == "hidden"


def test_what_all_names_is_offered(modules, write):
    """`__all__` is how a module says so."""
    write("offers_d.py", text(OFFERS) + "\n__all__ = ['sqrt', '_hidden']\n")
    assert modules.find("offers_d", "sqrt")(9) == 3
    assert modules.find("offers_d", "_hidden")(1) == "hidden"
    with pytest.raises(NotOfferedError):
        modules.find("offers_d", "system")
    write("offers_e.py", text(OFFERS) + "\n__all__ = 5\n")
    with pytest.raises(NotOfferedError):
        modules.find("offers_e", "sqrt")


@pytest.mark.parametrize(
    "method",
    [
        *("__init__", "__class__", "__getattribute__", "__setattr__", "__loader__", "__getattr__", "__call__"),
        *("os.system", "plain.__globals__", "", " plain", "plain()", "plain\0", "math.sqrt", "-"),
    ],
)
def test_only_plain_names_are_methods(modules, write, method):
    """No attributes of attributes and none of Python's own names, not even where the owner named them."""
    write("offers_f.py", text(OFFERS))
    with pytest.raises(NotOfferedError, match="never run"):
        modules.find("offers_f", method, named=True)


@pytest.mark.parametrize("path", ["pack/__init__", "__main__", "__pycache__/m", "/__init__", "a/__x__/b"])
def test_pythons_own_names_are_no_paths(path):
    """`pack/__init__` would be a second name of `pack`, past a rule about the first."""
    with pytest.raises(RefusedError, match="__ around"):
        relative_path(path)


@pytest.mark.parametrize(
    "path",
    [
        ".venv/lib/python3.12/site-packages/pip/_internal/cli/main",
        "env/lib/python3.11/subprocess",
        "/lib64/python3.9/os",
        "pypy/lib/pypy3.10/os",
        "dist-packages/a",
        "ENV/LIB/Python3.11/subprocess",
        "a/__pypackages__",
    ],
)
def test_libraries_are_no_modules_of_the_owner(path):
    """An environment below `module_prefix`, as projects have it, would offer a shell to every client."""
    with pytest.raises(RefusedError, match=r"installed Python|__ around"):
        relative_path(path)
    for other in ("lib/model", "python3/model", "site-packages-mine/model", "lib/mine/python3.12"):
        assert relative_path(other) == other


def test_what_came_from_a_library_below_the_prefix_is_not_offered(modules, by_rules, write, monkeypatch):
    """Wherever the environment lies: what a module imported from it is not its own; nor does a link lead there."""
    library = write("env/lib/python3.12/site-packages/library_of_tests.py", "def shell(p): return 1").parent
    monkeypatch.syspath_prepend(str(library))
    write("own.py", "from library_of_tests import shell\ndef f(p): return shell(p)")
    write("link.py", "").unlink()
    (library.parents[3] / "link.py").symlink_to(library / "library_of_tests.py")
    assert modules.find("own", "f")(0) == 1
    for each in (modules, by_rules):
        with pytest.raises(NotOfferedError, match="imported there from 'library_of_tests'"):
            each.find("own", "shell")
    with pytest.raises(RefusedError, match="Libraries are for modules to import"):
        modules.find("link", "shell")


def test_a_neighbours_function_is_offered_unless_there_are_rules(modules, by_rules, write):
    """Where names matter, a method counts under the module that made it, or under one whose `__all__` names it."""
    write("neighbour_r.py", "def secret(p): return 'secret'")
    write("front_r.py", "from neighbour_r import secret\ndef own(p): return 1")
    write("gate_r.py", "from neighbour_r import secret\n__all__ = ['secret']")
    assert modules.find("front_r", "secret")(1) == "secret"
    with pytest.raises(NotOfferedError, match="from 'neighbour_r'"):
        by_rules.find("front_r", "secret")
    assert by_rules.find("front_r", "own")(1) == 1
    assert by_rules.find("gate_r", "secret")(1) == "secret"
    assert by_rules.find("neighbour_r", "secret")(1) == "secret"


def test_what_is_remembered_has_a_bound(modules, write, monkeypatch):
    """A module that makes up a method for every name does not make the runner grow."""
    monkeypatch.setattr(runner_modules, "_OFFERED_MAX", 3)
    write("offers_g.py", text(OFFERS))
    for number in range(10):
        modules.find("offers_g", f"made_up_{number}")
    assert len(modules._offered) <= 3


# ---- which file is read ----


def test_with_rules_no_link_gives_a_module_a_second_path(by_rules, write, tmp_path):
    """A denied module is not reached by another name of its file or folder."""
    write("inside/secret.py", "def f(p): return 1")
    (tmp_path / "prefix" / "open.py").symlink_to(tmp_path / "prefix" / "inside" / "secret.py")
    (tmp_path / "prefix" / "folder").symlink_to(tmp_path / "prefix" / "inside")
    for path in ("open", "folder/secret"):
        with pytest.raises(RefusedError, match="is not read"):
            by_rules.find(path, "f")
    assert by_rules.find("inside/secret", "f")(1) == 1


def test_with_rules_a_name_is_spelled_as_its_file(by_rules, write, monkeypatch):
    """On a file system that takes `Secret` for `secret`, only the folder's own spelling is read."""
    write("secret_s.py", "def f(p): return 1")
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [name.upper() for name in listed(folder)])
    with pytest.raises(RefusedError, match=r"secret_s\.py is not the name of a file"):
        by_rules.find("secret_s", "f")


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_swapped_between_check_and_load_is_not_read(modules, write, tmp_path, monkeypatch, what):
    """It is what was opened that is judged, so a link put there in time leads nowhere."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "swapped.py").write_text("raise AssertionError('it ran')")
    path = write("sub/swapped.py", "def f(p): return 1")

    def swap():
        place = path if what == "file" else path.parent
        place.rename(tmp_path / "away")
        place.symlink_to(tmp_path / "outside" / "swapped.py" if what == "file" else tmp_path / "outside")

    monkeypatch.setattr(importlib, "invalidate_caches", swap)
    with pytest.raises(RefusedError, match="leads out"):
        modules.find("sub/swapped", "f")


def test_no_folder_on_the_way_may_be_a_link(tmp_path):
    """What became a link after its path was resolved is not followed."""
    (tmp_path / "root").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "m.py").write_text("x")
    (tmp_path / "root" / "sub").symlink_to(tmp_path / "out")
    (tmp_path / "root" / "m.py").symlink_to(tmp_path / "out" / "m.py")
    os.mkfifo(tmp_path / "root" / "pipe.py")
    for relative in ("sub/m.py", "m.py", "pipe.py", "../out/m.py", "gone.py"):
        with pytest.raises(runner_files.EscapeError):
            runner_files.open_below(str(tmp_path / "root"), relative, exact=False)


def test_bytecode_from_elsewhere_is_not_run(modules, write, tmp_path):
    """A cache folder that is a link leads out like any other link; the source itself is compiled."""
    source = write("cached_m.py", "def f(p): return 'good'")
    evil = tmp_path / "evil.py"
    evil.write_text("def f(p): return 'evil'")
    os.utime(evil, ns=(source.stat().st_mtime_ns, source.stat().st_mtime_ns))
    (tmp_path / "outside").mkdir()
    cached = tmp_path / "outside" / Path(importlib.util.cache_from_source(str(source))).name
    py_compile.compile(str(evil), cfile=str(cached), doraise=True)
    (tmp_path / "prefix" / "__pycache__").symlink_to(tmp_path / "outside")
    assert modules.find("cached_m", "f")(1) == "good"
