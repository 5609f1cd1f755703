"""What becomes of tasks in a real runner: values, errors, large ones, and what is taken back."""

import re
import time

import pytest

from dart.agent import events
from dart.errors import TaskErrorCode
from harness.modules import write_modules
from harness.supervision import lease, ref, supervision

TASKS = """
    import os, sys, time
    held = []

    def echo(parameter): return parameter
    def old(parameter): return parameter.encode("utf-8")
    def size(parameter): return len(parameter)
    def make(count): return b"x" * count
    def nothing(parameter): pass
    def fail(parameter): raise KeyError(parameter)
    def wrong(): pass
    def leave(parameter): raise SystemExit(parameter)
    def interrupt(parameter): raise KeyboardInterrupt
    def deep(parameter): return deep(parameter)
    def memory(parameter): return bytearray(1 << 60)
    def chained(parameter):
        try: fail(1)
        except KeyError as error: raise ValueError("second") from error
    def long_text(count): raise ValueError("a" + "x" * count + "z")
    def surrogate(parameter): raise ValueError("\\ud800")
    class Foo: pass
    class Bad(Exception):
        def __str__(self): raise RuntimeError
    def bad(parameter): raise Bad
    def thing(parameter): return {"layers": [1, {"weights": Foo()}]}
    def fork(parameter):
        if os.fork() == 0:
            return "of the child"
        os.wait()
        return "of the parent"
    def sleep(seconds): time.sleep(seconds); return seconds
    def until(paths):
        open(paths[0], "w").close()
        while not os.path.exists(paths[1]): time.sleep(0.005)
    def descriptors(parameter): return sorted(os.listdir("/proc/self/fd"), key=int)
    def world(parameter):
        variables = sorted(name for name in os.environ if name.startswith(("PYTHON", "DART_")))
        return [os.getcwd(), sys.stdin.read(), variables, sys.argv]
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    """One runner for all tests that leave it alive."""
    folder = tmp_path_factory.mktemp("runner")
    write_modules(folder, tasks=TASKS)
    with supervision(folder) as held:
        held.start()
        yield held


@pytest.fixture
def fresh(tmp_path):
    """A runner of its own."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path) as held:
        held.start()
        yield held


@pytest.mark.parametrize("value", [None, True, -1, 2**64 - 1, 2**100, 0.5, "ü", b"\xff", [1, [2]], {"a": {1: b""}}])
def test_values_go_through(runner, value):
    """What a task gets is what was sent, and what it returns is what comes."""
    assert runner.value("tasks", "echo", value) == value


def test_an_old_module_takes_text_and_returns_bytes(runner):
    """As the first runtime's modules do."""
    assert runner.value("tasks", "old", "dö") == "dö".encode()


@pytest.mark.parametrize("size", [0, 32 * 1024 - 5, 32 * 1024, 100_000, 20_000_000])
def test_any_size_goes_through(runner, size):
    """Small parameters in the message, large ones in a descriptor; results as they come."""
    assert runner.value("tasks", "size", bytes(size)) == size
    assert runner.value("tasks", "make", size) == b"x" * size


def test_times_are_measured(runner):
    """Start in Unix milliseconds, duration of the call in seconds."""
    before = time.time()
    result = runner.run("tasks", "sleep", 0.05)
    assert before * 1000 - 1 <= result.start_time_ms <= time.time() * 1000
    assert 0.05 <= result.duration_seconds < 5


@pytest.mark.parametrize(
    ("method", "parameter", "text"),
    [
        ("fail", "missing", "KeyError: 'missing'"),
        ("wrong", None, "TypeError: wrong() takes 0 positional arguments but 1 was given"),
        ("leave", 3, "SystemExit: 3"),
        ("interrupt", None, "KeyboardInterrupt"),
        ("deep", None, "RecursionError: maximum recursion depth exceeded"),
        ("chained", None, "ValueError: second"),
        ("surrogate", None, "ValueError: \\ud800"),
        ("bad", None, "<exception str() failed>"),
    ],
)
def test_what_a_task_raises_is_its_error(runner, method, parameter, text):
    """The traceback begins at the owner's code; the runner lives on."""
    code, error = runner.error("tasks", method, parameter)
    assert code == TaskErrorCode.RAISED
    assert text in error.splitlines()[-1]
    assert "runner" not in re.sub(r"/.*/modules/", "", error)
    assert runner.value("tasks", "echo", 1) == 1


def test_causes_are_told(runner):
    """A chained exception comes with the one that caused it."""
    _, error = runner.error("tasks", "chained")
    assert error.index("KeyError: 1") < error.index("The above exception was the direct cause") < error.index("second")


def test_a_long_error_is_cut_in_the_middle(runner):
    """Beginning and end say most."""
    _, error = runner.error("tasks", "long_text", 10_000_000)
    assert len(error) < 70_000
    assert error.startswith("Traceback")
    assert error.endswith("xz")
    assert "characters left out" in error


def test_what_cannot_be_sent_is_named(runner):
    """With the path to the part."""
    code, error = runner.error("tasks", "thing")
    assert code == TaskErrorCode.NOT_PORTABLE
    assert "result.layers[1].weights: object of type Foo" in error


def test_a_parameter_that_cannot_be_read_is_refused(runner):
    """Small or large, the task is not called."""
    for number, parameter in ((900_001, b"\xc1"), (900_002, b"\xc1" * 100_000)):
        runner.supervisor.give(0, (lease(number, "tasks", "echo")._replace(parameter=parameter),))
        runner.until(lambda n=number: n in runner.results(), "no result")
        assert runner.results()[number].error_code == TaskErrorCode.REFUSED


def test_faults_of_modules_have_their_codes(runner):
    """Refused, not there, no such method, raised at import."""
    assert runner.error("../tasks", "echo")[0] == TaskErrorCode.REFUSED
    assert runner.error("nowhere", "echo")[0] == TaskErrorCode.IMPORT_FAILED
    assert runner.error("tasks", "no_such")[0] == TaskErrorCode.IMPORT_FAILED


def test_names_too_long_for_a_runner_are_refused(runner):
    """They cannot even be told to it."""
    runner.supervisor.give(0, (lease(900_003, "m" * 70_000, "echo"),))
    assert runner.results()[900_003].error_code == TaskErrorCode.REFUSED


def test_a_child_that_returns_answers_for_nobody(runner):
    """A fork inside a task must not become a second runner."""
    assert runner.value("tasks", "fork") == "of the parent"
    assert [runner.value("tasks", "echo", number) for number in range(5)] == list(range(5))


def test_a_task_finds_a_clean_world(runner):
    """Working directory is the module prefix, stdin empty, of DART only where to put files, no arguments."""
    folder, stdin, variables, arguments = runner.value("tasks", "world")
    assert folder.endswith("/modules")
    assert (stdin, variables, len(arguments)) == ("", ["DART_SCRATCH"], 1)


def test_no_descriptor_of_the_agent_leaks(runner):
    """Three standard ones, its own three, and the folder being listed."""
    assert len(runner.value("tasks", "descriptors")) <= 7


def test_a_result_over_the_limit_is_an_error(tmp_path):
    """It names both sizes."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path, limits={"value_bytes_max": 100_000}) as held:
        held.start()
        code, error = held.error("tasks", "make", 200_000)
        assert code == TaskErrorCode.TOO_LARGE
        assert re.search(r"200005 bytes.* 100000", error)


def test_tasks_given_ahead_run_in_order(fresh):
    """Many more than a socket holds, small and large mixed."""
    fresh.supervisor.give(0, tuple(lease(n, "tasks", "size", bytes(n * 997 % 70_000)) for n in range(1, 201)))
    fresh.until(lambda: len(fresh.results()) == 200, "not all tasks ran")
    assert list(fresh.results()) == list(range(1, 201))
    assert all(result.success for result in fresh.results().values())


def test_what_has_not_begun_can_be_taken_back(fresh, tmp_path):
    """All but the running one come back, in order, and are never run; the runner goes on with what is given then."""
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    large = bytes(100_000)
    leases = [lease(1, "tasks", "until", [str(begun), str(gate)])]
    leases += [lease(n, "tasks", "size", large if n % 7 == 0 else b"") for n in range(2, 41)]
    fresh.supervisor.give(0, tuple(leases))
    fresh.until(begun.exists, "the first task did not begin")
    fresh.supervisor.take_back(0)
    (taken,) = fresh.of(events.TakenBack)
    fresh.supervisor.give(0, (lease(50, "tasks", "echo", "more"),))
    gate.touch()
    fresh.until(lambda: 50 in fresh.results(), "the runner did not go on")
    assert [r.task_id for r in taken.refs] == list(range(2, 41))
    assert set(fresh.results()) == {1, 50}


def test_taking_back_races_with_the_runner(fresh):
    """Whoever reads a message has it: each task either runs once or comes back once."""
    given = set()
    for number in range(1, 301):
        fresh.supervisor.give(0, (lease(number, "tasks", "nothing"),))
        given.add(number)
        if number % 3 == 0:
            fresh.supervisor.take_back(0)
        fresh.turn(0)
    taken = [r.task_id for event in fresh.of(events.TakenBack) for r in event.refs]
    fresh.until(lambda: len(fresh.results()) + len(taken) >= len(given), "some tasks are lost")
    ran = [result.ref.task_id for event in fresh.of(events.TasksEnded) for result in event.results]
    assert sorted(ran + taken) == sorted(given)


def test_without_a_runner_tasks_come_back(tmp_path):
    """What is given to a slot that has no runner is answered at once, not kept."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path) as held:
        held.supervisor.give(0, (lease(1, "tasks", "echo"),))
        held.supervisor.take_back(0)
        held.supervisor.kill(0, 1.0)
        assert held.events == [events.TakenBack(0, (ref(1),)), events.TakenBack(0, ())]
