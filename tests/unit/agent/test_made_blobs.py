"""Blobs that tasks make, in the agent's cache on a real disk: written, kept, read, thrown away."""

import hashlib
import os
import queue

import pytest

from dart.agent.blob_cache import BlobCache
from dart.agent.blob_events import (
    BlobCrowded,
    BlobFind,
    BlobFree,
    BlobMade,
    BlobPin,
    BlobRead,
    BlobReady,
    Later,
    PieceRead,
)
from dart.agent.made_blobs import Missing
from dart.errors import TaskErrorCode
from dart.limits import Limits
from harness.agent_recorder import ref

SECONDS = 10.0
DATA = b"0123456789"
SHA256 = hashlib.sha256(DATA).digest()


class Held:
    """A cache, and what it tells; replies are carried out as the agent's loop does it."""

    def __init__(self, folder, bytes_max=25):
        self.told = queue.SimpleQueue()
        self.replies = []
        self.cache = BlobCache(folder, Limits(blob_cache_bytes_max=bytes_max), self.told.put)

    def hears(self):
        event = self.told.get(timeout=SECONDS)
        if isinstance(event, Later):
            event.call()
            return self.replies.pop()
        return event

    def room(self, size):
        number = self.cache.room(size, self.replies.append)
        return number, self.hears()

    def make(self, data=DATA, sha256=SHA256, size=None):
        """The events of a blob that task 1 makes."""
        number, descriptor = self.room(len(data) if size is None else size)
        os.write(descriptor, data)
        os.close(descriptor)
        self.cache.make(number, ref(1), sha256, self.replies.append)
        return self.hears()

    def made(self, data=DATA):
        sha256 = hashlib.sha256(data).digest()
        assert self.make(data, sha256) == BlobMade(ref(1), sha256, len(data))
        assert self.hears() is None
        return sha256


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture
def held(folder):
    held = Held(folder)
    yield held
    held.cache.close()


def test_a_blob_is_made_and_read(held, folder):
    """The core hears of it before the task does."""
    held.made()
    assert [path.name for path in folder.iterdir()] == [SHA256.hex()]
    held.cache.do(BlobRead(SHA256, 4, 3))
    assert held.hears() == PieceRead(SHA256, 4, 10, b"456")
    held.cache.do(BlobRead(SHA256, 8, 100))
    assert held.hears() == PieceRead(SHA256, 8, 10, b"89")


def test_tasks_get_it_when_it_has_its_hash(held):
    """What a task says of it is not believed."""
    held.made()
    held.cache.do(BlobFind(SHA256, 10))
    assert held.hears() == BlobReady(SHA256)
    os.close(held.cache.open(SHA256))
    wrong = hashlib.sha256(b"another").digest()
    held.make(DATA, wrong)
    held.hears()
    held.cache.do(BlobFind(wrong, 10))
    assert not isinstance(held.hears(), BlobReady)


def test_no_task_can_displace_what_others_need(held, folder):
    """Whoever makes what is here sound already is given that; a ready blob can still be opened."""
    held.made()
    held.cache.do(BlobFind(SHA256, 10))
    held.hears()
    assert held.make(b"other byte") == BlobMade(ref(1), SHA256, 10)
    assert held.hears() is None
    os.close(held.cache.open(SHA256))
    assert (folder / SHA256.hex()).read_bytes() == DATA
    assert "another SHA-256" in held.make(b"longer than it").reason
    assert [path.name for path in folder.iterdir()] == [SHA256.hex()]


def test_what_is_damaged_is_replaced_by_who_makes_it_again(held, folder):
    """Somebody said of other bytes that they had this hash."""
    held.make(b"other byte")
    held.hears()
    held.made()
    assert (folder / SHA256.hex()).read_bytes() == DATA


def test_what_is_kept_stays_and_what_is_not_goes_first(held):
    """Made twice, it is kept until it was let go twice."""
    held.made()
    held.made()
    held.cache.do(BlobFree(SHA256))
    _, refused = held.room(16)
    assert isinstance(refused, Missing)
    assert refused.code == TaskErrorCode.BLOB_UNAVAILABLE
    assert "16 bytes" in refused.reason
    held.cache.do(BlobFind(b"n" * 32, 16))
    assert isinstance(held.hears(), BlobCrowded)
    held.cache.do(BlobFree(SHA256))
    held.made(b"x" * 16)
    held.cache.do(BlobRead(SHA256, 0, 10))
    assert held.hears() == PieceRead(SHA256, 0, 0, b"")


def test_what_is_being_written_takes_room(held, folder):
    """Until it is given up, or its runner is gone."""
    number, descriptor = held.room(16)
    os.close(descriptor)
    assert isinstance(held.room(16)[1], Missing)
    held.cache.drop_room(number)
    number, descriptor = held.room(16)
    os.close(descriptor)
    held.cache.make(number, ref(1), b"", held.replies.append)
    assert isinstance(held.hears(), Missing)
    assert not list(folder.iterdir())


def test_another_size_than_was_said_is_refused(held, folder):
    """The file was changed while it was read."""
    refused = held.make(size=11)
    assert "10 bytes of it could be read, and not 11" in refused.reason
    assert not list(folder.iterdir())


def test_what_a_result_of_an_earlier_boot_names_is_kept(held, folder):
    """Files that were not finished go at the start."""
    held.made()
    held.room(5)
    held.cache.close()
    again = Held(folder)
    again.cache.do(BlobPin(SHA256, 10))
    assert isinstance(again.room(16)[1], Missing)
    again.cache.do(BlobRead(SHA256, 0, 10))
    assert again.hears() == PieceRead(SHA256, 0, 10, DATA)
    assert [path.name for path in folder.iterdir()] == [SHA256.hex()]
    again.cache.close()


def test_a_disk_that_does_not_work_is_told(held, folder):
    """To the task; what else is done goes on."""
    number, descriptor = held.room(10)
    os.close(descriptor)
    (folder / f"{number}.new").unlink()
    held.cache.make(number, ref(1), SHA256, held.replies.append)
    refused = held.hears()
    assert "cannot write it into its cache: No such file" in refused.reason
    held.made()
