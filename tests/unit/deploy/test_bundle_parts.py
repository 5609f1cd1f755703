"""What goes into a bundle: platforms and their wheels, the agent's files, and the check that runs on the host."""

import hashlib
import io
import json
import subprocess
import sys
import tomllib
import types
import zipfile
from pathlib import Path

import pytest

import dart
from dart.deploy import bundle, bundle_check, wheels
from dart.deploy.agent_files import agent_files
from dart.deploy.bundles import Bundles
from dart.deploy.platforms import NAMES, Target, target
from dart.deploy.wheels import LEAST, installed_msgpack, read_wheel, runs_from
from dart.errors import ConfigError, DamagedFileError, HostUnreachableError
from dart.limits import Limits

PROJECT = Path(__file__).parents[3]
ARM = Target("linux_armv7l", (3, 11))


def wheel(**files):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for path, data in files.items():
            archive.writestr(path.replace("__", "/"), data)
    return sink.getvalue()


def test_platforms_have_tags_best_first():
    """The newest C library that such hosts have comes first, the plain name of self-built wheels last."""
    assert target("linux_x86_64", "3.11").tags[:2] == ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64")
    assert target("linux_armv7l", "3.13").tags[-2:] == ("manylinux2014_armv7l", "linux_armv7l")
    assert target("musllinux_aarch64", "3.12").tags == ("musllinux_1_2_aarch64", "musllinux_1_1_aarch64")
    assert all(target(name, "3.11").tags for name in NAMES)


@pytest.mark.parametrize("python", ["3.10", "2.7", "3", "3.11.2", "", "3.111", "four"])
def test_other_pythons_are_refused(python):
    """The agent runs on 3.11 and later."""
    with pytest.raises(ConfigError, match=r"3\.11"):
        target("linux_x86_64", python)


def test_other_platforms_are_refused_with_a_list():
    """All that are known are named."""
    with pytest.raises(ConfigError, match="linux_armv7l"):
        target("windows", "3.11")


def test_oldest_versions_are_those_of_the_project():
    """What the bundle demands of a host is what the package demands."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    demanded = dict(line.split(">=") for line in project["dependencies"])
    assert {name: demanded[name] for name in LEAST} == LEAST


def test_the_agents_files_are_the_agents_only():
    """All modules of the agent, those that it imports, and nothing of the server, the command line or the SDK."""
    files = agent_files()
    source = PROJECT / "src"
    own = {path.relative_to(source).as_posix() for path in (source / "dart/agent").rglob("*.py")}
    assert own < files.keys()
    assert {"dart/__init__.py", "dart/wire/values.py", "dart/limits.py"} < files.keys()
    others = {path.split("/")[1] for path in files} - {"agent", "wire"}
    assert not others & {"broker", "cli", "deploy", "rest", "server.py", "state_directory.py"}
    assert all(data == (source / path).read_bytes() for path, data in files.items())


def test_a_wheel_is_unpacked():
    """All files that it has."""
    package = read_wheel("pyzmq", "pyzmq-27.0.0-cp311-cp311-linux_armv7l.whl", wheel(zmq__a="1", pyzmq_libs__b="2"))
    assert (package.version, package.files) == ("27.0.0", {"zmq/a": b"1", "pyzmq_libs/b": b"2"})


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("msgpack-1.0-cp311-cp311-any.whl", wheel(a="1"), "no wheel of pyzmq"),
        ("pyzmq-1.tar.gz", wheel(a="1"), "no wheel of pyzmq"),
        ("pyzmq-1-cp311-cp311-x.whl", b"PK", "cannot be read"),
        ("pyzmq-1-cp311-cp311-x.whl", wheel(**{"/etc/x": "1"}), "another place"),
        ("pyzmq-1-cp311-cp311-x.whl", wheel(**{"a/../../x": "1"}), "another place"),
        ("pyzmq-1-cp311-cp311-x.whl", wheel(**{"pyzmq-1.data/scripts/x": "1"}), "another place"),
    ],
)
def test_other_wheels_are_refused(file, data, reason):
    """Of another package, damaged, or with files for elsewhere."""
    with pytest.raises(DamagedFileError, match=reason):
        read_wheel("pyzmq", file, data)


def test_a_wheel_that_grows_is_refused(monkeypatch):
    """Before it is unpacked."""
    monkeypatch.setattr(wheels, "_BYTES_MAX", 10)
    with pytest.raises(DamagedFileError, match="more than 10 bytes"):
        read_wheel("pyzmq", "pyzmq-1-cp311-cp311-x.whl", wheel(a="1" * 11))


@pytest.mark.parametrize(
    ("file", "files", "runs"),
    [
        ("pyzmq-27.0-cp311-cp311-linux_armv7l.whl", {"zmq/_zmq.cpython-311-x.so": b""}, ((3, 11), True)),
        ("pyzmq-27.0-cp312-abi3-linux_armv7l.whl", {"zmq/_zmq.abi3.so": b""}, ((3, 12), False)),
        ("pyzmq-27.0-py3-none-any.whl", {"zmq/a.py": b""}, None),
        ("pure Python", {"msgpack/a.py": b""}, None),
    ],
)
def test_a_wheel_tells_which_python_it_runs_on(file, files, runs):
    """One version, that and all later ones, or any."""
    assert runs_from(wheels.Package("pyzmq", "27.0", file, files)) == runs


def test_the_installed_msgpack_is_taken_without_its_compiled_part():
    """It is Python alone, and imports so."""
    package = installed_msgpack()
    assert {"msgpack/__init__.py", "msgpack/fallback.py"} < package.files.keys()
    assert not any(".so" in path for path in package.files)


def build(tmp_path, **options):
    chosen = {"wheelhouse": None, "host_pyzmq": True, **options}
    return bundle.build(ARM, tmp_path / "agent.tar.gz", Limits(), **chosen)


def test_a_bundle_is_built_checked_and_recognised(tmp_path):
    """Without any wheel, so without any network; its digest lies beside it."""
    info = build(tmp_path)
    assert (info.platform, info.python, info.needs) == ("linux_armv7l", "3.11+", "pyzmq >= 24.0.1")
    assert bundle.verify(tmp_path / "agent.tar.gz", Limits()) == (info, True)
    assert (tmp_path / "agent.tar.gz.sha256").read_text() == f"{info.sha256}  agent.tar.gz\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agent.tar.gz", "agent.tar.gz.sha256"]
    assert build(tmp_path).sha256 == info.sha256


@pytest.mark.parametrize(("pyzmq", "python"), [("cp311-cp311", "3.11"), ("cp312-abi3", "3.12+"), ("py3-none", "3.11+")])
def test_pyzmq_decides_which_python_it_runs_on(tmp_path, monkeypatch, pyzmq, python):
    """One version, or that and later ones; msgpack runs on any, if need be without its compiled part."""
    made = {
        "pyzmq": wheels.Package("pyzmq", "27.0", f"pyzmq-27.0-{pyzmq}-x.whl", {"zmq/_zmq.so": b""}),
        "msgpack": wheels.Package("msgpack", "1.1", "msgpack-1.1-cp313-cp313-x.whl", {"msgpack/_c.so": b""}),
    }
    monkeypatch.setattr(bundle, "fetch", lambda name, *_: made[name])
    assert build(tmp_path, host_pyzmq=False).python == python


def test_a_digest_decides(tmp_path):
    """The one given counts before the one beside; without any nobody is told that it was compared."""
    info = build(tmp_path)
    file = tmp_path / "agent.tar.gz"
    assert bundle.verify(file, Limits(), sha256=info.sha256.upper()) == (info, True)
    with pytest.raises(DamagedFileError, match="SHA-256"):
        bundle.verify(file, Limits(), sha256="0" * 64)
    (tmp_path / "agent.tar.gz.sha256").write_text("\n")
    with pytest.raises(DamagedFileError, match="SHA-256"):
        bundle.verify(file, Limits())
    (tmp_path / "agent.tar.gz.sha256").unlink()
    assert bundle.verify(file, Limits()) == (info, False)


def test_files_that_are_none(tmp_path):
    """Missing, too large, of other makers; and a place where nothing can be written."""
    with pytest.raises(ConfigError, match="No such file"):
        bundle.verify(tmp_path / "none", Limits())
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(DamagedFileError, match="bundle_bytes_max"):
        bundle.verify(tmp_path / "large", Limits(bundle_bytes_max=10))
    with pytest.raises(DamagedFileError, match="not as dart bundle makes it"):
        bundle.verify(tmp_path / "large", Limits())
    (tmp_path / "other").write_bytes(bundle.pack("a", {}, {"version": "1"}))
    with pytest.raises(DamagedFileError, match="cannot be understood"):
        bundle.verify(tmp_path / "other", Limits())
    with pytest.raises(ConfigError, match="cannot be written"):
        build(tmp_path / "nowhere")


def test_a_wheelhouse_without_a_wheel_is_an_error(tmp_path):
    """It is never made up for by what pip is configured for, nor silently by the host's own."""
    with pytest.raises(ConfigError, match="--host-pyzmq"):
        build(tmp_path, wheelhouse=tmp_path, host_pyzmq=False)
    with pytest.raises(ConfigError, match="is no folder"):
        build(tmp_path, wheelhouse=tmp_path / "none", host_pyzmq=False)


def test_a_server_takes_wheels_from_its_wheelhouse(tmp_path, monkeypatch):
    """Once for each kind of host, and only where the host has no pyzmq of its own."""
    made = {name: wheels.Package(name, "27.0", f"{name}-27.0-py3-none-any.whl", {}) for name in LEAST}
    asked = []
    monkeypatch.setattr(bundle, "fetch", lambda name, _, wheelhouse: asked.append((name, wheelhouse)) or made[name])
    bundles = Bundles(tmp_path / "made", Limits(), tmp_path)
    assert bundles.get(ARM, host_pyzmq=True)[0].needs == "pyzmq >= 24.0.1"
    assert asked == []
    info, data = bundles.get(ARM, host_pyzmq=False)
    assert (info.needs, info.sha256) == ("", hashlib.sha256(data).hexdigest())
    assert bundles.get(ARM, host_pyzmq=False) == (info, data)
    assert asked == [("pyzmq", tmp_path), ("msgpack", tmp_path)]


def test_an_index_that_cannot_be_reached_is_no_index_without_wheels(monkeypatch):
    """From pip both look the same; a question whose answer is known tells them apart."""
    said = iter(["No matching distribution found for pyzmq.", "No matching distribution found for pyzmq."])
    monkeypatch.setattr(wheels, "_pip", lambda *_, **__: next(said))
    with pytest.raises(HostUnreachableError, match="--wheelhouse"):
        wheels.fetch("pyzmq", ARM, None)
    said = iter(["No matching distribution found for pyzmq.", None])
    assert wheels.fetch("pyzmq", ARM, None) is None
    said = iter(["the disk is full."])
    with pytest.raises(HostUnreachableError, match="the disk is full"):
        wheels.fetch("pyzmq", ARM, None)


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("WARNING: x\nERROR: first\nERROR: last one.\n", "last one."),
        ("/usr/bin/python3: No module named pip", f"{sys.executable} has no pip"),
        ("", "exit code 1."),
    ],
)
def test_pips_last_word_is_told(monkeypatch, output, complaint):
    """In a sentence, without what it warns of."""
    done = subprocess.CompletedProcess([], 1, "", output)
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: done)
    assert wheels._pip("download", name="pyzmq", target=ARM).startswith(complaint)


def test_pip_is_not_waited_for_for_ever(monkeypatch):
    """It has ten minutes."""

    def run(*_, **__):
        raise subprocess.TimeoutExpired([], 600)

    monkeypatch.setattr(wheels.subprocess, "run", run)
    assert wheels._pip("download", name="pyzmq", target=ARM) == "it was not done after 600 s."


MANIFEST = {
    "python_least": list(sys.version_info[:2]), "python_exact": False, "platform": "linux_x", "of_host": {},
}  # fmt: skip
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def zmq_of(version, *, curve=True):
    module = types.ModuleType("zmq")
    module.__version__ = version
    module.pyzmq_version_info = lambda: tuple(int(part) for part in version.split("."))
    module.has = lambda feature: feature != "curve" or curve
    return module


@pytest.mark.parametrize(
    ("manifest", "zmq", "reason"),
    [
        ({"python_least": [3, 99]}, None, f"this is Python {HERE}; 3.99 is needed"),
        ({"python_least": [3, 9], "python_exact": True}, None, f"was made for 3.9 (dart bundle --python {HERE}"),
        ({"of_host": {"pyzmq": "24.0.1"}}, None, "apt install python3-zmq"),
        ({}, None, "the bundle for linux_x does not load in this 64-bit Python"),
        ({"of_host": {"pyzmq": "24.0.1"}}, zmq_of("22.3.0"), "its pyzmq is 22.3.0; 24.0.1 or later is needed"),
        ({"of_host": {"pyzmq": "24.0.1"}}, zmq_of("24.0.1", curve=False), "without CURVE"),
        ({"of_host": {"pyzmq": "24.0.1"}}, zmq_of("24.0.1"), None),
        ({"python_exact": True}, zmq_of("27.0.0"), None),
    ],
)
def test_the_check_on_the_host_says_what_is_missing(monkeypatch, manifest, zmq, reason):
    """One sentence a Python, with what to do."""
    monkeypatch.setitem(sys.modules, "zmq", zmq)
    said = bundle_check.fault({**MANIFEST, **manifest})
    assert said is None if reason is None else reason in said, said


@pytest.mark.parametrize(("of_host", "options"), [({}, "-P -s -S\n"), ({"pyzmq": "24.0.1"}, "-P -s\n")])
def test_the_check_names_the_options_to_start_with(monkeypatch, tmp_path, capsys, of_host, options):
    """Where nothing of the host is needed, nothing that is installed there is in the way."""
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, "of_host": of_host}))
    monkeypatch.setattr(bundle_check, "HERE", str(tmp_path))
    monkeypatch.setattr(sys, "path", ["script", *sys.path])
    assert bundle_check.main() == 0
    assert capsys.readouterr().out == options
    assert sys.path[0] == str(tmp_path / "lib")
    monkeypatch.setitem(sys.modules, "zmq", None)
    assert bundle_check.main() == 1


def test_the_version_is_that_of_the_package(tmp_path):
    """As its name says."""
    assert build(tmp_path).version == dart.__version__
    assert bundle.default_name(ARM) == f"dart-agent-{dart.__version__}-linux_armv7l-python3.11.tar.gz"
