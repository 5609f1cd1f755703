"""Large values through the SDK: a link that is cut, files that were changed, and the memory that it takes."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dart.state_directory import find_local_server
from dart_client import BlobReference, Client, DartError, UnknownBlobError
from harness.cluster import cluster
from harness.cutting_proxy import CuttingProxy

DATA = os.urandom(3 << 20)
SHA256 = hashlib.sha256(DATA).digest()
MIB = 1 << 20

PUSH_AND_PULL = """
import hashlib, os, resource, sys
from dart_client import Client
state, source, target = sys.argv[1:]
with Client(state_dir=state) as client:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reference = client.put_blob(source)
    client.get_blob(reference, target)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("blobs")) as it:
        yield it


def test_a_cut_link_costs_only_what_was_on_its_way(running, tmp_path):
    """Up and down it goes on where it broke; progress is told and never goes back to the beginning."""
    server = find_local_server(running.state_dir)
    told = []
    with (
        CuttingProxy(server.url, after_bytes=2 * MIB) as proxy,
        Client(proxy.url, server.key, fingerprint=server.fingerprint) as client,
    ):
        reference = client.put_blob(DATA, progress=lambda done, _: told.append(done))
        assert reference == BlobReference(SHA256, len(DATA))
        assert proxy.cuts == 1
        assert proxy.sent_up < len(DATA) + 2 * MIB
        assert max(told) == len(DATA)
        proxy.cut_again()
        target = tmp_path / "model"
        assert client.get_blob(reference, target) == len(DATA)
        assert proxy.cuts == 2
        assert proxy.sent_down < len(DATA) + 2 * MIB
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_there_is_not_sent_again(running, tmp_path):
    """From whichever file or bytes it comes."""
    source = tmp_path / "model"
    source.write_bytes(DATA)
    with Client(state_dir=running.state_dir) as client:
        first = client.put_blob(DATA)
        folder = running.state_dir / "blobs"
        before = (folder / SHA256.hex()).stat().st_ino
        assert client.put_blob(source) == client.put_blob(memoryview(DATA)) == first
        assert (folder / SHA256.hex()).stat().st_ino == before
        assert [path.name for path in folder.iterdir()] == [SHA256.hex()]
        empty = client.put_blob(b"")
        assert client.get_blob(empty, io.BytesIO()) == 0


def test_what_is_damaged_or_missing_is_noticed(running, tmp_path):
    """Nothing of it is left in the file that was asked for."""
    with Client(state_dir=running.state_dir) as client:
        reference = client.put_blob(b"data" * 1000)
        path = running.state_dir / "blobs" / reference.sha256.hex()
        path.write_bytes(b"DATA" + path.read_bytes()[4:])
        with pytest.raises(DartError, match="another hash"):
            client.get_blob(reference, tmp_path / "model")
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(UnknownBlobError):
            client.get_blob(BlobReference(b"\1" * 32, 5), io.BytesIO())


def test_no_process_grows_with_a_blob(running, tmp_path):
    """256 MiB up and down: neither server nor client needs 64 MiB more than before, at their peak."""
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        for number in range(256):
            file.write(bytes([number]) * MIB)
    pid = find_local_server(running.state_dir).pid
    before = peak_bytes(pid)
    command = [sys.executable, "-c", PUSH_AND_PULL, str(running.state_dir), str(source), str(target)]
    grown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert int(grown) * 1024 < 64 * MIB
    assert peak_bytes(pid) - before < 64 * MIB
    assert target.stat().st_size == 256 * MIB


def peak_bytes(pid):
    """The most memory that a process ever had."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
