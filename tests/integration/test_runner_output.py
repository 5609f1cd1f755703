"""What tasks print: in the log untouched, to the broker line by line, always before the result."""

import pytest

from dart.agent import events
from harness.modules import write_modules
from harness.supervision import lease, ref, supervision

TASKS = """
    import contextlib, ctypes, dart_task, io, os, subprocess, sys
    libc = ctypes.CDLL(None)

    def speak(text): print(text)
    def speak_partly(text): print(text, end="")
    def err(text): print(text, file=sys.stderr)
    def mixed(parameter):
        print("python")
        sys.stdout.flush()
        subprocess.run(["echo", "child"])
        os.write(1, b"raw\\n")
        libc.printf(b"from C\\n")
    def odd(parameter): print("\\ud800 \\u20ac")
    def much(count):
        for number in range(count): print("line", number, "x" * 80)
    def crash(text):
        print(text)
        os._exit(1)
    def redirected(text):
        with contextlib.redirect_stdout(io.StringIO()):
            print("not seen")
            dart_task.log(text)
    def closed(text):
        sys.stdout.close()
        return text
    def child_later(parameter): subprocess.Popen(["sh", "-c", "sleep 0.3; echo later"])
    def echo(parameter): return parameter
"""


@pytest.fixture
def runner(tmp_path):
    """A runner, and how to read the worker's log."""
    write_modules(tmp_path, tasks=TASKS)
    with supervision(tmp_path) as held:
        held.start()
        held.log = (tmp_path / "logs" / "log_worker-1.txt").read_text
        yield held


def lines(held):
    return [(event.ref, line) for event in held.of(events.TaskPrinted) for line in event.lines]


def test_it_is_there_before_the_result(runner):
    """Who sees the result finds the text in the log, and the line event came first."""
    for number in range(1, 50):
        runner.run("tasks", "speak", f"hello {number}")
        assert runner.log().endswith(f"hello {number}\n")
    printed, ended = runner.of(events.TaskPrinted)[0], runner.of(events.TasksEnded)[0]
    assert runner.events.index(printed) < runner.events.index(ended)
    assert lines(runner) == [(ref(number), f"hello {number}") for number in range(1, 50)]


def test_lines_find_their_tasks_in_a_crowd(runner):
    """Many short tasks in one go: each line names the task that printed it; the log has the very text."""
    methods = ["speak", "echo", "speak_partly", "err"]
    runner.supervisor.give(0, tuple(lease(n, "tasks", methods[n % 4], f"t{n}") for n in range(1, 81)))
    runner.until(lambda: len(runner.results()) == 80, "not all ran")
    speakers = [n for n in range(1, 81) if n % 4 != 1]
    assert lines(runner) == [(ref(n), f"t{n}") for n in speakers]
    assert runner.log() == "".join(f"t{n}" + "\n" * (n % 4 != 2) for n in speakers)


def test_children_and_c_code_are_heard(runner):
    """In the order in which it was written."""
    runner.run("tasks", "mixed")
    assert runner.log() == "python\nchild\nraw\nfrom C\n"
    assert [line for _, line in lines(runner)] == ["python", "child", "raw", "from C"]


def test_text_that_cannot_be_encoded_is_printed_all_the_same(runner):
    """`print` never raises for what it is given."""
    assert runner.run("tasks", "odd").success
    assert runner.log() == "\\ud800 €\n"


def test_much_is_kept_and_little_passed_on(runner):
    """The log has every line; the broker as many as the limit says, and how many were left out."""
    runner.run("tasks", "much", 5000)
    assert runner.log() == "".join(f"line {n} {'x' * 80}\n" for n in range(5000))
    passed = [line for _, line in lines(runner)]
    assert 100 <= len(passed) < 2000
    assert any("lines left out here" in line for line in passed)


def test_the_last_words_of_a_crash_are_kept(runner):
    """What was printed before the end is in the log, and told as the task's."""
    runner.supervisor.give(0, (lease(1, "tasks", "crash", "last words"),))
    runner.until(lambda: runner.of(events.RunnerDied), "it did not die")
    assert runner.log() == "last words\n"
    assert lines(runner) == [(ref(1), "last words")]


def test_log_reaches_the_log_in_any_case(runner):
    """Also while standard output leads elsewhere."""
    runner.run("tasks", "redirected", "a line")
    runner.until(lambda: runner.log() == "a line\n", "the line did not come whole")


def test_a_task_that_closes_its_output_harms_itself_only(runner):
    """The runner works on, without a voice."""
    assert runner.value("tasks", "closed", "still") == "still"
    assert runner.value("tasks", "echo", "here") == "here"


def test_output_between_tasks_belongs_to_nobody(runner):
    """A child that outlives its task still gets into the log."""
    runner.run("tasks", "child_later")
    runner.until(lambda: "later\n" in runner.log(), "nothing came")
    assert lines(runner) == [(None, "later")]
