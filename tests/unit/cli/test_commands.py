"""Wrong usage, help, exit codes and which server is meant, without any server."""

import threading
import types

import click
import pytest

import dart.errors
import dart_client
from dart.cli.exit_codes import MEANINGS, ExitCode, exit_code
from dart.cli.main import NOUNS, cli, main
from dart.cli.options import ServerChoice
from dart.cli.profile import write_profile
from dart.cli.run import tell_why_it_waits
from dart_client import TaskFuture, futures

VARIABLES = ("DART_URL", "DART_KEY", "DART_FINGERPRINT", "DART_CA", "DART_OUTPUT")


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DART_STATE_DIR", str(tmp_path / "none"))
    monkeypatch.setenv("DART_PROFILE", str(tmp_path / "profile.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def commands(group, words=()):
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def test_every_command_has_help_with_an_example(capsys):
    """`--help` of each verb says what it does and shows one use."""
    found = dict(commands(cli))
    assert len(found) > 25
    for words, command in found.items():
        assert main([*words, "--help"]) == 0
        text = capsys.readouterr().out
        assert "Example: dart" in text, words
        assert command.help, words


def test_the_nouns_are_those_of_the_table():
    """No more and no less."""
    assert cli.list_commands(None) == list(NOUNS)
    assert cli.get_command(None, "nonsense") is None


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["worker", "list", "--output", "xml"],
        ["job", "add", "x"],
        ["key", "add"],
        ["key", "add", "--scope", "root"],
        ["key", "add", "--scope", "read", "--expires", "soon"],
        ["key", "add", "--scope", "read", "--expires", "0d"],
        ["key", "add", "--scope", "read", "--text", "000", "--out", "x"],
        ["job", "purge"],
        ["job", "purge", "a", "--all"],
        ["task", "add", "j"],
        ["task", "add", "j", "--parameter", "a", "--parameter-json", "1"],
        ["task", "add", "j", "--parameter-json", "{"],
        ["run", "nofunction", "--parameter", "1"],
        ["run", "m:f"],
        ["run", "m:f", "--each"],
        ["run", "m:f", "--each", "/no/such/file"],
        ["run", "m:f", "--params", "/no/such/file"],
        ["run", "m:f", "--parameter", "1", "--location", "a", "--on", "b"],
        ["worker", "ping", "("],
        ["agent", "stop"],
        ["result", "list", "j", "--amount", "-1"],
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(words, capsys):
    """The line is on stderr and nothing is on stdout."""
    assert main(words) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dart: ")
    assert err.count("\n") == 1


def test_no_server_is_exit_code_3(capsys):
    """The line says how to start or name one."""
    assert main(["worker", "list"]) == ExitCode.UNREACHABLE
    assert "dart server start" in capsys.readouterr().err


def test_bad_lines_of_a_file_are_named_by_number(tmp_path, capsys):
    """Before anything is sent."""
    file = tmp_path / "tasks.jsonl"
    file.write_text('{"parameter": 1}\n\n{broken\n')
    assert main(["task", "add", "j", "--file", str(file)]) == ExitCode.USAGE
    assert "Line 3" in capsys.readouterr().err
    file.write_text('{"parameter": 1}\n7\n')
    assert main(["task", "add", "j", "--file", str(file)]) == ExitCode.USAGE
    assert "Entry 2" in capsys.readouterr().err


def test_agents_that_do_not_run(capsys, tmp_path):
    """`status` lists none and is exit code 1; `stop` says which home it looked at."""
    assert main(["agent", "status"]) == ExitCode.FAILED
    home = tmp_path / "home"
    home.mkdir()
    (home / "agent.json").write_text('{"pid": 1, "name": "n"}')
    assert main(["agent", "status", "--home", str(home)]) == ExitCode.FAILED
    assert "stopped" in capsys.readouterr().out
    assert main(["agent", "stop", "--home", str(home)]) == ExitCode.FAILED
    assert str(home) in capsys.readouterr().err
    assert main(["agent", "stop", "--name", "nobody"]) == ExitCode.FAILED


def test_exit_codes_stay_as_they_are():
    """Scripts rely on the numbers; each has its meaning in the documents."""
    assert {code.name: code.value for code in ExitCode} == {
        "DONE": 0, "FAILED": 1, "USAGE": 2, "UNREACHABLE": 3, "NOT_ALLOWED": 4,
    }  # fmt: skip
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (dart_client.UnauthorizedError("x"), ExitCode.NOT_ALLOWED),
        (dart_client.ForbiddenError("x"), ExitCode.NOT_ALLOWED),
        (dart_client.UntrustedServerError("x"), ExitCode.UNREACHABLE),
        (dart_client.ConfigError("x"), ExitCode.USAGE),
        (dart.errors.ConfigError("x"), ExitCode.USAGE),
        (dart_client.UnknownJobError("x"), ExitCode.FAILED),
        (dart.errors.StoreError("x"), ExitCode.FAILED),
    ],
)
def test_errors_have_their_exit_codes(error, code):
    """Scripts rely on them."""
    assert exit_code(error) is code


class TestWhichServer:
    """Flags, then variables, then the profile."""

    PROFILE = {"url": "https://p:1", "key": "pk", "fingerprint": "aa", "state_dir": "/p"}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def profile(self, nowhere, monkeypatch):
        monkeypatch.delenv("DART_STATE_DIR")
        write_profile(nowhere / "profile.toml", self.PROFILE)

    def chosen(self, **flags):
        return ServerChoice({"url": None, "key": None, "state_dir": None, **flags}, 1.0).arguments()

    def test_the_profile_alone(self):
        """All its settings go together."""
        assert self.chosen() == self.PROFILE

    def test_a_flag_changes_one_setting_of_the_profile(self):
        """The key alone, say."""
        assert self.chosen(key="fk") == {**self.PROFILE, "key": "fk"}

    def test_another_url_takes_nothing_from_the_profile(self):
        """Its key must not go to a server that it is not for."""
        assert self.chosen(url="https://other:1") == {"url": "https://other:1"}
        assert self.chosen(state_dir="/s") == {"state_dir": "/s"}

    def test_variables_beat_the_profile(self, monkeypatch):
        """The SDK reads them itself; the profile must not be in their way."""
        monkeypatch.setenv("DART_KEY", "ek")
        assert "key" not in self.chosen()
        monkeypatch.setenv("DART_URL", "https://e:1")
        assert self.chosen() == {}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 0, "can be used (SHA-256 "),
        (["--module", "open", "--method", "f"], 0, "open:f may run."),
        (["--module", "secret/x", "--method", "f"], 4, "'secret/x:f' is denied (deny)"),
        (["--module", "open", "--method", "f", "--parameter-bytes", "11"], 4, "parameter_bytes_max"),
        (["--module", "open", "--method", "f", "--ships-code"], 4, "accept_code"),
        (["--module", "../x", "--method", "f"], 4, "climbs out"),
        (["--module", "open"], 2, "together"),
    ],
)
def test_a_policy_is_checked_before_it_is_in_force(nowhere, capsys, words, code, told):
    """As the agent would read it and decide."""
    path = nowhere / "policy.json"
    path.write_text('{"deny": ["secret/**:*"], "parameter_bytes_max": 10}')
    path.chmod(0o600)
    assert main(["agent", "policy", "check", str(path), *words, "--output", "table"]) == code
    captured = capsys.readouterr()
    assert told in captured.out + captured.err


def test_a_policy_that_no_agent_would_read_is_told(nowhere, capsys):
    """With the agent's own words and exit code."""
    path = nowhere / "policy.json"
    path.write_text('{"alow": []}')
    path.chmod(0o600)
    assert main(["agent", "policy", "check", str(path)]) == 2
    assert "'alow' is no member of a policy" in capsys.readouterr().err


class FakeClient:
    """A server that knows one task, and why it waits."""

    def __init__(self, reason=""):
        self._shown = {"id": "7", "state": "queued", **({"pending_reason": reason} if reason else {})}

    def task(self, job, task_id):
        assert (job, task_id) == ("j", "7")
        return self._shown


@pytest.mark.parametrize(
    ("reason", "told"),
    [("Why.", "dart: task 7 does not run yet: Why. Ctrl-C gives up.\n"), ("", "")],
)
def test_run_tells_why_nothing_happens(reason, told, capsys):
    """A name with a slip in it would wait for ever, and in silence; a task that runs long is no reason to speak."""
    future = TaskFuture(types.SimpleNamespace(name="j"), threading.Condition(threading.RLock()), "7")
    tell_why_it_waits(FakeClient(reason), future, 0.0)
    assert capsys.readouterr().err == told
    futures.settle(future._condition, [(future, {"success": 1})])
    tell_why_it_waits(FakeClient(reason), future, 60.0)
    assert capsys.readouterr().err == ""
