"""Connections between agents and the broker: frames as bytes, in order but for what goes wrong with them."""

from dart.wire import codec
from dart.wire.messages import Frame

LATENCY_SECONDS = 0.004
LATE_SECONDS = 0.3
"""From when on a frame counts as delayed."""
NOTICE_SECONDS = 0.2
"""How long it takes at most until one end notices that the other is gone, unless the line is cut."""
RARE = {
    "Hello": 2.0,
    "Welcome": 2.0,
    "Credit": 2.0,
    "Drain": 15.0,
    "Bye": 25.0,
    "Recall": 30.0,
    "Released": 30.0,
    "Cancel": 30.0,
    "Error": 6.0,
    "Progress": 2.0,
    "Log": 2.0,
    "Blob": 5.0,
    "BlobGet": 3.0,
    "BlobAsk": 5.0,
    "BlobPiece": 5.0,
    "Heartbeat": 0.7,
}
"""How much more often than others these messages have mishaps, for they are seldom sent."""
SELDOM = {
    "Drain": 1.0,
    "Bye": 1.0,
    "Recall": 1.0,
    "Released": 6.0,
    "Cancel": 1.0,
    "Blob": 0.3,
    "BlobAsk": 0.3,
    "BlobPiece": 0.3,
}
"""So seldom sent that bad weather hardly ever meets them: they can be meddled with by name."""


class Line:
    """What lies between one machine and the broker; connections come and go on it."""

    def __init__(self, name):
        self.name = name
        self.dropping = 0.0
        self.duplicating = 0.0
        self.delaying = 0.0
        self.swapping = 0.0
        self.cuts = {"up": "", "down": ""}
        """By direction: nothing, `drop` what comes, or `hold` it until the line heals."""

    def calm(self):
        self.dropping = self.duplicating = self.delaying = self.swapping = 0.0

    @property
    def cut(self):
        return bool(self.cuts["up"] or self.cuts["down"])


class _Direction:
    def __init__(self, name, receive, decode):
        self.name = name
        self.receive = receive
        self.decode = decode
        self.free_at = 0.0
        self.held = []


class Connection:
    """One socket of an agent and its peer at the broker.

    Args:
        network: Where it lies.
        line: Its machine's line.
        agent_id: Whose socket it is, as its key proves.
        worker: The name that the key is enrolled for.
        agent: Called with each frame for the agent.
        lost: Called when the agent's end notices that the broker is gone.
    """

    def __init__(self, network, line, *, agent_id, worker, agent, lost):
        broker = network.broker
        self._network = network
        self._world = network.world
        self.line = line
        self.agent_id = agent_id
        self.worker = worker
        self.lost = lost
        process = broker.process
        self.incarnation = process if process is not None and process.listening else None
        """The process at the other end when this was opened."""
        self.open = True
        self.closed_at = 0.0
        self.up = _Direction("up", self._to_broker, codec.decode_from_agent)
        self.down = _Direction("down", agent, codec.decode_from_broker)

    def close(self):
        """The agent's end goes; what is still on its way may arrive."""
        if self.open:
            self.open = False
            self.closed_at = self._world.now
            self.up.held.clear()

    def known_gone(self):
        """Whether the broker's socket has noticed that nobody listens any more."""
        return not self.open and not self.line.cut and self._world.now > self.closed_at + NOTICE_SECONDS

    def send(self, direction, sequence, message):
        """Put a message on its way, if it is lucky."""
        parts = codec.encode(Frame(sequence, message), limits=self._network.limits)
        name = type(message).__name__
        self._network.reach.sent[name] += 1
        cut = self.line.cuts[direction.name]
        if cut == "hold":
            direction.held.append((parts, name))
        elif cut:
            self._count(name, "dropped")
        else:
            self._dispatch(direction, parts, name)

    def heal(self):
        """What was held goes on."""
        for direction in (self.up, self.down):
            held, direction.held = direction.held, []
            for parts, name in held:
                self._count(name, "delayed")
                self._dispatch(direction, parts, name)

    def _count(self, name, mishap):
        self._network.reach.mishaps[name, mishap] += 1
        self._world.note(self.line.name, name, mishap)

    def _dispatch(self, direction, parts, name):
        line, chance = self.line, self._network.chance
        rare = RARE.get(name, 1.0)
        meddled = chance.random() < self._network.meddling * SELDOM.get(name, 0.0)
        mishap = chance.choice(("dropped", "dropped", "duplicated", "delayed", "delayed")) if meddled else ""
        if mishap == "dropped" or chance.random() < line.dropping * rare:
            self._count(name, "dropped")
            return
        arrival = self._world.now + chance.random() * LATENCY_SECONDS
        if mishap == "delayed" or chance.random() < line.delaying * rare:
            late = LATE_SECONDS + chance.random() ** 3 * 8.0
            arrival += late
            self._count(name, "delayed")
        if line.swapping and chance.random() < line.swapping * rare:
            # Overtakes, or is overtaken: no transport of ours does that, but the protocol is said to bear it.
            self._world.at(arrival, self._arrive, direction, parts, name)
            return
        direction.free_at = arrival = max(arrival, direction.free_at)
        self._world.at(arrival, self._arrive, direction, parts, name)
        if mishap == "duplicated" or chance.random() < line.duplicating * rare:
            self._count(name, "duplicated")
            self._world.at(arrival + chance.random() * 0.5, self._arrive, direction, parts, name)

    def _arrive(self, direction, parts, name):
        cut = self.line.cuts[direction.name]
        if cut == "drop":
            self._count(name, "dropped")
        elif cut:
            direction.held.append((parts, name))
        else:
            direction.receive(parts)

    def _to_broker(self, parts):
        broker = self._network.broker
        if self.incarnation is not None and broker.process is self.incarnation:
            broker.process.gate.receive(self, parts)


class Network:
    """All lines."""

    def __init__(self, world, limits, reach):
        self.world = world
        self.limits = limits
        self.reach = reach
        self.chance = world.random_for("network")
        self.broker = None
        self.meddling = 0.0
        self.lines = {}
        self.connections = []

    def line(self, name):
        return self.lines.setdefault(name, Line(name))

    def connect(self, line, **ends):
        """A new socket on this line."""
        self.connections = [old for old in self.connections if old.open]
        connection = Connection(self, line, **ends)
        self.connections.append(connection)
        if connection.incarnation is None:
            self._notice(connection)
        return connection

    def broker_gone(self, process):
        """Agents notice, unless their line is cut."""
        for connection in self.connections:
            if connection.incarnation is process:
                self._notice(connection)

    def _notice(self, connection):
        if not connection.line.cut:
            self.world.after(self.chance.random() * NOTICE_SECONDS, self._tell_lost, connection)

    def _tell_lost(self, connection):
        if connection.open:
            connection.lost()

    def heal(self, line):
        line.cuts = {"up": "", "down": ""}
        for connection in self.connections:
            if connection.line is line:
                connection.heal()
