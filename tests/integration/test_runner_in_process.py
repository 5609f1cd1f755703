"""The runner's loop in this very process, over real sockets, so that each of its ways is seen and measured."""

import os
import signal
import socket
import subprocess
import sys
import termios
import textwrap
from pathlib import Path

import pytest

from dart.agent import runner, runner_files, runner_format, runner_loop, runner_task
from dart.agent.runner_answers import AnswerReader, task_message
from dart.agent.runner_modules import Modules
from dart.agent.shared_block import passed_block
from dart.errors import TaskErrorCode
from dart.wire import values
from harness.supervision import lease, ref
from harness.waiting import wait_until

TASKS = """
    import dart_task, os, signal, time

    def echo(p): return p
    def fail(p): raise ValueError(p)
    def thing(p): return [object()]
    class Odd:
        @property
        def dtype(self): raise KeyboardInterrupt
    def odd(p): return Odd()
    def about(p): return [dart_task.task_id, dart_task.attempt, dart_task.job, dart_task.worker, dart_task.host]
    def unknown(p): return dart_task.nothing
    def report(p):
        for number in p: dart_task.progress(number, "so far")
        time.sleep(0.15)
    def log(p): dart_task.log(p)
    def asked(p):
        before = dart_task.cancelled()
        os.kill(os.getpid(), signal.SIGTERM)
        return [before, dart_task.cancelled()]
    def memory(p):
        view = dart_task.shared_memory()
        if view is None: return None
        view[0] += 1
        return view[0]
"""


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Runs leases through a loop; gives all answers and whether it ended before the last task."""
    (tmp_path / "served.py").write_text(textwrap.dedent(TASKS))
    monkeypatch.setitem(sys.modules, "dart_task", runner_task)
    names, path = set(sys.modules), list(sys.path)
    state = {name: value for name, value in vars(runner_task._State).items() if not name.startswith("_")}
    ends = []

    def run(*leases, shared=-1, error_chars_max=10_000, value_bytes_max=1000, pickle_allowed=False):
        tasks, tasks_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        answers, answers_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ends.extend((tasks, tasks_theirs, answers, answers_theirs))
        for each in leases:
            message = task_message(each, 100)
            if len(each.parameter) <= 100:
                tasks.send(message)
                continue
            block = passed_block(each.parameter)
            socket.send_fds(tasks, [message], [block])
            os.close(block)
        tasks.close()
        channel = runner_task.Channel(answers_theirs, runner_format)
        runner_task.bind(
            channel, worker="w", host="h", shared=shared, shared_bytes=100, text_chars_max=5, values=values
        )
        runner_loop.Loop(
            tasks=tasks_theirs,
            channel=channel,
            wire=runner_format,
            values=values,
            modules=Modules(str(tmp_path), runner_files),
            pickle_allowed=pickle_allowed,
            task=runner_task,
            value_bytes_max=value_bytes_max,
            value_depth_max=100,
            error_chars_max=error_chars_max,
            mark=b"\0mark",
            unread=termios.FIONREAD,
            allow_cpu=None,
        ).run()
        answers_theirs.close()
        reader = AnswerReader(1_000_000)
        found = []
        while count := answers.recv_into(reader.room()):
            found += reader.received(count)
        assert found.pop(0).kind == runner_format.READY
        return found

    yield run
    for end in ends:
        end.close()
    for name, value in state.items():
        setattr(runner_task._State, name, value)
    for name in set(sys.modules) - names:
        del sys.modules[name]
    sys.path[:] = path


def outcome(answer):
    return answer.error_code, values.decode(answer.payload)


def test_a_task_answers_with_its_value(serve):
    """Small from the message, large from the descriptor, both under their references."""
    small, large = serve(lease(1, "served", "echo", [1, "a"]), lease(2, "served", "echo", "x" * 500))
    assert (small.ref, small.success, outcome(small)) == (ref(1), True, (0, [1, "a"]))
    assert (large.ref, large.success, outcome(large)) == (ref(2), True, (0, "x" * 500))


def test_a_large_answer_leaves_in_two_pieces(serve):
    """What is large is not copied to stand behind its head."""
    (answer,) = serve(lease(1, "served", "echo", b"y" * 70_000), value_bytes_max=100_000)
    assert values.decode(answer.payload) == b"y" * 70_000


@pytest.mark.parametrize(
    ("method", "parameter", "code", "text"),
    [
        ("fail", "no", TaskErrorCode.RAISED, "ValueError: no"),
        ("thing", None, TaskErrorCode.NOT_PORTABLE, "result[0]: object of type object"),
        ("odd", None, TaskErrorCode.NOT_PORTABLE, "KeyboardInterrupt"),
        ("echo", "x" * 1000, TaskErrorCode.TOO_LARGE, "value_bytes_max is 1000"),
        ("missing", None, TaskErrorCode.IMPORT_FAILED, "has no 'missing'"),
        ("unknown", None, TaskErrorCode.RAISED, "dart_task has no 'nothing'"),
        ("report", [float("nan")], TaskErrorCode.RAISED, "not NaN"),
    ],
)
def test_a_fault_has_its_code_and_text(serve, method, parameter, code, text):
    """And the next task runs."""
    fault, after = serve(lease(1, "served", method, parameter), lease(2, "served", "echo", 5))
    assert fault.error_code == code
    assert text in values.decode(fault.payload)
    assert outcome(after) == (0, 5)


def test_what_cannot_be_imported_or_read_is_told(serve, tmp_path):
    """An import error with its traceback; bytes that are no value with the reason."""
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere")
    imported, read = serve(
        lease(1, "broken", "f"),
        lease(2, "served", "echo")._replace(parameter=b"\xc1"),
    )
    assert imported.error_code == TaskErrorCode.IMPORT_FAILED
    assert "ModuleNotFoundError" in values.decode(imported.payload)
    assert "importlib" not in values.decode(imported.payload)
    assert read.error_code == TaskErrorCode.REFUSED


def test_a_long_error_is_cut(serve):
    """The middle is left out."""
    (answer,) = serve(lease(1, "served", "fail", "x" * 500), error_chars_max=100)
    assert "characters left out" in values.decode(answer.payload)


def test_dart_task_tells_and_is_told(serve, capfd):
    """Facts, a log line, reports: the first at once, the last of a quick series, texts cut."""
    facts, *reports, reported, logged = serve(
        lease(1, "served", "about"), lease(2, "served", "report", [0.1, 0.2, 2.0]), lease(3, "served", "log", "a line")
    )
    assert values.decode(facts.payload) == [1, 1, "a job", "w", "h"]
    assert [(r.kind, r.ref, r.number, r.payload) for r in reports] == [
        (runner_format.PROGRESS, ref(2), fraction, b"so fa") for fraction in (0.1, 1.0)
    ]
    assert reported.success
    assert logged.success
    assert "a line\n" in capfd.readouterr().out
    with pytest.raises(AttributeError, match="only while a task runs"):
        _ = runner_task.task_id
    runner_task.progress(0.5)


def test_a_task_that_was_asked_to_stop_is_the_last(serve):
    """Its result is still told; what is behind it is not begun; SIGTERM means again what it meant before."""
    before = signal.getsignal(signal.SIGTERM)
    (answer,) = serve(lease(1, "served", "asked"), lease(2, "served", "echo"))
    assert values.decode(answer.payload) == [False, True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_shared_memory_is_mapped_once(serve):
    """And is None where there is none."""
    assert values.decode(serve(lease(1, "served", "memory"))[0].payload) is None
    block = passed_block(bytes(100))
    answers = serve(lease(1, "served", "memory"), lease(2, "served", "memory"), shared=block)
    assert [values.decode(answer.payload) for answer in answers] == [1, 2]
    os.close(block)


def test_msgpack_is_loaded_privately_or_shared(monkeypatch):
    """The owner's own package is shared; a foreign or pure one stays under its private name."""
    import msgpack

    path = str(Path(msgpack.__file__))
    for name in [name for name in sys.modules if name.startswith("_dart_")]:
        monkeypatch.delitem(sys.modules, name)
    runner.load_msgpack(path, pure=False)
    assert sys.modules.pop("_dart_msgpack") is msgpack
    runner.load_msgpack(path, pure=True)
    pure = sys.modules["_dart_msgpack"]
    assert pure.Packer.__module__ == "_dart_msgpack.fallback"
    assert "MSGPACK_PUREPYTHON" not in os.environ
    for name in [name for name in sys.modules if name.startswith("_dart_msgpack")]:
        del sys.modules[name]
    with pytest.raises(ImportError, match="no Python file"):
        runner.load_private("_dart_nothing", "/etc/passwd")


FALLBACK = """
import os, subprocess, sys
read, write = os.pipe()
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(read)], pass_fds=[read], start_new_session=True)
os.close(read)
child.wait()
"""
CHILD = """
import fcntl, os, sys, time
del fcntl.F_SETSIG
from dart.agent import runner
runner.die_with_agent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_without_signals_on_the_lifeline_the_parent_death_counts():
    """Where the kernel refuses F_SETSIG, the runner at least dies with its agent."""
    command = [sys.executable, "-c", FALLBACK, CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as agent:
        try:
            stat = Path(f"/proc/{int(agent.stdout.readline())}/stat")
        finally:
            agent.kill()
    wait_until(lambda: not stat.exists() or ") Z" in stat.read_text(), explain="the child lives on")


def test_a_runner_that_starts_after_its_agents_death_ends():
    """The lifeline was closed before it could be watched."""
    read, write = os.pipe()
    os.close(write)
    code = "import sys; from dart.agent import runner; runner.die_with_agent(int(sys.argv[1])); sys.exit(5)"
    ended = subprocess.run([sys.executable, "-c", code, str(read)], pass_fds=[read], check=False, timeout=20)
    os.close(read)
    assert ended.returncode == 0
