"""Modules that are pushed onto workers whose owners allow it, and what workers tell of their versions."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dart_client import TaskError
from dart_client.testing import Installation, installation

ONE = "import time\n\ndef run(seconds):\n    time.sleep(seconds)\n    return 'one'\n"
TWO = "def run(seconds):\n    return 'two'\n"


def dart(installed: Installation, *words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dart.cli.main", *map(str, words)]
    return subprocess.run(command, env=installed.environment, capture_output=True, text=True, check=False, timeout=60)


def pushed(installed: Installation, path: Path) -> str:
    """Push to the worker that takes it; the module's SHA-256."""
    done = dart(installed, "module", "push", path, "--to", "open", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    (agent,) = json.loads(done.stdout)
    (version,) = agent["modules"].values()
    return version


def test_pushed_where_the_owner_allows_it_and_switched_between_tasks(tmp_path: Path):
    """Refused elsewhere; what runs ends with what it began with; a hash may be demanded; restarts change nothing."""
    policy = tmp_path / "policy.json"
    policy.write_text('{"accept_modules": true, "allow": ["pushed/*:run"]}')
    policy.chmod(0o600)
    for folder in ("closed", "open"):
        (tmp_path / folder).mkdir()
    module = tmp_path / "train.py"
    with installation(tmp_path / "closed", workers=["closed"]) as installed:
        own = ("--policy", str(policy), "--module-prefix", str(tmp_path / "open"))
        installed.start_worker("open", *own, slots=2)
        client = installed.client

        module.write_text(ONE)
        everywhere = dart(installed, "module", "push", module)
        assert everywhere.returncode == 1
        assert "accept_modules" in everywhere.stdout
        assert not (tmp_path / "closed" / "pushed").exists()
        one = pushed(installed, module)

        job = client.job("train", "pushed/train", "run")
        assert job.submit(0, location="open").result(30) == "one"
        running = job.submit(2, location="open")
        while client.task("train", running.task_id)["state"] != "running":
            time.sleep(0.02)
        module.write_text(TWO)
        two = pushed(installed, module)
        assert job.submit(0, location="open").result(30) == "two"
        assert running.result(30) == "one"

        demanding = client.job("demands", f"pushed/train@sha256:{one}", "run", retries=3)
        with pytest.raises(TaskError, match=two) as refused:
            demanding.submit(0, location="open").result(30)
        assert refused.value.error_code == 108
        (task,) = client.tasks("demands")
        assert task["attempts"] == 1, "it is refused for good"
        right = client.job("demands-two", f"pushed/train@sha256:{two}", "run")
        assert right.submit(0, location="open").result(30) == "two"

        installed.stop_worker("open")
        away = dart(installed, "module", "push", module, "--to", "open|closed")
        assert away.returncode == 1
        (row,) = (line for line in away.stdout.splitlines() if line.startswith("open"))
        assert "not connected" in row
        installed.start_worker("open", *own)
        assert job.submit(0, location="open").result(30) == "two"
        (listed,) = client.modules(worker_regex="open")
        assert listed["modules"] == {"train": two}
        assert "none" not in dart(installed, "module", "list").stdout

        assert dart(installed, "module", "remove", "train", "--to", "open").returncode == 0
        with pytest.raises(TaskError, match="no module"):
            job.submit(0, location="open").result(30)
        assert [entry["target"] for entry in client.audit() if entry["what"] == "module.push"] == ["train"] * 4


def test_ping_starts_the_workers_python(tmp_path: Path):
    """Versions side by side; a Python that does not start is told and makes the exit code 1."""
    with installation(tmp_path, workers=["a", "b"]) as installed:
        done = dart(installed, "worker", "ping")
        head, *rows = done.stdout.splitlines()
        assert done.returncode == 0, done.stdout + done.stderr
        assert head.split()[:3] == ["NAME", "HOST", "MILLISECONDS"]
        python = ".".join(map(str, sys.version_info[:3]))
        assert [row.split()[0] for row in rows] == ["a", "b"]
        assert all(row.split().count(python) == 2 for row in rows)
        told = json.loads(dart(installed, "worker", "ping", "a", "-o", "jsonl").stdout)
        assert told["versions"]["byte_order"] == sys.byteorder
        short = dart(installed, "worker", "ping", "b", "--broker-only", "-o", "json")
        assert "versions" not in json.loads(short.stdout)[0]
        assert dart(installed, "worker", "ping", "nobody").returncode == 1
