"""Blobs that tasks make, from a real runner into a real cache."""

import hashlib
import os
import queue
from dataclasses import replace

import pytest

from dart.agent.blob_cache import BlobCache
from dart.agent.blob_events import BlobMade, Later
from dart.agent.events import RunnerDied
from dart.errors import TaskErrorCode
from dart.limits import Limits
from dart.wire import values
from dart.wire.values import BlobReference
from harness.supervision import lease, supervision

MIB = 1 << 20
MODULE = """
import os
import dart_task

def put(path):
    return {"file": dart_task.put_blob(path), "bytes": dart_task.put_blob(bytearray(b"abc"))}

def large(amounts):
    return {"list": [b"x" * amount for amount in amounts], "tuple": (1, "text")}

def array(amount):
    import numpy
    return numpy.zeros(amount, "u1")

def survives(size):
    try:
        dart_task.put_blob(bytes(size))
    except dart_task.BlobError as error:
        return [error.code, str(error)]

def let_through(size):
    return dart_task.put_blob(bytes(size))

def child(_):
    pid = os.fork()
    if not pid:
        try:
            dart_task.put_blob(b"x")
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def rogue(questions):
    from dart_task import _State
    for kind, size in questions:
        _State.channel.send(kind, _State.reference, 0, 0.0, 1, 0, bytes(size))
    import time
    time.sleep(60)
"""


@pytest.fixture
def runner(tmp_path):
    """A supervisor whose runners have a cache of 16 MiB, and results of 4 MiB inline."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "m.py").write_text(MODULE)
    told = queue.SimpleQueue()
    limits = {"value_bytes_max": 4 * MIB, "blob_cache_bytes_max": 16 * MIB}
    cache = BlobCache(tmp_path / "blobs", replace(Limits(), **limits), told.put)
    with supervision(tmp_path, limits=limits, blobs=cache) as running:
        turn = running.turn

        def with_blobs(seconds_max):
            turn(min(seconds_max, 0.01))
            while not told.empty():
                event = told.get()
                if isinstance(event, Later):
                    event.call()
                else:
                    running.events.append(event)

        running.turn = with_blobs
        running.start()
        yield running
    cache.close()


def test_files_and_bytes_become_blobs(runner, tmp_path):
    """In the cache under their hashes, and the core knows of them before the result."""
    data = os.urandom(3 * MIB)
    (tmp_path / "source").write_bytes(data)
    value = runner.value("m", "put", str(tmp_path / "source"))
    assert value["file"] == BlobReference(hashlib.sha256(data).digest(), len(data))
    assert value["bytes"] == BlobReference(hashlib.sha256(b"abc").digest(), 3)
    assert [event.size for event in runner.of(BlobMade)] == [len(data), 3]
    assert (tmp_path / "blobs" / value["file"].sha256.hex()).read_bytes() == data


def test_results_beyond_the_bound_become_blobs_by_themselves(runner, tmp_path):
    """Only their large parts; each is the encoded value."""
    value = runner.value("m", "large", [3 * MIB, 2 * MIB, 100])
    first, second, small = value["list"]
    assert (first.encoded, second.encoded, small, value["tuple"]) == (True, True, b"x" * 100, [1, "text"])
    stored = (tmp_path / "blobs" / second.sha256.hex()).read_bytes()
    assert hashlib.sha256(stored).digest() == second.sha256
    assert stored == values.encode(b"x" * 2 * MIB)
    reference = runner.value("m", "array", 5 * MIB)
    decoded = values.decode((tmp_path / "blobs" / reference.sha256.hex()).read_bytes(), opaque=True)
    assert (decoded.dtype, decoded.shape) == ("|u1", (5 * MIB,))


def test_results_within_it_stay_as_they_are(runner):
    """Whoever reads them needs to know nothing of blobs."""
    assert runner.value("m", "large", [2 * MIB])["list"] == [b"x" * 2 * MIB]
    assert not runner.of(BlobMade)


def test_without_room_the_task_hears_it(runner):
    """It may go on; an error that it lets through has its own code."""
    code, text = runner.value("m", "survives", 17 * MIB)
    assert code == TaskErrorCode.BLOB_UNAVAILABLE
    assert "blob_cache_bytes_max" in text
    code, text = runner.error("m", "let_through", 17 * MIB)
    assert code == TaskErrorCode.BLOB_UNAVAILABLE
    assert "BlobError" in text


def test_a_child_process_cannot_put(runner):
    """Its parent's answers are not its own to give."""
    assert runner.value("m", "child") == 7


@pytest.mark.parametrize("questions", [[(5, 32)], [(4, 8), (4, 8)]], ids=["a blob without room", "without waiting"])
def test_who_does_not_keep_to_the_format_is_ended(runner, questions):
    """One question at a time, each where it is due."""
    runner.supervisor.give(0, (lease(1, "m", "rogue", questions),))
    runner.until(lambda: runner.of(RunnerDied), "it was not ended")
    assert "wrote into a descriptor" in runner.of(RunnerDied)[0].reason
