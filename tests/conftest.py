"""What holds for every test."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _logging_stays_as_it_is():
    """Programs that run within a test set logging up for themselves; the next test finds it as it was."""
    logger = logging.getLogger("dart")
    kept = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = kept
