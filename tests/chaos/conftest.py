"""What holds for every scenario of faults."""

import pytest

from harness.coverage import children_unmeasured


@pytest.fixture(autouse=True, scope="module")
def _children_are_not_measured():
    """Processes that are killed write no coverage anyway."""
    with children_unmeasured():
        yield
