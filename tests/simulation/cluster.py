"""A whole installation in one world: server, agents, clients, and whether it is at rest."""

from dataclasses import replace

from dart.agent.core import SpoolMode
from dart.broker.core.model import Retention
from dart.limits import Limits
from simulation import shelf
from simulation.agent_host import AgentHost
from simulation.broker_host import COMMIT_SECONDS, BrokerHost
from simulation.client import Client
from simulation.disk import Disk
from simulation.faults import JOBS, SECONDS, apply
from simulation.ledger import Ledger
from simulation.network import Network
from simulation.runners import parameter

HEAL_SECONDS = 400.0
"""After everything has healed, all must be at rest within so long."""
LOOK_SECONDS = 1.0
ALL_CAPABILITIES = ("fpga", "gpu")
NAMES = ("ant", "ant", "bee")
FORBIDDEN_SHARE = 0.15
"""Of the seeds in which no owner lets one of the jobs run."""


def draw_limits(chance):
    """Bounds so tight that each is met, and times so short that leases end."""
    batch_items_max = chance.choice((2, 7, 4096, 4096, 4096))
    return replace(
        Limits(),
        batch_items_max=batch_items_max,
        # A header's arrays may have as many items as the larger of the two says, and need a few in any case.
        hello_items_max=2 if batch_items_max == 4096 and chance.random() < 0.3 else 100_000,
        batch_bytes_max=chance.choice((300, 8 << 20)),
        slice_tasks_max=chance.choice((2, 4, 500)),
        cache_bytes_max=chance.choice((0, 1000, 1 << 26)),
        group_records_max=chance.choice((1, 5, 20_000)),
        outbox_bytes_max=chance.choice((600, 1 << 29)),
        answer_page_bytes_max=chance.choice((50, 1 << 22)),
        page_items_max=chance.choice((2, 1000)),
        prefetch_max=chance.choice((0, 2, 1024, 1024)),
        interactive_backlog_min=chance.choice((3, 1000)),
        pipeline_max=chance.choice((1, 256, 256)),
        spool_bytes_max=chance.choice((900, 1 << 29)),
        spool_lazy_seconds=chance.choice((0.05, 0.5)),
        heartbeat_seconds=5.0,
        silence_seconds=12.0,
        lease_seconds=chance.choice((14.0, 25.0)),
        reconnect_seconds_max=4.0,
        kill_grace_seconds=0.3,
    )


class Cluster:
    """The installation of one seed.

    Args:
        world: Its clock.
        reach: Counts what happens.
    """

    def __init__(self, world, reach):
        self.world = world
        self.reach = reach
        chance = world.random_for("cluster")
        self.limits = replace(draw_limits(chance), **shelf.draw_limits(world.random_for("blobs")))
        self.ledger = Ledger(world)
        if world.random_for("policy").random() < FORBIDDEN_SHARE:
            self.ledger.forbidden = JOBS[-1]
        self.disk = Disk(self.ledger, self.limits, world.seed)
        self.network = Network(world, self.limits, reach)
        self.broker = self.network.broker = BrokerHost(self.network, self.disk, self.ledger, self.limits)
        self.broker.read_seconds = chance.choice((0.004, 0.3))
        self.client = Client(world, self.broker, self.ledger)
        self.submissions = 0
        self.healing = False
        self._chance = chance
        self._hosts = []
        self._clones = []
        self._at_rest = False

    # ---- what plans use ----

    def host(self, number):
        """An agent's machine; any number will do."""
        return self._hosts[number % len(self._hosts)]

    def hosts(self):
        """All machines with agents."""
        return list(self._hosts)

    def later(self, seconds, function, *arguments):
        """What undoes harm; after everything has healed it is not needed any more."""
        self.world.after(seconds, lambda: None if self.healing else function(*arguments))

    def start_all(self, name):
        """Start what does not run of a name."""
        for host in self._hosts:
            if host.name == name:
                self.start_one(host)

    def start_one(self, host):
        """Start an agent, unless one with its key runs."""
        if not self._shares_key(host):
            host.start()

    def add_host(self, name, *, key="", mode=None):
        label = f"{name}{len(self._hosts) + 1}"
        mode = mode or self._chance.choice(tuple(SpoolMode))
        host = AgentHost(
            self.network,
            self.ledger,
            self.limits,
            label=label,
            name=name,
            key=key or label,
            slots=self._chance.choice((1, 1, 2, 4)),
            mode=mode,
            capabilities=ALL_CAPABILITIES if self.healing else self._chance.choice((ALL_CAPABILITIES, ("gpu",), ())),
        )
        self._hosts.append(host)
        self.client.enroll(host, host.start)
        return host

    def clone(self, host):
        """The card of a machine was copied, its key with it."""
        original = next((known for known, clone in self._clones if clone is host), host)
        copy = self.add_host(original.name, key=original.label, mode=original.mode)
        copy.card.write((result.ref, (store_id, result)) for store_id, result in original.card.load_copy())
        copy.card.sync()
        copy.blobs.update(original.blobs)
        self._clones.append((original, copy))

    # ---- a run ----

    def run(self, plan):
        """Carry out a plan, heal, and see that everything comes to rest with all promises kept."""
        self.broker.start()
        for name in NAMES:
            self.add_host(name)
        if self._chance.random() < 0.4:
            self.client.define_standing(parameter("standing", seconds=self._chance.choice((0.05, 2.0))))
        for name in JOBS:
            if self._chance.random() < 0.15:
                self.client.retentions[name] = Retention(results=self._chance.choice((1, 4)))
        for step in plan:
            self.world.at(step.at, apply, self, step)
        self.world.run(SECONDS)
        self.heal()
        self._come_to_rest()
        for original, clone in self._clones:
            # What a clone kept is delivered too, once it is alone with its key.
            for host in (original, *(copy for known, copy in self._clones if known is original)):
                host.crash(power=False)
            clone.start()
            self._come_to_rest(resting=original)
        self.ledger.settle(self.disk, set(NAMES))
        if self.world.broken:
            self.world.run(self.world.now + 1e-9)

    def heal(self):
        """Whatever is broken is mended."""
        self.healing = True
        self.world.note("everything heals")
        self.disk.failing = self.disk.fail_next = self.disk.lie_next = False
        self.broker.commit_seconds = COMMIT_SECONDS
        self.network.meddling = 0.0
        self.broker.shelf.healthy = True
        if self.broker.process is not None:
            self.broker.process.calm()
        for host in self._hosts:
            host.line.calm()
            self.network.heal(host.line)
            host.bad_python = host.card.full = host.card.slow = False
            capable = host.capabilities == ALL_CAPABILITIES
            host.capabilities = ALL_CAPABILITIES
            if host.process is not None:
                host.process.crash_in = 0
                host.process.runners.failing = False
                if not capable:
                    host.crash(power=False)

    def _is_clone(self, host):
        return any(copy is host for _, copy in self._clones)

    def _come_to_rest(self, resting=None):
        self._at_rest = False
        self._look(resting)
        if not self.world.run(self.world.now + HEAL_SECONDS, lambda: self._at_rest):
            self.world.fail(f"not at rest {HEAL_SECONDS:g} s after everything healed: {self.restlessness()}")
            self.world.run(self.world.now + 10 * LOOK_SECONDS)

    def _look(self, resting):
        """Keep everything running, and see whether there is still something to do."""
        if self._at_rest:
            return
        self.broker.start()
        for host in self._hosts:
            if host is resting or (resting is None and self._is_clone(host)):
                host.crash(power=False)
            elif not self._shares_key(host):
                host.start()
        if self.restlessness(but=resting):
            self.world.after(LOOK_SECONDS, self._look, resting)
        else:
            self._at_rest = True

    def _shares_key(self, host):
        return any(
            other is not host and other.agent_id == host.agent_id and other.process is not None for other in self._hosts
        )

    def restlessness(self, but=None):
        """Who has something left; empty: nobody."""
        if self.client.pending:
            return f"clients wait for {self.client.pending} answers"
        for host in self._hosts:
            # Whose key was revoked has nobody to give it to.
            if host is not but and not host.revoked and (host.process is not None or not self._is_clone(host)):
                restless = host.restlessness()
                if restless:
                    return restless
        return self._broker_restlessness()

    def _broker_restlessness(self):
        process = self.broker.process
        if process is None or not process.listening or process.service._reactor is None:
            return "the broker is not up"
        service, store = process.service, self.disk
        core = service._reactor.state
        left = {
            "tasks": core.tasks,
            "submissions": core.submissions,
            "submissions to admit": core.admitting,
            "reserved ids": core.reserved,
            "queued tasks": core.ready.size,
            "givers": core.givers,
            "leases asked for": core.asked,
            "leases": core.lease_counts,
            "recalls": core.recalls,
            "leases of agents": [task for agent in core.agents.values() for task in agent.leases],
            "frames that wait for a commit": len(service._outbox),
            "frames that wait for parameters": service._delivery._held,
            "requests": service._questions._asked,
            "requests with a key": process.gateway._requests._in_flight,
            "waiters": len(process.gateway._waiters),
            "parameters in the cache": len(service._cache),
            "pieces of blobs to read": process.pieces._orders,
            "pieces of blobs": [agent for agent in core.agents.values() if agent.session and agent.session.pieces],
            "blobs to write": [*process.arrivals._orders, *process.arrivals._uploads],
            "blobs on their way": [agent for agent in core.agents.values() if agent.session and agent.session.coming],
            "lazy records": service._lazy,
            "lease rows": store._leases,
            "stored tasks": store._tasks,
            "stored submissions": store._submissions,
        }
        return next((f"the broker has {what}: {str(there)[:120]}" for what, there in left.items() if there), "")
