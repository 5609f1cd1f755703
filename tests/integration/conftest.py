"""Tests of the server's parts run on both event loops that a server may run on."""

import asyncio

import pytest
import uvloop


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(config, item):
    """Both for `test_server_*.py`, the plain one for all others."""
    factories = {"asyncio": asyncio.new_event_loop}
    if item.path.name.startswith("test_server_"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories
