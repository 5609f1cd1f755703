"""The agents' port, in the test's own loop: who sends too much, says nothing or should be gone is cut."""

import asyncio
import json
import socket
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import zmq

from dart.broker import intake
from dart.limits import KIB, MIB, Limits
from dart.wire import curve
from dart.wire.messages import Error, ErrorCode, Welcome
from harness.broker_stack import broker, until
from harness.raw_agent import RawAgent
from harness.strangers import CURVE_GREETING, Relay, address_of

REFUSED = json.loads((Path(__file__).parents[1] / "vectors" / "refused.json").read_text())["messages"]
SMALL = Limits(value_bytes_max=MIB, batch_bytes_max=MIB, header_bytes_max=64 * KIB)


@contextmanager
def relay(url, **options):
    it = Relay(address_of(url), **options)
    try:
        yield it
    finally:
        it.close()


async def greeted(stack):
    """A connection in the middle of its handshake."""
    reader, writer = await asyncio.open_connection(*address_of(stack.url))
    writer.write(CURVE_GREETING)
    await reader.readexactly(64)
    return reader, writer


async def test_an_agent_that_expects_another_server_gets_nowhere():
    """With another server key its first box cannot be opened: the handshake fails, and ZAP is not even asked."""
    async with broker() as stack, await stack.agent() as agent:
        other = RawAgent(stack.url, curve.KeyPair.make().public, agent.keys)
        async with other:
            assert await other.handshake() != zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert stack.admission.refused == 0
        assert isinstance(await agent.join(), Welcome)


async def test_every_kind_of_malformed_message_is_answered():
    """Each vector that must be refused, sent by an enrolled agent: a coded complaint, and others go on."""
    rows = [row for row in REFUSED if row["from"] == "agent" and row["frames"]]
    assert len(rows) > 10
    async with broker() as stack, await stack.agent("other") as other, await stack.agent() as rogue:
        await other.join()
        for row in rows:
            async with RawAgent(stack.url, stack.keys.public, rogue.keys) as agent:
                agent.socket.send_multipart([bytes.fromhex(part) for part in row["frames"]])
                complaint = await agent.receive(Error)
                assert complaint.code in (ErrorCode.MALFORMED, ErrorCode.UNKNOWN_TYPE, ErrorCode.UNSUPPORTED_VERSION)
        assert stack.transport.malformed == len(rows)
        assert (await stack.gateway.worker("other")).slots == 1


async def test_a_message_of_thousands_of_parts_is_refused():
    """It is read away part by part, and of it no more kept than the codec needs to refuse it."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        agent.socket.send_multipart([b"x"] * 50_000, copy=True)
        assert (await agent.receive(Error)).code == ErrorCode.MALFORMED


async def test_an_announced_gigabyte_is_not_made_room_for():
    """Two of them announced, in the handshake and after it: the connection is closed and nothing was allocated."""
    process = psutil.Process()
    async with broker() as stack, await stack.agent() as agent:
        before = process.memory_info().vms
        reader, writer = await greeted(stack)
        writer.write(b"\x06" + (2 << 30).to_bytes(8, "big") + b"x")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        with relay(stack.url) as between:
            through = RawAgent(between.url, stack.keys.public, agent.keys)
            async with through:
                await through.join()
                between.inject(b"\x02" + (2 << 30).to_bytes(8, "big") + b"x")
                await until(lambda: between.cuts == 1)
        assert process.memory_info().vms - before < 500 * MIB


async def test_strangers_cannot_fill_the_memory():
    """Ten pour a huge command into their handshakes: all together get in little more than their share."""
    limits = Limits(strangers_bytes_max=8 * MIB)
    sent = 0

    def pour(address):
        nonlocal sent
        with socket.create_connection(address) as stranger:
            stranger.settimeout(10)
            stranger.sendall(CURVE_GREETING)
            try:
                stranger.sendall(b"\x06" + (200 * MIB).to_bytes(8, "big"))
                while True:
                    sent += stranger.send(bytes(64 * KIB))
            except ConnectionError:
                return

    async with broker(limits=limits) as stack:
        address = address_of(stack.url)
        await asyncio.wait_for(asyncio.gather(*(asyncio.to_thread(pour, address) for _ in range(10))), 30)
        # At once they could have sent 2,000 MiB; what gets in between two looks is the network's speed.
        assert sent < 1000 * MIB
        await until(lambda: len(stack.transport.intake) == 0)
        assert stack.transport.intake.cut >= 10


async def test_an_endless_message_of_an_agent_is_cut():
    """Parts without end, too slow for any other bound: what one message can have is counted."""
    async with broker(limits=SMALL) as stack, await stack.agent() as agent:
        with relay(stack.url, bytes_per_second=8 * MIB) as between:
            through = RawAgent(between.url, stack.keys.public, agent.keys)
            async with through:
                await through.join()
                through.socket.send_multipart([bytes(64 * KIB)] * 400)
                await until(lambda: between.cuts == 1, seconds=20)
                assert between.sent < 10 * MIB
                # libzmq 4.3 aborts who closes a socket while half of a message is being thrown away: it is back first.
                while await through.handshake() != zmq.EVENT_DISCONNECTED:
                    pass
                assert await through.handshake() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert stack.transport.malformed == 0


async def test_who_says_nothing_after_the_handshake_is_cut(monkeypatch):
    """An enrolled agent too: it may come again."""
    monkeypatch.setattr(intake, "SILENCE_SECONDS_MIN", 0.3)
    async with broker(limits=Limits(silence_seconds=0.3, heartbeat_seconds=0.1)) as stack, await stack.agent() as agent:
        assert await agent.handshake() == zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert await agent.handshake() == zmq.EVENT_DISCONNECTED
        assert isinstance(await agent.join(), Welcome)


async def test_connections_of_one_key_one_after_the_other_leave_nothing(monkeypatch):
    """A storm of new boots: those that were superseded are cut, and every table is as before."""
    monkeypatch.setattr(intake, "ENDED_SECONDS", 0.2)
    async with broker() as stack, await stack.agent() as agent:
        for number in range(24):
            boot = RawAgent(stack.url, stack.keys.public, agent.keys)
            await boot.join(boot_id=f"{number:032x}")
            if number % 2:
                boot.close()
                continue
            async with RawAgent(stack.url, stack.keys.public, agent.keys) as newer:
                await newer.join(boot_id=f"{number + 1000:032x}")
                while await boot.handshake() != zmq.EVENT_DISCONNECTED:
                    pass
            boot.close()
        assert len(stack.transport._sessions) <= 1
        await until(lambda: len(stack.transport._peers) <= 1)
        await until(lambda: len(stack.transport.intake._known) <= 1)
        assert len(stack.transport.intake) <= 1  # the stack's agent, which has said nothing


async def test_the_port_is_shut_and_opened():
    """Shut: who is in goes on, who comes waits and gets in as soon as it is open again, at whichever port."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        stack.transport.shut()
        try:
            late = RawAgent(stack.url, stack.keys.public, agent.keys)
            with pytest.raises(AssertionError, match="did not end"):
                await late.handshake(seconds=0.5)
            agent.sent += 1  # a gap in its numbers: the session ends, so it was heard
            agent.credit(1)
            assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO
            keys = curve.KeyPair.make()
            port = stack.transport.bind_next(keys, "127.0.0.1", 0)
            async with RawAgent(f"tcp://127.0.0.1:{port}", keys.public, agent.keys) as by_the_next_key:
                with pytest.raises(AssertionError, match="did not end"):
                    await by_the_next_key.handshake(seconds=0.3)
        finally:
            stack.transport.open()
            stack.transport.open()
        async with late:
            assert await late.handshake() == zmq.EVENT_HANDSHAKE_SUCCEEDED


async def test_in_a_calm_only_a_connection_brings_a_look(monkeypatch):
    """Nobody looks as time goes by; while a stranger is there looks go on, and end when it has left."""
    monkeypatch.setattr(intake, "CALM_SECONDS", 3600.0)
    async with broker() as stack:
        seen = []
        stack.transport.intake.on_look = lambda: seen.append(len(stack.transport.intake))
        for _ in range(2):
            seen.clear()
            _, writer = await greeted(stack)
            await until(lambda: seen[-2:] == [1, 1])
            writer.close()
            await until(lambda: seen[-1] == 0)
