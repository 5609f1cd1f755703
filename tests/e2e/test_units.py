"""`dart agent unit` and `dart server unit`: systemd takes what they print, and finds little to complain of."""

import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dart.cli.main import main
from dart.cli.unit import file_name, quoted

ORDINARY = "daemon" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name

ANALYZE = shutil.which("systemd-analyze")

needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")


@pytest.fixture
def dart(capsys):
    """Runs one command here: what it prints, or its complaint."""

    def run(*words, code=0):
        assert main(list(words)) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    return run


def analyze(*words):
    """What systemd-analyze thinks of it."""
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, check=False, timeout=60)


@needs_systemd
@pytest.mark.parametrize(
    ("words", "exposure_max"),
    [
        (("agent", "unit", "--name", "edge-1", "--user", ORDINARY), 2.5),
        (
            ("agent", "unit", "--name", 'é "$HOME" 50% \\', "--user", ORDINARY, "--slots", "4", "--capability", "a b"),
            2.5,
        ),
        (("agent", "unit", "--name", "edge-1", "--user", "root", "--output-directory", "/var/tmp/logs"), 3.5),
        (("server", "unit", "--user", ORDINARY, "--host", "::", "--agent-host", "::"), 2.0),
    ],
)
def test_systemd_takes_it_and_finds_it_hard(tmp_path, dart, words, exposure_max):
    """No complaint at all, and an exposure (0 to 10) below the bound."""
    dart(*words, "--install", "--unit-directory", str(tmp_path))
    (unit,) = tmp_path.iterdir()
    assert unit.stat().st_mode & 0o777 == 0o644
    verified = analyze("verify", unit)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    threshold = f"--threshold={exposure_max * 10:.0f}"
    judged = analyze("security", "--offline=true", "--no-pager", threshold, unit)
    assert judged.returncode == 0, judged.stdout
    assert float(re.search(r"exposure level for .*: ([\d.]+)", judged.stdout)[1]) <= exposure_max


@needs_systemd
def test_systemd_starts_the_very_words(tmp_path, dart):
    """Spaces, quotes, percent and dollar signs arrive as they are."""
    name = "é \"$HOME\" 50% \\ 'x'"
    text = dart("agent", "unit", "--name", name, "--user", ORDINARY)
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    unit = tmp_path / "words.service"
    unit.write_text(f"[Service]\n{line}\n")
    shown = analyze("verify", unit)
    assert shown.returncode == 0, shown.stderr
    assert quoted(name) in line
    assert quoted(name) == '"é \\"$$HOME\\" 50%% \\\\ \'x\'"'


def test_paths_decide_what_is_closed(dart):
    """Somebody's home is readable only if something lies there, /tmp private unless the logs go there."""
    text = dart("agent", "unit", "--name", "a", "--user", ORDINARY, "--output-directory", "/var/tmp/logs")
    assert "PrivateTmp=no\n" in text
    assert "ReadWritePaths=-/var/tmp/logs\n" in text
    assert "StateDirectory=dart/agents/a\n" in text
    assert "--home /var/lib/dart/agents/a" in text
    text = dart("agent", "unit", "--name", "a", "--user", ORDINARY, "--module-prefix", "/usr", "--home", "/srv/agent")
    assert "LogsDirectory=dart\n" in text
    assert "StateDirectory" not in text
    assert "ReadWritePaths=-/srv/agent\n" in text
    text = dart("server", "unit", "--user", ORDINARY, "--state-dir", "/home/x/state", "--host", "unix:/run/d/rest.sock")
    assert "ProtectHome=read-only\n" in text
    assert "ReadWritePaths=-/run/d\n" in text
    assert "--state-dir /home/x/state" in text


def test_no_token_gets_into_a_unit(dart):
    """Everybody can read it; the file with the token is named instead."""
    words = ("agent", "unit", "--name", "a", "--user", ORDINARY)
    assert "No such option" in dart(*words, "--token", "a-secret", code=2)
    assert "--token-file" in dart("agent", "unit", "--help")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("agent", "unit", "--name", "a", "--user", "no-such-user-here"), 2, "useradd --system no-such-user-here"),
        (("agent", "unit", "--user", ORDINARY), 2, "--name is missing"),
        (("agent", "unit", "--name", "a", "--slots", "x", "--user", ORDINARY), 2, "--slots"),
        (("server", "unit", "--legacy-key", "000", "--user", ORDINARY), 2, "dart key add"),
        (("server", "unit", "--user", ORDINARY, "--install", "--unit-directory", "/nowhere"), 1, "Run this as root"),
    ],
)
def test_what_cannot_be_meant_is_told_at_once(dart, words, code, told):
    """Not by a service that does not start; and no secret goes into a file that all can read."""
    assert told in dart(*words, code=code)


def test_units_of_different_agents_have_different_names():
    """Plain names stay as they are."""
    assert file_name("agent", "edge-1.b") == "dart-agent-edge-1.b"
    odd = [file_name("agent", name) for name in ("a b", "a_b ", "a/../b", "-a", "x" * 255, "ü")]
    assert len(set(odd)) == len(odd)
    assert all(re.fullmatch(r"[\w.-]{1,80}", name, re.ASCII) for name in odd)
    assert Path(odd[2]).name == odd[2]
