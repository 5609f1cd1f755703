"""The broker's machine: the real shell, core and gateway on a virtual loop; what leaves and enters is simulated."""

from dart.broker.blob_arrivals import BlobArrivals
from dart.broker.blob_pieces import BlobPieces
from dart.broker.committer import Committer
from dart.broker.core.commands import ReadBlob, Send
from dart.broker.core.events import FrameArrived, SessionLost, Stopping
from dart.broker.core.invariants import check
from dart.broker.core.state import Core
from dart.broker.gateway import Address, Gateway
from dart.broker.service import Service
from dart.errors import UnavailableError
from dart.ids import SessionId
from dart.wire import codec
from dart.wire.messages import Ack, Cancel, Error, ErrorCode, Heartbeat, Hello, Malformed, Tasks, Welcome
from simulation.loop import VirtualLoop
from simulation.shelf import Shelf
from simulation.world import EPOCH

REPEAT_SECONDS = 1.0
DRAIN_SECONDS = 0.002
COMMIT_SECONDS = 0.004
"""What a group takes on average while the disk is well."""
CHECKED_TURNS = 6
"""Every so many turns all indexes are derived again."""


class SteppedCommitter(Committer):
    """The real one without its thread: each group takes its time, and so does the word of it."""

    process = None

    def _start(self):
        self._working = False

    def _enqueue(self, item):
        super()._enqueue(item)
        self._work_on()

    def _work_on(self):
        if not self._working and (self._following or not self._queue.empty()):
            self._working = True
            self._loop.call_later(self.process.commit_seconds(), self._work)

    def _work(self):
        self._working = False
        self._step()
        self.process.count_down("commit")
        self._work_on()

    async def close(self):
        await self.call(lambda: None)


class CheckedService(Service):
    """The real one; the core is looked over as it runs."""

    process = None
    turns = 0

    def _build(self, recovered):
        super()._build(recovered)
        reactor = self._reactor
        handle = reactor.handle

        def watched(event, now):
            kept = _must_keep(reactor.state, event)
            commands = handle(event, now)
            if kept:
                _check_kept(self.process.world, reactor.state, kept, commands)
            return commands

        reactor.handle = watched

    def _turn(self):
        reactor = self._reactor
        super()._turn()
        self.turns += 1
        if reactor is not None and reactor is self._reactor and self.turns % CHECKED_TURNS == 0:
            check(reactor.state)


def _must_keep(core: Core, event):
    """Attempts that HELLO names and that this agent holds."""
    if not isinstance(event, FrameArrived) or not isinstance(event.message, Hello) or event.session in core.sessions:
        return ()
    agent = core.agents.get(event.agent_id)
    leases = {} if agent is None else agent.leases
    return [
        ref for ref in event.message.attempts if ref.task_id in leases and leases[ref.task_id].attempt == ref.attempt
    ]


def _check_kept(world, core, refs, commands):
    for command in commands:
        if isinstance(command, Send) and isinstance(command.message, Welcome):
            for ref in set(refs) - set(command.message.keep):
                if ref.task_id in core.tasks:
                    world.fail(f"attempt {ref} was running within its lease and was dropped at HELLO")


class Peer:
    def __init__(self, session, agent_id, connection):
        self.session = session
        self.agent_id = agent_id
        self.connection = connection
        self.ended = False
        self.complained_at = -REPEAT_SECONDS


class Gate:
    """What the ROUTER and its transport do, frame for frame."""

    def __init__(self, process):
        self._process = process
        self._world = process.world
        self._limits = process.host.limits
        self._peers = {}
        self._sessions = {}
        self._shut_out = set()
        self._inbox = []
        self._reading = True
        self._due = False

    def pause(self):
        self._reading = False

    def resume(self):
        self._reading = True
        self._soon()

    def end_all(self, why):
        for peer in list(self._sessions.values()):
            self._send(peer, 0, Error(ErrorCode.SAY_HELLO, why))
            self.end(peer.session)

    def shut_out(self, agent_id):
        self._shut_out.add(agent_id)
        for peer in list(self._peers.values()):
            if peer.agent_id == agent_id:
                self.end(peer.session)
                peer.ended = True
                self._repeat(peer)

    def end(self, session):
        peer = self._sessions.pop(session, None)
        if peer is not None:
            peer.ended = True

    def send(self, session, sequence, message):
        peer = self._sessions.get(session)
        if peer is None:
            return "the session is over"
        return self._send(peer, sequence, message)

    def _send(self, peer, sequence, message):
        process = self._process
        process.count_down("send")
        if process.loop.dead:
            return ""
        if not isinstance(message, Heartbeat):
            self._world.note("broker ->", peer.connection.line.name, f"[{sequence}]", message)
        self._audit(peer, message)
        connection = peer.connection
        if connection.known_gone():
            return "its connection is gone"
        if connection.open:
            connection.send(connection.down, sequence, message)
        return ""

    def _audit(self, peer, message):
        ledger, reactor = self._process.host.ledger, self._process.service._reactor
        core = None if reactor is None else reactor.state
        if isinstance(message, Ack):
            ledger.told_done(message.attempts, peer.agent_id, core, "ACK")
        elif isinstance(message, Welcome):
            ledger.told_done(message.forget, peer.agent_id, core, "`forget` at WELCOME")
            ledger.told_done(message.drop, peer.agent_id, core, "`drop` at WELCOME")
        elif isinstance(message, Tasks):
            ledger.told_to_run(message.leases, peer.connection.worker)
        elif isinstance(message, Cancel):
            ledger.told_to_stop(message.attempts)

    def receive(self, connection, parts):
        self._inbox.append((connection, parts))
        self._soon()

    def _soon(self):
        if self._reading and self._inbox and not self._due:
            self._due = True
            self._process.loop.call_later(self._process.chance.random() * DRAIN_SECONDS, self._drain)

    def _drain(self):
        self._due = False
        if not self._reading:
            return
        inbox, self._inbox = self._inbox, []
        events = [event for event in (self._take(connection, parts) for connection, parts in inbox) if event]
        if events:
            self._process.service.post(events)

    def _take(self, connection, parts):
        peer = self._peers.get(connection)
        if peer is None:
            agent_id = connection.agent_id
            if not self._process.service.knows(agent_id):
                return None
            session = SessionId(len(self._peers) + 1)
            peer = self._peers[connection] = self._sessions[session] = Peer(session, agent_id, connection)
            if agent_id in self._shut_out:
                self.end(session)
        if peer.ended:
            self._repeat(peer)
            return None
        frame = codec.decode_from_agent(parts, self._limits)
        if isinstance(frame, Malformed):
            self._world.fail(f"a frame of an agent cannot be read: {frame.text}")
            return SessionLost(peer.session, frame.text)
        if not isinstance(frame.message, Heartbeat):
            self._world.note(connection.line.name, "-> broker", f"[{frame.sequence}]", frame.message)
        return FrameArrived(peer.session, peer.agent_id, frame.sequence, frame.message)

    def _repeat(self, peer):
        if self._world.now >= peer.complained_at + REPEAT_SECONDS:
            peer.complained_at = self._world.now
            code = ErrorCode.REVOKED if peer.agent_id in self._shut_out else ErrorCode.SAY_HELLO
            self._send(peer, 0, Error(code, "this session is over"))


class BrokerProcess:
    """One run of the server."""

    def __init__(self, host, number, clock_offset):
        self.host = host
        self.world = host.world
        self.chance = host.world.random_for(f"broker {number}")
        self.loop = VirtualLoop(self.world, self.chance, read_seconds=host.read_seconds)
        self.gate = Gate(self)
        self.requests = {}
        self._countdowns = {}
        self.listening = False
        self.clock = lambda: EPOCH + clock_offset + self.world.now
        self.loop.call_soon(self._boot)

    def _boot(self):
        self.service = CheckedService(
            self.host.disk, limits=self.host.limits, clock=self.clock, committer=SteppedCommitter
        )
        self.service.process = self
        self.service._committer.process = self
        self.pieces = BlobPieces(self.host.shelf, self.service, lambda: 1 + self.chance.getrandbits(52))
        self.arrivals = BlobArrivals(self.host.shelf, self.service)
        self.service.on_blob = lambda order: (
            self.pieces.read(order) if isinstance(order, ReadBlob) else self.arrivals.do(order)
        )
        self.gateway = Gateway(self.service, limits=self.host.limits, stop=lambda: None)
        self.gateway.address = Address("here", 1, "here", 2, bytes(32))
        self.loop.create_task(self.service.start(self.gate)).add_done_callback(self._listen)

    def _listen(self, started):
        self.listening = started.exception() is None
        if not self.listening:
            self.host.crash("the store cannot be opened")

    def commit_seconds(self):
        return min(self.chance.expovariate(1.0), 2.0) * self.host.commit_seconds

    def crash_at(self, point, times):
        """Die when this has happened so often: in the middle of a turn, if that is where it happens."""
        self._countdowns[point] = times

    def calm(self):
        """No more planned deaths."""
        self._countdowns.clear()

    def count_down(self, point):
        left = self._countdowns.get(point)
        if left is not None:
            self._countdowns[point] = left - 1
            if left <= 1 and not self.loop.dead:
                self.host.crash(f"at {point}")

    def serve(self, number, make, reply):
        """One request of a client; `reply` gets the gateway's answer, unless this process dies before."""
        task = self.loop.create_task(make(self.gateway))
        self.requests[number] = (task, reply)

        def done(task):
            if self.loop.dead or self.requests.pop(number, None) is None:
                return
            if task.cancelled():
                reply(None, ConnectionError("the client went away"))
            else:
                error = task.exception()
                reply(None if error else task.result(), error)

        task.add_done_callback(done)

    async def stop(self):
        """As the server does it when asked to end."""
        self.gateway.close()
        await self.service.ask(Stopping)
        await self.service.close()


class BrokerHost:
    """Where the server runs, dies and comes back.

    Args:
        network: Its network.
        disk: Its disk.
        ledger: Watches it.
        limits: All bounds.
    """

    def __init__(self, network, disk, ledger, limits):
        self.world = network.world
        self.network = network
        self.disk = disk
        self.ledger = ledger
        self.limits = limits
        self.process = None
        self.commit_seconds = COMMIT_SECONDS
        self.read_seconds = 0.004
        self._processes = 0
        self._requests = 0
        self._chance = self.world.random_for("broker host")
        self.shelf = ledger.shelf = Shelf(self.world.random_for("shelf"))

    def start(self, clock_offset=0.0):
        """Start the server, if it does not run."""
        if self.process is None:
            self._processes += 1
            self.world.note("broker starts")
            self.process = BrokerProcess(self, self._processes, clock_offset)

    def crash(self, how):
        """The process is gone, in the middle of whatever it did."""
        process = self.process
        if process is None:
            return
        self.world.note("broker crashes", how)
        self.shelf.crash()
        self._gone(process)

    def _gone(self, process):
        self.process = None
        process.loop.die()
        for _task, reply in process.requests.values():
            self.world.after(self._chance.random() * 0.1, reply, None, ConnectionError("the server is gone"))
        process.requests.clear()
        self.network.broker_gone(process)

    def stop(self):
        """Ask it to end in good order."""
        process = self.process
        if process is None or not process.listening or process.service._reactor is None:
            return
        self.world.note("broker is asked to stop")

        def ended(_task):
            if self.process is process:
                self._gone(process)

        process.loop.create_task(process.stop()).add_done_callback(ended)

    def request(self, make, reply):
        """A client's request arrives. Tells the number by which the client can leave."""
        self._requests += 1
        process = self.process
        if process is None or not process.listening:
            self.world.after(0.01, reply, None, UnavailableError("nobody listens"))
        else:
            process.serve(self._requests, make, reply)
        return self._requests

    def leave(self, number):
        """The client of this request goes away without waiting for its answer."""
        if self.process is not None and number in self.process.requests:
            self.process.requests[number][0].cancel()
