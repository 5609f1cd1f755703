"""A real agent whose broker lies, floods and sends what is no message: it neither ends nor grows nor fills its log."""

import re
from pathlib import Path

import msgpack
import pytest
import zmq

from dart.complaints import BURST
from dart.wire import codec, messages, values
from dart.wire.messages import Frame
from harness.agent_process import AgentProcess, agent_process, lease
from harness.raw_broker import RawBroker, raw_broker, ref

GROWTH_KIB = 40_000
"""What a flood may cost an agent at most; it sends far more than that."""


class Scene:
    """A broker and its agent; each test begins a session of its own."""

    def __init__(self, broker: RawBroker, agent: AgentProcess) -> None:
        self.broker = broker
        self.agent = agent
        self.live = False

    def begin(self, **terms: object) -> messages.Hello:
        """A new session with these terms; one that goes on is ended before."""
        if self.live:
            self.broker.send(messages.Bye("again"))
        self.live = True
        return self.broker.let_in(**terms)

    def serves(self, task_id: int, **terms: object) -> None:
        """In a new session the agent takes a task and answers it."""
        self.begin(**terms)
        while self.broker.expect(messages.Credit).tasks == 0:
            pass
        self.broker.send(messages.Tasks((lease(ref(task_id), "double", 4),)))
        (result,) = self.broker.results(1)
        assert values.decode(result.payload) == 8

    def kib(self) -> int:
        """What the agent has in memory."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.agent.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One agent for all tests of this module: what one does to it must not keep the next from being served."""
    home = tmp_path_factory.mktemp("rogue") / "home"
    limits = {"DART_LIMIT_RECONNECT_SECONDS_MAX": "0.2", "DART_LIMIT_PREFETCH_MAX": "20"}
    with raw_broker() as broker, agent_process(home, broker, "--slots", "1", **limits) as agent:
        yield Scene(broker, agent)
        assert agent.stop() == 0, agent.text
        assert "Traceback" not in agent.text


def _header(message_type, body, *, sequence=2):
    return msgpack.packb([1, message_type, sequence, body])


WELCOME = [1, 1, "5" * 32, 1, 1.0, 5.0, 60.0, 1 << 20, 1 << 20, 100, 1 << 20, "s", [], [], [], [], []]
GARBAGE = {
    "no MessagePack": [b"\xc1garbage"],
    "nothing": [b""],
    "frames without end": [b"x"] * 400,
    "an agent's message": [_header(1, [])],
    "heartbeat NaN": [_header(33, [*WELCOME[:4], float("nan"), *WELCOME[5:]])],
    "heartbeat -1": [_header(33, [*WELCOME[:4], -1.0, *WELCOME[5:]])],
    "silence infinite": [_header(33, [*WELCOME[:5], float("inf"), *WELCOME[6:]])],
    "frames of -1 bytes": [_header(33, [*WELCOME[:7], -1, *WELCOME[8:]])],
    "batches of no item": [_header(33, [*WELCOME[:9], 0, *WELCOME[10:]])],
    "CANCEL of id 0": [_header(37, [[[0, 1, 1]]])],
    "ACK of id 2^63": [_header(36, [[[1 << 63, 1, 1]]])],
    "RECALL in text": [_header(35, [["all"]])],
    "TASKS without payload": [_header(34, [[["job", "m", "f", 0.0]], [[1, 1, 1, 0, 0, 5]]])],
}


@pytest.mark.parametrize("parts", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_message_ends_the_session(scene, parts):
    """The agent comes back with HELLO on a new connection."""
    scene.begin()
    scene.broker.send_bytes(parts)
    scene.live = False
    scene.begin()


def test_it_still_serves(scene):
    """After all that, and with a line in its log for each, at most."""
    scene.serves(1)
    assert len([line for line in scene.agent.log if "cannot be read" in line]) <= len(GARBAGE)


@pytest.mark.parametrize("number", [0, 1 << 62])
def test_absurd_terms(scene, number):
    """A broker whose terms are all zero, or all huge, is served at the agent's own pace."""
    terms = {"heartbeat_seconds": float(number), "silence_seconds": float(number) or 5.0, "frame_bytes_max": number}
    scene.serves(10, **terms, value_bytes_max=number, batch_items_max=max(1, number), batch_bytes_max=number)


def test_more_tasks_than_asked_for(scene):
    """They are not taken: the session ends, nothing runs and nothing is kept."""
    scene.begin()
    scene.broker.send(messages.Tasks(tuple(lease(ref(n), "nap", 60) for n in range(1000, 5000))))
    scene.live = False
    hello = scene.begin()
    assert (hello.attempts, hello.results) == ((), ())


def test_floods_that_nobody_reads(scene):
    """Questions whose answers are never read, complaints without end: memory and log stay as they are."""
    scene.serves(20)
    broker, before, said = scene.broker, scene.kib(), len(scene.agent.log)
    complaint = codec.encode(
        Frame(0, messages.Error(99, "\n2026-01-01 forged\x1b[2J" + "x" * 4000)), limits=broker.limits
    )
    broker._socket.sndtimeo = 1000  # its own writing stops when the agent leaves

    def flood():
        for number in range(400_000):
            if number % 100 == 0:
                broker.send_bytes(complaint)
            broker.send(messages.Heartbeat(number + 1, reply=False, load=0.0))

    with pytest.raises(zmq.ZMQError):
        flood()
    assert scene.kib() - before < GROWTH_KIB
    scene.live = False
    scene.serves(21)
    assert len(scene.agent.log) - said < 3 * BURST
    assert not [line for line in scene.agent.log if "\x1b" in line or line.startswith("2026-01-01 forged")]
