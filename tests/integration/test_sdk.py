"""The SDK against a real server and a real agent."""

import concurrent.futures
import gc
import multiprocessing
import threading
import time
import uuid

import numpy as np
import pytest

import dart_client
from dart_client import Client
from harness.cluster import cluster
from harness.modules import write_modules
from harness.waiting import wait_until

MODULES = {
    "calls": """
        import time

        def echo(value):
            return value

        def fail(text):
            raise ValueError("no good: " + text)

        def sleep(seconds):
            time.sleep(seconds)
            return seconds

        def unsendable(_):
            return object()
    """
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdk")
    with cluster(folder) as it:
        it.start_agent("w", slots=2, config=write_modules(folder, **MODULES))
        it.start_agent("v", "--capability", "gpu", config=folder / "worker.json")
        yield it


@pytest.fixture
def client(running):
    with Client(state_dir=running.state_dir) as made:
        yield made
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("dart ")] == []


@pytest.fixture
def job(client):
    def define(method):
        return client.job(f"{method}-{uuid.uuid4()}", "calls", method)

    return define


def test_values_come_back_as_they_went(job):
    """Everything portable, bytes and arrays included, to the bit."""
    values = [None, True, -(2**63), 2**64 - 1, 2**200, 1.5, "täxt \U0001f600", b"\x00\xff", [1, [2]], {"a": {"b": []}}]
    echo = job("echo")
    assert [future.result(30) for future in echo.submit_many(values)] == values
    array = np.arange(12, dtype=">f2").reshape(3, 4)
    back = echo.submit({"weights": array}).result(30)["weights"]
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_submit_returns_at_once_and_futures_tell_all(job):
    """Id, worker, and the whole result beside the value."""
    future = job("echo").submit(7, location="v")
    assert future.result(30) == 7
    assert future.task_id == future.answer["id"]
    assert (future.worker, future.answer["location"]) == ("v", "v")


def test_many_single_submissions_travel_together(client, job):
    """A thousand quick `submit` calls are some few requests, and each gets its own result."""
    echo = job("echo")
    calls = []
    send = client.connection.call
    client.connection.call = lambda method, *rest, **how: (calls.append(method), send(method, *rest, **how))[1]
    futures = [echo.submit(number) for number in range(1000)]
    assert [future.result(60) for future in futures] == list(range(1000))
    assert calls.count("POST") < 300


def test_failing_tasks_raise_with_the_workers_traceback(job):
    """TaskError has the remote text; what cannot be returned says so."""
    with pytest.raises(dart_client.TaskError, match="ValueError: no good: this") as caught:
        job("fail").submit("this").result(30)
    assert "Traceback" in str(caught.value)
    assert caught.value.error_code == 0
    with pytest.raises(dart_client.TaskError) as caught:
        job("unsendable").submit(1).result(30)
    assert caught.value.error_code != 0


def test_locations_and_capabilities_are_kept(job):
    """One location each, and what a worker must have."""
    echo = job("echo")
    futures = echo.submit_many([1, 2, 3], locations=["w", "v", "w"])
    concurrent.futures.wait(futures, timeout=30)
    assert [future.worker for future in futures] == ["w", "v", "w"]
    assert [future.worker for future in futures if future.result()] == ["w", "v", "w"]
    (picky,) = echo.submit_many([1], requires=["gpu"])
    assert picky.result(30) == 1
    assert picky.worker == "v"
    with pytest.raises(ValueError, match="one a task"):
        echo.submit_many([1, 2], locations=["w"])


def test_a_task_for_each_worker(job):
    """`submit_each` asks all that match now."""
    echo = job("echo")
    futures = echo.submit_each("x")
    assert {future.location for future in futures} == {"v", "w"}
    assert [future.result(30) for future in futures] == ["x", "x"]
    assert {future.worker for future in echo.submit_each(1, worker_regex="w.*") if future.result(30)} == {"w"}


def test_map_is_ordered_and_bounded(client, job):
    """Values in order from a stream of any length; never more outstanding than asked for."""
    echo = job("echo")
    taken = []

    def source():
        for number in range(500):
            taken.append(number)
            yield number

    found = echo.map(source(), look_ahead=50, timeout=30)
    assert next(found) == 0
    assert len(taken) <= 51
    assert list(found) == list(range(1, 500))
    assert list(echo.map(["a", "b"], locations=["w", "v"], timeout=30)) == ["a", "b"]
    assert list(echo.map([])) == []
    assert client.job_info(echo.name)["tasks"] == {"succeeded": 502}


def test_closing_a_map_early_cancels_the_rest(client, job):
    """What nobody will read is not run."""
    sleep = job("sleep")
    found = sleep.map([0] + [60] * 10, timeout=30, location="w")
    assert next(found) == 0
    found.close()
    wait_until(
        lambda: client.job_info(sleep.name)["tasks"] == {"succeeded": 1, "cancelled": 10},
        explain=lambda: client.job_info(sleep.name),
    )


def test_cancelling_a_future_cancels_the_task(client, job):
    """At the server, at once; a finished one cannot be cancelled."""
    sleep = job("sleep")
    future = sleep.submit(60)
    assert future.cancel()
    assert future.cancelled()
    assert future.cancel()
    assert client.task(sleep.name, future.task_id)["state"] == "cancelled"
    done = sleep.submit(0)
    assert done.result(30) == 0
    assert not done.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()


def test_stopping_the_job_ends_its_futures(job):
    """Here, although a cancelled task has no result to wait for."""
    sleep = job("sleep")
    futures = sleep.submit_many([60] * 5)
    sleep.stop()
    for future in futures:
        with pytest.raises(dart_client.TaskCancelled):
            future.result(10)
    assert sleep.status() == 2


def test_what_others_cancel_or_purge_ends_futures_too(client, job, running, monkeypatch):
    """Found out by looking now and then, since no result comes."""
    monkeypatch.setattr("dart_client.poller.WAIT_SECONDS", 0.2)
    sleep = job("sleep")
    cancelled, purged = sleep.submit_many([60, 60])
    with Client(state_dir=running.state_dir) as other:
        assert other.cancel_task(sleep.name, cancelled.task_id)
        assert not other.cancel_task(sleep.name, cancelled.task_id)
        with pytest.raises(dart_client.TaskCancelled):
            cancelled.result(30)
        other.purge_job(sleep.name)
        with pytest.raises(dart_client.TaskLost):
            purged.result(30)


def test_attaching_to_a_job_sees_new_results_only_in_its_futures(client, job, monkeypatch):
    """The second client of a job gets its own tasks' results; those that were there before are not even read."""
    first = job("echo")
    assert [future.result(30) for future in first.submit_many(range(50))] == list(range(50))
    read = []
    call = client.connection.call

    def watched(*arguments, **options):
        answer = call(*arguments, **options)
        read.extend(result["id"] for result in answer.get("results", ()))
        return answer

    monkeypatch.setattr(client.connection, "call", watched)
    again = client.job(first.name, "calls", "echo")
    assert [future.result(30) for future in again.submit_many("abc")] == ["a", "b", "c"]
    assert client.job(first.name).submit(1).result(30) == 1
    assert 4 <= len(read) < 50
    with pytest.raises(dart_client.JobExistsError):
        client.job(first.name, "calls", "fail")
    with pytest.raises(dart_client.UnknownJobError):
        client.job("nobody defined this")


def test_results_of_a_job_are_read_in_order(job):
    """With value and circumstances; by worker; and followed until the job is stopped."""
    echo = job("echo")
    concurrent.futures.wait(echo.submit_many(range(20), "w") + echo.submit_many(["v"], "v"), timeout=30)
    results = list(echo.results())
    assert sorted(result.value() for result in results if result.worker == "w") == list(range(20))
    assert [result.value() for result in echo.results(worker_regex="v")] == ["v"]
    assert all(result.succeeded and result.duration >= 0 and result.start_time > 0 for result in results)
    follower = echo.results(follow=True)
    assert len([next(follower) for _ in range(21)]) == 21
    echo.stop()
    assert list(follower) == []
    failing = job("fail")
    failing.submit("x").exception(30)
    (failed,) = failing.results()
    with pytest.raises(dart_client.TaskError):
        failed.value()


def test_the_calls_of_the_interface(client, job):
    """Server, workers, jobs, tasks, results: each has a method."""
    assert client.healthy()
    assert client.ready()
    assert client.server()["version"]
    assert {entry["name"]: entry["count"] for entry in client.workers()} == {"w": 2, "v": 1}
    assert client.worker("v")["agents"][0]["capabilities"] == ["gpu"]
    assert client.ping_worker("v")["agents"][0]["milliseconds"] > 0
    echo = job("echo")
    assert echo.name in {entry["name"] for entry in client.jobs()}
    answer = client.submit(echo.name, [{"parameter": 1}, {"parameter": 2}], wait=30)
    assert sorted(result["success"] for result in answer["results"]) == [1, 2]
    assert [task["id"] for task in client.tasks(echo.name)] == answer["tasks"]
    assert client.task(echo.name, answer["tasks"][0])["state"] == "succeeded"
    client.delete_results(echo.name, answer["tasks"][:1])
    assert [result["id"] for result in client.results(echo.name, 10)["results"]] == answer["tasks"][1:]
    echo.purge()
    with pytest.raises(dart_client.UnknownJobError):
        client.job_info(echo.name)


def test_names_may_have_any_printable_character(client):
    """They are one segment of a path, whatever is in them."""
    name = "a #b?c%20d:é+日本&e=f"
    future = client.job(name, "calls", "echo").submit("x")
    assert future.result(30) == "x"
    client.purge_job(name)


def test_refusals_are_typed(client, running):
    """A wrong key, an unknown job, a bad member, a stopped job that the caller wants refused."""
    stranger = Client(running.server.url, "wrong", state_dir=running.state_dir)
    with stranger, pytest.raises(dart_client.UnauthorizedError):
        stranger.workers()
    with pytest.raises(dart_client.UnknownJobError):
        client.job_status("no such job")
    with pytest.raises(dart_client.InvalidRequestError):
        client.define_job("a/b", "m", "f")
    with pytest.raises(dart_client.UnknownWorkerError):
        client.worker("nobody")
    client.define_job("stopped", "calls", "echo")
    client.stop_job("stopped")
    with pytest.raises(dart_client.JobStoppedError):
        client.submit("stopped", [{"parameter": 1}], if_stopped="fail")
    with pytest.raises(dart_client.UnknownJobError):
        dart_client.Job(client, "never defined").submit(1).result(30)
    with pytest.raises(dart_client.ValueNotPortableError, match="parameter"):
        client.job("stopped").submit(object())


def test_another_certificate_is_not_talked_to(running):
    """Neither key nor request goes to a server with another fingerprint, and a CA that did not sign it is refused."""
    url, key = running.server.url, running.server.key
    with Client(url, key, fingerprint="ab" * 32) as impostor, pytest.raises(dart_client.UntrustedServerError):
        impostor.workers()
    with pytest.raises(dart_client.ConfigError, match="not there"):
        Client(url, key, ca="/no/such/file")
    with Client(url, key, ca=str(running.state_dir / "server.crt")) as by_ca:
        assert len(by_ca.workers()) == 2


def test_an_absent_server_is_reported_within_the_timeout():
    """Nobody listens: the error names the address."""
    began = time.monotonic()
    with Client("http://127.0.0.1:1", "k", timeout=0.5) as nobody, pytest.raises(dart_client.ServerUnreachableError):
        nobody.workers()
    assert time.monotonic() - began < 5


def test_closing_ends_waiting_futures_and_threads_at_once(running):
    """A long poll does not hold up the end; the tasks go on at the server."""
    client = Client(state_dir=running.state_dir)
    job = client.job(f"close-{uuid.uuid4()}", "calls", "sleep")
    future = job.submit(3)
    assert future.task_id
    began = time.monotonic()
    client.close()
    client.close()
    assert time.monotonic() - began < 2
    with pytest.raises(dart_client.ClosedError):
        future.result(1)
    with pytest.raises(dart_client.ClosedError):
        client.workers()
    with Client(state_dir=running.state_dir) as other:
        wait_until(lambda: other.results(job.name, 1)["results"], explain="the task's result", timeout=15)
    gc.collect()


def _use(client, queue):
    try:
        client.workers()
    except dart_client.ClosedError as error:
        queue.put(str(error))


def test_a_client_says_so_when_used_across_a_fork(client):
    """Its connections belong to the parent; the message says what to do."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_use, args=(client, queue))
    child.start()
    assert "fork" in queue.get(timeout=10)
    child.join(10)
    queue.close()
    queue.join_thread()
    assert len(client.workers()) == 2


def test_large_values_travel_both_ways(job):
    """Some MiB in, the same bytes out."""
    data = bytes(range(256)) * (4 << 12)
    assert job("echo").submit(data).result(60) == data
