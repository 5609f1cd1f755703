"""Blobs around an agent's core that is being explored: a cache and a broker that do everything that may happen."""

from collections import deque
from collections.abc import Iterable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dart.agent import events
from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobGone,
    BlobHere,
    BlobLack,
    BlobLet,
    BlobReady,
    BlobWrite,
)
from dart.wire import messages, values
from dart.wire.blob_references import references_in
from harness.agent_recorder import Recorder

BLOBS = {b"a" * 32: 25, b"b" * 32: 100}
"""Sizes by hash."""


def parameter_that_names(named: Iterable[bytes]) -> bytes:
    """Of a task that needs these."""
    return values.encode([values.BlobReference(sha256, BLOBS[sha256]) for sha256 in named])


class WithBlobs(RuleBasedStateMachine):
    """Rules and checks of a machine that has an agent."""

    agent: Recorder
    live: bool

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

    def take_blob_command(self, command: BlobFind | BlobWrite | BlobLack | BlobLet) -> None:
        """Carry it out, or keep it until the cache works."""
        match command:
            case BlobFind() | BlobWrite():
                self.cache.append(command)
            case BlobLack(sha256):
                self.there.add(sha256)
            case BlobLet(sha256):
                self.there.discard(sha256)
                self.cache.append(command)

    def check_blobs_of(self, leases: Iterable[messages.Lease]) -> None:
        """No task is given before its blobs are settled."""
        for entry in leases:
            assert {blob.sha256 for blob in references_in(entry.parameter, 9)} <= self.there

    def hear_blob_get(self, message: messages.BlobGet) -> None:
        """It is asked for in the name of a lease, and within the blob."""
        assert message.ref in self.agent.state.held
        assert 0 <= message.offset < message.offset + message.size <= BLOBS[message.sha256]
        self.asked.append(message)

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
        for asked in self.asked if self.live else ():
            self.say(messages.Blob(asked.sha256, asked.offset, BLOBS[asked.sha256], b"x" * asked.size))
        self.asked = []
