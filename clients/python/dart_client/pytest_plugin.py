"""Fixtures for pytest; `pytest_plugins = ["dart_client.pytest_plugin"]` in `conftest.py` makes them known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Callable

import pytest

from dart_client.testing import Installation, installation


@pytest.fixture(scope="session")
def dart_installation() -> Iterator[Callable[..., Installation]]:
    """Starts an installation, with the arguments of `dart_client.testing.installation`; all end with the session.

    Wrap it for the tests of one module that share a server::

        @pytest.fixture(scope="module")
        def dart(dart_installation):
            return dart_installation("src/tasks", workers=["red", "blue"])
    """
    with contextlib.ExitStack() as started:
        yield lambda *arguments, **options: started.enter_context(installation(*arguments, **options))
