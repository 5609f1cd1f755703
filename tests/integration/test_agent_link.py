"""The agent's socket: events of a real ROUTER, ends of connections seen fast, nothing that raises."""

import selectors
import socket
import time

import pytest

from dart.agent.events import FrameArrived, LinkDown, LinkUp
from dart.agent.link import Endpoint, Link
from dart.errors import ConfigError
from dart.ids import BootId, StoreId
from dart.limits import Limits
from dart.wire import messages
from dart.wire.curve import KeyPair
from harness.raw_broker import messages_key, raw_broker, ref

HELLO = messages.Hello((1,), "edge-1", 1, (), "box", BootId("0" * 32), StoreId(""), (), (), {}, False)


class Bench:
    """A link with the loop that an agent would have."""

    def __init__(self, **limits) -> None:
        self.selector = selectors.DefaultSelector()
        self.told: list = []
        self.endpoint: Endpoint | Exception = Endpoint("tcp://127.0.0.1:1", b"")
        self.link = Link(
            find=self.find,
            keys=KeyPair.make(),
            limits=Limits(**limits),
            emit=self.told.append,
            watch=lambda descriptor: self.selector.register(descriptor, selectors.EVENT_READ),
            unwatch=self.unwatch,
        )

    def find(self) -> Endpoint:
        if isinstance(self.endpoint, Exception):
            raise self.endpoint
        return self.endpoint

    def unwatch(self, descriptor: int) -> None:
        if descriptor in self.selector.get_map():
            self.selector.unregister(descriptor)

    def until(self, kind: type, amount: int = 1, timeout: float = 10.0) -> list:
        """Turn the loop until so many events of a kind were told."""
        end = time.monotonic() + timeout
        more = self.link.ready()
        while len(found := [event for event in self.told if isinstance(event, kind)]) < amount:
            left = end - time.monotonic()
            assert left > 0, self.told
            self.selector.select(0 if more else left)
            more = self.link.ready()
        return found

    def close(self) -> None:
        self.link.close()
        assert not self.selector.get_map()
        self.selector.close()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def broker():
    with raw_broker() as broker:
        yield broker


def endpoint(broker) -> Endpoint:
    return Endpoint(broker.url, messages_key(broker.keys.public))


def connect(bench: Bench, broker) -> None:
    bench.endpoint = endpoint(broker)
    bench.link.connect()
    bench.until(LinkUp)
    bench.link.send(1, HELLO)
    assert broker.expect(messages.Hello) == HELLO


def test_frames_travel_both_ways(bench, broker):
    """Many at once, large ones too, without any being missed between the signals of the descriptor."""
    connect(bench, broker)
    large = b"x" * 300_000
    for number in range(1, 1201):
        broker.send(messages.Recall((ref(number),)))
    broker.send(messages.Tasks((messages.Lease(ref(1), "j", "m", "f", 0.0, large),)))
    frames = bench.until(FrameArrived, 1201)
    assert [frame.sequence for frame in frames] == list(range(1, 1202))
    assert bytes(frames[-1].message.leases[0].parameter) == large
    result = messages.Result(ref(1), "edge-1", "box", 1, 0.1, True, 0, large)
    for sequence in range(2, 12):
        bench.link.send(sequence, messages.Results((result,), None))
    for _ in range(10):
        assert bytes(broker.expect(messages.Results).results[0].payload) == large


def test_a_broker_that_dies_is_seen_at_once(bench, broker):
    """Within 0.3 s, as an event."""
    connect(bench, broker)
    broker.close()
    died = time.monotonic()
    (down,) = bench.until(LinkDown)
    assert time.monotonic() - died < 0.3
    assert "closed" in down.reason


def test_nobody_there_is_seen_at_once(bench):
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bench.endpoint = Endpoint(f"tcp://127.0.0.1:{port}", messages_key(KeyPair.make().public))
    bench.link.connect()
    (down,) = bench.until(LinkDown)
    assert "could not be made" in down.reason
    assert 0 <= down.jitter < 1


def test_another_server_than_the_one_known_is_refused(bench, broker):
    """The handshake fails, since CURVE knows the server by its key."""
    bench.endpoint = Endpoint(broker.url, messages_key(KeyPair.make().public))
    bench.link.connect()
    assert bench.until(LinkDown)


def test_frames_that_cannot_be_read_end_the_session(bench, broker):
    """Neither an exception nor a guess."""
    connect(bench, broker)
    broker.send_bytes([b"\xc1 rubbish", b"more"])
    (down,) = bench.until(LinkDown)
    assert "cannot be read" in down.reason


@pytest.mark.parametrize("url", ["tcp://10.0.0.1:7778", "tcp://example.org:1"])
def test_no_plain_connection_to_another_machine(bench, url):
    """Without a key of the server only this machine may be spoken to."""
    bench.endpoint = Endpoint(url, b"")
    bench.link.connect()
    (down,) = bench.until(LinkDown)
    assert "without encryption" in down.reason


def test_an_endpoint_that_cannot_be_found_or_used_is_told(bench):
    """The server's file is gone, or names nonsense."""
    bench.endpoint = ConfigError("no server runs")
    bench.link.connect()
    bench.endpoint = Endpoint("tcp://127.0.0.1:notaport", messages_key(KeyPair.make().public))
    bench.link.connect()
    first, second = (down.reason for down in bench.until(LinkDown, 2))
    assert first == "no server runs"
    assert "no socket to the broker" in second


def test_sending_without_a_socket_is_nothing(bench):
    """The core hears of its end anyway."""
    bench.link.send(1, HELLO)
    assert not bench.link.ready()
    assert bench.told == []


def test_a_goodbye_gets_out(bench, broker):
    """`disconnect` leaves time for what was sent."""
    connect(bench, broker)
    bench.link.send(2, messages.Bye("stopped"))
    bench.link.disconnect(2.0)
    assert broker.expect(messages.Bye).reason == "stopped"


def test_a_new_socket_forgets_what_the_old_one_had(bench, broker):
    """Nothing of a former session reaches the next."""
    connect(bench, broker)
    bench.link.connect()
    bench.link.send(1, HELLO._replace(host="again"))
    assert broker.expect(messages.Hello).host == "again"
    assert not [event for event in bench.told if isinstance(event, LinkDown)]
