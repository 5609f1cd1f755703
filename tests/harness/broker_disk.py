"""The server's disk of blobs around a broker's core that is being explored: what agents send is written, or is not."""

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from dart.broker.core.commands import LeaveBlob, OpenBlob, WriteBlob
from dart.broker.core.events import BlobGrew, BlobKept, BlobRefused
from dart.wire.blob_references import named_in

Order = OpenBlob | WriteBlob | LeaveBlob


class WithDisk(RuleBasedStateMachine):
    """Rules and checks of a machine that has a broker."""

    def without_blobs(self):
        """At the begin."""
        self.orders = deque()
        """What the disk has not done yet."""
        self.parts = {}
        """Bytes by agent and hash."""
        self.opened = {}
        self.durable = set()

    def forget_orders(self):
        """The process is gone; what is on the disk stays."""
        self.orders.clear()
        self.opened.clear()

    def check_outcome(self, payload):
        """What a recorded result names is durable."""
        assert named_in(payload) <= self.durable

    @precondition(lambda self: self.orders)
    @rule(luck=st.sampled_from(["good", "good", "good", "good", "full", "damaged"]))
    def disk_works(self, luck):
        order = self.orders.popleft()
        key = order.agent_id, order.sha256
        if isinstance(order, LeaveBlob):
            self.opened.pop(key, None)
            return
        if isinstance(order, OpenBlob):
            self.opened[key] = order
        elif key not in self.opened or not _same(self.opened[key], order):
            return
        else:
            assert order.offset == self.parts[key]
            self.parts[key] += len(order.data)
        self.tell(key, luck)

    def tell(self, key, luck):
        """How the blob of this key stands now."""
        order = self.opened[key]
        size = self.parts.setdefault(key, 0)
        assert size <= order.size
        about = (order.session, order.number, order.sha256)
        if luck == "full":
            del self.opened[key]
            self.do(BlobRefused(*about, luck, later=True))
        elif luck == "damaged":
            del self.opened[key]
            self.parts[key] = 0
            self.do(BlobRefused(*about, luck, later=False))
        elif size == order.size or order.sha256 in self.durable:
            self.durable.add(order.sha256)
            self.do(BlobKept(*about))
        else:
            self.do(BlobGrew(*about, size))


def _same(opened, order):
    return (opened.session, opened.number) == (order.session, order.number)
