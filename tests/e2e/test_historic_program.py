"""A program that knows only `requests` and the historic bodies, against real processes."""

import binascii
import pickle
import socket
import time
from pathlib import Path

import pytest

from harness.cluster import Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

MODULES = {
    "sub__count_words_worker": """
        import binascii, pickle

        def count_words(text):
            counts = {}
            for word in text.split():
                counts[word] = counts.get(word, 0) + 1
            return binascii.b2a_base64(pickle.dumps(counts))

        def fail(text):
            raise ValueError("no good: " + text)
    """,
    "slow": """
        import time

        def sleep(seconds):
            time.sleep(float(seconds))
            return seconds

        def work(text):
            return text.upper()
    """,
}


@pytest.fixture(params=["own key", "000"])
def historic(request, tmp_path: Path):
    """Server, agents `worker#name-:0` (2 slots) and `device.one+2`, and an old program's client, by either key."""
    options = ("--legacy-key", "000") if request.param == "000" else ()
    config = write_modules(tmp_path, **MODULES)
    with cluster(tmp_path, *options) as running:
        running.start_agent("worker#name-:0", "--capability", "local_cluster", slots=2, config=config)
        running.start_agent("device.one+2", config=config)
        key = "000" if request.param == "000" else running.server.key
        yield running, HistoricClient(running.server.url, key)


def test_an_old_program_runs_unchanged(historic: tuple[Cluster, HistoricClient]):
    """Workers, job, tasks to two names, the very bytes back, tracebacks, patterns, amounts, deletion, stop, end."""
    running, client = historic

    workers = {worker["name"]: worker for worker in client.workers()}
    assert {name: worker["count"] for name, worker in workers.items()} == {"worker#name-:0": 2, "device.one+2": 1}
    assert workers["worker#name-:0"]["capabilities"] == ["local_cluster"]

    job = "task_0_2026-11-22T08:19:01.770818"
    assert client.status(job) == 0
    client.add_job(job, "sub/count_words_worker", "count_words")
    assert client.status(job) == 1
    assert client.call("POST", "/job/", name=job, module_path="x", method="y").status_code == 409
    names = ["worker#name-:0", "device.one+2", "worker#name-:0"]
    client.add_tasks(job, *((name, f"a b a {number}") for number, name in enumerate(names)))
    results = wait_until(lambda: len(found := client.results(job, 10)) == 3 and found, explain="three results")
    assert client.results(job, 0) == []
    assert client.good("GET", f"/job/{job}/results/", amount="2")["results"] == results[:2]
    counted = set()
    for result in results:
        assert isinstance(result["start_time"], int)
        assert isinstance(result["duration"], float)
        assert result["job"] == job
        assert result["location"] == result["worker"] in names
        assert "error" not in result
        counted.add(frozenset(pickle.loads(binascii.a2b_base64(result["success"])).items()))  # noqa: S301 - our own
    assert counted == {frozenset({"a": 2, "b": 1, str(number): 1}.items()) for number in range(3)}
    assert len(client.results(job, 10, "worker.*")) == 2
    assert len(client.results(job, 10, r"device\.one\+2")) == 1
    assert client.results(job, 10, "device") == []
    client.delete_result(job, results[0]["id"])
    client.delete_result(job, results[0]["id"])
    assert [result["id"] for result in client.results(job, 10)] == [result["id"] for result in results[1:]]
    info = client.good("GET", f"/job/{job}/")["job"]
    assert info["config"]["module_path"] == "sub/count_words_worker"
    assert info["config"]["method"] == "count_words"

    client.add_job("failing", "sub/count_words_worker", "fail")
    client.add_tasks("failing", ("device.one+2", "this"))
    (failed,) = wait_until(lambda: client.results("failing", 1), explain="the failing task's result")
    assert "ValueError: no good: this" in failed["error"]
    assert "Traceback" in failed["error"]
    assert "success" not in failed

    client.add_job("slow", "slow", "sleep")
    client.add_tasks("slow", ("device.one+2", "300"), ("device.one+2", "300"))
    wait_until(
        lambda: any(task["state"] == "running" for task in client.good("GET", "/job/slow/tasks/")["tasks"]),
        explain="the long task runs",
    )
    began = time.monotonic()
    client.stop_job("slow")
    assert client.status("slow") == 2
    client.stop_job("slow")
    client.add_tasks("slow", ("device.one+2", "0.01"))
    (quick,) = wait_until(lambda: client.results("slow", 5), timeout=2, explain="a task after the stop runs")
    assert quick["success"] == "0.01"
    assert time.monotonic() - began < 2
    assert client.status("slow") == 2

    client.good("DELETE", "/server/")
    assert running.server.process.wait(10) == 0


def test_a_host_that_cannot_be_reached_is_named(historic: tuple[Cluster, HistoricClient]):
    """Adding or removing workers on a host that does not answer: 502 with its name; nothing named, nothing happens."""
    _, client = historic
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        ssh = {"port": closed.getsockname()[1]}
        for method in ("POST", "DELETE"):
            answer = client.call(method, "/worker/", name="w", hosts=["127.0.0.1"], workers_per_host=1, ssh=ssh)
            assert answer.status_code == 502
            assert "127.0.0.1: connection: " in answer.json()["error"]["message"]
    for nothing in ("127.0.0.1", None, []):
        assert client.call("DELETE", "/worker/", hosts=nothing, ssh={}).status_code == 200
    assert len(client.workers()) == 2
