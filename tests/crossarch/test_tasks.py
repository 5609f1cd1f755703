"""What a worker does all day, on a foreign architecture: facts, files of words, large values, logs, limits."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import dart_client
from crossarch.installation import RESULT_SECONDS
from dart.wire import values
from harness.foreign import PROJECT
from harness.waiting import wait_until

FACTS = {"armhf": ("32", "little"), "arm64": ("64", "little"), "s390x": ("64", "big"), "i386": ("32", "little")}
MACHINES = {"armhf": "armv7l", "arm64": "aarch64", "s390x": "s390x", "i386": "x86_64"}
"""The kernel's word for it, which for 32-bit programs on a 64-bit machine is not theirs."""
LARGE_BYTES = 3 * 1024 * 1024


def test_the_server_knows_what_machine_it_is(installation, foreign):
    """Architecture, word size and byte order are listed; the runner finds the same."""
    (agent,) = installation.facts("plain")["agents"]
    facts = agent["facts"]
    assert (facts["word_bits"], facts["byte_order"]) == FACTS[foreign.architecture]
    assert facts["architecture"] == MACHINES[foreign.architecture]
    assert facts["agent_python"].startswith("3.11.")
    (seen,) = installation.exchange("word_and_order", [values.encode(None)], "plain")
    assert values.decode(seen) == [int(facts["word_bits"]), facts["byte_order"]]


def test_words_are_counted(installation):
    """The example with its own program: counted there and here, and equal."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-m]*.py"))[:40]
    state = installation.running.state_dir
    done = subprocess.run(
        [
            sys.executable, PROJECT / "examples/count_words/count_words.py", "--url", installation.running.server.url,
            "--key", f"@{state / 'admin.key'}", "--certificate", state / "server.crt",
            "--worker", "plain", "--worker", "numpy", *files,
        ],
        capture_output=True, check=False, text=True, timeout=RESULT_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same as counted here by other means" in done.stdout


def test_large_values_travel_whole(installation):
    """Larger than a message to a runner: they go through memory that is passed on."""
    data = bytes(range(256)) * (LARGE_BYTES // 256)
    counted, back = (
        installation.exchange(method, [values.encode(data)], "plain")[0] for method in ("count_bytes", "echo")
    )
    assert values.decode(counted) == [len(data), sum(data) % 1000003]
    assert back == values.encode(data)


def test_a_task_is_heard_and_stopped(installation):
    """Progress, a log line and what it prints arrive; its time limit ends it."""
    with installation.client() as client:
        job = client.job("talk", "there", "talk")
        future = job.submit(None, "plain", timeout=2.0)
        shown = wait_until(
            lambda: (task := client.task("talk", future.task_id)) and task.get("progress") and task,
            timeout=RESULT_SECONDS, explain=lambda: client.task("talk", future.task_id),
        )  # fmt: skip
        assert shown["progress"] == {"text": "half", "fraction": 0.5}
        with pytest.raises(dart_client.TaskError, match="time"):
            future.result(RESULT_SECONDS)
    log = installation.running.folder / "logs" / "log_plain.txt"
    assert "a line" in log.read_text()
    assert "a word of the task" in log.read_text()
