"""Pieces of blobs at the broker's real socket: for whoever holds a task that names the blob, and for nobody else."""

import hashlib

import pytest

from dart.broker.blob_pieces import BlobPieces
from dart.broker.store.blobs import Blobs
from dart.ids import AttemptRef
from dart.limits import Limits
from dart.wire import values
from dart.wire.messages import Blob, BlobGet, Cancel, Heartbeat
from harness.broker_stack import CONFIG, broker, specs, until

LIMITS = Limits(blob_piece_bytes=100, blob_pieces_bytes_max=400)
DATA = bytes(range(250)) * 10
SHA256 = hashlib.sha256(DATA).digest()
OTHER = hashlib.sha256(b"secret").digest()


@pytest.fixture
async def stack(tmp_path):
    """A broker with two blobs."""
    async with broker(limits=LIMITS) as stack:
        blobs = Blobs(tmp_path / "blobs", LIMITS)
        for data in (DATA, b"secret"):
            upload = blobs.begin(hashlib.sha256(data).digest(), "me", offset=0, total=len(data))
            upload.write(data)
            upload.finish()
            upload.close()
        pieces = BlobPieces(blobs, stack.service)
        stack.service.on_blob = pieces.read
        stack.blobs = blobs
        await stack.gateway.define_job("job", CONFIG)
        yield stack
        await pieces.close()


async def leased(stack, agent, *named):
    """A lease whose parameter names these."""
    await agent.join()
    references = [values.BlobReference(sha256, len(DATA)) for sha256 in named]
    await stack.gateway.submit("job", specs(values.encode(references), location=agent.name))
    agent.credit(1)
    (lease,) = await agent.leases(1)
    return lease


async def test_a_blob_comes_in_pieces(stack):
    """All of it, in the order asked; past its end there is nothing."""
    async with await stack.agent("w") as agent:
        lease = await leased(stack, agent, SHA256)
        got = b""
        while len(got) < len(DATA):
            agent.send(BlobGet(SHA256, len(got), 1000, lease.ref))
            piece = await agent.receive(Blob)
            assert (piece.sha256, piece.offset, piece.total) == (SHA256, len(got), len(DATA))
            assert len(piece.data) <= 100
            got += bytes(piece.data)
            for frame in agent.received:
                if isinstance(frame.message, Heartbeat) and frame.message.nonce and not frame.message.reply:
                    agent.send(Heartbeat(frame.message.nonce, reply=True, load=0.0))
            agent.received.clear()
        assert got == DATA
        assert stack.service.measures.blob_bytes["to_agents"] == len(DATA)
        agent.send(BlobGet(SHA256, 10_000, 1000, lease.ref))
        assert await agent.receive(Blob) == Blob(SHA256, 10_000, len(DATA), b"")


async def test_who_does_not_say_that_they_came_gets_no_more(stack):
    """An agent that asks and does not read holds up its own pieces, and fills nobody's memory."""
    async with await stack.agent("w") as agent:
        lease = await leased(stack, agent, SHA256)
        for number in range(20):
            agent.send(BlobGet(SHA256, 100 * number, 100, lease.ref))
        for _ in range(4):
            await agent.receive(Blob)
        agent.send(Heartbeat(12345, reply=True, load=0.0))
        agent.send(Heartbeat(54321, reply=False, load=0.0))
        while (await agent.receive(Heartbeat)).nonce != 54321:
            pass
        assert sum(isinstance(frame.message, Blob) for frame in agent.received) == 4


async def test_another_workers_blob_is_refused(stack, caplog):
    """Not by its own task, which names another blob; not by a task of another worker; not by one that is over."""
    async with await stack.agent("honest") as honest, await stack.agent("rogue") as rogue:
        others = await leased(stack, honest, OTHER)
        lease = await leased(stack, rogue, SHA256)
        rogue.send(BlobGet(OTHER, 0, 100))
        rogue.send(BlobGet(OTHER, 0, 100, others.ref))
        rogue.send(BlobGet(OTHER, 0, 100, AttemptRef(lease.ref.task_id, others.ref.attempt._replace(number=77))))
        rogue.send(BlobGet(OTHER, 0, 100, lease.ref))
        assert await rogue.receive(Blob) == Blob(OTHER, 0, 0, b"")
        assert "does not name" in caplog.text
        rogue.send(BlobGet(SHA256, 0, 100, lease.ref))
        assert (await rogue.receive(Blob)).data == DATA[:100]
        await stack.gateway.cancel_task("job", lease.ref.task_id)
        await rogue.receive(Cancel)
        rogue.send(BlobGet(SHA256, 100, 100, lease.ref))
        rogue.send(Heartbeat(99, reply=False, load=0.0))
        while (await rogue.receive(Heartbeat)).nonce != 99:
            pass
        assert sum(isinstance(frame.message, Blob) for frame in rogue.received) == 2
        honest.send(BlobGet(OTHER, 0, 100, others.ref))
        assert (await honest.receive(Blob)).data == b"secret"


async def test_a_blob_that_is_gone_or_shorter_than_it_was_is_not_there(stack, tmp_path):
    """The agent hears so at once; what only failed to be read now it may ask for again."""
    async with await stack.agent("w") as agent:
        lease = await leased(stack, agent, SHA256, OTHER)
        (tmp_path / "blobs" / SHA256.hex()).write_bytes(DATA[:50])
        (tmp_path / "blobs" / OTHER.hex()).unlink()
        for sha256 in (SHA256, OTHER):
            agent.send(BlobGet(sha256, 0, 100, lease.ref))
            assert await agent.receive(Blob) == Blob(sha256, 0, 0, b"")
        (tmp_path / "blobs" / SHA256.hex()).unlink()
        (tmp_path / "blobs" / SHA256.hex()).mkdir()
        agent.send(BlobGet(SHA256, 0, 100, lease.ref))
        session = next(iter(stack.service.reactor.state.sessions.values())).session
        await until(lambda: session.received >= agent.sent and not session.pieces_read_bytes)
        assert sum(isinstance(frame.message, Blob) for frame in agent.received) == 2
