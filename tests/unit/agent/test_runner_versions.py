"""Versions of modules in runners: which one a pushed module is, and which one a job demands."""

import sys

import pytest

from dart.agent import runner_files, runner_modules
from dart.agent.runner_modules import Modules, NotThereError


@pytest.fixture
def modules(tmp_path):
    """Modules below `tmp_path/prefix`; what they leave in the interpreter is taken away again."""
    (tmp_path / "prefix").mkdir()
    names, path = set(sys.modules), list(sys.path)
    yield Modules(str(tmp_path / "prefix"), runner_files)
    for name in set(sys.modules) - names:
        del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def by_rules(modules, tmp_path):
    """The same folder where the owner's policy has rules."""
    return Modules(str(tmp_path / "prefix"), runner_files, by_rules=True)


@pytest.fixture
def write(tmp_path):
    def write_file(name, text):
        path = tmp_path / "prefix" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_file


def test_a_path_may_demand_a_hash(modules, write):
    """The one of the file, or of all of a package; another one is refused, and told with the one that is there."""
    write("m.py", "def run(x): return x\n")
    write("p/__init__.py", "def run(x): return x\n")
    found = runner_files.hash_on_disk(str(write("x", "").parent), "m.py", package=False)
    assert modules.find(f"m@sha256:{found}", "run") is modules.find("m", "run")
    whole = runner_files.hash_on_disk(str(write("x", "").parent), "p/__init__.py", package=True)
    assert modules.find(f"p@sha256:{whole}", "run")(3) == 3
    with pytest.raises(runner_modules.DiffersError, match=found):
        modules.find(f"m@sha256:{whole}", "run")
    assert runner_modules.demand("a@b/m") == ("a@b/m", "")


def test_a_pushed_module_is_its_present_version(modules, write, by_rules):
    """Named by the file beside it; without one the folder is as any other."""
    write("pushed/m.version", "a1")
    write("pushed/m.a1/m.py", "def run(x): return 'a1'\n")
    write("pushed/m.b2/m.py", "def run(x): return 'b2'\n")
    write("pushed/p.version", "c3")
    write("pushed/p.c3/p/__init__.py", "from .inner import run\n")
    write("pushed/p.c3/p/inner.py", "def run(x): return 'c3'\n")
    write("pushed/hand.py", "def run(x): return 'hand'\n")
    write("pushed/bad.version", "../x")
    assert modules.find("pushed/m", "run")(0) == "a1"
    assert modules.find("pushed/p/inner", "run")(0) == "c3"
    assert modules.find("pushed/hand", "run")(0) == "hand"
    with pytest.raises(NotThereError):
        modules.find("pushed/bad", "run")
    assert by_rules.find("pushed/m", "run")(0) == "a1"
