"""Hosts of a foreign architecture that have no pyzmq, over SSH: the operator's folder of wheels has it."""

import zipfile
from pathlib import Path

from crossarch.installation import JOIN_SECONDS, MODULE, Installation
from crossarch.test_bundle_there import PLATFORMS, host
from dart.wire import values
from harness.cluster import MARK, cluster
from harness.foreign import ForeignPython
from harness.historic import HistoricClient
from harness.modules import write_modules
from harness.sshd import needs_sshd, sshds

PYTHONS = ("python3", "python3.11", "python3.12", "python3.13", "python3.14")
SLOW = {"DART_LIMIT_SSH_JOIN_SECONDS": str(JOIN_SECONDS)}


def wheel_of(foreign: ForeignPython, folder: Path) -> None:
    """The distribution's pyzmq as `pip wheel` makes it there: it needs the libzmq that the host has."""
    information = "pyzmq-24.0.1.dist-info"
    tag = f"cp311-cp311-{PLATFORMS[foreign.architecture]}"
    with zipfile.ZipFile(folder / f"pyzmq-24.0.1-{tag}.whl", "w") as wheel:
        for path in sorted((foreign.packages / "zmq").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                wheel.write(path, path.relative_to(foreign.packages))
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: pyzmq\nVersion: 24.0.1\n")
        wheel.writestr(f"{information}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        wheel.writestr(f"{information}/RECORD", "")


@needs_sshd
def test_a_host_without_pyzmq_gets_it_from_the_wheelhouse(foreign: ForeignPython, tmp_path: Path):
    """A folder without its wheel is told with platform and Python; with it the agent comes up and works."""
    bare = host(foreign, tmp_path, "msgpack", "zmq")
    programs, wheels = tmp_path / "programs", tmp_path / "wheels"
    programs.mkdir()
    wheels.mkdir()
    for name in PYTHONS:
        (programs / name).symlink_to(bare.python)
    path = f"{programs}:/usr/bin:/bin"
    with (
        sshds(tmp_path / "ssh", 1, PATH=path, **{MARK: str(tmp_path)}) as hosts,
        cluster(
            tmp_path, *hosts.options(), "--ssh-wheelhouse", str(wheels), environment={**hosts.environment(), **SLOW}
        ) as running,
    ):
        (there,) = hosts.hosts
        config = write_modules(there.home, there=MODULE)
        client = HistoricClient(running.server.url, running.server.key)
        answer = client.call("POST", "/worker/", name="w", hosts=hosts.names)
        assert answer.status_code == 502
        assert f"{wheels} has no wheel of pyzmq" in answer.text
        assert f"for {PLATFORMS[foreign.architecture]} and Python 3.11" in answer.text

        wheel_of(foreign, wheels)
        client.good("POST", "/worker/", name="w", hosts=hosts.names)
        (seen,) = Installation(foreign, running, config).exchange("word_and_order", [values.encode(None)], "w")
        facts = client.good("GET", "/worker/w/")["worker"]["agents"][0]["facts"]
        assert isinstance(seen, bytes), seen
        assert values.decode(seen) == [int(facts["word_bits"]), facts["byte_order"]]
        client.good("DELETE", "/worker/", hosts=hosts.names)
        assert client.workers() == []
