"""Blobs around an agent's core that is being explored: a cache and a broker that do everything that may happen."""

from collections import Counter, deque
from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dart.agent import events
from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobFree,
    BlobGone,
    BlobHere,
    BlobLack,
    BlobLet,
    BlobMade,
    BlobPin,
    BlobRead,
    BlobReady,
    BlobWrite,
    PieceRead,
)
from dart.ids import AttemptRef
from dart.wire import messages, values
from dart.wire.blob_references import references_in
from harness.agent_recorder import Recorder
from harness.fake_runner import FakeRunner

BLOBS = {b"a" * 32: 25, b"b" * 32: 100}
"""Sizes by hash."""


BlobCommand = BlobFind | BlobWrite | BlobLack | BlobLet | BlobPin | BlobFree | BlobRead


def value_that_names(named: Iterable[bytes]) -> bytes:
    """The parameter of a task that needs these, or what one returns that made them."""
    return values.encode([values.BlobReference(sha256, BLOBS[sha256]) for sha256 in named])


class WithBlobs(RuleBasedStateMachine):
    """Rules and checks of a machine that has an agent."""

    agent: Recorder
    live: bool
    exit: list[int]
    runners: list[FakeRunner]
    blob_bytes_max: int
    """What the broker takes with a result."""

    def do(self, *happened: events.Event) -> None:
        """Hand in events."""
        raise NotImplementedError

    def say(self, message: messages.BrokerMessage) -> None:
        """The broker sends this."""
        raise NotImplementedError

    def without_blobs(self) -> None:
        """At the begin."""
        self.cache: deque[BlobFind | BlobWrite | BlobLet] = deque()
        """What the cache has not done yet."""
        self.there: set[bytes] = set()
        """Blobs that the core knows to be here, or to do without."""
        self.asked: list[messages.BlobGet] = []
        self.made: Counter[bytes] = Counter()
        """What tasks made and the cache keeps, and how often."""
        self.reads: deque[BlobRead] = deque()

    def take_blob_command(self, command: BlobCommand) -> None:
        """Carry it out, or keep it until the cache works."""
        match command:
            case BlobFind() | BlobWrite():
                self.cache.append(command)
            case BlobLack(sha256):
                self.there.add(sha256)
            case BlobLet(sha256):
                self.there.discard(sha256)
                self.cache.append(command)
            case BlobPin(sha256):
                self.made[sha256] += 1
            case BlobFree(sha256):
                assert self.made[sha256], "it is let go once more than it was kept"
                self.made[sha256] -= 1
            case BlobRead(sha256):
                assert self.made[sha256], "it may go at any time"
                self.reads.append(command)

    def check_blobs_of(self, leases: Iterable[messages.Lease]) -> None:
        """No task is given before its blobs are settled."""
        for entry in leases:
            assert {blob.sha256 for blob in references_in(entry.parameter, 9)} <= self.there

    def hear_blob_get(self, message: messages.BlobGet) -> None:
        """It is asked for in the name of a lease, and within the blob."""
        assert message.ref in self.agent.state.held
        assert 0 <= message.offset < message.offset + message.size <= BLOBS[message.sha256]
        self.asked.append(message)

    def hear_piece(self, message: messages.BlobPiece) -> None:
        """Only of what a result names that waits for its ACK."""
        assert message.sha256 in self.agent.state.offered
        assert message.total in {0, BLOBS[message.sha256]}
        assert len(message.data) <= self.agent.state.limits.blob_piece_bytes

    def check_result(self, result: messages.Result) -> None:
        """It names what its task made, and no larger blob than the broker takes."""
        for sha256, size in result.blobs:
            assert self.made[sha256]
            assert size == BLOBS[sha256] <= self.blob_bytes_max

    @rule(number=st.integers(0, 2), sha256=st.sampled_from(sorted(BLOBS)))
    def task_makes_a_blob(self, number: int, sha256: bytes) -> None:
        self.makes_blobs(self.runners[number].given, [sha256])

    def makes_blobs(self, given: deque[AttemptRef], made: Iterable[bytes]) -> None:
        """The first of these runs."""
        for sha256 in made if given else ():
            self.made[sha256] += 1
            self.do(BlobMade(given[0], sha256, BLOBS[sha256]))

    @precondition(lambda self: self.live)
    @rule(
        sha256=st.sampled_from([*BLOBS, b"n" * 32]),
        offset=st.sampled_from([0, 10, 20]),
        size=st.sampled_from([5, 10**9]),
    )
    def broker_asks_for_a_piece(self, sha256: bytes, offset: int, size: int) -> None:
        self.say(messages.BlobAsk(sha256, offset, size))

    @precondition(lambda self: self.reads)
    @rule(luck=st.sampled_from(["read", "read", "read", "gone", "other size"]))
    def cache_reads(self, luck: str) -> None:
        sha256, offset, size = (order := self.reads.popleft()).sha256, order.offset, order.size
        total = {"gone": 0, "other size": 7}.get(luck, BLOBS[sha256])
        self.do(PieceRead(sha256, offset, total, b"x" * max(0, min(size, total - offset))))

    @invariant()
    def nothing_made_is_lost_or_left(self) -> None:
        """The cache keeps what running tasks made and what waiting results name, and nothing else."""
        if not hasattr(self, "agent") or self.exit:
            return
        state = self.agent.state
        wanted = Counter(sha256 for held in state.held.values() for sha256 in held.made)
        wanted.update(blob.sha256 for kept in state.kept.values() for blob in kept.result.blobs)
        assert +self.made == wanted
        named = [size for refs in state.offered.values() for size in refs.values()]
        assert state.offered_bytes == sum(named)
        assert sum(map(len, state.offered.values())) == sum(len(kept.result.blobs) for kept in state.kept.values())
        assert state.reading == len(self.reads)

    @precondition(lambda self: self.cache)
    @rule(luck=st.sampled_from(["here", "here", "whole", "damaged", "full", "crowded"]))
    def cache_works(self, luck: str) -> None:
        order = self.cache.popleft()
        if isinstance(order, BlobLet):
            self.there.discard(order.sha256)
            self.do(BlobGone(order.sha256))
            return
        sha256, size = order.sha256, BLOBS[order.sha256]
        here = order.offset + len(order.data) if isinstance(order, BlobWrite) else 0
        if luck == "crowded" and isinstance(order, BlobFind):
            self.do(BlobCrowded(sha256))
        elif luck in {"damaged", "full"}:
            self.cache = deque(later for later in self.cache if isinstance(later, BlobLet) or later.sha256 != sha256)
            self.do(BlobFault(sha256, luck, damaged=luck == "damaged"))
        elif here == size or (luck == "whole" and isinstance(order, BlobFind)):
            self.there.add(sha256)
            self.do(BlobReady(sha256))
        else:
            self.do(BlobHere(sha256, here))

    @precondition(lambda self: self.live and self.asked)
    @rule(data=st.data(), luck=st.sampled_from(["sent", "sent", "sent", "sent", "sent twice", "unknown", "other size"]))
    def broker_sends_a_piece(self, data: st.DataObject, luck: str) -> None:
        asked = self.asked.pop(data.draw(st.integers(0, min(1, len(self.asked) - 1))))
        total = {"unknown": 0, "other size": BLOBS[asked.sha256] + 1}.get(luck, BLOBS[asked.sha256])
        for _ in range(2 if luck == "sent twice" else 1):
            self.say(messages.Blob(asked.sha256, asked.offset, total, b"x" * asked.size if total else b""))

    def a_good_moment_for_blobs(self) -> None:
        """All that was asked for comes."""
        while self.cache:
            self.cache_works("whole")
        while self.reads:
            self.cache_reads("read")
        if self.agent.state.blobs and not self.asked:
            self.agent.now += 1.0  # what came in a wrong order is asked for again when it has been silent
        for asked in self.asked if self.live else ():
            self.say(messages.Blob(asked.sha256, asked.offset, BLOBS[asked.sha256], b"x" * asked.size))
        self.asked = []
