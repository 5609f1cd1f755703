"""An agent as the protocol has it, with an unreliable wire in each direction, for properties of the broker's core.

It keeps what it must keep and says what it must say; when its tasks begin and end, and what becomes of the frames on
its wires, is decided from outside.
"""

from collections import deque
from itertools import count

from dart.broker.core.commands import SendTasks
from dart.errors import TaskErrorCode
from dart.wire import values
from dart.wire.messages import (
    Ack,
    BlobAsk,
    BlobPiece,
    Cancel,
    Credit,
    Drain,
    Error,
    Hello,
    Named,
    Recall,
    Released,
    Result,
    Results,
    Welcome,
)

SESSIONS = count(1)
BLOBS = {b"a" * 32: 25, b"b" * 32: 100}
"""Sizes by hash."""


class ModelAgent:
    """An agent as the protocol has it, with an unreliable wire in each direction."""

    def __init__(self, recorder, name, key, slots, capabilities):
        self.recorder = recorder
        self.name = name
        self.id = self.recorder.enroll(name, key)
        self.slots = slots
        self.capabilities = capabilities
        self.boots = count(1)
        self.boot()
        self.session = None
        self.results = {}

    def boot(self):
        """Begin anew, with the spool of the last boot."""
        self.boot_id = f"{next(self.boots):032x}"
        self.session = None
        self.waiting = {}
        self.running = {}
        self.draining = False

    def connect(self):
        self.session = next(SESSIONS)
        self.sent = self.received = self.seen = 0
        self.outbox = deque()
        self.inbox = deque()
        self.old = deque(maxlen=3)
        self.welcome = False
        held = (*self.waiting, *self.running)
        self.named = (set(held), set(self.results))
        hello = Hello(
            (1,),
            self.name,
            self.slots,
            self.capabilities,
            "host",
            self.boot_id,
            self.recorder.store.store_id,
            held,
            tuple(self.results),
            {"machine": "test"},
            draining=self.draining,
        )
        self.say(hello)

    def say(self, message):
        if self.session is not None and (self.welcome or isinstance(message, Hello)):
            self.sent += 1
            self.outbox.append((self.sent, message))

    def credit(self):
        room = 0 if self.draining else max(0, self.slots + 2 - len(self.waiting) - len(self.running))
        return Credit(room, 40, self.seen)

    def begin(self, index):
        """Start what waits; the attempt that runs, if any."""
        if len(self.running) < self.slots and self.waiting:
            ref = list(self.waiting)[index % len(self.waiting)]
            del self.waiting[ref]
            self.running[ref] = None
            return ref
        return None

    def end(self, index, *, success, made=()):
        """End what runs; its result is kept until ACK."""
        if self.running:
            ref = list(self.running)[index % len(self.running)]
            del self.running[ref]
            blobs = tuple(Named(sha256, BLOBS[sha256]) for sha256 in made)
            payload = values.encode([values.BlobReference(*blob) for blob in blobs])
            self.results[ref] = Result(ref, self.name, "host", 1, 0.1, success, 0, payload, blobs)
            self.say(Results((self.results[ref],), self.credit()))

    def lose_blobs(self, index):
        """A result cannot be delivered with what it names: an error takes its place."""
        able = [ref for ref, result in self.results.items() if result.blobs]
        if able:
            ref = able[index % len(able)]
            code = TaskErrorCode.BLOB_UNAVAILABLE
            self.results[ref] = self.results[ref]._replace(success=False, error_code=code, payload=b"\xc0", blobs=())
            self.say(Results((self.results[ref],), None))

    def hear(self, sequence, message):
        if isinstance(message, Error):
            self.session = None
            return
        if sequence <= self.received:
            return
        if sequence > self.received + 1:
            self.session = None
            return
        self.received = sequence
        self.act(sequence, message)

    def act(self, sequence, message):
        match message:
            case Welcome():
                self.welcome = True
                assert ({*message.keep, *message.drop}, {*message.send, *message.forget}) == self.named
                for ref in message.drop:
                    self.waiting.pop(ref, None)
                    self.running.pop(ref, None)
                    self.results.pop(ref, None)  # it ended since HELLO
                for ref in message.forget:
                    del self.results[ref]
                for result in self.results.values():
                    self.say(Results((result,), None))
                self.say(self.credit())
            case SendTasks():
                self.seen = sequence
                for lease in message.leases:
                    assert lease.ref not in self.waiting
                    assert lease.ref not in self.running
                    assert lease.ref not in self.results
                    self.waiting[lease.ref] = None
            case Recall():
                back = [ref for ref in message.attempts if self.waiting.pop(ref, 0) is None]
                self.say(Released(tuple(back)))
                self.say(self.credit())
            case Ack():
                for ref in message.attempts:
                    self.results.pop(ref, None)
            case BlobAsk(sha256, offset, size):
                if any(blob.sha256 == sha256 for result in self.results.values() for blob in result.blobs):
                    total = BLOBS[sha256]
                    self.say(BlobPiece(sha256, offset, total, b"x" * min(size, total - offset)))
            case Cancel():
                for ref in message.attempts:
                    self.waiting.pop(ref, None)
                    self.running.pop(ref, None)
                self.say(self.credit())
            case Drain():
                self.draining = True
                back = tuple(self.waiting)
                self.waiting = {}
                self.say(Released(back))
