"""A bundle for this very machine: built twice, checked, unpacked, run in a Python that has nothing installed."""

import platform
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from harness.bundled import built, clean_environment, dart, unpacked
from harness.cluster import cluster
from harness.modules import write_modules

PLATFORM = f"linux_{platform.machine()}"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
MODULE = """
    import sys

    def path(parameter):
        return [sys.path, sorted(name for name in sys.modules if "zmq" in name or name.split(".")[0] == "dart")]
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """One with all that is needed."""
    file = tmp_path_factory.mktemp("bundle") / "agent.tar.gz"
    told = built(file, PLATFORM, python=PYTHON)
    assert (told["platform"], told["needs"]) == (PLATFORM, "")
    return file


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """A Python without pip or any package."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python3"
    tried = subprocess.run(
        [python, "-c", "import zmq"], capture_output=True, check=False, env=clean_environment(), timeout=60
    )
    assert b"No module named 'zmq'" in tried.stderr
    return python


def test_the_same_wheels_make_the_same_bytes(bundle, tmp_path):
    """Also on another day and in another folder."""
    again = built(tmp_path / "other.tar.gz", PLATFORM, python=PYTHON)
    assert (tmp_path / "other.tar.gz").read_bytes() == bundle.read_bytes()
    assert (tmp_path / "other.tar.gz.sha256").read_text() == f"{again['sha256']}  other.tar.gz\n"


def test_an_agent_runs_from_it_with_nothing_else(bundle, bare_python, tmp_path):
    """It enrols, joins and runs a task; all that it imports comes from the bundle or from Python itself."""
    folder = unpacked(bundle, tmp_path / "host")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dart-agent").symlink_to(folder / "dart-agent")
    environment = clean_environment(
        DART_PYTHON=str(bare_python), PYTHONPROFILEIMPORTTIME="1", PYTHONPATH=str(tmp_path / "nowhere")
    )
    config = write_modules(tmp_path, here=MODULE)
    with cluster(tmp_path) as running:
        agent = running.start_agent(
            "bundled", config=config, program=(str(tmp_path / "bin/dart-agent"),), environment=environment
        )
        maps = Path(f"/proc/{agent.pid}/maps").read_text()
        done = dart(
            "run", "here:path", "--params", _one_parameter(tmp_path), "--location", "bundled", "-o", "json",
            "--state-dir", running.state_dir,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert str(folder) not in done.stdout, "a task finds nothing of the bundle"
        assert running.end(agent) == 0
    log = next(tmp_path.glob("agent-*.log")).read_text()
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", log, re.MULTILINE))
    assert {"dart.agent.app", "dart.wire.codec", "zmq", "msgpack"} <= imported
    strangers = {name for name in imported if name.split(".")[0] not in {*sys.stdlib_module_names, "zmq", "msgpack"}}
    # The standard library's pickle asks for a module of Jython.
    assert {name.split(".")[0] for name in strangers} <= {"dart", "org"}
    others = ("dart.broker", "dart.cli", "dart.deploy", "dart.rest", "dart.server", "dart.state_directory")
    assert {name for name in strangers if name.startswith(others)} == set()
    libraries = {line.split()[-1] for line in maps.splitlines() if "libzmq" in line or "_zmq." in line}
    assert libraries
    assert all(library.startswith(str(folder)) for library in libraries), libraries


def test_what_no_python_can_start_says_why(bundle, tmp_path):
    """Each Python that was tried has its reason; none at all is a reason too."""
    folder = unpacked(bundle, tmp_path / "host")
    old = tmp_path / "old" / "python3"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\necho "this is Python 3.5; 3.11 is needed"\nexit 1\n')
    old.chmod(0o755)
    for environment, said in (
        ({"PATH": f"{old.parent}:{_programs(tmp_path)}"}, "python3: this is Python 3.5; 3.11 is needed"),
        ({"PATH": str(_programs(tmp_path))}, "none was found: apt install python3"),
        ({"DART_PYTHON": "/bin/false"}, "/bin/false: does not start"),
    ):
        done = subprocess.run(
            ["/bin/sh", folder / "dart-agent", "--help"],
            capture_output=True, text=True, check=False, timeout=60, env=clean_environment(**environment),
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr, done.stderr


def test_its_library_is_checked_before_the_start(bundle, bare_python, tmp_path):
    """One that does not load here is told in a sentence, with what the bundle was made for."""
    folder = unpacked(bundle, tmp_path / "host")
    for library in (folder / "lib").rglob("*_zmq*.so"):
        library.write_bytes(b"\x7fELF of another machine")
    done = subprocess.run(
        [folder / "dart-agent", "--help"],
        capture_output=True, text=True, check=False, timeout=60, env=clean_environment(DART_PYTHON=str(bare_python)),
    )  # fmt: skip
    assert done.returncode == 1
    assert f"the bundle for {PLATFORM} does not load in this" in done.stderr, done.stderr


def test_a_damaged_one_is_refused(bundle, tmp_path):
    """By its digest, and where there is none by what is in it; exit code 1 and a sentence."""
    whole = dart("bundle", "verify", bundle)
    assert whole.returncode == 0, whole.stderr
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "agent.tar.gz"
    damaged.write_bytes(data)
    for beside in (True, False):
        if beside:
            Path(f"{damaged}.sha256").write_text(Path(f"{bundle}.sha256").read_text())
        else:
            Path(f"{damaged}.sha256").unlink()
        done = dart("bundle", "verify", damaged)
        assert (done.returncode, done.stdout) == (1, "")
        assert "SHA-256" in done.stderr if beside else "damaged" in done.stderr, done.stderr


def test_wheels_are_taken_from_a_folder(bundle, tmp_path):
    """Then nothing else is asked, and a folder without the wheel is an error that says what to do."""
    house = tmp_path / "house"
    house.mkdir()
    empty = dart("bundle", "--platform", PLATFORM, "--python", PYTHON, "--wheelhouse", house, cwd=tmp_path)
    assert empty.returncode == 2
    assert "--host-pyzmq" in empty.stderr
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", house,
            "pyzmq>=24.0.1", "msgpack>=1.0.3",
        ],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    told = built(tmp_path / "agent.tar.gz", PLATFORM, "--wheelhouse", house, python=PYTHON)
    assert told["needs"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--platform"),
        (["--platform", "amiga"], "linux_armv7l"),
        (["--platform", PLATFORM, "--python", "3.9"], "3.11"),
        (["--platform", PLATFORM, "--output", "a", "--output", "b"], "two files"),
    ],
)
def test_wrong_usage_is_told(words, said, tmp_path):
    """Exit code 2, and what there is."""
    done = dart("bundle", *words, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def _one_parameter(folder: Path) -> Path:
    file = folder / "params.jsonl"
    file.write_text("null\n")
    return file


def _programs(folder: Path) -> Path:
    """A folder with what the start script calls, and no Python."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name in ("dirname", "readlink"):
        link = programs / name
        if not link.exists():
            link.symlink_to(f"/usr/bin/{name}")
    return programs
