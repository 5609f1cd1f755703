"""Who runs what: workers that come later, that share a name, and long tasks beside short ones."""

import time
from pathlib import Path

from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until

SLEEP = "import time, os\ndef run(p):\n    time.sleep(float(p))\n    return str(os.getppid())"


def test_a_task_waits_for_its_worker(tmp_path: Path):
    """A task for a worker that is not there waits, says why, and runs when an agent of that name joins."""
    with cluster(tmp_path) as running:
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("j", "m", "run")
        (task,) = client.add_tasks("j", ("later", "0"))
        waiting = client.good("GET", f"/job/j/tasks/{task}/")["task"]
        assert waiting["state"] == "queued"
        assert "later" in waiting["pending_reason"]
        running.start_agent("later", config=write_modules(tmp_path, m=SLEEP))
        wait_until(lambda: client.results("j", 1), explain="its result")


def test_two_agents_of_one_name_share_its_tasks(tmp_path: Path):
    """`count` is the slots of both; four tasks of 2 s on two slots end within 5 s, two on each."""
    config = write_modules(tmp_path, m=SLEEP)
    with cluster(tmp_path) as running:
        running.start_agent("pair", config=config)
        running.start_agent("pair", config=config)
        client = HistoricClient(running.server.url, running.server.key)
        assert [(worker["name"], worker["count"]) for worker in client.workers()] == [("pair", 2)]
        client.add_job("j", "m", "run")
        began = time.monotonic()
        client.add_tasks("j", *[("pair", "2")] * 4)
        results = wait_until(lambda: len(found := client.results("j", 9)) == 4 and found, explain="four results")
        assert time.monotonic() - began < 5
        agents = [result["success"] for result in results]
        assert sorted(agents.count(agent) for agent in set(agents)) == [2, 2]


def test_a_long_task_does_not_hold_up_short_ones(tmp_path: Path):
    """One task of 60 s and then ten of 0.1 s on two one-slot agents of one name: the ten end within 3 s."""
    config = write_modules(tmp_path, m=SLEEP)
    with cluster(tmp_path) as running:
        running.start_agent("pair", config=config)
        running.start_agent("pair", config=config)
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("j", "m", "run")
        began = time.monotonic()
        client.add_tasks("j", ("pair", "60"), *[("pair", "0.1")] * 10)
        wait_until(lambda: len(client.results("j", 20)) == 10, explain=lambda: client.good("GET", "/job/j/tasks/"))
        assert time.monotonic() - began < 3
        client.stop_job("j")


def test_a_long_task_does_not_hold_up_short_ones_within_one_agent(tmp_path: Path):
    """The same with the two slots in one agent."""
    with cluster(tmp_path) as running:
        running.start_agent("w", config=write_modules(tmp_path, m=SLEEP), slots=2)
        client = HistoricClient(running.server.url, running.server.key)
        client.add_job("j", "m", "run")
        client.add_tasks("j", *[("w", "0")] * 20)
        wait_until(lambda: len(client.results("j", 99)) == 20, explain="short tasks, so that it fills its pipelines")
        began = time.monotonic()
        client.add_tasks("j", ("w", "60"), *[("w", "0.1")] * 10)
        wait_until(lambda: len(client.results("j", 99)) == 30, explain=lambda: client.good("GET", "/job/j/tasks/"))
        assert time.monotonic() - began < 3
        client.stop_job("j")
