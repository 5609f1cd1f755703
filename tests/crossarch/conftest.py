"""One server and two agents of a foreign architecture, for all tests of it; DART_CROSSARCH names the architectures."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossarch.installation import Installation, installed
from harness import foreign_root
from harness.foreign import PROJECT, ForeignPython, python_of
from harness.foreign_root import UnavailableError

ARCHITECTURES = os.environ.get("DART_CROSSARCH", "armhf").split(",")
"""32-bit ARM is what differs most among the machines that people have; `make crossarch` runs them all."""
if "DART_CROSSARCH" not in os.environ:
    # The one says little where other tests are at work, the other takes a while for what no architecture changes.
    collect_ignore = ["test_footprint.py", "test_wheelhouse_there.py"]
MADE_EARLY = () if "DART_CROSSARCH" in os.environ else ("armhf", "i386")
"""Those of an ordinary run: other tests come before, and making them takes a while where no cache has them."""
FIGURES = pytest.StashKey[list[str]]()


def pytest_collection_finish(session):
    """Before the first test."""
    if MADE_EARLY and not session.config.option.collectonly:
        foreign_root.begin(MADE_EARLY)


@pytest.fixture
def tell(request) -> Callable[[str], None]:
    """Takes a line that is printed when all tests are done."""
    return request.config.stash.setdefault(FIGURES, []).append


def pytest_terminal_summary(terminalreporter, config):
    """Figures that people compare, besides the tests that hold them within bounds."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def foreign(request) -> ForeignPython:
    """Its Python; where it cannot be had the tests are skipped with the reason, but never in continuous integration."""
    try:
        return python_of(request.param)
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"the foreign Python cannot be made: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def installation(foreign, tmp_path_factory) -> Iterator[Installation]:
    """A native server, and agents that are called `plain` and `numpy` by the Python of their tasks."""
    folder: Path = tmp_path_factory.mktemp(f"crossarch-{foreign.architecture}")
    with installed(folder, foreign) as it:
        shutil.copy(PROJECT / "examples/count_words/count_words_worker.py", folder / "modules")
        it.start("plain", wait=False)
        it.start("numpy", "--python-home", str(foreign.with_numpy), wait=False)
        it.wait_for("plain", "numpy")
        yield it
