"""What a running task tells, seen by curl, by the SDK, by `dart logs` and in the worker's log file."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dart_client import Client
from harness.cluster import cluster
from harness.modules import write_modules
from harness.waiting import wait_until

DART = Path(sys.executable).with_name("dart")
SEEN_SECONDS = 0.2
"""What is promised, from the task's call to the line that curl prints."""
TASKS = """
    import logging, os, sys, time
    import dart_task

    def train(folder):
        logging.basicConfig(format="%(message)s", level="INFO")
        for number in range(5):
            print("printed", number, repr(time.time()))
            time.sleep(0.25)
            dart_task.progress(number / 5, repr(time.time()))
            time.sleep(0.25)
        dart_task.log("said")
        logging.info("logged \\x1b[31m")
        sys.stderr.write("complained\\n")

    def stop_nicely(path):
        while not dart_task.cancelled():
            print("not yet")
            time.sleep(0.02)
        with open(path + ".part", "w") as file:
            file.write("cleaned up")
        os.rename(path + ".part", path)

    def quick(number):
        print("quick", number)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    with cluster(folder) as it:
        it.start_agent("w", config=write_modules(folder, tasks=TASKS))
        yield it


@pytest.fixture
def client(running):
    with Client(state_dir=running.state_dir) as made:
        yield made


def test_curl_shows_a_running_task_within_200_milliseconds(running, client, tmp_path):
    """Progress and printed lines of a task that goes on; all that it says also reaches `dart logs` and the log file."""
    curl = ["curl", "-sN", "--insecure", "-H", "@-", running.server.url + "/events/"]
    with subprocess.Popen(curl, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write(f"Authorization: Bearer {running.server.key}\n")
        process.stdin.close()
        assert process.stdout.readline() == "retry: 2000\n"
        job = client.job("train", "tasks", "train")
        future = job.submit(str(tmp_path), location="w")
        late = {"printed": [], "progress": []}
        for line in process.stdout:
            if not line.startswith("data: "):
                continue
            now, data = time.time(), json.loads(line.removeprefix("data: "))
            if "fraction" in data:
                late["progress"].append(now - float(data["text"]))
            for printed in data.get("lines", ()):
                if printed.startswith("printed"):
                    late["printed"].append(now - float(printed.split()[2]))
            if data.get("state") == "succeeded":
                break
        process.kill()
    assert future.result(10) is None
    assert {kind: len(found) for kind, found in late.items()} == {"printed": 5, "progress": 5}
    # One of five may meet a machine that is at something else just then.
    assert {kind: sorted(found)[3] < SEEN_SECONDS for kind, found in late.items()} == dict.fromkeys(late, True), late
    shown, _ = logs(running, "train")
    (log_file,) = running.folder.rglob("log_w.txt")
    file = log_file.read_text()
    for said in ("printed 4", "said", "logged", "complained"):
        assert said in shown
        assert said in file
    assert " 80% " in shown
    assert "\x1b" not in shown
    assert "\x1b" in file
    assert logs(running, "--worker", "w") == logs(running, "w") == (shown, "")
    assert '"state": "succeeded"' in logs(running, "train", "--all", "-o", "jsonl")[0]
    nothing, why = logs(running, "nobody")
    assert (nothing, "'nobody'" in why) == ("", True)


def logs(running, *words: str) -> tuple[str, str]:
    """What `dart logs` prints and complains."""
    done = subprocess.run(
        [DART, "logs", *words, "--state-dir", running.state_dir],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return done.stdout, done.stderr


@pytest.mark.parametrize("words", [("--worker", "w"), ("--all", "-o", "jsonl")])
def test_logs_are_followed(running, client, words):
    """What is there comes first, then lines as they come."""
    job = client.job("followed", "tasks", "quick")
    job.submit(1, location="w").result(20)
    command = [DART, "logs", "--follow", *words, "--state-dir", running.state_dir]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert next(line for line in process.stdout if "quick 1" in line)
        job.submit(2, location="w").result(20)
        assert next(line for line in process.stdout if "quick 2" in line)
        process.kill()
    job.purge()


def test_lines_of_a_quick_task_come_before_its_result(client):
    """Also of one that ends at once; and `dart_client` reads them as they come."""
    job = client.job("quick", "tasks", "quick")
    events = client.events("quick", kinds=("log", "result"))
    job.submit(7, location="w").result(20)
    log, result = next(events), next(events)
    assert (log.kind, log.data["lines"], result.kind) == ("log", ["quick 7"], "result")
    assert log.data["task"] == result.data["task"]
    events.close()


def test_a_task_that_asks_cleans_up_when_it_is_cancelled(client, tmp_path):
    """It gets the grace time; whoever watches sees that it was cancelled."""
    job = client.job("stop", "tasks", "stop_nicely")
    events = client.events("stop", kinds=("log", "task"))
    done = tmp_path / "done"
    assert client.submit("stop", [{"location": "w", "parameter": str(done)}])
    log = next(event for event in events if event.kind == "log")
    assert client.cancel_task("stop", log.data["task"])
    assert next(event for event in events if event.data.get("state") == "cancelled").data["task"] == log.data["task"]
    wait_until(done.exists, explain=lambda: "it did not clean up")
    assert done.read_text() == "cleaned up"
    assert job.name == "stop"


def test_a_reader_goes_on_after_the_server_was_killed(running, client):
    """It is told that something may be missing, and hears what happens then."""
    events = client.events(kinds=("job",))
    client.define_job("before", "tasks", "quick")
    assert next(event for event in events if event.kind == "job").data["job"] == "before"
    running.kill_server()
    running.start_server()
    client.define_job("after", "tasks", "quick")
    seen = [next(events), next(events)]
    assert [event.kind for event in seen] == ["missed", "job"]
    assert seen[1].data["job"] == "after"
