"""The broker with real sockets, by an agent that speaks raw frames and a caller of the gateway."""

import asyncio

import pytest
import zmq
from harness.broker_stack import CONFIG, broker, specs
from harness.raw_agent import RawAgent

from dart.broker.core.model import TaskState
from dart.wire import curve
from dart.wire.messages import Ack, Bye, Error, ErrorCode, Heartbeat, Welcome


async def everything(pages):
    return [row async for page in pages for row in page]


async def test_a_task_goes_round():
    """Submission, TASKS, RESULTS, ACK, result: one way through all parts."""
    async with broker() as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        welcome = await agent.join()
        assert isinstance(welcome, Welcome)
        agent.credit(10)
        ids = await stack.gateway.submit("job", specs(b"\x01", b"\x02", location="w"))
        leases = await agent.leases(2)
        assert [(lease.ref.task_id, lease.parameter, lease.module_path) for lease in leases] == [
            (ids[0], b"\x01", "module"),
            (ids[1], b"\x02", "module"),
        ]
        agent.answer(*leases)
        ack = await agent.receive(Ack)
        assert {ref.task_id for ref in ack.attempts} == set(ids)
        job = await stack.gateway.job("job")
        rows = await everything(stack.gateway.results(job, workers=None, after=0, amount=100))
        assert [(row.id, row.worker, row.payload, row.state) for row in rows] == [
            (ids[0], "w", b"\x01", TaskState.SUCCEEDED),
            (ids[1], "w", b"\x02", TaskState.SUCCEEDED),
        ]
        assert job.counts == {TaskState.SUCCEEDED: 2}


async def test_an_unenrolled_key_is_refused():
    """ZAP admits enrolled keys only."""
    async with broker() as stack, RawAgent(stack.url, stack.keys.public, curve.KeyPair.make()) as stranger:
        assert await stranger.handshake() != zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert stack.admission.refused == 1


async def test_garbage_is_answered_by_error():
    """What cannot be read ends the session with a coded complaint; the broker goes on."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        agent.socket.send_multipart([b"\xc1garbage", b"more"])
        error = await agent.receive(Error)
        assert error.code == ErrorCode.MALFORMED
        assert stack.transport.malformed == 1
        agent.credit(1)
        error = await agent.receive(Error)
        assert error.code == ErrorCode.SAY_HELLO
        async with await stack.agent("other") as other:
            assert isinstance(await other.join(), Welcome)
