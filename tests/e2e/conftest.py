"""What holds for whole installations."""

import pytest

from harness.coverage import children_unmeasured

UNMEASURED = {"test_backup", "test_damage", "test_demo", "test_performance_page", "test_site", "test_spool_damage"}
"""Files whose many processes run what others measure, too: measuring is a good part of what a start costs."""


@pytest.fixture(autouse=True, scope="module")
def _children_may_be_unmeasured(request):
    if request.module.__name__.rpartition(".")[2] not in UNMEASURED:
        yield
        return
    with children_unmeasured():
        yield
