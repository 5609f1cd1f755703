"""The owner's modules and the runner's parts do not get into each other's way, in whichever Python."""

import importlib.util
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import msgpack
import pytest

from dart.agent import events
from dart.errors import TaskErrorCode
from harness.modules import write_modules
from harness.supervision import lease, supervision

VECTORS = Path(__file__).parents[1] / "vectors"
NAMES = ("json", "random", "msgpack", "values", "dart_task", "runner", "struct", "os", "signal", "mmap")
ECHO = "def echo(p): return p"


def older_python():
    """A Python 3.9 of this machine, or None."""
    found = [shutil.which("python3.9"), *map(str, Path.home().glob(".pyenv/versions/3.9*/bin/python3.9"))]
    for path in filter(None, found):
        run = subprocess.run([path, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=False)
        if run.returncode == 0 and Path(run.stdout.strip(), "bin", "python3").exists():
            return Path(run.stdout.strip())
    return None


def bare_python(folder):
    """A Python without any site-packages."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "python3"
    script.write_text(f'#!/bin/sh\nexec {sys._base_executable} -S -I "$@"\n')
    script.chmod(0o755)
    return folder


@pytest.fixture(scope="module", params=["own", "3.9", "venv", "venv with msgpack", "bare"])
def home(request, tmp_path_factory):
    """The `python_home` of various owners."""
    folder = tmp_path_factory.mktemp("home")
    if request.param == "own":
        return None
    if request.param == "3.9":
        found = older_python()
        return found or pytest.skip("there is no Python 3.9 on this machine")
    if request.param.startswith("venv"):
        venv.create(folder, with_pip=False, symlinks=True)
        if "msgpack" in request.param:
            (packages,) = folder.glob("lib/python*/site-packages")
            shutil.copytree(Path(msgpack.__file__).parent, packages / "msgpack")
        return folder
    return bare_python(folder)


@pytest.fixture(scope="module")
def runner(home, tmp_path_factory):
    """A runner in that Python, with a module folder full of names that are already taken."""
    folder = tmp_path_factory.mktemp("runner")
    for name in NAMES:
        (folder / "modules" / name).parent.mkdir(exist_ok=True)
        (folder / "modules" / f"{name}.py").write_text("def f(p): return ['the owner', __name__]")
    write_modules(
        folder,
        echo=ECHO,
        looks="""
            import sys
            def f(p):
                ours = [n for n in sys.modules if n.split(".")[0] in ("dart", "zmq") or n == "msgpack._cmsgpack"]
                places = [p for p in sys.path if "site-packages" in p or "dist-packages" in p or "/dart" in p]
                return [list(sys.version_info[:2]), sys.prefix, ours, places]
        """,
        uses="""
            import json, random, struct, os, signal, mmap, traceback, subprocess, tempfile, multiprocessing, pickle
            import dart_task
            def f(p):
                return [json.dumps([1]), 0 <= random.random() < 1, len(struct.pack("I", 1)), dart_task.worker]
            def fails(p): raise ValueError("with a traceback")
            def to_memory(p): return len(p)
        """,
    )
    with supervision(folder, python_home=home) as held:
        held.start()
        yield held


@pytest.mark.parametrize("name", NAMES)
def test_a_module_may_have_any_name(runner, name):
    """It runs, and nobody else gets it for the module that it is called after."""
    # A name that means nothing else to this Python is kept.
    taken = importlib.util.find_spec(name) is not None and name not in ("msgpack", "values", "dart_task", "runner")
    who, called = runner.value(name, "f")
    assert who == "the owner"
    assert called in ({f"/{name}"} if taken or name == "dart_task" else {name, f"/{name}"})
    assert runner.value("uses", "f") == ["[1]", True, 4, "worker-1"]
    assert "with a traceback" in runner.error("uses", "fails")[1]
    assert runner.value("uses", "to_memory", bytes(100_000)) == 100_000


def test_nothing_of_ours_is_in_sight(runner, home):
    """No package of the agent can be imported by accident, and the Python is the one that was named."""
    version, prefix, ours, places = runner.value("looks", "f")
    facts = runner.of(events.RunnerReady)[0].facts
    assert facts["python"].startswith("{}.{}.".format(*version))
    assert facts["implementation"] == "CPython"
    if home is not None:
        assert ours == []
        agents = [str(Path(name).parent.parent) for name in (json.__file__, sys.modules["dart"].__file__)]
        assert not [place for place in places if place.startswith((*agents, str(Path(sys.prefix) / "lib")))]
        assert prefix != sys.prefix


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_tasks_may_use_processes_of_their_own(home, tmp_path, method):
    """Whether they are forked or started anew and import the module by its name."""
    write_modules(
        tmp_path,
        pools="""
            import multiprocessing
            def double(n): return 2 * n
            def f(method):
                with multiprocessing.get_context(method).Pool(2) as pool:
                    return pool.map(double, range(5))
        """,
    )
    with supervision(tmp_path, python_home=home) as held:
        held.start()
        assert held.value("pools", "f", method) == [0, 2, 4, 6, 8]


def test_the_owners_msgpack_is_the_owners(home, tmp_path):
    """Where the owner's Python has msgpack, extension types go through it as if we were not there."""
    write_modules(
        tmp_path,
        packs="""
            def f(p):
                try: import msgpack
                except ImportError: return "none"
                there = msgpack.unpackb(msgpack.packb(msgpack.ExtType(5, b"x")))
                return [type(there) is msgpack.ExtType, msgpack.Packer.__module__]
        """,
    )
    with supervision(tmp_path, python_home=home) as held:
        held.start()
        assert held.value("packs", "f") in ("none", [True, "msgpack._cmsgpack"])


def test_values_are_the_same_there(runner):
    """Every vector that goes in comes out, byte for byte; what must be refused is."""
    vectors = json.loads((VECTORS / "values.json").read_text())
    # Pickles are not allowed, and the blobs are nowhere.
    apart = ("$pickle", "$blob")
    good = [v for v in vectors if v.get("written", True) and not any(tag in str(v["value"]) for tag in apart)]
    good = [bytes.fromhex(v["hex"]) for v in good]
    bad = [bytes.fromhex(v["hex"]) for v in json.loads((VECTORS / "refused.json").read_text())["values"]]
    first = 1 + max(runner.results())
    for number, data in enumerate(good + bad, first):
        runner.supervisor.give(0, (lease(number, "echo", "echo")._replace(parameter=data),))
    last = first + len(good + bad) - 1
    runner.until(lambda: last in runner.results(), "not all came back")
    results = [runner.results()[number] for number in range(first, last + 1)]
    assert [result.payload.hex() for result in results[: len(good)]] == [data.hex() for data in good]
    assert {result.error_code for result in results[len(good) :]} == {
        TaskErrorCode.REFUSED,
        TaskErrorCode.POLICY_REFUSED,
    }
    assert len(good) > 50
    assert bad


def test_a_runner_is_small(tmp_path):
    """A generous bound; an import that is not needed still shows."""
    write_modules(tmp_path, echo=ECHO)
    with supervision(tmp_path, python_home=bare_python(tmp_path)) as held:
        held.start()
        pid = held.supervisor._slots[0].runner.pid
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes = sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
        maps = Path(f"/proc/{pid}/maps").read_text()
    assert kilobytes < 14_000
    assert "_ctypes" not in maps
    assert "_ssl" not in maps
