"""A database whose log was harmed after the server was killed."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from dart.broker.store.sqlite import SqliteStore
from dart.errors import StoreError
from dart.limits import Limits
from harness.store_samples import done, job, result_ids

RESULTS = 30


@pytest.fixture
def killed(tmp_path):
    """The files as a killed server leaves them: every result is in the log, nothing in the database."""
    path = tmp_path / "live" / "dart.db"
    store = SqliteStore(path, Limits())
    store.recover()
    store.commit([job(1)])
    for task_id in range(2, 2 + RESULTS):
        store.commit(done(1, task_id, payload=b"x" * 2000))
    copy = tmp_path / "copy"
    shutil.copytree(path.parent, copy)
    store.close()
    assert (copy / "dart.db-wal").stat().st_size > 100_000
    return copy / "dart.db"


def wal(path: Path) -> Path:
    return Path(f"{path}-wal")


def shm(path: Path) -> Path:
    return Path(f"{path}-shm")


def flip(file: Path, position: int) -> None:
    data = bytearray(file.read_bytes())
    data[position] ^= 0xFF
    file.write_bytes(data)


def frames(path: Path) -> int:
    return (wal(path).stat().st_size - 32) // (24 + 4096)


def open_and_count(path: Path) -> int:
    store = SqliteStore(path, Limits())
    try:
        store.recover()
        return len(result_ids(store, 1))
    finally:
        store.close()


def test_a_sound_log_is_taken(killed):
    """As after every kill, with the index and, as after a power loss, without."""
    assert open_and_count(killed) == RESULTS


def test_a_sound_log_without_its_index_is_taken(killed):
    """The index is made anew."""
    shm(killed).unlink()
    assert open_and_count(killed) == RESULTS


HARMS = {
    "a flipped bit in the middle": lambda path: flip(wal(path), wal(path).stat().st_size // 2),
    "a flipped bit in the last transaction": lambda path: flip(wal(path), wal(path).stat().st_size - 100),
    "a flipped bit in the header": lambda path: flip(wal(path), 9),
    "cut to half": lambda path: os.truncate(wal(path), wal(path).stat().st_size // 2),
    "cut inside the last frame": lambda path: os.truncate(wal(path), wal(path).stat().st_size - 50),
    "cut inside the header": lambda path: os.truncate(wal(path), 20),
    "emptied": lambda path: os.truncate(wal(path), 0),
    "deleted": lambda path: wal(path).unlink(),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS.keys())
def test_a_harmed_log_is_refused_and_left_alone(killed, harm):
    """However often it is tried; and what the message says to do does help."""
    harm(killed)
    before = {file.name: file.read_bytes() for file in killed.parent.iterdir()}
    for _ in range(2):
        with pytest.raises(StoreError, match=r"dart\.db-wal .*Restore a backup") as caught:
            SqliteStore(killed, Limits())
    assert {file.name: file.read_bytes() for file in killed.parent.iterdir()} == before
    command = caught.value.message.partition("without that part: ")[2]
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - the very line that a person would paste
    assert wal(killed).exists()
    assert open_and_count(killed) < RESULTS


@pytest.mark.parametrize("position", ["middle", "header"])
def test_damage_shows_without_the_index_too(killed, position):
    """Nothing but the log itself tells: by commits behind what cannot be read, or a header that is not whole."""
    shm(killed).unlink()
    flip(wal(killed), 9 if position == "header" else wal(killed).stat().st_size // 2)
    with pytest.raises(StoreError, match="Restore a backup"):
        SqliteStore(killed, Limits())
    assert not shm(killed).exists()


def test_an_unfinished_last_transaction_is_no_damage(killed, caplog):
    """As a power loss leaves it: its frames reached the disk in any order. It was not acknowledged, and is left out."""
    shm(killed).unlink()
    flip(wal(killed), 32 + (frames(killed) - 1) * (24 + 4096) + 500)
    assert open_and_count(killed) == RESULTS - 1
    assert "was not written whole" in caplog.text


def test_frames_of_an_earlier_generation_are_no_damage(killed):
    """A log is begun anew over the old one, whose frames still stand behind the new ones."""
    store = SqliteStore(killed, Limits())
    store.recover()
    for task_id in range(100, 400):
        store.commit(done(1, task_id, payload=b"x" * 20_000))
        store.settle()
    copy = killed.parent.parent / "second"
    shutil.copytree(killed.parent, copy)
    store.close()
    assert len(set(_salts(copy / "dart.db"))) > 1, "the log has frames of two generations"
    assert open_and_count(copy / "dart.db") == RESULTS + 300


def _salts(path: Path) -> list[bytes]:
    data = wal(path).read_bytes()
    (page,) = struct.unpack_from(">I", data, 8)
    return [data[position + 8 : position + 16] for position in range(32, len(data), 24 + page)]
