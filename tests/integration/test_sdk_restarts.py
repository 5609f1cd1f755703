"""The SDK while its server goes away and comes back."""

import pytest

import dart_client
from dart_client import Client
from harness.cluster import cluster
from harness.modules import write_modules

MODULES = {"calls": "def echo(value):\n    return value\n"}


@pytest.fixture
def running(tmp_path):
    write_modules(tmp_path, **MODULES)
    with cluster(tmp_path) as it:
        yield it


def test_futures_survive_a_killed_server(running):
    """Tasks that were answered are there after a restart, and so are their results."""
    with Client(state_dir=running.state_dir) as client:
        job = client.job("j", "calls", "echo")
        futures = job.submit_many(range(100))
        running.kill_server()
        running.start_server()
        running.start_agent("w", config=running.folder / "worker.json")
        late = job.submit("late")
        assert [future.result(30) for future in futures] == list(range(100))
        assert late.result(30) == "late"


def test_a_call_is_repeated_until_the_server_is_back(running):
    """A submission during the outage is sent again and done once."""
    with Client(state_dir=running.state_dir, timeout=30) as client:
        job = client.job("j", "calls", "echo")
        running.kill_server()
        future = job.submit(1)
        running.start_server()
        running.start_agent("w", config=running.folder / "worker.json")
        assert future.result(30) == 1
        assert client.job_info("j")["tasks"] == {"succeeded": 1}


def test_a_server_that_stays_away_fails_the_futures_in_the_end(running, monkeypatch):
    """With the address, and only after the patience is over."""
    monkeypatch.setattr("dart_client.poller.PATIENCE_SECONDS", 0.3)
    with Client(state_dir=running.state_dir) as client:
        future = client.job("j", "calls", "echo").submit(1, location="nobody yet")
        assert future.task_id
        running.kill_server()
        with pytest.raises(dart_client.ServerUnreachableError, match=running.server.url):
            future.result(30)
