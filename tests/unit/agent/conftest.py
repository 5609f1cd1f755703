"""What several tests of runners share."""

import sys

import pytest

from dart.agent import runner_files
from dart.agent.runner_modules import Modules


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
