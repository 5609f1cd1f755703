"""What holds for every test."""

import logging
import sys
from pathlib import Path

import pytest

ORDER = ("chaos", "e2e", "integration", "simulation", "property", "crossarch", "fuzz", "unit")
"""Folders of tests: what takes long comes first, so that no process is left alone with it at the end; those of foreign
architectures come when their Pythons have been made beside the others."""
PLACES = {Path(__file__).parent / name: place for place, name in enumerate(ORDER)}

CHILDREN_MEASURED = {
    "test_agent_process",
    "test_command_line",
    "test_demo",
    "test_doctor",
    "test_hosts",
    "test_runner_ends",
    "test_runner_tasks",
    "test_server_process",
}
"""Files whose child processes are measured, too. Those of others run the same code, and measuring is a good
part of what a start costs."""

MEASURED = CHILDREN_MEASURED | {"unit", "property", "integration"}
"""Folders and files that are measured while they run; what the others reach is reached there, too, and being measured
makes Python three times slower."""
NOT_MEASURED = {"test_rest_fuzz", "test_store_equivalence"}
"""Files in those folders that run long and reach nothing new."""


def pytest_collection_modifyitems(items):
    """The folders in their order; within one, the order stays as it is."""
    items.sort(key=_place)


def _place(item):
    return next((PLACES[folder] for folder in item.path.parents if folder in PLACES), len(PLACES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is for one process, and so is all of `crossarch`: its emulated installation is made once and not twice."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return "tests/crossarch" if nodeid.startswith("tests/crossarch/") else super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def _logging_stays_as_it_is():
    """Programs that run within a test set logging up for themselves; the next test finds it as it was."""
    logger = logging.getLogger("dart")
    kept = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = kept


@pytest.fixture(autouse=True, scope="module")
def _measured_where_it_pays(request):
    """The process of the tests itself."""
    coverage = sys.modules.get("coverage")  # foreign Pythons have none
    measuring = coverage and coverage.Coverage.current()
    parts = {*request.path.parts, request.path.stem}
    if measuring is None or (parts & MEASURED and not parts & NOT_MEASURED):
        yield
        return
    measuring.stop()
    yield
    measuring.start()


@pytest.fixture(autouse=True, scope="module")
def _children_are_measured_where_it_pays(request):
    """What coverage set for child processes is not there for the others."""
    if request.path.stem in CHILDREN_MEASURED:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield
