"""Agents at the broker's real socket: who is let in, who is sent away, who is noticed to be gone."""

import asyncio

import pytest
import zmq

from dart.broker import transport
from dart.errors import (
    UnknownWorkerError,
)
from dart.limits import Limits
from dart.wire import codec, curve
from dart.wire.messages import Bye, Drain, Error, ErrorCode, Heartbeat, Welcome
from harness.broker_stack import CONFIG, broker, specs, until
from harness.raw_agent import RawAgent


async def test_an_unenrolled_key_is_refused():
    """ZAP admits enrolled keys only."""
    async with broker() as stack, RawAgent(stack.url, stack.keys.public, curve.KeyPair.make()) as stranger:
        assert await stranger.handshake() != zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert stack.admission.refused == 1


@pytest.mark.parametrize(
    "frames",
    [[b"\xc1garbage", b"more"], [b""], [b"\x94\x01\x01\x01"], [b"x"] * 400],
    ids=["garbage", "empty", "short", "many"],
)
async def test_garbage_is_answered_by_error(frames):
    """What cannot be read ends the session with a coded complaint; the broker and other agents go on."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        agent.socket.send_multipart(frames)
        assert (await agent.receive(Error)).code == ErrorCode.MALFORMED
        assert stack.transport.malformed == 1
        agent.credit(1)
        assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO
        async with await stack.agent("other") as other:
            assert isinstance(await other.join(), Welcome)


async def test_a_frame_that_is_missing_voids_the_session():
    """A gap in the running numbers is healed by a new session only."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        agent.sent += 1
        agent.credit(1)
        assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO


async def test_workers_are_told_pinged_and_drained():
    """Views join the agents of a name; a ping takes one round trip to each."""
    async with broker() as stack, await stack.agent("w", slots=2) as one, await stack.agent("w", slots=3) as two:
        await one.join(capabilities=("gpu",))
        await two.join(capabilities=("camera",))
        worker = await stack.gateway.worker("w")
        assert (worker.slots, worker.capabilities, len(worker.agents)) == (5, ("camera", "gpu"), 2)
        assert [known.name for known in await stack.gateway.workers()] == ["w"]
        assert await stack.gateway.worker("nobody") is None

        ping = asyncio.create_task(stack.gateway.ping(["w"], 0.5))
        while (asked := await one.receive(Heartbeat)).nonce == 0:
            pass
        one.send(Heartbeat(asked.nonce, reply=True, load=0.0))
        answered = {pong.agent_id: pong.milliseconds for pong in await ping}
        assert sorted(value >= 0 for value in answered.values()) == [False, True]
        with pytest.raises(UnknownWorkerError):
            await stack.gateway.ping(["nobody"], 0.1)

        assert await stack.gateway.drain("w") == 2
        await one.receive(Drain)
        await two.receive(Drain)


async def test_agents_are_told_when_the_server_ends():
    """BYE goes to all of them."""
    async with broker() as stack:
        agent = await stack.agent()
        await agent.join()
    async with agent:
        await agent.receive(Bye)


async def test_an_agent_that_is_gone_is_noticed_at_the_next_send():
    """Its session ends; its lease time runs."""
    async with broker(limits=Limits(heartbeat_seconds=0.2, silence_seconds=60.0)) as stack:
        async with await stack.agent() as agent:
            await agent.join()
        await until(lambda: not stack.service.reactor.state.sessions)


async def test_connections_are_remembered_up_to_a_bound():
    """One too many makes the oldest begin anew, nothing else."""
    async with broker(limits=Limits(agents_max=1)) as stack:
        keys = curve.KeyPair.make()
        for _ in range(5):
            async with await stack.agent(keys=keys) as agent:
                assert isinstance(await agent.join(), Welcome)
        assert len(stack.transport._peers) <= 2


@pytest.mark.parametrize(
    "request_parts",
    [
        [],
        [b"1.0", b"7"],
        [b"1.0", b"7", b"dart", b"1.2.3.4", b"", b"PLAIN", b"user", b"password"],
        [b"1.0", b"7", b"other", b"1.2.3.4", b"", b"CURVE", b"k" * 32],
        [b"2.0", b"7", b"dart", b"1.2.3.4", b"", b"CURVE", b"k" * 32],
        [b"1.0", b"7", b"dart", b"\xff", b"", b"CURVE", b"short"],
        [b"1.0", b"7", b"dart", b"1.2.3.4", b"", b"CURVE"],
        [b"1.0", b"7", b"dart", b"1.2.3.4", b"", b"CURVE", b"k" * 32],
    ],
)
async def test_admission_refuses_what_it_does_not_know(request_parts):
    """Whatever the mechanism, the domain or the key."""
    async with broker() as stack:
        assert stack.admission.answer(request_parts)[2] == b"400"


async def test_an_agent_that_does_not_read_loses_its_session(monkeypatch, caplog):
    """It may fill its own pipe, not the broker's memory."""
    caplog.set_level("INFO", logger="dart.broker")
    monkeypatch.setattr(transport, "SEND_HIGH_WATER_MARK", 4)
    keys = curve.KeyPair.make()
    async with broker(limits=Limits(batch_bytes_max=1 << 20)) as stack:
        await stack.gateway.enrolments.enroll(keys.public, "w")
        await stack.gateway.define_job("job", CONFIG)
        async with RawAgent(stack.url, stack.keys.public, keys, slots=64, receive_high_water_mark=4) as agent:
            await agent.join()
            agent.credit(64, 1 << 30)
            await stack.gateway.submit("job", specs(*[b"x" * (1 << 20)] * 64))
            await until(lambda: not stack.service.reactor.state.sessions)
            assert "it does not read what it is sent" in caplog.text


async def test_a_message_that_cannot_be_made_ends_one_session_only(monkeypatch, caplog):
    """A fault of ours with one frame holds nobody up."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        real_encode = codec.encode

        def encode(frame, **options):
            if isinstance(frame.message, Drain):
                raise TypeError("planted")
            return real_encode(frame, **options)

        monkeypatch.setattr(codec, "encode", encode)
        assert await stack.gateway.drain("w") == 1
        await until(lambda: not stack.service.reactor.state.sessions)
        assert "Drain could not be made" in caplog.text


async def test_agents_may_come_by_the_newer_protocol_of_the_internet():
    """IPv6, where the host has it."""
    context = zmq.Context()
    gate = transport.Transport(context, keys=curve.KeyPair.make(), limits=Limits(), deliver=lambda _events: None)
    try:
        assert gate.bind("::1", 0) > 0
    finally:
        gate.close()
        context.term()
