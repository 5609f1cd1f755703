"""Blobs that results name, on the server's disk: written, gone on with, checked, refused."""

import asyncio
from hashlib import sha256

import pytest

from dart.broker import blob_arrivals
from dart.broker.blob_arrivals import BlobArrivals
from dart.broker.core.commands import LeaveAllBlobs, LeaveBlob, OpenBlob, WriteBlob
from dart.broker.core.events import BlobGrew, BlobKept, BlobRefused
from dart.broker.measures import Measures
from dart.broker.store.blobs import Blobs
from dart.limits import Limits

DATA = b"0123456789"
SHA256 = sha256(DATA).digest()


class Taken:
    """In the place of the service: keeps the events."""

    def __init__(self):
        self.events = []
        self.measures = Measures(lambda: 0.0)

    def post(self, events):
        self.events += events


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs", Limits())


def done(blobs, *orders):
    """What these orders lead to, one after the other, and then the end of the server."""
    taken = Taken()

    async def run():
        arrivals = BlobArrivals(blobs, taken)
        for order in orders:
            arrivals.do(order)
        if arrivals._task is not None:
            await arrivals._task
        await arrivals.close()

    asyncio.run(run())
    assert taken.measures.blob_bytes["from_agents"] == sum(len(it.data) for it in orders if isinstance(it, WriteBlob))
    return taken.events


def opened(number=1, size=10, digest=SHA256, agent="agent"):
    return OpenBlob(5, number, agent, digest, size)


def written(offset, data, number=1):
    return WriteBlob(5, number, "agent", SHA256, offset, memoryview(data))


def test_a_blob_is_written_piece_by_piece(blobs):
    """What is here is told after each; the last one makes it a blob."""
    events = done(blobs, opened(), written(0, DATA[:4]), written(4, DATA[4:]))
    assert events == [BlobGrew(5, 1, SHA256, 0), BlobGrew(5, 1, SHA256, 4), BlobKept(5, 1, SHA256)]
    with blobs.open(SHA256) as file:
        assert file.read() == DATA
    assert blobs.bytes == 10


def test_what_is_here_is_not_fetched(blobs):
    """Whoever sent it; an empty one needs nothing."""
    done(blobs, opened(), written(0, DATA))
    assert done(blobs, opened(2, agent="another")) == [BlobKept(5, 2, SHA256)]
    nothing = sha256(b"").digest()
    assert done(blobs, opened(3, 0, nothing)) == [BlobKept(5, 3, nothing)]


def test_what_came_before_a_cut_is_gone_on_with(blobs):
    """After LEAVE, and after a start; by that agent alone."""
    events = done(blobs, opened(), written(0, DATA[:4]), LeaveBlob("agent", SHA256), written(4, b"xx"), opened(2))
    assert events[2:] == [BlobGrew(5, 2, SHA256, 4)]
    assert done(blobs, opened(3), LeaveAllBlobs(), opened(4, agent="another")) == [
        BlobGrew(5, 3, SHA256, 4),
        BlobGrew(5, 4, SHA256, 0),
    ]
    assert done(blobs, opened(5), written(4, DATA[4:], 5))[-1] == BlobKept(5, 5, SHA256)


def test_a_piece_of_an_earlier_order_is_dropped(blobs):
    """It would stand in the wrong place."""
    assert done(blobs, opened(2), written(0, DATA, 1)) == [BlobGrew(5, 2, SHA256, 0)]


def test_what_has_another_hash_is_refused(blobs):
    """Nothing of it is kept."""
    events = done(blobs, opened(), written(0, b"x" * 10))
    assert events[1:] == [BlobRefused(5, 1, SHA256, "what came has another hash", later=False)]
    assert done(blobs, opened(2)) == [BlobGrew(5, 2, SHA256, 0)]


def test_a_shorter_size_than_before_begins_anew(blobs):
    """One of the two was wrong."""
    done(blobs, opened(), written(0, DATA[:4]))
    assert done(blobs, opened(2, 3)) == [BlobGrew(5, 2, SHA256, 0)]


def test_without_room_it_is_to_be_tried_later(tmp_path):
    """The reason names the limit."""
    blobs = Blobs(tmp_path / "blobs", Limits(blobs_bytes_max=5))
    (refused,) = done(blobs, opened())
    assert refused.later
    assert "blobs_bytes_max" in refused.reason


def test_files_open_at_a_time_are_bounded(blobs, monkeypatch):
    """The one opened first gives way, and is to be tried later."""
    monkeypatch.setattr(blob_arrivals, "_OPEN_MAX", 1)
    events = done(blobs, opened(), opened(2, digest=b"o" * 32))
    assert events[1:] == [
        BlobRefused(5, 1, SHA256, "The server writes many blobs at this moment.", later=True),
        BlobGrew(5, 2, b"o" * 32, 0),
    ]


def test_a_fault_of_ours_is_logged(blobs, caplog, monkeypatch):
    """The orders behind it are carried out all the same."""
    monkeypatch.setattr(blobs, "uploaded", lambda *_: 1 / 0)
    assert done(blobs, opened()) == []
    assert "should not be" in caplog.text
