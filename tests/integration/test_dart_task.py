"""What a task can ask and tell through `dart_task`."""

import pytest

from dart.agent import events
from harness.modules import write_modules
from harness.supervision import lease, ref, supervision

TASKS = """
    import dart_task, os, threading, time

    def about(parameter):
        return [dart_task.task_id, dart_task.attempt, dart_task.job, dart_task.worker, dart_task.host]
    def keep_asking(path):
        def ask():
            while True:
                try: dart_task.task_id
                except AttributeError as error:
                    with open(path + ".part", "w") as file: file.write(str(error))
                    os.rename(path + ".part", path)
                    return
        threading.Thread(target=ask, daemon=True).start()
    def unknown(parameter): return dart_task.nonsense
    def report(fractions):
        for fraction in fractions: dart_task.progress(fraction, f"at {fraction}")
    def report_then_wait(path):
        for number in range(1, 1001): dart_task.progress(number / 1000, str(number))
        while not os.path.exists(path): time.sleep(0.005)
    def report_for(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end: dart_task.progress(0.5)
    def report_nan(parameter): dart_task.progress(float("nan"))
    def report_long(parameter): dart_task.progress(0.5, "\\ud800" + "x" * 100_000)
    def report_in_child(parameter):
        child = os.fork()
        if child == 0:
            dart_task.progress(0.1)
            os._exit(0)
        os.waitpid(child, 0)
    def not_cancelled(parameter):
        found = []
        thread = threading.Thread(target=lambda: found.append(dart_task.cancelled()))
        thread.start()
        thread.join()
        return [dart_task.cancelled(), *found]
    def write(parameter): dart_task.shared_memory()[parameter[0]] = parameter[1]
    def read(parameter):
        memory = dart_task.shared_memory()
        return None if memory is None else [len(memory), bytes(memory[:4])]
    def echo(parameter): return parameter
"""


@pytest.fixture
def runner(tmp_path):
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path) as held:
        held.start()
        yield held


def reports(held):
    return [(event.ref, event.fraction, event.text) for event in held.of(events.TaskProgressed)]


def test_a_task_knows_itself(runner):
    """Its id, attempt and job; the names of worker and host."""
    assert runner.value("tasks", "about") == [1, 1, "a job", "worker-1", "host-1"]
    assert runner.value("tasks", "about")[0] == 2


def test_between_tasks_there_is_no_task(runner, tmp_path):
    """A thread that outlives its task is told so, rather than given another's id."""
    runner.run("tasks", "keep_asking", str(tmp_path / "asked"))
    runner.until((tmp_path / "asked").exists, "the thread learned nothing")
    assert (tmp_path / "asked").read_text() == "dart_task.task_id has a value only while a task runs."


def test_an_unknown_name_is_told_what_there_is(runner):
    """The error lists what the module offers."""
    assert "it offers BlobError, attempt, cancelled" in runner.error("tasks", "unknown")[1]


def test_progress_arrives(runner):
    """The first report at once, with its task and text; fractions are cut to 0..1."""
    runner.run("tasks", "report", [7])
    assert reports(runner) == [(ref(1), 1.0, "at 7")]


def test_the_last_report_arrives(runner, tmp_path):
    """A thousand reports are few messages, and the last of them comes while the task goes on."""
    runner.supervisor.give(0, (lease(1, "tasks", "report_then_wait", str(tmp_path / "gate")),))
    runner.until(lambda: (ref(1), 1.0, "1000") in reports(runner), "the last report did not come")
    (tmp_path / "gate").touch()
    runner.until(lambda: 1 in runner.results(), "no result")
    assert len(reports(runner)) <= 10


def test_reports_are_ten_a_second(runner):
    """However often a task reports."""
    result = runner.run("tasks", "report_for", 0.45)
    assert 2 <= len(reports(runner)) <= 10 * result.duration_seconds + 2


def test_no_report_of_a_task_comes_after_its_result(runner):
    """What was held back when it ended is void, also for the next task."""
    for number in range(1, 30):
        runner.run("tasks", "report", [0.1, 0.2])
        runner.run("tasks", "echo")
        assert all(event[0].task_id % 2 for event in reports(runner)), number
    order = [event for event in runner.events if isinstance(event, events.TaskProgressed | events.TasksEnded)]
    ended = set()
    for event in order:
        if isinstance(event, events.TasksEnded):
            ended |= {result.ref for result in event.results}
        else:
            assert event.ref not in ended


def test_odd_reports_are_told_or_cut(runner):
    """NaN is the task's fault; long and odd texts are not."""
    assert "NaN" in runner.error("tasks", "report_nan")[1]
    assert runner.run("tasks", "report_long").success
    assert len(reports(runner)[-1][2]) <= 1006


def test_children_report_nothing(runner):
    """They share the socket, so they had better be silent."""
    runner.value("tasks", "report_in_child")
    assert reports(runner) == []


def test_a_task_that_runs_is_not_cancelled(runner):
    """Asked from the main thread or another; the kill is tested with the ends of runners."""
    assert runner.value("tasks", "not_cancelled") == [False, False]


def test_memory_is_shared_by_all_slots(tmp_path):
    """Zero at first; what one slot writes the other reads, also after a runner's end."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path, slots=2, shared_bytes=5000) as held:
        held.start(2)
        assert held.value("tasks", "read", slot=1) == [5000, bytes(4)]
        held.value("tasks", "write", [2, 7], slot=0)
        assert held.value("tasks", "read", slot=1) == [5000, b"\0\0\7\0"]
        held.supervisor.kill(1, 0.0)
        held.until(lambda: len(held.of(events.RunnerReady)) == 3, "no fresh runner")
        assert held.value("tasks", "read", slot=1) == [5000, b"\0\0\7\0"]


def test_without_shared_memory_there_is_none(runner):
    """The agent was started without."""
    assert runner.value("tasks", "read") is None
