"""Agents with an enrolled key that lie, at the broker's real socket: refused, told, and no effect on anybody else."""

import logging
import re

import msgpack
import pytest

from dart.complaints import BURST
from dart.limits import Limits
from dart.wire import codec, curve, messages
from dart.wire.messages import Ack, Error, ErrorCode, Frame, Log, Progress, ProgressReport, Released, Started, Welcome
from harness.broker_stack import CONFIG, broker, specs, until
from harness.raw_agent import RawAgent


@pytest.fixture
def told(caplog):
    """What the broker logs."""
    caplog.set_level("INFO", logger="dart.broker")
    return caplog


def _frame(message_type, body, *, sequence=2):
    """A header as no honest agent writes it."""
    return [msgpack.packb([1, message_type, sequence, body])]


async def _goes_on(stack, honest):
    """An honest agent still gets and answers tasks."""
    ids = await stack.gateway.submit("job", specs(b"\x01", location=honest.name))
    honest.credit(1)
    (lease,) = await honest.leases(1)
    honest.answer(lease)
    assert (await honest.receive(Ack)).attempts == (lease.ref,)
    (row,) = await stack.gateway.wait_for_tasks("job", ids, 5.0)
    assert (row.worker, row.payload) == (honest.name, b"\x01")


REF = [1, 1, 1]
FORGED = {
    "WELCOME": _frame(33, [1, 1, "5" * 32, 1, 1.0, 1.0, 1.0, 9, 9, 9, 9, "s", [], [], [], [], []]),
    "TASKS": _frame(34, []),
    "RECALL": _frame(35, [[REF]]),
    "ACK": _frame(36, [[REF]]),
    "CANCEL": _frame(37, [[REF]]),
    "credit of 2^63": _frame(2, [1 << 63, 1, 0]),
    "negative credit": _frame(2, [-1, 1, 0]),
    "credit in text": _frame(2, ["9", 1, 0]),
    "RELEASED of id 0": _frame(3, [[[0, 1, 1]]]),
    "STARTED of id 2^63": _frame(4, [[[[1 << 63, 1, 1], 5]]]),
    "no such message": _frame(99, []),
}


@pytest.mark.parametrize("frames", FORGED.values(), ids=FORGED)
async def test_what_is_no_message_of_an_agent(frames, told):
    """The broker's own messages, and numbers out of range: the session ends, which is told once; others go on."""
    async with broker() as stack, await stack.agent("honest") as honest, await stack.agent("rogue") as rogue:
        await stack.gateway.define_job("job", CONFIG)
        await honest.join()
        await rogue.join()
        rogue.socket.send_multipart(frames)
        assert (await rogue.receive(Error)).code in {ErrorCode.MALFORMED, ErrorCode.UNKNOWN_TYPE}
        assert [session.name for session in stack.service.reactor.state.sessions.values()] == ["honest"]
        warnings = [record.getMessage() for record in told.records if record.levelno >= logging.WARNING]
        assert len(warnings) == 1
        assert "could not be read" in warnings[0]
        await _goes_on(stack, honest)


async def test_others_tasks_at_the_real_socket(told):
    """Answers, claims and notes for another's task: nothing is recorded, the lines in the log are few and counted."""
    async with broker() as stack, await stack.agent("honest") as honest, await stack.agent("rogue") as rogue:
        await stack.gateway.define_job("job", CONFIG)
        await honest.join()
        await rogue.join()
        ids = await stack.gateway.submit("job", specs(b"\x01", location="honest"))
        honest.credit(1)
        (lease,) = await honest.leases(1)
        for _ in range(20):
            rogue.answer(lease, payload=b"\xa6forged")
            rogue.send(Started((messages.Start(lease.ref, 5),)))
            rogue.send(Released((lease.ref,)))
            rogue.send(Progress((ProgressReport(lease.ref, 1.0, "forged"),)))
            rogue.send(Log(((lease.ref, "forged"),)))
        for _ in range(20):
            await rogue.receive(Ack)
        await until(lambda: stack.service.reactor.state.foreign_attempts == 100)
        honest.answer(lease)
        await honest.receive(Ack)
        (row,) = await stack.gateway.wait_for_tasks("job", ids, 5.0)
        assert (row.worker, row.payload) == ("honest", b"\x01")
        assert len([text for text in told.messages if "never given" in text]) <= BURST
        events = stack.gateway.events
        told_events = events.read(events.oldest(), 1000)[0]
        assert [entry for entry in told_events if "forged" in str(entry.happening)] == []
    assert re.search(r"9\d more such lines about [0-9a-f]{16} were left out", told.text)


async def test_another_name_at_the_real_socket(told):
    """The name comes from the key, not from HELLO."""
    async with broker() as stack, await stack.agent("honest") as honest, await stack.agent("rogue") as rogue:
        await stack.gateway.define_job("job", CONFIG)
        await honest.join()
        rogue.hello(name="honest")
        assert (await rogue.receive(Error)).code == ErrorCode.NAME_REFUSED
        assert "enrolled for 'rogue', not for 'honest'" in told.text
        await _goes_on(stack, honest)


async def test_replayed_frames_and_spool(told):
    """A recorded session played again is none: its frames are out of order or late, and change no result."""
    async with broker() as stack, await stack.agent("w") as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        ids = await stack.gateway.submit("job", specs(b"\x01"))
        agent.credit(1)
        (lease,) = await agent.leases(1)
        agent.answer(lease)
        await agent.receive(Ack)
        forged = agent.result(lease.ref, b"\xa6forged")
        async with RawAgent(stack.url, stack.keys.public, agent.keys, name="w") as again:
            again.send(messages.Results((forged,), None), sequence=2)
            assert (await again.receive(Error)).code == ErrorCode.SAY_HELLO
        async with RawAgent(stack.url, stack.keys.public, agent.keys, name="w") as again:
            assert (await again.join(results=(lease.ref,))).forget == (lease.ref,)
            for _ in range(50):
                again.send(messages.Results((forged,), None))
                assert (await again.receive(Ack)).attempts == (lease.ref,)
        (row,) = await stack.gateway.wait_for_tasks("job", ids, 5.0)
        assert row.payload == b"\x01"


async def test_two_sessions_with_one_key():
    """A copied key pushes the older agent out, which is told; and has at most one session."""
    keys = curve.KeyPair.make()
    async with broker() as stack, await stack.agent("w", keys=keys) as old:
        await old.join()
        async with RawAgent(stack.url, stack.keys.public, keys, name="w") as new:
            await new.join(boot_id="c" * 32)
            assert (await old.receive(Error)).code == ErrorCode.SUPERSEDED
            assert len(stack.service.reactor.state.sessions) == 1


async def test_a_flood_of_complaints_fills_no_log(told):
    """Neither thousands of lines get through, nor do they silence what there is to say of others."""
    async with broker() as stack, await stack.agent("rogue") as rogue, await stack.agent("other") as other:
        await rogue.join()
        for number in range(2000):
            rogue.send(Error(1, f"{number}\n2026-01-01 INFO forged\x1b[2J"))
        await until(lambda: stack.service.notes._complaints.total >= 2000)
        assert len(told.messages) < 3 * BURST
        await other.join()
        assert "is connected as worker 'other'" in told.text
    assert re.search(r"19\d\d more such lines about", told.text)


async def test_a_flood_of_connections_pushes_out_its_own_only():
    """One key that opens connection after connection costs the broker a few entries, and no other agent its session."""
    keys = curve.KeyPair.make()
    async with broker(limits=Limits(agents_max=10)) as stack, await stack.agent("honest") as honest:
        await stack.gateway.define_job("job", CONFIG)
        await honest.join()
        await stack.gateway.enrolments.enroll(keys.public, "rogue")
        rogues = [RawAgent(stack.url, stack.keys.public, keys, name="rogue") for _ in range(40)]
        for rogue in rogues:
            rogue.send(Error(1, "said instead of HELLO"))
        await until(lambda: stack.transport._last_session >= 41)
        assert len(stack.transport._peers) <= 9
        assert [agent.name for agent in stack.service.reactor.state.sessions.values()] == ["honest"]
        await _goes_on(stack, honest)
        for rogue in rogues:
            rogue.close()


async def test_huge_names_are_refused():
    """A name longer than names are is no HELLO."""
    async with broker() as stack, await stack.agent("rogue") as rogue:
        rogue.hello()
        await rogue.receive(Welcome)
        hello = messages.Hello((1,), "x", 1, ("c" * 10_000,), "h", "b" * 32, "", (), (), {}, draining=False)
        rogue.socket.send_multipart(codec.encode(Frame(2, hello), limits=Limits()))
        assert (await rogue.receive(Error)).code == ErrorCode.MALFORMED
