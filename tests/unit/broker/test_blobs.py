"""Blobs on disk: checked, kept under a bound, gone on with, and removed when nobody uses them."""

import errno
import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dart.broker.store import blobs as module
from dart.broker.store.blobs import Blobs
from dart.errors import (
    ConfigError,
    ConflictError,
    InvalidRequestError,
    LimitError,
    StoreError,
    TooLargeError,
    UnavailableError,
)
from dart.limits import Limits
from dart.wire import values
from dart.wire.blob_references import MARK, named_in

DATA = b"model" * 1000
SHA256 = hashlib.sha256(DATA).digest()
LIMITS = Limits(store_spare_bytes=0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


def put(blobs, data=DATA, *, sha256=None, who="me", offset=0, total=None):
    """Upload these bytes, or a part of them."""
    sha256 = sha256 or hashlib.sha256(data).digest()
    upload = blobs.begin(sha256, who, offset=offset, total=len(data) if total is None else total)
    try:
        upload.write(data)
        upload.finish()
    finally:
        upload.close()
    return sha256


def cut(blobs, count, who="me"):
    """An upload whose link breaks after so many bytes."""
    with pytest.raises(InvalidRequestError, match=f"Of {len(DATA)} bytes {count} came"):
        put(blobs, DATA[:count], sha256=SHA256, who=who, total=len(DATA))


def on_disk(folder):
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.iterdir())


def test_it_is_kept_for_its_owner_alone_and_known_after_a_restart(folder):
    """0600 in 0700, and nothing else lies there; the same bytes are found again."""
    blobs = Blobs(folder, LIMITS)
    assert put(blobs) == SHA256
    assert [path.name for path in folder.iterdir()] == [SHA256.hex()]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / SHA256.hex()).stat().st_mode) == 0o600
    (folder / "notes").write_text("not ours")
    again = Blobs(folder, LIMITS)
    assert (len(again), again.size(SHA256), again.bytes) == (1, len(DATA), len(DATA))
    with again.open(SHA256) as file:
        assert file.read() == DATA
    folder.chmod(0o755)
    with pytest.raises(ConfigError, match="open to other users"):
        Blobs(folder, LIMITS)


def test_what_is_not_here(folder):
    """Neither has it a size, nor can it be opened, also if somebody took the file away."""
    blobs = Blobs(folder, LIMITS)
    assert (blobs.size(SHA256), blobs.open(SHA256), blobs.uploaded(SHA256, "me")) == (None, None, 0)
    put(blobs)
    (folder / SHA256.hex()).unlink()
    assert blobs.open(SHA256) is None
    blobs.keep_times()


def test_a_hash_is_never_believed(folder):
    """Other bytes under this name are dropped at once, also when only the rest of them is wrong."""
    blobs = Blobs(folder, LIMITS)
    with pytest.raises(InvalidRequestError, match="SHA-256"):
        put(blobs, b"x" * len(DATA), sha256=SHA256)
    assert (on_disk(folder), blobs.bytes, blobs.size(SHA256)) == (0, 0, None)
    cut(blobs, 100)
    part = next(folder.iterdir())
    part.write_bytes(b"X" + part.read_bytes()[1:])
    with pytest.raises(InvalidRequestError, match="SHA-256"):
        put(blobs, DATA[100:], sha256=SHA256, offset=100, total=len(DATA))
    assert (on_disk(folder), blobs.bytes) == (0, 0)


def test_a_cut_upload_goes_on(folder):
    """From where it broke, also after a restart, and only that of the same key."""
    cut(Blobs(folder, LIMITS), 100)
    blobs = Blobs(folder, LIMITS)
    assert (blobs.uploaded(SHA256, "me"), blobs.uploaded(SHA256, "other"), blobs.bytes) == (100, 0, 100)
    with pytest.raises(ConflictError) as refused:
        blobs.begin(SHA256, "me", offset=99, total=len(DATA))
    assert refused.value.details["offset"] == 100
    with pytest.raises(ConflictError):
        blobs.begin(SHA256, "other", offset=100, total=len(DATA))
    put(blobs, DATA[100:], sha256=SHA256, offset=100, total=len(DATA))
    assert (on_disk(folder), blobs.bytes, blobs.size(SHA256)) == (len(DATA), len(DATA), len(DATA))


def test_an_upload_begins_anew(folder):
    """What was there is not counted twice."""
    blobs = Blobs(folder, LIMITS)
    cut(blobs, 100)
    put(blobs)
    assert (on_disk(folder), blobs.bytes) == (len(DATA), len(DATA))


def test_two_uploads_of_one_blob(folder):
    """With one key the second waits; with two both go well, and it is stored once."""
    blobs = Blobs(folder, LIMITS)
    first = blobs.begin(SHA256, "me", offset=0, total=len(DATA))
    with pytest.raises(ConflictError, match="being uploaded"):
        blobs.begin(SHA256, "me", offset=0, total=len(DATA))
    put(blobs, who="other")
    first.write(DATA)
    first.finish()
    first.close()
    assert (len(blobs), on_disk(folder), blobs.bytes) == (1, len(DATA), len(DATA))


def test_more_than_was_announced(folder):
    """Is refused, and nothing of it is kept."""
    blobs = Blobs(folder, LIMITS)
    with pytest.raises(InvalidRequestError, match="More than the 9 bytes"):
        put(blobs, total=9)
    assert (on_disk(folder), blobs.bytes) == (0, 0)


def test_bounds_and_a_full_disk(folder, monkeypatch):
    """One blob, all of them, and the room that the database needs; each refusal says what to do."""
    with pytest.raises(TooLargeError, match="blob_bytes_max"):
        put(Blobs(folder, replace(LIMITS, blob_bytes_max=10)))
    with pytest.raises(LimitError, match="blobs_bytes_max"):
        put(Blobs(folder, replace(LIMITS, blobs_bytes_max=10)))
    with pytest.raises(UnavailableError, match="nearly full"):
        put(Blobs(folder, Limits(store_spare_bytes=1 << 62)))
    blobs = Blobs(folder, LIMITS)

    def fail(number):
        def call(_descriptor):
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr(module.os, "fsync", fail(errno.ENOSPC))
    with pytest.raises(UnavailableError, match="nearly full"):
        put(blobs)
    monkeypatch.setattr(module.os, "fsync", fail(errno.EIO))
    with pytest.raises(StoreError, match="cannot be written"):
        put(blobs)
    assert blobs.size(SHA256) is None


def test_a_disk_that_fills_while_it_is_written(folder):
    """What came is dropped, since it takes the room that others need. /dev/full is such a disk."""
    blobs = Blobs(folder, LIMITS)
    upload = blobs.begin(SHA256, "me", offset=0, total=len(DATA))
    with Path("/dev/full").open("r+b", buffering=0) as full:
        upload._file.close()
        upload._file = full
        with pytest.raises(UnavailableError, match="nearly full"):
            upload.write(DATA)
        upload.close()
    assert (on_disk(folder), blobs.bytes, blobs.uploaded(SHA256, "me")) == (0, 0, 0)


def test_what_stands_in_the_way(folder):
    """A link in place of an upload is not followed, and the upload can be tried again."""
    blobs = Blobs(folder, LIMITS)
    part = folder / module._part_name(SHA256, "me")
    part.symlink_to("/dev/null")
    with pytest.raises(StoreError):
        put(blobs)
    part.unlink()
    put(blobs)


def test_only_what_nobody_used_goes(folder):
    """Whoever names or reads a blob keeps it; an interrupted upload goes, one that runs stays."""
    blobs = Blobs(folder, replace(LIMITS, blob_idle_seconds=3600))
    other = put(blobs, b"other")
    put(blobs)
    cut_one = hashlib.sha256(b"cut")
    blobs.begin(cut_one.digest(), "me", offset=0, total=3).close()
    running = blobs.begin(cut_one.digest(), "other", offset=0, total=3)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    blobs = Blobs(folder, replace(LIMITS, blob_idle_seconds=3600))
    blobs._writing.add(running._path.name)
    assert set(blobs.idle()) == {SHA256, other}
    blobs.note_use(values.encode({"weights": values.BlobReference(SHA256, len(DATA))}))
    assert blobs.idle() == [other]
    assert blobs.remove([SHA256, other]) == 1
    assert (len(blobs), blobs.bytes) == (1, len(DATA))
    assert sorted(path.name for path in folder.iterdir()) == sorted([SHA256.hex(), running._path.name])
    blobs.keep_times()
    assert (folder / SHA256.hex()).stat().st_mtime > 1
    running.close()


def test_references_are_found_without_reading_the_value():
    """Wherever they stand; a mark by chance names some hash, which does no harm."""
    first, second = values.BlobReference(b"\xc7" * 32, 1), values.BlobReference(SHA256, 2)
    assert named_in(values.encode([first, {"x": second}, "text"])) >= {b"\xc7" * 32, SHA256}
    assert named_in(values.encode("text")) == set()
    assert named_in(MARK + b"short") == {b"short"}
