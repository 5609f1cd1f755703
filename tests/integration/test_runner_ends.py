"""How runners end, by their own hand, ours or nobody's, and that nothing of them stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dart.agent import events
from dart.errors import ConfigError
from harness.modules import write_modules
from harness.supervision import lease, ref, supervision
from harness.waiting import wait_until

TASKS = """
    import ctypes, dart_task, os, signal, socket, subprocess, sys, time

    def echo(parameter): return parameter
    def sleep(seconds): time.sleep(seconds)
    def leave(code): os._exit(code)
    def segfault(parameter): ctypes.string_at(0)
    def kill_self(number): os.kill(os.getpid(), number)
    def note(path):
        open(path, "w").close()
        time.sleep(60)
    def children(path):
        # One child, one grandchild that its parent leaves, both in this group.
        child = subprocess.Popen(["sleep", "60"])
        if os.fork() == 0:
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
        os.wait()
        with open(path + ".part", "w") as file:
            file.write(" ".join(n for n in os.listdir("/proc") if n.isdigit() and _group(n) == os.getpgrp()))
        os.rename(path + ".part", path)
        time.sleep(60)
    def children_and_die(path):
        subprocess.Popen(["sh", "-c", "echo $$ > %s.part; mv %s.part %s; exec sleep 60" % (path, path, path)])
        while not os.path.exists(path): time.sleep(0.005)
        os._exit(1)
    def _group(process):
        try: return os.getpgid(int(process))
        except ProcessLookupError: return 0
    def stubborn(path):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note(path)
    def clean_up(paths):
        assert not dart_task.cancelled()
        open(paths[0], "w").close()
        while not dart_task.cancelled(): time.sleep(0.005)
        open(paths[1], "w").close()
        return "cleaned"
    def close_all(parameter):
        os.closerange(0, 100)
        time.sleep(60)
    def garbage(parameter):
        for name in os.listdir("/proc/self/fd"):
            try: socket.socket(fileno=os.dup(int(name))).send(b"\\xff" * 200)
            except OSError: pass
        time.sleep(60)
    def escape(parameter):
        if os.fork() == 0:
            os.setsid()
            os.write(1, b"escaped %d\\n" % os.getpid())
            time.sleep(60)
"""


def gone(process):
    """Whether a process has ended; one that only waits for somebody to reap it has."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def runner(tmp_path):
    """One runner, up and idle."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path) as held:
        held.start()
        yield held


def died(held, count=1):
    held.until(lambda: len(held.of(events.RunnerDied)) == count, "the runner did not die")
    return held.of(events.RunnerDied)[-1]


def began(held, method, path, parameter=None, number=1):
    held.supervisor.give(0, (lease(number, "tasks", method, parameter or str(path)),))
    held.until(path.exists, "the task did not begin")


@pytest.mark.parametrize(
    ("method", "parameter", "reason"),
    [
        ("leave", 3, "exited with code 3"),
        ("leave", 0, "exited with code 0"),
        ("segfault", None, "killed by SIGSEGV"),
        ("kill_self", signal.SIGKILL, "killed by SIGKILL (by somebody, or by the system because memory was short)"),
    ],
)
def test_a_crash_costs_one_task(runner, method, parameter, reason):
    """The task it was at is named, with how it ended; those before have results, those behind come back untouched."""
    leases = [lease(n, "tasks", "echo", n) for n in range(1, 41)]
    leases[5] = lease(6, "tasks", method, parameter)
    runner.supervisor.give(0, tuple(leases))
    event = died(runner)
    assert event == events.RunnerDied(0, reason, ref(6), tuple(map(ref, range(7, 41))))
    assert list(runner.results()) == [1, 2, 3, 4, 5]
    runner.until(lambda: len(runner.of(events.RunnerReady)) == 2, "no fresh runner")
    assert runner.value("tasks", "echo", "again") == "again"


def test_an_idle_runner_that_is_killed_is_replaced(runner):
    """Nothing was running, nothing is lost."""
    os.kill(runner.supervisor._slots[0].runner.pid, signal.SIGKILL)
    event = died(runner)
    assert (event.running, event.untouched) == (None, ())
    runner.until(lambda: len(runner.of(events.RunnerReady)) == 2, "no fresh runner")


def test_kill_ends_a_task_at_once(runner, tmp_path):
    """A task that does not ask whether it is cancelled gets no grace."""
    began(runner, "note", tmp_path / "begun")
    start = time.monotonic()
    runner.supervisor.kill(0, 30.0)
    event = died(runner)
    assert (event.reason, event.running) == ("killed by SIGTERM", ref(1))
    assert time.monotonic() - start < 5
    runner.until(lambda: len(runner.of(events.RunnerReady)) == 2, "no fresh runner")


def test_a_task_that_asks_may_clean_up(runner, tmp_path):
    """It sees that it is cancelled and ends by itself; its runner ends with it."""
    paths = [tmp_path / "begun", tmp_path / "cleaned"]
    began(runner, "clean_up", paths[0], [str(path) for path in paths])
    runner.supervisor.kill(0, 30.0)
    event = died(runner)
    assert event.running is None
    assert paths[1].exists()
    assert runner.results()[1].success


def test_asking_changes_nothing_for_the_next_task(runner, tmp_path):
    """After a task that asked, one that does not is ended at once again."""
    runner.value("tasks", "echo")
    write_modules(tmp_path, asks="import dart_task\ndef f(p): return dart_task.cancelled()")
    assert runner.value("asks", "f") is False
    began(runner, "note", tmp_path / "begun", number=10)
    runner.supervisor.kill(0, 30.0)
    assert died(runner).reason == "killed by SIGTERM"


def test_after_the_grace_it_is_killed(runner, tmp_path):
    """Whatever the task does about SIGTERM."""
    began(runner, "stubborn", tmp_path / "begun")
    runner.supervisor.kill(0, 0.2)
    assert died(runner).reason.startswith("killed by SIGKILL")


def test_kill_takes_children_along(runner, tmp_path):
    """Children and orphaned grandchildren of a task belong to its group."""
    began(runner, "children", tmp_path / "group")
    group = (tmp_path / "group").read_text().split()
    assert len(group) == 3
    runner.supervisor.kill(0, 1.0)
    died(runner)
    wait_until(lambda: all(map(gone, group)), explain=f"some of {group} are left")


def test_a_crash_takes_children_along(runner, tmp_path):
    """A runner that ended by itself leaves nobody either."""
    path = tmp_path / "child"
    runner.supervisor.give(0, (lease(1, "tasks", "children_and_die", str(path)),))
    died(runner)
    wait_until(lambda: gone(path.read_text().strip()), explain="the child is left")


@pytest.mark.parametrize("method", ["close_all", "garbage"])
def test_a_task_that_breaks_the_channel_ends_its_runner(runner, method):
    """The agent neither spins nor believes it; the reason says what it was."""
    runner.supervisor.give(0, (lease(1, "tasks", method), lease(2, "tasks", "echo")))
    event = died(runner)
    assert "descriptor" in event.reason
    assert (event.running, event.untouched) == (ref(1), (ref(2),))
    runner.until(lambda: len(runner.of(events.RunnerReady)) == 2, "no fresh runner")


def test_a_child_that_escapes_holds_nothing_up(runner):
    """Who leaves the group keeps the output pipe open; runner and agent end all the same."""
    runner.value("tasks", "escape")
    runner.until(lambda: runner.of(events.TaskPrinted), "the child did not write")
    escaped = int(runner.of(events.TaskPrinted)[0].lines[0].split()[1])
    runner.supervisor.kill(0, 1.0)
    died(runner)
    runner.supervisor.close()
    os.kill(escaped, signal.SIGKILL)


def test_stop_lets_idle_runners_leave_and_ends_busy_ones(tmp_path):
    """Idle ones end by themselves with code 0; nobody is started again."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path, slots=2) as held:
        held.start(2)
        began(held, "stubborn", tmp_path / "begun")
        held.supervisor.stop(0.2)
        held.until(lambda: held.supervisor.stopped, "not all ended")
        ends = {event.slot: event.reason for event in held.of(events.RunnerDied)}
        assert ends[1] == "exited with code 0"
        assert ends[0].startswith("killed by SIGKILL")
        assert held.supervisor.next_deadline() is None


def test_close_leaves_no_process(tmp_path):
    """Also in the middle of tasks and of starting; all are reaped."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path, slots=3) as held:
        held.supervisor.start()
        held.until(lambda: held.of(events.RunnerReady), "no runner is ready")
        held.supervisor.give(held.of(events.RunnerReady)[0].slot, (lease(1, "tasks", "sleep", 60),))
        pids = [state.runner.pid for state in held.supervisor._slots]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


AGENT = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from dart.agent import events
from harness.supervision import lease, supervision
with supervision(Path(sys.argv[1]), slots=2) as held:
    held.start(2)
    print(*(state.runner.pid for state in held.supervisor._slots), flush=True)
    held.supervisor.give(0, (lease(1, "tasks", "children", sys.argv[1] + "/group"),))
    while True:
        held.turn(1)
"""


def test_runners_die_with_their_agent(tmp_path):
    """SIGKILL to the agent ends idle and busy runners, in C code or not, and the children of tasks, at once."""
    write_modules(tmp_path, tasks=TASKS)
    tests = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path), tests], stdout=subprocess.PIPE, text=True
    ) as agent:
        try:
            runners = agent.stdout.readline().split()
            wait_until((tmp_path / "group").exists, explain="the task did not begin")
            group = (tmp_path / "group").read_text().split()
            assert runners[0] in group
            assert len(group) == 3
            assert not any(map(gone, [*runners, *group]))
        finally:
            agent.kill()
    wait_until(lambda: all(map(gone, [*runners, *group])), timeout=5, explain=f"some of {runners} {group} are left")


def test_a_python_that_is_not_there(tmp_path):
    """It is said by name, and tried again later and later."""
    with supervision(tmp_path, python_home=tmp_path / "nowhere") as held:
        held.supervisor.start()
        (event,) = held.of(events.RunnerFailed)
        assert event.reason == f"{tmp_path}/nowhere/bin/python3: No such file or directory"
        assert 0 < held.supervisor.next_deadline() - time.monotonic() <= 0.5
        held.until(lambda: len(held.of(events.RunnerFailed)) == 2, "it was not tried again")
        assert 0.5 < held.supervisor.next_deadline() - time.monotonic() <= 1.0


def test_a_prefix_that_is_not_there(tmp_path):
    """The folder is named."""
    with supervision(tmp_path, module_prefix=tmp_path / "nowhere") as held:
        held.supervisor.start()
        assert str(tmp_path / "nowhere") in held.of(events.RunnerFailed)[0].reason


def wrapper(tmp_path, text):
    """A `python_home` whose `python3` is this shell script."""
    path = tmp_path / "home" / "bin" / "python3"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return tmp_path / "home"


def test_a_python_that_fails_says_why(tmp_path):
    """The last line of what it printed is in the reason, and all of it in the log."""
    with supervision(tmp_path, python_home=wrapper(tmp_path, "echo one; echo too old >&2; exit 7")) as held:
        held.supervisor.start()
        held.until(lambda: held.of(events.RunnerFailed), "no failure")
        assert held.of(events.RunnerFailed)[0].reason.endswith("exited with code 7 before it was ready: too old")
        assert (tmp_path / "logs" / "log_worker-1.txt").read_text() == "one\ntoo old\n"


def test_a_python_that_does_not_answer(tmp_path):
    """After its time it is killed and counts as failed; its children go with it."""
    home = wrapper(
        tmp_path, f"sleep 60 & echo $! > {tmp_path}/child.part; mv {tmp_path}/child.part {tmp_path}/child; wait"
    )
    with supervision(tmp_path, python_home=home, limits={"runner_start_seconds_max": 0.5}) as held:
        held.supervisor.start()
        held.until(lambda: held.of(events.RunnerFailed), "no failure")
        assert "did not answer within 0.5 s" in held.of(events.RunnerFailed)[0].reason
    wait_until(lambda: gone((tmp_path / "child").read_text().strip()), explain="its child is left")


def test_a_python_that_cannot_bear_compiled_parts_gets_pure_ones(tmp_path):
    """The second try leaves msgpack's extension out, and the slot stays with that."""
    home = wrapper(tmp_path, f'case "$*" in *pure=0*) kill -SEGV $$;; esac\nexec {sys.executable} "$@"')
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path, python_home=home) as held:
        held.start()
        assert len(held.of(events.RunnerFailed)) == 1
        held.supervisor.kill(0, 1.0)
        held.until(lambda: len(held.of(events.RunnerReady)) == 2, "no fresh runner")
        assert len(held.of(events.RunnerFailed)) == 1
        assert held.value("tasks", "echo", [1, "a"]) == [1, "a"]


def test_without_pidfd_ends_are_noticed_too(tmp_path, monkeypatch):
    """Kernels before 5.3 and some emulators have none: the socket's end tells, or a look from time to time."""
    monkeypatch.setattr(os, "pidfd_open", lambda _: (_ for _ in ()).throw(OSError(38, "no such call")))
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path) as held:
        held.start()
        held.supervisor.give(0, (lease(1, "tasks", "segfault"),))
        assert died(held).running == ref(1)


def test_the_shared_memory_must_be_there(tmp_path):
    """A size that no system has is an error at the start, in words."""
    with pytest.raises(ConfigError, match=r"shm_size .* less memory"), supervision(tmp_path, shared_bytes=1 << 70):
        pass
