"""The command line as people meet it in a shell: completion, colours on terminals only, help."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from harness.cluster import cluster
from harness.modules import write_modules

DART = Path(sys.executable).with_name("dart")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shell")
    config = write_modules(folder, calls="def echo(value):\n    return value\n")
    with cluster(folder) as it:
        it.start_agent("red-1", config=config)
        it.start_agent("red-2", config=config)
        yield it


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("DART_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DART_PROFILE", str(tmp_path / "profile.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def completed(words: str, **environment: str) -> list[str]:
    """What bash offers behind these words, by the script that `dart completion bash` prints."""
    script = """
        eval "$(dart completion bash)"
        COMP_WORDS=($1) COMP_CWORD=$2
        _dart_completion dart
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    typed = words.split(" ")
    done = subprocess.run(
        ["/bin/bash", "-c", script, "bash", words + ("''" if not typed[-1] else ""), str(len(typed) - 1)],
        env={**os.environ, "PATH": f"{DART.parent}:{os.environ['PATH']}", **environment},
        capture_output=True, check=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout.split()


def test_bash_completes_commands_options_and_names(running):
    """Names come from the server, and only those that begin so."""
    here = {"DART_STATE_DIR": str(running.state_dir)}
    subprocess.run(
        [DART, "job", "add", "count", "--module", "calls", "--method", "echo"], env={**os.environ, **here}, check=True
    )
    assert completed("dart wo") == ["worker"]
    assert completed("dart worker p") == ["ping"]
    assert completed("dart worker list --outp") == ["--output"]
    assert completed("dart worker list --output js") == ["json", "jsonl"]
    assert completed("dart worker show r", **here) == ["red-1", "red-2"]
    assert completed("dart job show c", **here) == ["count"]
    assert completed("dart task add count --location red-", **here) == ["red-1", "red-2"]


def test_without_a_server_nothing_is_offered_soon(tmp_path):
    """Nobody waits at the key for longer than about a second, and no error is in the way."""
    began = time.monotonic()
    gone = {"DART_URL": "http://127.0.0.1:1", "DART_KEY": "x"}
    assert completed("dart worker show r", **gone) == []
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("shell", "sign"), [("bash", "complete -o nosort"), ("zsh", "#compdef"), ("fish", "complete")])
def test_each_shell_has_its_script(shell, sign):
    """What is printed is that shell's."""
    done = subprocess.run([DART, "completion", shell], capture_output=True, check=True, text=True)
    assert sign in done.stdout


def on_a_terminal(*words: object, columns: int = 80, **environment: str) -> str:
    """What a command prints on a terminal so wide."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [DART, *map(str, words)], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment},
    )  # fmt: skip
    os.close(theirs)
    told = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        told += piece
    os.close(ours)
    assert process.wait(30) == 0, told
    return told.decode()


def test_tables_have_colours_on_terminals_only(running):
    """Headings and states; none with NO_COLOR and none in a pipe."""
    words = ("worker", "list", "--state-dir", running.state_dir)
    shown = on_a_terminal(*words)
    assert "\x1b[1m" in shown
    assert "red-1" in shown
    plain = subprocess.run([DART, *map(str, words)], capture_output=True, check=True, text=True).stdout
    assert "\x1b" not in plain
    assert "\x1b[3" not in on_a_terminal(*words, NO_COLOR="1")
    assert max(len(line) for line in on_a_terminal(*words, columns=40, TERM="dumb").splitlines()) <= 40


def test_man_pages_are_written_for_every_command(tmp_path):
    """In the form that `man` reads."""
    done = subprocess.run([DART, "help", "--man-pages", tmp_path], capture_output=True, check=True, text=True)
    files = sorted(tmp_path.iterdir())
    assert done.stdout.count("\n") == len(files) + 1
    assert {"dart.1", "dart-worker-ping.1"} <= {file.name for file in files}
    for file in files:
        text = file.read_text()
        assert text.startswith(".TH")
        assert ".SH EXIT STATUS" in text


def test_top_prints_a_picture_for_scripts(running):
    """As text in 80 columns, as JSON, and as a line of JSON each time."""
    words = [DART, "top", "--interval", "0.1", "--state-dir", running.state_dir]
    text = subprocess.run([*words, "--once"], capture_output=True, check=True, text=True).stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "red-1" in text
    told = json.loads(subprocess.run([*words, "--json"], capture_output=True, check=True, text=True).stdout)
    assert (told["agents"], told["slots"]) == (2, 2)
    with subprocess.Popen([*words, "--output", "jsonl"], stdout=subprocess.PIPE, text=True) as process:
        assert [json.loads(process.stdout.readline())["agents"] for _ in range(2)] == [2, 2]
        process.terminate()


def test_top_is_live_on_a_terminal_until_q(running):
    """It draws on a screen of its own, and leaves the terminal as it was."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [DART, "top", "--interval", "0.1", "--state-dir", running.state_dir],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}, start_new_session=True,
    )  # fmt: skip
    try:
        shown = b""
        while shown.count(b"\x1b[H") < 3:
            shown += os.read(ours, 65536)
        assert b"red-2" in shown
        os.write(ours, b"q")
        assert process.wait(20) == 0
        assert termios.tcgetattr(theirs) == before
        os.set_blocking(ours, False)
        assert (os.read(ours, 65536)).endswith(b"\x1b[?1049l")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def told(running, *words: object, code: int = 0) -> object:
    """What a command prints as JSON."""
    done = subprocess.run(
        [DART, *map(str, words), "--json", "--state-dir", running.state_dir],
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_progress_has_rate_and_time_left(running):
    """Of results, and of what is sent; on a terminal."""
    subprocess.run(
        [DART, "job", "add", "many", "--module", "calls", "--method", "echo", "--state-dir", running.state_dir],
        check=True, capture_output=True,
    )  # fmt: skip
    file = running.folder / "many.jsonl"
    file.write_text('{"parameter": 1}\n' * 300)
    here = ("--state-dir", running.state_dir)
    assert "300/300" in on_a_terminal("task", "add", "many", "--file", file, *here)
    assert "300/300" in on_a_terminal("job", "wait", "many", *here)
    assert told(running, "job", "wait", "many")["succeeded"] == 300
    file.write_text("1\n" * 50)
    shown = on_a_terminal("run", "calls:echo", "--params", file, *here)
    assert "50/50" in shown
    assert "/s" in shown
    # At the end it is how long all took; `tests/unit/cli/test_progress.py` sees it count down.
    assert re.search(r"\d:\d\d:\d\d", shown)


def test_waiting_for_a_job_tells_how_it_ended(running):
    """Exit code 1 where one failed, or the time was over."""
    words = ("--module", "calls", "--method", "nothing")
    subprocess.run([DART, "job", "add", "bad", *words, "--state-dir", running.state_dir], check=True)
    told(running, "task", "add", "bad", "--parameter", "1")
    assert told(running, "job", "wait", "bad", code=1)["failed"] == 1
    told(running, "task", "add", "bad", "--parameter", "1", "--location", "gone")
    assert told(running, "job", "wait", "bad", "--seconds", "0.1", code=1)["open"] == 1


def test_blobs_go_to_the_server_and_back(running, tmp_path):
    """By their hash, with a bar on a terminal; a wrong hash is told."""
    file = tmp_path / "model.bin"
    file.write_bytes(bytes(range(256)) * 4096)
    here = ("--state-dir", running.state_dir)
    shown = on_a_terminal("blob", "put", file, *here)
    assert "1.0/1.0 MB" in shown
    (row,) = told(running, "blob", "put", file)
    reference = subprocess.run(
        [DART, "blob", "put", file, "--reference", *here], capture_output=True, text=True, check=True
    )
    assert json.loads(reference.stdout) == {"__dart__": "blob", "sha256": row["sha256"], "bytes": file.stat().st_size}
    told(running, "blob", "get", row["sha256"], tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == file.read_bytes()
    for sha256, code in (("00" * 32, 1), ("abc", 2)):
        words = [DART, "blob", "get", sha256, tmp_path / "none", *here]
        assert subprocess.run(words, capture_output=True, check=False).returncode == code
    assert not (tmp_path / "none").exists()


def test_lists_are_followed(running):
    """First what is, then what comes; nothing in between is lost."""
    here = ("--state-dir", running.state_dir)
    told(running, "job", "add", "old", "--module", "calls", "--method", "echo")
    with subprocess.Popen(
        [DART, "job", "list", "--follow", "--json", *here], stdout=subprocess.PIPE, text=True
    ) as process:
        assert "name" in json.loads(process.stdout.readline())
        subprocess.run([DART, "job", "add", "new", "--module", "calls", "--method", "echo", *here], check=True)
        while (line := json.loads(process.stdout.readline())).get("event") != "job":
            assert "name" in line
        assert (line["job"], line["state"]) == ("new", "defined")
        process.terminate()


def test_help_loads_neither_the_sdk_nor_rich():
    """What costs time is counted, not timed: `dart --help` and completion load click and little else."""
    code = (
        "import sys; from dart.cli.main import main; main(['--help']); "
        "print(sorted({'dart_client', 'urllib3', 'rich', 'zmq', 'msgpack', 'dart.cli.options'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_done_is_told_as_json_too(running):
    """What people read as a sentence, programs read as members."""
    words = ("--module", "calls", "--method", "echo")
    assert told(running, "job", "add", "told", *words) == {"name": "told", "state": "defined"}
    (task,) = told(running, "task", "add", "told", "--parameter", "1", "--location", "gone")
    assert told(running, "task", "cancel", "told", task["id"])["cancelled"] == 1
    assert told(running, "job", "stop", "told")["state"] == "stopped"
    assert told(running, "job", "purge", "told") == {"purged": ["told"]}
