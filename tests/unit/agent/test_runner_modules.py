"""Finding and importing modules below a prefix, in this very process."""

import pickle
import sys

import pytest

from dart.agent.runner_modules import Modules, NotThereError, RefusedError, relative_path


@pytest.fixture
def modules(tmp_path):
    """Modules below `tmp_path/prefix`; what they leave in the interpreter is taken away again."""
    (tmp_path / "prefix").mkdir()
    names, path = set(sys.modules), list(sys.path)
    yield Modules(str(tmp_path / "prefix"))
    for name in set(sys.modules) - names:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / "prefix" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


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
    path.write_text("def f(p): return 'works now'")
    assert modules.find("m_fails", "f")(0) == "works now"


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
