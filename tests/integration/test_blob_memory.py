"""A large blob from a client's disk to a task, and from a task's to a client's: four processes, none of which grows.

`make blob-memory MIB=2048` is the long form.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from dart_client import BlobReference, Client
from harness.cluster import cluster
from harness.processes import children

MIB = 1 << 20
SIZE_MIB = int(os.environ.get("BLOB_MIB", "256"))
GROWTH_MIB_MAX = 64
MODULE = """
import hashlib, os
import dart_task

def pid(_):
    return os.getpid()

def make(parameter):
    with open("/dev/urandom", "rb") as source:
        piece = source.read(1 << 20)
    with open(parameter["path"], "wb") as file:
        for number in range(parameter["mib"]):
            file.write(number.to_bytes(8, "big") + piece[8:])
    return {"model": dart_task.put_blob(parameter["path"]), "mib": parameter["mib"]}

def digest(parameter):
    found = hashlib.sha256()
    with dart_task.open_blob(parameter) as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()
"""
PUSH = """
import resource, sys
from dart_client import Client
state, source = sys.argv[1:]
with Client(state_dir=state) as client:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reference = client.put_blob(source)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(reference.sha256.hex())
"""


PULL = """
import resource, sys
from dart_client import Client
state, sink = sys.argv[1:]
with Client(state_dir=state, timeout=600) as client:
    (result,) = client.job("make").results()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client.get_blob(result.value()["model"], sink)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def most_memory(pid):
    """The most that a process ever had in memory, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def test_no_process_grows_with_a_blob_on_its_way(tmp_path, capsys):
    """Client, server, agent and runner each stay within 64 MiB of what they had before."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "m.py").write_text(MODULE)
    source, piece, digest = tmp_path / "model", os.urandom(MIB), hashlib.sha256()
    with source.open("wb") as file:
        for number in range(SIZE_MIB):
            part = number.to_bytes(8, "big") + piece[8:]
            digest.update(part)
            file.write(part)
    with cluster(tmp_path) as running, Client(state_dir=running.state_dir, timeout=600) as client:
        agent = running.start_agent("w", "--module-prefix", str(tmp_path / "modules"))
        runner = client.job("pid", "m", "pid").submit(None, "w").result(60)
        pids = {"server": running.server.process.pid, "agent": agent.pid, "runner": runner}
        assert runner in children(agent.pid)
        before = {name: most_memory(pid) for name, pid in pids.items()}
        command = [sys.executable, "-c", PUSH, str(running.state_dir), str(source)]
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout.split()
        source.unlink()
        (blob,) = (running.state_dir / "blobs").iterdir()
        assert blob.name == told[1] == digest.hexdigest()
        reference = BlobReference(digest.digest(), SIZE_MIB * MIB)
        job = client.job("digest", "m", "digest")
        assert job.submit(reference, "w").result(600) == digest.hexdigest()
        grown = {name: (most_memory(pid) - before[name]) / MIB for name, pid in pids.items()}
        grown["client"] = int(told[0]) / 1024
        made = client.job("make", "m", "make").submit({"path": str(source), "mib": SIZE_MIB}, "w").result(600)
        source.unlink()
        command = [sys.executable, "-c", PULL, str(running.state_dir), str(tmp_path / "pulled")]
        pulled = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
        assert (tmp_path / "pulled").stat().st_size == made["model"].size == SIZE_MIB * MIB
        back = {name: (most_memory(pid) - before[name]) / MIB for name, pid in pids.items()}
        back["client"] = int(pulled) / 1024
    with capsys.disabled():
        for way, sizes in (("to a task", grown), ("to a task and back", back)) if SIZE_MIB > 256 else ():
            print(f"\na blob of {SIZE_MIB} MiB {way} costs", {name: f"{size:.1f} MiB" for name, size in sizes.items()})
    assert max(*grown.values(), *back.values()) < GROWTH_MIB_MAX, (grown, back)
