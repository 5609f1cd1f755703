"""What the README says of installing: this folder becomes a package whose command starts."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from harness.pages import ROOT, blocks

PROGRAM = """
from dart_client import Client, Job, TaskFuture

with Client("https://127.0.0.1:7777", "key", fingerprint="ab" * 32) as client:
    job: Job = client.job("count", "count_words", "count", retries=1)
    future: TaskFuture = job.submit({"text": "a b"}, location="here", timeout=60)
    print(future.result(timeout=10), future.task_id)
    for value in job.map([1, 2, 3]):
        print(value)
    job.submit(1, 7)  # type: ignore[arg-type]
    future.result(timeout="soon")  # type: ignore[arg-type]
    client.nothing()  # type: ignore[attr-defined]
"""
"""Right, but for the lines that say so; where nothing had types these would be complained of, too."""


def test_programs_of_users_are_checked_by_their_types(tmp_path: Path):
    """With the package as it is installed, and no setting of ours."""
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "program.py"],
        cwd=tmp_path, capture_output=True, check=False, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.startswith("Success"), done.stdout + done.stderr


def test_what_the_readme_installs_is_whole_and_starts(tmp_path: Path):
    """By pip, from this folder, with what the README names; what it needs is here already, so only DART is brought."""
    first, _ = [it.text for it in blocks(ROOT / "README.md") if "pip install" in it.text]
    (what,) = re.findall(r"pip install -q '([^']+)'", first)
    into = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-compile",
         "--target", into, what],
        cwd=ROOT, check=True, timeout=120,
    )  # fmt: skip
    for package, source in (("dart", ROOT / "src"), ("dart_client", ROOT / "clients" / "python")):
        ours = {it.relative_to(source) for it in (source / package).rglob("*.py")}
        assert {it.relative_to(into) for it in (into / package).rglob("*.py")} == ours
        assert (into / package / "py.typed").exists()
    done = subprocess.run(
        [sys.executable, into / "bin" / "dart", "help", "--exit-codes"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(into)}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert "Wrong or missing options" in done.stdout


def test_the_file_for_another_machine_is_made_and_needs_little(tmp_path: Path):
    """By the words of the README, found by its pattern; commands that need the packages of `[server]` say so."""
    page = blocks(ROOT / "README.md")
    (making,) = [it.text for it in page if "pip wheel" in it.text]
    (pattern,) = {name for it in page for name in re.findall(r"\S+\.whl", it.text)}
    words = shlex.split(making.replace("~/dart-env/bin/pip", "-m pip").replace("~/dart", str(ROOT)))
    subprocess.run([sys.executable, *words, "--no-build-isolation"], cwd=tmp_path, check=True, timeout=120)
    (wheel,) = tmp_path.glob("*")
    assert wheel.match(pattern)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    absent = [re.split("[><=]", name)[0] for name in project["optional-dependencies"]["server"]]
    run = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); sys.modules.update(dict.fromkeys({absent!r}))\n"
        "from dart.cli.main import main\n"
        "for words in ('agent status', 'worker list', 'doctor', 'server start'):\n"
        "    print('code', main(words.split()), flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", run],
        cwd=tmp_path, env=os.environ | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)},
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert re.findall("^code (.)$", done.stdout, re.MULTILINE) == ["1", "3", "1", "1"]
    assert "No server runs with the state directory" in done.stderr
    assert "install DART again with `[server]`" in done.stderr
    assert "Traceback" not in done.stderr
