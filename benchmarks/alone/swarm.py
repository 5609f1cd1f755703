"""Many agents in one process: the real core and link of each, its own socket and key; only runners are missing.

Started by `agents.py` with a line of JSON on stdin: who they are and where the server is. It says on stdout, when it
changes, how many are welcomed and how many tasks they hold; a line on stdin lets them finish those tasks, all of them
or, where it ends with a number, one of each of so many agents, in turn.
"""

import heapq
import json
import os
import selectors
import sys
import time
from typing import Any

import zmq
from zmq.utils import z85

from dart import __version__
from dart.agent import events
from dart.agent.core import AgentCore, Identity
from dart.agent.link import Endpoint, Link
from dart.clock import Clock
from dart.ids import BootId, StoreId
from dart.limits import Limits
from dart.wire.curve import KeyPair

TELL_SECONDS = 0.02
LIMITS = Limits()
NOTHING = b"\xc0"


class SharedLink(Link):
    """As in an agent's process, but all of them have one context, so one thread of ZeroMQ's."""

    def __init__(self, number: int, context: "zmq.Context[zmq.Socket[bytes]]", **members: Any) -> None:
        super().__init__(**members)
        self._context.term()
        self._context = context
        self._opened = number << 32  # names of monitors must differ within a context

    def close(self) -> None:
        """The context goes on."""
        self.disconnect(0.0)


class Member:
    """One agent."""

    def __init__(self, swarm: "Swarm", number: int, name: str, keys: KeyPair) -> None:
        self.swarm, self.number = swarm, number
        self.happened: list[events.Event] = []
        self.held: list[Any] = []
        self.began = 0.0
        """When the task began that runs: with the one slot that there is, when the one before it had ended."""
        self.armed: float | None = None
        self.is_live = False
        identity = Identity(
            name=name, slots=1, capabilities=(), host=f"host-{number // 8:03}", boot_id=BootId(os.urandom(16).hex()),
            facts={"architecture": "x86_64" if number % 5 else "aarch64", "agent_version": __version__},
            store_id=swarm.store_id,
        )  # fmt: skip
        self.core = AgentCore(identity, LIMITS, swarm.clock())
        self.link = SharedLink(
            number, swarm.context, find=lambda: swarm.endpoint, keys=keys, limits=LIMITS, emit=self.happened.append,
            watch=lambda descriptor: swarm.watch(descriptor, self), unwatch=swarm.unwatch,
        )  # fmt: skip
        self.happened.append(events.Started(()))
        self.happened.append(events.RunnerReady(0, {}))

    def turn(self) -> None:
        """Let the core decide and do it, until nothing more happens at once."""
        while True:
            happened, self.happened[:] = tuple(self.happened) or (events.TimePassed(),), []
            sent = False
            for command in self.core.handle_all(happened, self.swarm.clock()):
                sent |= self.carry_out(command)
            # As in the agent's loop: after sending the descriptor would not tell again.
            while sent and self.link.ready():
                pass
            if not self.happened:
                break
        live = self.core.state.phase.value == "live"
        self.swarm.live += live - self.is_live
        self.is_live = live
        deadline = self.core.next_deadline()
        if deadline is not None and deadline != self.armed:
            heapq.heappush(self.swarm.timers, (deadline, self.number))
        self.armed = deadline

    def carry_out(self, command: events.Command) -> bool:
        """Whether the socket was written to."""
        match command:
            case events.Send(sequence, message):
                self.link.send(sequence, message)
                return True
            case events.Connect():
                self.swarm.connects += 1
                self.link.connect()
                return True
            case events.Disconnect(flush_seconds):
                self.link.disconnect(flush_seconds)
            case events.Give(_, leases):
                if not self.held:
                    self.began = time.time()
                self.held.extend(lease.ref for lease in leases)
                self.swarm.held += len(leases)
            case events.SpoolWrite(number, _, _):
                self.happened.append(events.SpoolSynced(number))
            case events.Kill():
                self.swarm.lost += len(self.held)
            case events.Say(level, text) if level == "error":
                print(text, file=sys.stderr)
        return False

    def finish(self, amount: int | None) -> None:
        """So many of its tasks end, or all."""
        refs, self.held = self.held[:amount], [] if amount is None else self.held[amount:]
        self.swarm.held -= len(refs)
        if refs:
            now = time.time()
            # As it was: an agent that thinks its tasks short takes a thousand of them ahead.
            seconds = (now - self.began) / len(refs)
            ended = tuple(events.RunnerResult(ref, int(self.began * 1000), seconds, True, 0, NOTHING) for ref in refs)
            self.began = now
            self.happened.append(events.TasksEnded(0, ended))
            self.turn()


class Swarm:
    """The loop."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(orders["url"], orders["server_key"].encode())
        self.store_id = StoreId(orders["store_id"])
        self.context: zmq.Context[Any] = zmq.Context()
        self.context.max_sockets = 4 * len(orders["agents"]) + 100
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ, None)
        self.timers: list[tuple[float, int]] = []
        self.live = self.held = self.connects = self.lost = self.next = 0
        self.told: tuple[int, ...] = ()
        self.tell_at = 0.0
        self.members = [
            Member(self, number, name, KeyPair(z85.decode(public), z85.decode(secret)))
            for number, (name, public, secret) in enumerate(orders["agents"])
        ]

    def watch(self, descriptor: int, member: Member) -> None:
        self.selector.register(descriptor, selectors.EVENT_READ, member)

    def unwatch(self, descriptor: int) -> None:
        if descriptor in self.selector.get_map():
            self.selector.unregister(descriptor)

    def run(self) -> None:
        """Until stdin ends."""
        for member in self.members:
            member.turn()
        while True:
            self.on_time()
            self.tell()
            patience = max(0.0, self.timers[0][0] - self.clock()) if self.timers else 1.0
            for key, _ in self.selector.select(min(patience, 1.0)):
                if key.data is None:
                    orders = os.read(0, 4096).split()
                    if not orders:
                        return
                    self.finish(int(orders[-1]) if orders[-1].isdigit() else 0)
                elif self.selector.get_map().get(key.fd) is key:
                    while key.data.link.ready():
                        pass
                    if key.data.happened:
                        key.data.turn()

    def finish(self, amount: int) -> None:
        """Let a task of each of so many members end, of others the next time; 0: all of all."""
        for _ in range(amount or len(self.members)):
            self.members[self.next].finish(1 if amount else None)
            self.next = (self.next + 1) % len(self.members)

    def on_time(self) -> None:
        """Let those turn whose time has come."""
        now = self.clock()
        while self.timers and self.timers[0][0] <= now:
            deadline, number = heapq.heappop(self.timers)
            member = self.members[number]
            if member.armed == deadline:
                member.armed = None
                member.turn()

    def tell(self) -> None:
        """How it stands, if that is new."""
        now = time.monotonic()
        standing = (self.live, self.held, self.connects, self.lost)
        if standing != self.told and (now >= self.tell_at or self.live == len(self.members)):
            self.told, self.tell_at = standing, now + TELL_SECONDS
            line = {"at": now, "live": self.live, "held": self.held, "connects": self.connects, "lost": self.lost}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    Swarm(json.loads(sys.stdin.buffer.raw.readline())).run()
