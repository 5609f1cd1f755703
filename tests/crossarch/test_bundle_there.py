"""The bundle of a foreign architecture, on a host that has Python, and pyzmq where there is no wheel of it."""

import subprocess
from pathlib import Path

import pytest

from crossarch.installation import JOIN_SECONDS, RESULT_SECONDS
from dart.wire import values
from harness import foreign_root
from harness.bundled import built, clean_environment, dart, unpacked
from harness.cluster import read_line
from harness.foreign import ForeignPython

PLATFORMS = {"armhf": "linux_armv7l", "arm64": "linux_aarch64", "s390x": "linux_s390x", "i386": "linux_i686"}
OF_HOST = {"armhf", "s390x"}
"""No wheel of pyzmq is made for these."""


@pytest.fixture(scope="module")
def bundle(foreign, tmp_path_factory) -> Path:
    """Made here, for there; it says what the host must have."""
    file = tmp_path_factory.mktemp("bundle") / "agent.tar.gz"
    told = built(file, PLATFORMS[foreign.architecture])
    assert told["needs"] == ("pyzmq >= 24.0.1" if foreign.architecture in OF_HOST else "")
    assert dart("bundle", "verify", file).returncode == 0
    return unpacked(file, file.parent / "host")


def host(foreign, folder: Path, *without: str) -> ForeignPython:
    """A root of that architecture without these packages; its agents import nothing of this repository."""
    root = foreign_root.copied(foreign.root, folder / "root", without=without)
    return ForeignPython(foreign.architecture, root)


def test_a_task_runs_from_the_bundle(installation, foreign, bundle, tmp_path):
    """It joins by a token, on a host with Python, with its own pyzmq where needed, and nothing else."""
    bare = host(foreign, tmp_path, "msgpack", *(() if foreign.architecture in OF_HOST else ("zmq",)))
    missing = bare.run("-c", "import msgpack", environment={"PYTHONPATH": ""})
    assert "No module named 'msgpack'" in missing.stderr
    with installation.client() as client:
        token = client.make_token("bundled", local=True)["text"]
    # As on another machine: it knows nothing of the server but the token.
    agent, log = installation.running._spawn(
        "host", str(bundle / "dart-agent"), "--config", str(installation.config), "--home", str(tmp_path / "home"),
        environment=clean_environment(DART_PYTHON=str(bare.python), DART_JOIN_TOKEN=token),
    )  # fmt: skip
    assert read_line(agent, seconds=JOIN_SECONDS, log=log) == "joined bundled slots 1"
    value = {"weights": [1.5, -0.0, 2**64 - 1], "name": "é"}
    (back,) = installation.exchange("echo", [values.encode(value)], "bundled")
    assert back == values.encode(value)
    assert installation.running.end(agent, seconds=RESULT_SECONDS) == 0


def test_a_host_without_pyzmq_is_told_what_to_install(foreign, bundle, tmp_path):
    """In one sentence, before anything is started; where the bundle has its own, nothing is missing."""
    bare = host(foreign, tmp_path, "msgpack", "zmq")
    done = subprocess.run(
        [bundle / "dart-agent", "--help"], capture_output=True, text=True, check=False, timeout=JOIN_SECONDS,
        env=clean_environment(DART_PYTHON=str(bare.python)),
    )  # fmt: skip
    if foreign.architecture in OF_HOST:
        assert done.returncode == 1
        assert "pyzmq is missing" in done.stderr
        assert done.stderr.rstrip().endswith("apt install python3-zmq")
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert "--name NAME" in done.stdout
