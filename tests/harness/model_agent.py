"""An agent as the protocol has it, with an unreliable wire in each direction, for properties of the broker's core.

It keeps what it must keep and says what it must say; when its tasks begin and end, and what becomes of the frames on
its wires, is decided from outside.
"""

from collections import deque
from itertools import count

from dart.broker.core.commands import SendTasks
from dart.wire.messages import (
    Ack,
    Cancel,
    Credit,
    Drain,
    Error,
    Hello,
    Recall,
    Released,
    Result,
    Results,
    Welcome,
)

SESSIONS = count(1)


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

    def end(self, index, *, success):
        """End what runs; its result is kept until ACK."""
        if self.running:
            ref = list(self.running)[index % len(self.running)]
            del self.running[ref]
            self.results[ref] = Result(ref, self.name, "host", 1, 0.1, success, 0, b"\xc0")
            self.say(Results((self.results[ref],), self.credit()))

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
