"""What holds for every scenario of faults."""

import os

import pytest

MEASURED = "COVERAGE_PROCESS_CONFIG"


@pytest.fixture(autouse=True, scope="package")
def _children_are_not_measured():
    """Processes that are killed write no coverage anyway, and measuring costs each start a tenth of a second."""
    kept = os.environ.pop(MEASURED, None)
    yield
    if kept is not None:
        os.environ[MEASURED] = kept
