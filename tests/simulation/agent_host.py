"""An agent's machine: the real core between simulated runners, spool and link; it crashes, loses power, comes back."""

from dataclasses import replace
from hashlib import sha256

from dart.agent import events
from dart.agent.blob_events import BlobFind, BlobFree, BlobLack, BlobLet, BlobPin, BlobRead, BlobWrite
from dart.agent.core import AgentCore, Identity, SpoolMode
from dart.agent.policy import read_policy
from dart.ids import AgentId, BootId
from dart.wire import codec
from dart.wire.messages import Ack, Cancel, Heartbeat, Malformed, Results, Welcome
from simulation.disk import Card, Spool
from simulation.runners import Runners
from simulation.shelf import BLOBS, Cache
from simulation.world import EPOCH

TURN_SECONDS = 0.0005


class AgentProcess:
    """One boot of an agent."""

    def __init__(self, host, number, clock_offset):
        self.host = host
        self.world = host.world
        self.dead = False
        self.exit_code = None
        self.told = set()
        """Results that the broker said may be forgotten."""
        self.crash_in = 0
        """Crash after so many further commands; 0: not."""
        self._chance = host.world.random_for(f"{host.label} {number}")
        self._clock = lambda: EPOCH + clock_offset + self.world.now
        self._events = []
        self._due = False
        self._timer = None
        self._connection = None
        self.spool = Spool(self.world, host.card, self._emit, gather=host.mode is not SpoolMode.BEFORE_SEND)
        self.runners = Runners(self.world, self._chance, host.ledger, self._emit, host.slots)
        self.runners.name = f"{host.label}.{number}"
        self.runners.agent_id = host.agent_id
        self.runners.clock = self._clock
        self.runners.failing = host.bad_python
        self.cache = self.runners.cache = Cache(
            self.world, self._chance, host.blobs, self._emit, host.limits.blob_cache_bytes_max
        )
        self.cache.rotten = host.ledger.rotten
        self.limits = host.limits
        if host.names_little and host.limits.batch_items_max == 4096:
            # It names less in HELLO than it keeps: the rest comes unannounced.
            self.limits = replace(host.limits, hello_items_max=1)
        host.names_little = False
        identity = Identity(
            name=host.name,
            slots=host.slots,
            capabilities=host.capabilities,
            host=host.label,
            boot_id=BootId(sha256(f"{self.world.seed}/{host.label}/{number}".encode()).hexdigest()[:32]),
            facts={},
            store_id=host.store_id,
            spool_mode=host.mode,
            stop_grace_seconds=2.0,
            policy=read_policy({"deny": [f"{host.ledger.forbidden}:*"]} if host.ledger.forbidden else {}),
        )
        self.core = AgentCore(identity, self.limits, self._clock())
        self._emit(events.Started(self.spool.stored))
        self.runners.start()

    def ask_to_stop(self):
        self._emit(events.StopAsked())

    # ---- the loop ----

    def _emit(self, event):
        if not self.dead:
            self._events.append(event)
            if not self._due:
                self._due = True
                self.world.after(self._chance.random() * TURN_SECONDS, self._turn)

    def _turn(self):
        self._due = False
        if self.dead:
            return
        happened, self._events = tuple(self._events) or (events.TimePassed(),), []
        for command in self.core.handle_all(happened, self._clock()):
            self._carry_out(command)
            if self.crash_in:
                self.crash_in -= 1
                if not self.crash_in:
                    self.host.crash(power=self._chance.random() < 0.5)
            if self.dead:
                return
        self._set_timer()

    def _set_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.core.next_deadline()
        if deadline is not None:
            self._timer = self.world.after(max(0.0, deadline - self._clock()), self._turn)

    def _carry_out(self, command):
        match command:
            case events.Give(slot, leases):
                self.runners.give(slot, leases)
            case events.Send(sequence, message):
                self._send(sequence, message)
            case events.SpoolWrite(number, store_id, results):
                self.spool.write(number, store_id, results)
            case events.SpoolForget(refs):
                self._forget(refs)
            case events.TakeBack(slot):
                self.runners.take_back(slot)
            case events.Kill(slot, grace_seconds):
                self.runners.kill(slot, grace_seconds)
            case BlobLack():
                self.cache.lack(command)
            case BlobFind() | BlobWrite() | BlobLet() | BlobPin() | BlobFree() | BlobRead():
                self._do_with_blob(command)
            case events.Connect():
                self._connect()
            case events.Disconnect():
                self._disconnect()
            case events.Exit(code):
                self.exit_code = code
                self.end(order=True)
            case _:
                pass

    def _do_with_blob(self, command):
        if isinstance(command, BlobLet):
            self.cache.forget(command.sha256)
        self.cache.do(command)

    def end(self, *, order):
        """The process is over."""
        self.dead = self.cache.ended = True
        self.runners.end()
        self.spool.end(order=order)
        self._disconnect()
        if self._timer is not None:
            self._timer.cancel()
        self.host.process_ended(self)

    # ---- the link ----

    def _connect(self):
        self._disconnect()
        self._connection = connection = self.host.network.connect(
            self.host.line,
            agent_id=self.host.agent_id,
            worker=self.host.name,
            agent=lambda parts: self._receive(connection, parts),
            lost=lambda: self._lost(connection),
        )
        self._emit(events.LinkUp(self._chance.random()))

    def _disconnect(self):
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _lost(self, connection):
        if self._connection is connection:
            self._disconnect()
            self._emit(events.LinkDown("the connection was closed", self._chance.random()))

    def _send(self, sequence, message):
        connection = self._connection
        if connection is None:
            return
        if isinstance(message, Results) and self.host.mode is SpoolMode.BEFORE_SEND:
            for result in message.results:
                if not self.host.card.has_synced(result.ref):
                    self.world.fail(f"the result of {result.ref} is sent and not on disk, though spool = before_send")
        if not isinstance(message, Heartbeat):
            self.world.note(self.host.label, "sends", f"[{sequence}]", message)
        connection.send(connection.up, sequence, message)

    def _receive(self, connection, parts):
        if self._connection is not connection:
            return
        frame = codec.decode_from_broker(parts, self.limits)
        if isinstance(frame, Malformed):
            self.world.fail(f"a frame of the broker cannot be read: {frame.text}")
            return
        message = frame.message
        if not isinstance(message, Heartbeat):
            self.world.note(self.host.label, "gets", f"[{frame.sequence}]", message)
        if isinstance(message, (Ack, Cancel)):
            self.told.update(message.attempts)
        elif isinstance(message, Welcome):
            self.told.update(message.forget, message.drop)
            self.host.store_id = message.store_id
        self._emit(events.FrameArrived(frame.sequence, message))

    def _forget(self, refs):
        for ref in refs:
            if ref not in self.told:
                self.world.fail(f"{self.host.label} forgets the result of {ref}, which nobody acknowledged")
        self.spool.forget(refs)


class AgentHost:
    """A machine with an agent.

    Args:
        network: Its network.
        ledger: Watches it.
        limits: All bounds.
        label: Names this machine alone.
        name: The worker name.
        key: Names its key; a clone has another machine's.
        slots: How many.
        mode: When it spools.
        capabilities: What it can.
    """

    def __init__(self, network, ledger, limits, *, label, name, key, slots, mode, capabilities):
        self.world = network.world
        self.network = network
        self.ledger = ledger
        self.limits = limits
        self.label = label
        self.name = name
        self.public_key = sha256(key.encode()).digest()
        self.agent_id = AgentId(sha256(self.public_key).hexdigest())
        self.slots = slots
        self.mode = mode
        self.capabilities = capabilities
        self.line = network.line(label)
        self.card = Card(self.world.random_for(f"card of {label}"))
        self.store_id = ""
        self.blobs = {}
        """Its cache of them, by hash."""
        self.bad_python = False
        self.names_little = False
        """Whether the next boot has room for one result in HELLO only."""
        self.process = None
        self.last_exit_code = None
        self._boots = 0
        self._chance = self.world.random_for(f"blobs of {label}")

    @property
    def revoked(self):
        """Whether its key counts no more: what it has stays with it."""
        return self.agent_id in self.ledger.revoked

    def start(self, clock_offset=0.0):
        """Start the agent, if it does not run."""
        if self.process is None:
            self._boots += 1
            self.world.note(self.label, "starts, boot", self._boots)
            self.process = AgentProcess(self, self._boots, clock_offset)

    def crash(self, *, power):
        """The agent is killed, or its machine loses power."""
        if self.process is not None:
            self.world.note(self.label, "loses power" if power else "is killed")
            self.process.end(order=False)
            if power:
                self.card.lose_power()
                for name, data in self.blobs.items():
                    # What was not synced may be there as nothing but zeros.
                    synced = name not in BLOBS  # made by a task
                    self.blobs[name] = data if synced or self._chance.random() < 0.8 else bytes(len(data))

    def process_ended(self, process):
        """From the process."""
        self.world.note(self.label, "has ended")
        self.last_exit_code = process.exit_code
        self.process = None

    def restlessness(self):
        """What it still has; empty: it is at rest."""
        process = self.process
        if process is None:
            return f"{self.label} keeps {sorted(self.card.refs())} and does not run" if len(self.card) else ""
        state = process.core.state
        for what in ("held", "kept", "queue", "waiting", "blobs", "to_send", "unspooled", "progress", "offered"):
            there = getattr(state, what)
            if there:
                return f"{self.label} has {what}: {list(there)[:3]}"
        counts = (state.held_bytes, state.kept_bytes, state.offered_bytes, state.reading, len(process.cache.made))
        if any(counts):
            return f"{self.label} counts something where nothing is: {counts}"
        if not process.runners.idle():
            return f"the runners of {self.label} are at work"
        if len(self.card):
            return f"the spool of {self.label} keeps {sorted(self.card.refs())[:3]}"
        return ""
