"""Jobs that are called the same, modules that are called the same, and names that collide with ours."""

from pathlib import Path

import pytest

from harness.cluster import cluster
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.waiting import wait_until


def one_result(client: HistoricClient, job: str) -> str:
    """The one result of a job, as text."""
    (result,) = wait_until(lambda: client.results(job, 5), explain=lambda: client.good("GET", f"/job/{job}/tasks/"))
    return result.get("success", result.get("error"))


def old_program(client: HistoricClient, module: str) -> str:
    """A program that defines `init_task` only if nobody knows it, runs it, and stops it."""
    if client.status("init_task") == 0:
        client.add_job("init_task", module, "init")
    client.add_tasks("init_task", ("w", "x"))
    answer = one_result(client, "init_task")
    client.delete_result("init_task", client.results("init_task", 1)[0]["id"])
    client.stop_job("init_task")
    return answer


INITS = {"first": "def init(p): return 'first'", "second": "def init(p): return 'second'"}


def test_two_programs_with_one_job_name_and_a_purge_between(tmp_path: Path):
    """After a purge the name is unknown again and means what the next program defines."""
    with cluster(tmp_path) as running:
        running.start_agent("w", config=write_modules(tmp_path, **INITS))
        client = HistoricClient(running.server.url, running.server.key)
        assert old_program(client, "first") == "first"
        client.good("DELETE", "/job/init_task/?purge=true")
        assert client.status("init_task") == 0
        assert old_program(client, "second") == "second"


def test_two_programs_with_one_job_name_and_a_forgetful_restart_between(tmp_path: Path):
    """A server started with `--forget-jobs` knows no job; its agents come back by themselves."""
    with cluster(tmp_path) as running:
        running.start_agent("w", config=write_modules(tmp_path, **INITS))
        client = HistoricClient(running.server.url, running.server.key)
        assert old_program(client, "first") == "first"
        assert running.end(running.server.process) == 0
        running.start_server("--forget-jobs")
        assert client.status("init_task") == 0
        wait_until(client.workers, timeout=20, explain="the agent is back")
        assert old_program(client, "second") == "second"


HOSTILE = {
    "a__train": "state = []\ndef run(p):\n    state.append('a')\n    return ''.join(state)",
    "b__train": "state = []\ndef run(p):\n    state.append('b')\n    return ''.join(state)",
    "json": "raise RuntimeError('not the json you want')",
    "random": "raise RuntimeError('not the random you want')",
    "msgpack": "raise RuntimeError('not the msgpack you want')",
    "values": "raise RuntimeError('not the values you want')",
    "dart_task": "raise RuntimeError('not the dart_task you want')",
    "uses": """
        import json, random, dart_task

        def run(p):
            random.random()
            return json.dumps([p, dart_task.worker, dart_task.job])
    """,
    "neighbour": "def give():\n    return 'a module beside'",
    "asks": "import neighbour\ndef run(p):\n    return neighbour.give()",
}


def test_modules_of_one_name_in_two_folders_and_names_that_are_ours(tmp_path: Path):
    """`a/train` and `b/train` alternate in one slot, each with its own state; colliding names hurt nobody."""
    with cluster(tmp_path) as running:
        running.start_agent("w", config=write_modules(tmp_path, **HOSTILE))
        client = HistoricClient(running.server.url, running.server.key)
        for name, module in {"a": "a/train", "b": "b/train", "u": "/uses", "n": "asks"}.items():
            client.add_job(name, module, "run")
        for _ in range(3):
            client.add_tasks("a", ("w", ""))
            client.add_tasks("b", ("w", ""))
        wait_until(lambda: len(client.results("a", 9)) == len(client.results("b", 9)) == 3, explain="six results")
        assert [result["success"] for result in client.results("a", 9)] == ["a", "aa", "aaa"]
        assert [result["success"] for result in client.results("b", 9)] == ["b", "bb", "bbb"]
        client.add_tasks("u", ("w", "p"))
        assert one_result(client, "u") == '["p", "w", "u"]'
        client.add_tasks("n", ("w", "p"))
        assert one_result(client, "n") == "a module beside"


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "linked/outside"])
def test_module_paths_that_lead_out_are_refused(tmp_path: Path, path: str):
    """`..` is refused by the server, everything else that leads out by the agent, with a sentence."""
    config = write_modules(tmp_path, inside="def run(p): return 'in'")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "outside.py").write_text("def run(p): return 'out'")
    (tmp_path / "outside.py").write_text("def run(p): return 'out'")
    (tmp_path / "modules" / "linked").symlink_to(tmp_path / "elsewhere")
    with cluster(tmp_path) as running:
        running.start_agent("w", config=config)
        client = HistoricClient(running.server.url, running.server.key)
        answer = client.call("POST", "/job/", name="j", module_path=path, method="run")
        if ".." in path:
            assert answer.status_code == 400
            return
        assert answer.status_code == 200
        client.add_tasks("j", ("w", "p"))
        said = one_result(client, "j")
        assert said not in ("in", "out")
        assert "module" in said
