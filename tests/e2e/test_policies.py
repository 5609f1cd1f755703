"""Each policy through REST, with real processes: what is asked for is what happens."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.cluster import Cluster, cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

WORK = """
    import os, pathlib, time

    COUNTS = pathlib.Path(__file__).parent

    def runs(parameter):
        '''Notes that it ran; fails as often as was asked for, sleeps as long.'''
        name, failures, seconds = parameter["name"], parameter.get("failures", 0), parameter.get("seconds", 0)
        log = COUNTS / (name + ".runs")
        with log.open("a") as file:
            file.write(f"{time.time()}\\n")
        time.sleep(seconds)
        if len(log.read_text().split()) <= failures:
            raise RuntimeError("not yet")
        return name
"""


class Stage:
    """A server, its client, and what tasks noted down."""

    def __init__(self, running: Cluster, folder: Path) -> None:
        self.running = running
        self.client = HistoricClient(running.server.url, running.server.key)
        self.config = write_modules(folder, work=WORK)
        self.folder = folder
        self.frozen: list[Any] = []

    def agent(self, name: str, **options: Any) -> Any:
        return self.running.start_agent(name, config=self.config, **options)

    def define(self, name: str = "j", **members: Any) -> None:
        self.client.good("POST", "/job/", name=name, module_path="work", method="runs", **members)

    def submit(self, *tasks: dict[str, Any], job: str = "j") -> list[str]:
        return self.client.good("POST", f"/job/{job}/tasks/", location_and_parameters=list(tasks))["tasks"]

    def task(self, task_id: str, job: str = "j") -> dict[str, Any]:
        return self.client.good("GET", f"/job/{job}/tasks/{task_id}/")["task"]

    def ends(self, task_id: str, *, job: str = "j", timeout: float = 20.0) -> str:
        """The state in which a task ended."""
        final = {"succeeded", "failed", "cancelled", "expired", "lost"}
        return wait_until(
            lambda: (state := self.task(task_id, job)["state"]) in final and state,
            timeout=timeout,
            explain=lambda: self.task(task_id, job),
        )

    def is_in(self, task_id: str, state: str, *, job: str = "j", timeout: float = 20.0) -> None:
        wait_until(
            lambda: self.task(task_id, job)["state"] == state, timeout=timeout, explain=lambda: self.task(task_id, job)
        )

    def freeze(self, process: Any) -> None:
        """Silence an agent, as a cut link or a sleeping machine does."""
        self.frozen.append(process)
        process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let all that are frozen go on."""
        while self.frozen:
            self.frozen.pop().send_signal(signal.SIGCONT)

    def runs(self, name: str) -> list[float]:
        """When a task ran."""
        path = self.folder / "modules" / f"{name}.runs"
        return [float(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Leases end after 2 s of silence, links after 1 s."""
    monkeypatch.setenv("DART_LIMIT_LEASE_SECONDS", "2")
    monkeypatch.setenv("DART_LIMIT_SILENCE_SECONDS", "1")
    monkeypatch.setenv("DART_LIMIT_HEARTBEAT_SECONDS", "0.25")
    monkeypatch.setenv("DART_LIMIT_RETENTION_CHECK_SECONDS", "0.2")
    with cluster(tmp_path) as running:
        there = Stage(running, tmp_path)
        try:
            yield there
        finally:
            there.thaw()


def test_retries_back_off(stage):
    """Two failures, then success: 0.3 s before the second run, 0.6 s before the third; DELAYED meanwhile."""
    stage.agent("w")
    stage.define(retries=5, retry_delay=0.3)
    (task,) = stage.submit({"parameter": {"name": "a", "failures": 2}})
    assert stage.ends(task) == "succeeded"
    assert stage.task(task)["attempts"] == 3
    first, second, third = stage.runs("a")
    assert 0.3 <= second - first < 0.6 + 1.0
    assert 0.6 <= third - second < 1.2 + 1.0
    (task,) = stage.submit({"parameter": {"name": "b", "failures": 9}, "retry_delay": 60})
    stage.is_in(task, "delayed")
    assert "failed 1 times" in stage.task(task)["pending_reason"]
    assert stage.client.good("DELETE", f"/job/j/tasks/{task}/")["cancelled"]


def test_timeout(stage):
    """A run that takes too long is killed; its error says so, and the worker goes on."""
    stage.agent("w")
    stage.define()
    slow, next_one = stage.submit(
        {"parameter": {"name": "a", "seconds": 60}, "timeout": 0.5}, {"parameter": {"name": "b"}}
    )
    assert stage.ends(slow) == "failed"
    assert stage.task(slow)["error_code"] == 101
    assert stage.ends(next_one) == "succeeded"


def test_expires(stage):
    """Waiting for nobody or running too long: over when its time is."""
    stage.agent("w")
    stage.define()
    waiting, running = stage.submit(
        {"parameter": {"name": "a"}, "location": "nobody", "expires": 0.5},
        {"parameter": {"name": "b", "seconds": 60}, "expires": 1.5},
    )
    assert (stage.ends(waiting), stage.ends(running)) == ("expired", "expired")
    assert len(stage.runs("b")) == 1


@pytest.mark.parametrize(("on_lost", "outcome", "runs"), [("requeue", "succeeded", 2), ("fail", "lost", 1)])
def test_on_lost(stage, on_lost, outcome, runs):
    """Cut off beyond its lease: requeued elsewhere, or lost; the late result is counted and changes nothing."""
    first = stage.agent("w")
    stage.define()
    (task,) = stage.submit({"parameter": {"name": "a", "seconds": 3}, "location": "w", "on_lost": on_lost})
    stage.is_in(task, "running")
    stage.freeze(first)
    stage.agent("w")
    assert stage.ends(task) == outcome
    stage.thaw()
    wait_until(lambda: stage.client.workers()[0]["count"] == 2, explain="the first agent is back")
    results = stage.client.results("j", 9)
    assert [row["id"] for row in results] == [task]
    assert len(stage.runs("a")) == runs


def test_on_lost_wait(stage):
    """The task waits for that very agent, whoever else is idle, and is not run twice."""
    first = stage.agent("w")
    stage.define(on_lost="wait")
    (task,) = stage.submit({"parameter": {"name": "a", "seconds": 2}})
    stage.is_in(task, "running")
    stage.freeze(first)
    stage.agent("w")
    wait_until(lambda: "on_lost=wait" in stage.task(task).get("pending_reason", ""), explain=lambda: stage.task(task))
    stage.thaw()
    assert stage.ends(task) == "succeeded"
    assert len(stage.runs("a")) == 1


def test_cut_shorter_than_the_lease(stage):
    """The same attempt delivers, also when the server was killed and started again meanwhile."""
    first = stage.agent("w")
    stage.define()
    (task,) = stage.submit({"parameter": {"name": "a", "seconds": 2}, "location": "w"})
    stage.is_in(task, "running")
    stage.freeze(first)
    stage.agent("w")
    stage.running.kill_server()
    stage.running.start_server()
    stage.thaw()
    assert stage.ends(task) == "succeeded"
    assert (stage.task(task)["attempts"], len(stage.runs("a"))) == (1, 1)


def test_if_offline(stage):
    """Refused as a whole where nobody matches, queued where that is asked for."""
    stage.define(if_offline="fail")
    entry = {"parameter": {"name": "a"}}
    answer = stage.client.call("POST", "/job/j/tasks/", location_and_parameters=[entry])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, 44)
    (task,) = stage.submit({**entry, "if_offline": "queue"})
    stage.agent("w")
    assert stage.ends(task) == "succeeded"


def test_priorities(stage):
    """Higher ones run first."""
    stage.define()
    stage.submit(*({"parameter": {"name": f"p{n}"}, "priority": n} for n in (1, 3, 2)))
    stage.agent("w")
    wait_until(lambda: len(stage.client.results("j", 9)) == 3, explain="all three")
    assert stage.runs("p3") < stage.runs("p2") < stage.runs("p1")


def test_fairness_between_jobs(stage):
    """A job of many tasks does not hold up the next one."""
    stage.define("big")
    stage.define("small")
    stage.agent("w")
    stage.submit(*({"parameter": {"name": "big", "seconds": 0.02}} for _ in range(500)), job="big")
    (task,) = stage.submit({"parameter": {"name": "small"}}, job="small")
    assert stage.ends(task, job="small") == "succeeded"
    assert len(stage.client.results("big", 500)) < 400


def test_cancelling(stage):
    """Queued, leased behind another, running and delayed tasks; one of a silent agent; an unknown one is 404."""
    agent = stage.agent("w")
    stage.define(retries=1, retry_delay=60)
    (delayed,) = stage.submit({"parameter": {"name": "a", "failures": 9}})
    stage.is_in(delayed, "delayed")
    running, behind, queued = stage.submit(
        {"parameter": {"name": "b", "seconds": 60}}, {"parameter": {"name": "c"}},
        {"parameter": {"name": "d"}, "location": "nobody"},
    )  # fmt: skip
    stage.is_in(running, "running")
    for task in (delayed, behind, queued, running):
        assert stage.client.good("DELETE", f"/job/j/tasks/{task}/")["cancelled"]
        assert stage.task(task)["state"] == "cancelled"
    (silent,) = stage.submit({"parameter": {"name": "e", "seconds": 60}})
    stage.is_in(silent, "running")
    stage.freeze(agent)
    assert stage.client.good("DELETE", f"/job/j/tasks/{silent}/")["cancelled"]
    stage.thaw()
    (after,) = stage.submit({"parameter": {"name": "f"}})
    assert stage.ends(after) == "succeeded"
    assert stage.client.call("DELETE", "/job/j/tasks/999999/").status_code == 404
    assert not stage.client.good("DELETE", f"/job/j/tasks/{after}/")["cancelled"]
    assert [stage.runs(name) for name in "cd"] == [[], []]


def test_draining(stage):
    """What runs ends and is delivered, the rest goes elsewhere, and the agent leaves by itself."""
    agent = stage.agent("w")
    stage.define()
    running, behind = stage.submit({"parameter": {"name": "a", "seconds": 1}}, {"parameter": {"name": "b"}})
    stage.is_in(running, "running")
    assert stage.client.good("POST", "/worker/w/drain/")["draining"] == 1
    assert stage.ends(running) == "succeeded"
    assert agent.wait(10) == 0
    assert stage.task(behind)["state"] == "queued"
    stage.agent("v")
    assert stage.ends(behind) == "succeeded"
    assert len(stage.runs("a")) == 1


def test_idempotent_submission(stage):
    """The same key and body again: the same ids, nothing more queued, also after the server was killed."""
    stage.define()
    body = {"key": stage.running.server.key, "location_and_parameters": [{"parameter": {"name": "a"}}] * 2}

    def post():
        url = stage.running.server.url + "/job/j/tasks/"
        return requests.post(url, json=body, headers={"Idempotency-Key": "k"}, verify=False, timeout=20).json()

    first = post()
    stage.running.kill_server()
    stage.running.start_server()
    assert post() == first
    assert len(stage.client.good("GET", "/job/j/tasks/")["tasks"]) == 2


def test_retention(stage):
    """Only the newest results stay; counts tell of all; a deleted one is gone at once."""
    stage.agent("w", slots=2)
    stage.define(retention={"results": 5})
    stage.submit(*({"parameter": {"name": f"r{n}"}} for n in range(30)))
    wait_until(lambda: stage.client.good("GET", "/job/j/")["job"]["tasks"] == {"succeeded": 30}, explain="all have run")
    wait_until(lambda: len(stage.client.results("j", 99)) == 5, explain=lambda: len(stage.client.results("j", 99)))
    results = stage.client.results("j", 99)
    stage.client.delete_result("j", results[0]["id"])
    assert stage.client.results("j", 99) == results[1:]
    stage.define("aged", retention={"seconds": 0.5})
    stage.submit({"parameter": {"name": "old"}}, job="aged")
    wait_until(lambda: stage.runs("old"), explain="it runs")
    wait_until(
        lambda: (
            stage.client.good("GET", "/job/aged/")["job"]["tasks"] == {"succeeded": 1}
            and not stage.client.results("aged", 9)
        ),
        explain="its result has gone",
    )


def test_standing_jobs(stage):
    """Once on each worker, on later ones too, never twice; what comes after it waits for it there."""
    stage.agent("a")
    stage.define("init", standing=True, parameter={"name": "init", "seconds": 0.5}, worker_regex="[ab]")
    stage.define("train", after=["init"])
    tasks = stage.submit(*({"parameter": {"name": f"train-{name}"}, "location": name} for name in "ab"), job="train")
    assert stage.ends(tasks[0], job="train") == "succeeded"
    assert stage.task(tasks[1], "train")["state"] == "queued"
    later = stage.agent("b", home="b")
    assert stage.ends(tasks[1], job="train") == "succeeded"
    assert stage.runs("train-b")[0] > stage.runs("init")[1] + 0.5
    stage.agent("c")
    stage.running.end(later)
    stage.running.kill_server()
    stage.running.start_server()
    stage.agent("b", home="b")
    began = time.time()
    (again,) = stage.submit({"parameter": {"name": "again"}, "location": "b"}, job="train")
    assert stage.ends(again, job="train") == "succeeded"
    assert stage.runs("again")[0] >= began
    assert len(stage.runs("init")) == 2
    jobs = {job["name"]: job["standing"] for job in stage.client.good("GET", "/job/")["jobs"]}
    assert jobs == {"init": True, "train": False}
    (blocked,) = stage.submit({"parameter": {"name": "blocked"}, "location": "c"}, job="train")
    wait_until(
        lambda: "not for it" in stage.task(blocked, "train")["pending_reasons"][0],
        timeout=20,
        explain=lambda: stage.task(blocked, "train"),
    )
    assert stage.client.call("DELETE", "/job/init/?purge=true").status_code == 409
    assert (
        stage.client.call("POST", "/job/", name="x", module_path="work", method="runs", after=["no"]).status_code == 404
    )
