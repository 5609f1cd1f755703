"""What 10,000 tasks cost the real processes, counted by the kernel and never in time; and what doing nothing costs."""

import os
import time
from pathlib import Path

import psutil
import pytest

from dart_client import Client
from harness.cluster import cluster
from harness.modules import write_modules

TASKS = 10_000
COUNTS_MOST = {
    # per 10,000 tasks: wakeups of all threads, calls of read and write, bytes through them
    "server": (4_000, 12_000, 30_000_000),
    "agent": (4_000, 3_000, 16_000_000),
    "runner": (4_000, 200, 1_000_000),
}
"""Some times what they are on a quiet machine, as a busy one wakes them oftener. Batches that fall apart into single
tasks cost more than ten thousand wakeups each."""

WINDOW_SECONDS = 1.0
WINDOWS = 4
IDLE_MOST = {"agent": 10, "runner": 0}
"""Wakeups in a window: those of libzmq's and the broker's heartbeats, every 5 s each way, may all fall into it."""


@pytest.fixture
def running(tmp_path):
    """A server, and an agent of one slot that has run a task; and the processes by their roles."""
    with cluster(tmp_path) as it:
        agent = it.start_agent("w", config=write_modules(tmp_path, calls="def echo(value):\n    return value\n"))
        with Client(state_dir=it.state_dir) as client:
            job = client.job("echo", "calls", "echo")
            assert job.submit(1).result(30) == 1
            (runner,) = psutil.Process(agent.pid).children()
            yield job, {"server": it.server.process.pid, "agent": agent.pid, "runner": runner.pid}


def wakeups(pid):
    """How often threads of a process began to run again after they had waited."""
    found = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        found += int(lines["voluntary_ctxt_switches"])
    return found


def counts(pid):
    """Wakeups; calls of read, write and their kin; bytes through those, files and pipes alike."""
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return wakeups(pid), int(io["syscr"]) + int(io["syscw"]), int(io["rchar"]) + int(io["wchar"])


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="this kernel does not count calls")
def test_ten_thousand_tasks_travel_in_batches(running):
    """Wakeups, system calls and bytes stay far below one a task."""
    job, processes = running
    assert [future.result(60) for future in job.submit_many(range(1000))] == list(range(1000))
    before = {role: counts(pid) for role, pid in processes.items()}
    assert [future.result(120) for future in job.submit_many(range(TASKS))] == list(range(TASKS))
    spent = {
        role: tuple(now - then for now, then in zip(counts(pid), before[role], strict=True))
        for role, pid in processes.items()
    }
    for role, most in COUNTS_MOST.items():
        assert all(mine <= bound for mine, bound in zip(spent[role], most, strict=True)), spent


def test_nothing_to_do_wakes_hardly_anybody(running):
    """An agent without work sleeps until the next heartbeat, its runner until the next task."""
    _, processes = running
    idle = {role: processes[role] for role in ("agent", "runner")}
    for _ in range(WINDOWS):
        before = {role: wakeups(pid) for role, pid in idle.items()}
        time.sleep(WINDOW_SECONDS)  # what is counted is what happens in a time
        spent = {role: wakeups(pid) - before[role] for role, pid in idle.items()}
        if all(spent[role] <= most for role, most in IDLE_MOST.items()):
            return  # in the first window, spool and audit log may still have had something to write
    pytest.fail(f"wakeups in {WINDOW_SECONDS} s without work: {spent}")
