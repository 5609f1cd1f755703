"""The agent's cache of blobs on a real disk: found again, gone on with, checked, thrown away in the right order."""

import hashlib
import os
import queue

import pytest

from dart.agent.blob_cache import BlobCache
from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobGone,
    BlobHere,
    BlobLack,
    BlobLet,
    BlobReady,
    BlobWrite,
)
from dart.agent.made_blobs import Missing
from dart.limits import Limits

SECONDS = 10.0


def blob(letter, size=1000):
    data = letter.encode() * size
    return hashlib.sha256(data).digest(), data


class Held:
    """A cache and what it tells."""

    def __init__(self, folder, bytes_max=2500):
        self.told = queue.SimpleQueue()
        self.cache = BlobCache(folder, Limits(blob_cache_bytes_max=bytes_max), self.told.put)

    def does(self, *orders):
        """The event that follows the last of these."""
        for order in orders:
            self.cache.do(order)
        return self.told.get(timeout=SECONDS)

    def fill(self, letter, size=1000):
        """Bring a blob in whole, and let it go."""
        sha256, data = blob(letter, size)
        assert self.does(BlobFind(sha256, size)) == BlobHere(sha256, 0)
        assert self.does(BlobWrite(sha256, 0, data)) == BlobReady(sha256)
        self.lets(sha256)
        return sha256

    def lets(self, sha256):
        """Let one go."""
        assert self.does(BlobLet(sha256)) == BlobGone(sha256)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture
def make(folder):
    made = []

    def make(**options):
        made.append(Held(folder, **options))
        return made[-1]

    yield make
    for held in made:
        held.cache.close()


def read(cache, sha256):
    descriptor = cache.open(sha256)
    try:
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def test_a_blob_comes_in_pieces_and_is_found_again(make, folder):
    """Each piece is told; whole and right it can be opened, now and after a restart; only the owner may read it."""
    held = make()
    sha256, data = blob("a")
    assert held.does(BlobFind(sha256, 1000)) == BlobHere(sha256, 0)
    assert held.does(BlobWrite(sha256, 0, data[:400])) == BlobHere(sha256, 400)
    with pytest.raises(Missing):
        held.cache.open(sha256)
    assert held.does(BlobWrite(sha256, 400, memoryview(data)[400:])) == BlobReady(sha256)
    assert read(held.cache, sha256) == data
    assert (folder / sha256.hex()).stat().st_mode & 0o77 == 0
    held.cache.close()
    assert make().does(BlobFind(sha256, 1000)) == BlobReady(sha256)


def test_what_is_half_here_is_gone_on_with(make):
    """After a cut, and by the next process; what comes for another place is not written."""
    held = make()
    sha256, data = blob("a")
    held.does(BlobFind(sha256, 1000))
    held.does(BlobWrite(sha256, 0, data[:400]))
    held.lets(sha256)
    assert held.does(BlobFind(sha256, 1000)) == BlobHere(sha256, 400)
    held.cache.close()
    held = make()
    assert held.does(BlobFind(sha256, 1000)) == BlobHere(sha256, 400)
    assert held.does(BlobWrite(sha256, 0, data), BlobWrite(sha256, 400, data[400:])) == BlobReady(sha256)


def test_damage_is_noticed(make, folder):
    """On the way, in what was kept of an earlier process, and of a whole file; nothing of it stays."""
    held = make()
    sha256, data = blob("a")
    held.does(BlobFind(sha256, 1000))
    fault = held.does(BlobWrite(sha256, 0, bytes(1000)))
    assert isinstance(fault, BlobFault)
    assert fault.damaged
    assert list(folder.iterdir()) == []
    held.fill("a")
    held.cache.close()
    (folder / sha256.hex()).write_bytes(data[:-1] + b"x")
    held = make()
    assert held.does(BlobFind(sha256, 1000)) == BlobHere(sha256, 0)
    held.does(BlobWrite(sha256, 0, data[:400]))
    held.cache.close()
    part = folder / f"{sha256.hex()}.part"
    part.write_bytes(b"x" * 400)
    held = make()
    held.does(BlobFind(sha256, 1000))
    assert isinstance(held.does(BlobWrite(sha256, 400, data[400:])), BlobFault)
    part.write_bytes(data * 2)
    held.cache.close()
    assert make().does(BlobFind(sha256, 1000)) == BlobHere(sha256, 0)


def test_what_a_task_changed_reaches_no_other(make, folder):
    """A task of the agent's own user may write to what it reads; nobody gets that afterwards."""
    held = make()
    sha256 = held.fill("a")
    assert held.does(BlobFind(sha256, 1000)) == BlobReady(sha256)
    with (folder / sha256.hex()).open("r+b") as file:
        file.write(b"y")
    os.utime(folder / sha256.hex(), (0, 0))
    with pytest.raises(Missing, match="was changed"):
        held.cache.open(sha256)
    held.lets(sha256)
    assert held.does(BlobFind(sha256, 1000)) == BlobHere(sha256, 0)


def test_those_go_first_that_were_not_used_for_longest(make, folder):
    """Use counts, not age; also over a restart. What tasks use never goes, and a new one waits for it."""
    held = make()
    first, second = held.fill("a"), held.fill("b")
    assert held.does(BlobFind(first, 1000)) == BlobReady(first)
    held.lets(first)
    held.cache.close()
    held = make()
    third = held.fill("c")
    assert {path.name for path in folder.iterdir()} == {first.hex(), third.hex()}
    assert held.does(BlobFind(first, 1000)) == BlobReady(first)
    assert held.does(BlobFind(third, 1000)) == BlobReady(third)
    assert held.does(BlobFind(second, 1000)) == BlobCrowded(second)
    held.lets(first)
    assert held.does(BlobFind(second, 1000)) == BlobHere(second, 0)
    assert {path.name for path in folder.iterdir()} == {third.hex(), f"{second.hex()}.part"}


def test_a_blob_that_never_fits_is_told(make):
    """With the limit that says so."""
    fault = make().does(BlobFind(bytes(32), 2501))
    assert isinstance(fault, BlobFault)
    assert not fault.damaged
    assert "blob_cache_bytes_max" in fault.reason


def test_an_empty_blob_is_ready_at_once(make):
    """Nothing has to come for it; an empty one of another name is damaged."""
    held = make()
    sha256 = hashlib.sha256().digest()
    assert held.does(BlobFind(sha256, 0)) == BlobReady(sha256)
    assert read(held.cache, sha256) == b""
    assert held.does(BlobFind(bytes(32), 0)).damaged


def test_why_a_blob_is_lacking_is_told_until_it_is_let_go(make):
    """To whoever opens it."""
    held = make()
    held.cache.do(BlobLack(bytes(32), 109, "the server does not have it"))
    with pytest.raises(Missing) as lacking:
        held.cache.open(bytes(32))
    assert (lacking.value.code, lacking.value.reason) == (109, "the server does not have it")
    held.lets(bytes(32))
    with pytest.raises(Missing) as lacking:
        held.cache.open(bytes(32))
    assert lacking.value.code == 112


def test_a_disk_that_fails_is_told(make, folder):
    """And that the disk is why."""
    held = make()
    sha256, _ = blob("a")
    folder.mkdir(mode=0o700)
    (folder / f"{sha256.hex()}.part").mkdir()
    fault = held.does(BlobFind(sha256, 1000))
    assert isinstance(fault, BlobFault)
    assert "cannot write it" in fault.reason


def test_strange_files_are_left_alone(make, folder):
    """They are nobody's blobs."""
    folder.mkdir(mode=0o700)
    (folder / "notes.txt").write_text("x" * 5000)
    make().fill("a")
    assert (folder / "notes.txt").exists()
