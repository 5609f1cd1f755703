"""A rogue broker against the owner's policy: a real agent is sent what its owner forbids."""

import hashlib
import json
import os
import pickle
import stat
import textwrap
from pathlib import Path

import pytest

from dart.agent.app import main
from dart.errors import TaskErrorCode
from dart.wire import messages, values
from harness.agent_process import agent_process, arguments, lease, prepare
from harness.raw_broker import STORE, raw_broker, ref
from harness.waiting import wait_until

REFUSED, POLICY = TaskErrorCode.REFUSED, TaskErrorCode.POLICY_REFUSED
TOLD = """
    import os, time
    from os import system
    open({mark!r}, "a").write(__name__ + "\\n")

    def run(p): return "ran"
    def nap(p): time.sleep(p); return "slept"
    def make(p): return b"x" * p
    def variables(p): return sorted(os.environ)
    def _hidden(p): return "hidden"
    def read(p): return p
"""
POLICY_MEMBERS = {
    "allow": ["open:*", "exact:_hidden", "exact:system", "sub/**:run"],
    "deny": ["open:denied*", "sub/secret/**:*"],
    "parameter_bytes_max": 1000,
    "result_bytes_max": 500,
    "task_seconds_max": 0.5,
    "environment": ["PATH", "ASKED_*"],
}


class Evil:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (self.mark,))


def pickled(value) -> bytes:
    data = pickle.dumps(value, protocol=4)
    return values.encode([values.Pickled("cpython", (3, 11), 4, data)])


def policy_file(home: Path, members: dict) -> Path:
    home.mkdir(mode=0o700, exist_ok=True)
    path = home / "policy.json"
    path.write_text(json.dumps(members))
    path.chmod(0o600)
    return path


class Scene:
    """An agent with a policy and the broker that is against it."""

    def __init__(self, folder, broker):
        self.home, self.broker = folder / "home", broker
        self.marks = folder / "marks"
        self.numbers = 0
        self.agent = None

    def write(self, *names):
        self.home.mkdir(mode=0o700, exist_ok=True)
        for name in names:
            path = self.home / "modules" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(TOLD.format(mark=str(self.marks))))

    def send(self, *calls, timeout=0.0):
        """Results of calls `(module path, method, parameter as bytes)`, in their order."""
        leases = []
        for module_path, method, parameter in calls:
            self.numbers += 1
            leases.append(
                lease(ref(self.numbers), method, None, timeout)._replace(module_path=module_path, parameter=parameter)
            )
        self.broker.send(messages.Tasks(tuple(leases)))
        found = {result.ref: result for result in self.broker.results(len(leases))}
        return [found[each.ref] for each in leases]

    def audit(self):
        return [json.loads(line) for line in (self.home / "audit.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One agent for all tests here."""
    folder = tmp_path_factory.mktemp("policy")
    environment = {"ASKED_FOR": "1", "SECRET_TOKEN": "2", "DART_KEY": "3", "ASKED_TOO": "4"}
    with raw_broker() as broker:
        it = Scene(folder, broker)
        policy_file(it.home, POLICY_MEMBERS)
        it.write("open", "exact", "closed", "sub/a", "sub/secret/b")
        (it.home / "modules" / "sub" / "link.py").symlink_to(it.home / "modules" / "closed.py")
        with agent_process(it.home, broker, "--slots", "2", **environment) as agent:
            it.agent = agent
            broker.let_in()
            wait_until(lambda: broker.expect(messages.Credit).tasks, explain="the agent takes tasks")
            yield it
            assert agent.stop() == 0
            assert "Traceback" not in agent.text


NONE = values.encode(None)


def test_what_the_owner_forbids_is_refused_whatever_the_broker_sends(scene):
    """Names beyond `allow`, names in `deny`, other spellings of both; none of these modules is even imported."""
    calls = {
        ("closed", "run"): POLICY,
        ("/closed", "run"): POLICY,
        ("open", "denied"): POLICY,
        ("sub/secret/b", "run"): POLICY,
        ("/sub/secret/b", "run"): POLICY,
        ("sub/a", "nap"): POLICY,
        ("Open", "run"): POLICY,
        ("\N{FULLWIDTH LATIN SMALL LETTER O}pen", "run"): POLICY,
        ("sub/link", "run"): REFUSED,
        ("open/../closed", "run"): REFUSED,
        ("../home/modules/closed", "run"): REFUSED,
        ("//etc/passwd", "run"): REFUSED,
        ("open/__init__", "run"): REFUSED,
        ("__main__", "run"): REFUSED,
        ("open", "os.system"): POLICY,
        ("open", "__getattribute__"): POLICY,
        ("open", "system"): POLICY,
        ("open", "_hidden"): POLICY,
        ("exact", "run"): POLICY,
    }
    results = scene.send(*((path, method, NONE) for path, method in calls))
    found = {call: result.error_code for call, result in zip(calls, results, strict=True)}
    assert found == calls
    assert not any(result.success for result in results)
    imported = scene.marks.read_text().split() if scene.marks.exists() else []
    assert set(imported) <= {"open"}, "for what is imported into it, a module has to be looked at"
    assert "the policy refused task" in scene.agent.text


def test_what_the_owner_allows_runs(scene):
    """By pattern what a module offers, by its very name whatever it is."""
    results = scene.send(("open", "run", NONE), ("/sub/a", "run", NONE), ("exact", "_hidden", NONE))
    assert [values.decode(result.payload) for result in results] == ["ran", "ran", "hidden"]
    (system,) = scene.send(("exact", "system", values.encode("exit 3")))
    assert values.decode(system.payload) == 3 << 8


def test_sizes_and_time_are_the_owners(scene):
    """A larger parameter does not reach the task, a larger result does not leave, a longer task is ended."""
    fits, large = values.encode("x" * 900), values.encode("x" * 1001)
    results = scene.send(("open", "make", values.encode(400)), ("open", "read", large), ("open", "read", fits))
    assert [result.error_code for result in results] == [0, POLICY, POLICY]
    assert "parameter_bytes_max" in values.decode(results[1].payload)
    assert "result_bytes_max" in values.decode(results[2].payload)
    for timeout in (0.0, 3600.0):
        (slow,) = scene.send(("open", "nap", values.encode(60)), timeout=timeout)
        assert (slow.error_code, "policy" in values.decode(slow.payload)) == (TaskErrorCode.TIMED_OUT, True)


def test_a_pickle_is_not_read(scene, tmp_path):
    """However deep it is in the parameter; reading it would run its code."""
    (result,) = scene.send(("open", "read", pickled(Evil(str(tmp_path / "evil")))))
    assert result.error_code == POLICY
    assert "pickle" in values.decode(result.payload)
    assert not (tmp_path / "evil").exists()


def test_tasks_get_the_variables_that_the_owner_names(scene):
    """And what the runner itself sets; no secret of the agent's environment."""
    (result,) = scene.send(("open", "variables", NONE))
    found = set(values.decode(result.payload))
    assert {"PATH", "ASKED_FOR", "ASKED_TOO"} <= found
    assert not found & {"SECRET_TOKEN", "DART_KEY", "HOME"}


def test_everything_is_in_the_audit_log(scene):
    """What ran and what was refused, with job, names, broker, store, hashes and sizes; the file is private."""
    (ran, refused) = scene.send(("open", "read", values.encode("good")), ("closed", "run", values.encode("bad")))
    all_of_them = list(range(1, scene.numbers + 1))
    wait_until(lambda: len(scene.audit()) >= len(all_of_them), explain="the audit log's lines")
    by_task = {line["task"]: line for line in scene.audit()}
    assert sorted(line["task"] for line in scene.audit()) == all_of_them, "one line a task"
    good, bad = by_task[ran.ref.task_id], by_task[refused.ref.task_id]
    assert (good["outcome"], good["error_code"], bad["outcome"], bad["error_code"]) == ("success", 0, "refused", POLICY)
    assert (good["job"], good["module"], good["method"], bad["module"]) == ("job", "open", "read", "closed")
    assert (good["broker"], good["store"]) == (scene.broker.keys.public_text, STORE)
    for line, result, parameter in ((good, ran, values.encode("good")), (bad, refused, values.encode("bad"))):
        assert (line["input_bytes"], line["output_bytes"]) == (len(parameter), len(result.payload))
        assert line["input_sha256"] == hashlib.sha256(parameter).hexdigest()
        assert line["output_sha256"] == hashlib.sha256(result.payload).hexdigest()
    assert stat.S_IMODE((scene.home / "audit.jsonl").stat().st_mode) == 0o600


def test_the_broker_learns_nothing_of_the_policy(scene):
    """Neither file nor rules are in what the agent sends."""
    told = repr([message for message in scene.broker.heard if isinstance(message, messages.Hello)])
    assert "policy" not in told
    assert "secret" not in told
    assert "policy" in (scene.home / "agent.json").read_text(), "people on this machine do learn it"


def test_an_owner_may_accept_pickles(tmp_path):
    """Then the runner reads them: the permission reaches it."""
    with raw_broker() as broker:
        it = Scene(tmp_path, broker)
        policy_file(it.home, {"accept_pickle": True, "audit": False})
        it.write("open")
        with agent_process(it.home, broker):
            broker.let_in()
            (result,) = it.send(("open", "read", pickled({"a": (1, 2)})))
        assert values.decode(result.payload) == [{"a": [1, 2]}]
        assert not (it.home / "audit.jsonl").exists(), "and may do without the audit"


def test_while_the_audit_log_cannot_be_written_no_task_begins(tmp_path):
    """Credit ends, what is sent nevertheless comes back, and all lines are there once it can be written again."""
    limits = {"DART_LIMIT_AUDIT_BYTES_MAX": "1500", "DART_LIMIT_AUDIT_FILES_MAX": "2"}
    with raw_broker() as broker:
        it = Scene(tmp_path, broker)
        it.write("open")
        with agent_process(it.home, broker, **limits) as agent:
            in_the_way = it.home / "audit.jsonl.1"
            in_the_way.mkdir()
            broker.let_in()
            wait_until(lambda: broker.expect(messages.Credit).tasks, explain="the agent takes tasks")
            it.send(*[("open", "run", NONE)] * 5)
            wait_until(lambda: "no task begins" in agent.text, explain="the agent says so")
            broker.send(messages.Tasks((lease(ref(99), "run", None)._replace(module_path="open"),)))
            assert broker.expect(messages.Released).attempts == (ref(99),)
            in_the_way.rmdir()
            wait_until(lambda: broker.expect(messages.Credit).tasks, explain="the agent takes tasks again")
            wait_until(lambda: "written again" in agent.text, explain="and says so")
            assert agent.stop() == 0
        lines = [*in_the_way.read_text().splitlines(), *(it.home / "audit.jsonl").read_text().splitlines()]
        assert [json.loads(line)["task"] for line in lines] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("{", 0o600, "cannot be understood"),
        ('{"alow": []}', 0o600, "'alow' is no member"),
        ('{"allow": "open:*"}', 0o600, "allow must be a list"),
        ("{}", 0o666, "can be written by others"),
    ],
)
def test_a_policy_that_is_there_and_cannot_be_used_stops_the_agent(tmp_path, capsys, text, mode, said):
    """One sentence, exit code 2, and no connection: never a start with less than the owner asked for."""
    with raw_broker() as broker:
        prepare(tmp_path / "home", broker)
        path = policy_file(tmp_path / "home", {})
        path.write_text(text)
        path.chmod(mode)
        assert main(arguments(tmp_path / "home")) == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert told.startswith(f"dart agent: The policy {path} ")
        assert said in told
        path.unlink()
        assert main(arguments(tmp_path / "home", "--policy", str(path))) == 2
        assert "No such file" in capsys.readouterr().err
        broker.expect_silence_of(messages.Hello, 0.05)
