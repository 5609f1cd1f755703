"""Versions of modules in runners: which one a pushed module is, and which one a job demands."""

import pytest

from dart.agent import runner_files, runner_modules
from dart.agent.runner_modules import NotThereError


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


def test_nothing_of_a_module_runs_before_its_hash_is_compared(modules, write, tmp_path):
    """Its import is code as well."""
    path = write("m.py", f"open({str(tmp_path / 'ran')!r}, 'w').close()\ndef run(x): return x\n")
    with pytest.raises(runner_modules.DiffersError):
        modules.find("m@sha256:" + "0" * 64, "run")
    assert not (tmp_path / "ran").exists()
    found = runner_files.module_hash({"m.py": path.read_bytes()})
    assert modules.find(f"m@sha256:{found}", "run")(3) == 3


@pytest.mark.parametrize(("file", "module"), [("m.py", "m"), ("p/inner.py", "p")])
def test_what_was_changed_after_its_import_has_no_hash(modules, write, file, module):
    """What lies there now is not what would run, even if it is what the job wants."""
    write("p/__init__.py", "def run(x): return 'old'\n")
    write("m.py", "def run(x): return 'old'\n")
    write(file, "def run(x): return 'old'\n")
    modules.find(module, "run")
    path = write(file, "def run(x): return 'other'\n")
    prefix = str(write("x", "").parent)
    package = module == "p"
    wanted = runner_files.hash_on_disk(prefix, "p/__init__.py" if package else path.name, package=package)
    with pytest.raises(runner_modules.DiffersError, match="changed on this worker after"):
        modules.find(f"{module}@sha256:{wanted}", "run")


def test_a_package_with_a_link_has_no_hash(modules, write):
    """Nobody knows what stands behind it."""
    write("p/__init__.py", "def run(x): return x\n").with_name("link").symlink_to("/etc/passwd")
    with pytest.raises(runner_modules.DiffersError, match="no SHA-256"):
        modules.find("p@sha256:" + "0" * 64, "run")


def test_a_loaded_version_keeps_its_hash_when_another_is_pushed(modules, write):
    """Where agents share a folder, one may not have been asked; its runner still has the version before."""
    one = runner_files.module_hash({"m.py": write("pushed/m.a1/m.py", "def run(x): return 1\n").read_bytes()})
    two = runner_files.module_hash({"m.py": write("pushed/m.b2/m.py", "def run(x): return 2\n").read_bytes()})
    write("pushed/m.version", "a1")
    modules.find("pushed/m", "run")
    write("pushed/m.version", "b2")
    assert modules.find(f"pushed/m@sha256:{one}", "run")(0) == 1
    with pytest.raises(runner_modules.DiffersError, match=one):
        modules.find(f"pushed/m@sha256:{two}", "run")
