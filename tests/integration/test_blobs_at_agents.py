"""Blobs from a client to the tasks of real agents: once to each, over cut links and restarts; and what is missing."""

import contextlib
import hashlib
import os
import signal

import numpy as np
import pytest

from dart_client import BlobReference, Client, TaskError
from harness.cluster import cluster
from harness.cutting_proxy import CuttingProxy
from harness.waiting import wait_until

MIB = 1 << 20
MODULE = """
import hashlib, mmap
import dart_task

def digest(parameter):
    with dart_task.open_blob(parameter["model"]) as file:
        found, size = hashlib.sha256(), 0
        while piece := file.read(100_000):
            found.update(piece)
            size += len(piece)
        assert file.seek(-1, 2) == size - 1 and len(file.read()) == 1
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert len(mapped) == size
    return found.hexdigest()

def echo(parameter):
    return parameter

def shapes(parameter):
    model, data = parameter["model"], parameter["data"]
    model[0, 0] += 1
    return [str(model.dtype), list(model.shape), float(model.sum()), type(data).__name__, len(data), parameter["n"]]

def make(size):
    import os
    data = os.urandom(size)
    return {"made": dart_task.put_blob(data), "digest": hashlib.sha256(data).hexdigest()}

def large(size):
    return {"data": bytes(range(256)) * (size // 256), "n": 1}

def other(parameter):
    try:
        dart_task.open_blob(parameter["other"])
    except LookupError as error:
        return str(error)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blobs_at_agents")
    (folder / "modules").mkdir()
    (folder / "modules" / "m.py").write_text(MODULE)
    with cluster(folder) as it:
        yield it


@pytest.fixture
def client(running):
    with Client(state_dir=running.state_dir) as client:
        yield client


def start(running, name, *options, proxy=None, **more):
    through = ("--server", proxy.url) if proxy else ()
    modules = ("--module-prefix", str(running.folder / "modules"))
    return running.start_agent(name, *modules, *through, *options, **more)


@contextlib.contextmanager
def started(running, name, **variables):
    """An agent with these in its environment, ended in the end."""
    agent = start(running, name, environment={**os.environ, **variables})
    try:
        yield
    finally:
        running.end(agent)


def put(client, size):
    data = os.urandom(size)
    return client.put_blob(data), hashlib.sha256(data).hexdigest()


def test_it_is_sent_once_to_each_agent_over_a_link_that_is_cut(running, client):
    """Two agents, many tasks: what goes through to each is the blob and little more, although one link breaks."""
    reference, digest = put(client, 6 * MIB)
    job = client.job("digest", "m", "digest")
    with (
        CuttingProxy(running.server.agents_url, after_bytes=3 * MIB) as first,
        CuttingProxy(running.server.agents_url, after_bytes=100 * MIB) as second,
    ):
        start(running, "one", proxy=first, slots=2)
        start(running, "two", proxy=second, slots=2)
        futures = [job.submit({"model": reference, "n": n}, worker) for n in range(6) for worker in ("one", "two")]
        assert {future.result(60) for future in futures} == {digest}
        assert (first.cuts, second.cuts) == (1, 0)
        # What was under way when the link was cut comes again: no more than may be under way.
        assert 6 * MIB < second.sent_down < 7 * MIB
        assert 6 * MIB < first.sent_down < 10 * MIB
        assert len(list((running.state_dir / "blobs").iterdir())) == 1


def test_an_agent_that_is_killed_goes_on_where_it_was(running, client):
    """What was half here is checked and not fetched again; the whole blob is found there after another restart."""
    reference, digest = put(client, 8 * MIB)
    job = client.job("digest", "m", "digest")
    with CuttingProxy(running.server.agents_url, after_bytes=4 * MIB) as proxy:
        home = running.folder / "killed"
        agent = start(running, "killed", proxy=proxy, home="killed")
        future = job.submit({"model": reference}, "killed")
        wait_until(lambda: proxy.cuts, explain=lambda: "the link was not cut")
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        (part,) = (home / "blobs").iterdir()
        assert part.name.endswith(".part")
        assert 0 < part.stat().st_size < 8 * MIB
        agent = start(running, "killed", proxy=proxy, home="killed")
        assert future.result(60) == digest
        assert proxy.sent_down < 12 * MIB
        running.end(agent)
        before = proxy.sent_down
        start(running, "killed", proxy=proxy, home="killed")
        assert job.submit({"model": reference}, "killed").result(60) == digest
        assert proxy.sent_down < before + MIB


def test_a_result_comes_over_cut_links_and_restarts(running, client, tmp_path):
    """What had come is not sent again; the agent's cache keeps the blob, and its spool the result, over its death."""
    with CuttingProxy(running.server.agents_url, after_bytes=3 * MIB, bytes_per_second=8 * MIB) as proxy:
        home = running.folder / "maker"
        agent = start(running, "maker", proxy=proxy, home="maker")
        future = client.job("make", "m", "make").submit(8 * MIB, "maker")
        wait_until(lambda: proxy.cuts, explain=lambda: "the link was not cut")
        agent.send_signal(signal.SIGKILL)
        agent.wait()
        agent = start(running, "maker", proxy=proxy, home="maker")
        value = future.result(60)
        assert client.get_blob(value["made"], tmp_path / "made") == 8 * MIB
        assert hashlib.sha256((tmp_path / "made").read_bytes()).hexdigest() == value["digest"]
        assert proxy.sent_up < 12 * MIB
        assert [path.name for path in (home / "blobs").iterdir()] == [value["made"].sha256.hex()]
        running.end(agent)


def test_results_beyond_the_bound_come_as_blobs_by_themselves(running, client):
    """The SDK puts them in their places when the value is read, in futures and in lists of results."""
    with started(running, "large", DART_LIMIT_VALUE_BYTES_MAX=str(MIB)):
        job = client.job("large", "m", "large")
        expected = {"data": bytes(range(256)) * (8 * 1024), "n": 1}
        assert job.submit(2 * MIB, "large").result(60) == expected
        (result,) = job.results()
        assert result.answer["success"]["data"].encoded
        assert result.value() == expected


def test_tasks_do_not_wait_for_others_blobs_and_progress_is_told(running, client):
    """While a blob comes slowly, tasks without one run; the list of events says how far it is."""
    reference, digest = put(client, 4 * MIB)
    job = client.job("digest", "m", "digest")
    plain = client.job("plain", "m", "echo")
    with CuttingProxy(running.server.agents_url, after_bytes=100 * MIB, bytes_per_second=2 * MIB) as proxy:
        start(running, "slow", proxy=proxy)
        futures = [job.submit({"model": reference, "n": n}, "slow") for n in range(3)]

        def told():
            return client.task("digest", futures[0].task_id).get("progress")

        wait_until(told, explain="no progress was told")
        assert plain.submit("now", "slow").result(30) == "now"
        assert "fetching blob" in str(told())
        assert not any(future.done() for future in futures)
        assert [future.result(60) for future in futures] == [digest] * 3


def test_what_is_missing_or_too_large_is_said(running, client):
    """Which blob, and why; final where another run would meet it again, and only where it is really named."""
    with started(running, "small", DART_LIMIT_BLOB_CACHE_BYTES_MAX=str(MIB)):
        job = client.job("digest", "m", "digest")
        missing = BlobReference(b"\x11" * 32, 5)
        with pytest.raises(TaskError, match=r"1111.*the server does not have it") as refused:
            job.submit({"model": missing}, "small", retries=3).result(60)
        assert refused.value.error_code == 109
        large, _ = put(client, MIB + 1)
        with pytest.raises(TaskError, match=r"blob_cache_bytes_max") as refused:
            job.submit({"model": large}, "small").result(60)
        assert refused.value.error_code == 112
        small, digest = put(client, MIB)
        with pytest.raises(TaskError, match=f"it has {MIB} bytes, and not 7") as refused:
            job.submit({"model": BlobReference(small.sha256, 7)}, "small").result(60)
        assert refused.value.error_code == 109
        echo = client.job("echo", "m", "echo")
        chance = b"\xc7\x28\x03" + bytes(40)
        assert echo.submit(chance, "small").result(60) == chance
        assert job.submit({"model": small}, "small").result(60) == digest
        assert "names no blob" in client.job("other", "m", "other").submit({"other": 1}, "small").result(60)


def test_large_parts_of_parameters_become_blobs_by_themselves(running):
    """Bytes and arrays: sent once for many tasks, and the method gets them as they were."""
    model, data = np.ones((300, 100), dtype="<f4"), os.urandom(100_000)
    before = len(list((running.state_dir / "blobs").iterdir()))
    told = []
    start(running, "shapes", slots=2)
    with Client(
        state_dir=running.state_dir, inline_bytes_max=50_000, upload_progress=lambda *done: told.append(done)
    ) as client:
        job = client.job("shapes", "m", "shapes")
        parameters = [{"model": model, "data": data, "n": n} for n in range(5)]
        expected = [["float32", [300, 100], 30_001.0, "bytes", 100_000, n] for n in range(5)]
        assert list(job.map(parameters, "shapes")) == expected
        assert job.submit({"model": model, "data": data, "n": 7}, "shapes").result(60)[-1] == 7
    assert len(list((running.state_dir / "blobs").iterdir())) == before + 2
    # Each was sent once: its last word came once.
    assert max(size for done, size in told if done == size) > 120_000
    assert len({size for _, size in told}) == 2
