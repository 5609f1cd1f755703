"""The broker's core against arbitrary clients, agents and networks: its books agree, and every promise is kept."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from dart.broker.core.commands import EndSession, Persist, Send, SendTasks
from dart.broker.core.events import (
    AgentsRevoked,
    FrameArrived,
    JobsPurged,
    ResultDeleted,
    ServerMoves,
    SessionLost,
    SubmissionAbandoned,
    TasksSubmitted,
    WorkersDrained,
)
from dart.broker.core.model import OnLost, TaskPolicy, TaskSpec, TaskState
from dart.broker.core.records import TaskFinished, TasksAdded
from dart.broker.core.tokens import token_of
from dart.errors import DartError
from dart.wire.messages import Bye, Heartbeat, NextServer, Start, Started
from harness.broker_disk import Order, WithDisk
from harness.model_agent import BLOBS, ModelAgent
from harness.recorder import Recorder

FEW_PIECES = {"blob_piece_bytes": 10, "blob_fetch_bytes_max": 40, "blob_fetches_max": 1}
SLICE = 2
SLICES_LET_IN = 2
JOBS = st.sampled_from(["red", "green"])
AGENTS = st.sampled_from([0, 1, 2])
INDEX = st.integers(0, 50)
"""Which of what is there, modulo how many there are."""

POLICIES = st.builds(
    TaskPolicy,
    location=st.sampled_from(["", "w", "v"]),
    requires=st.sampled_from([(), ("gpu",), ("machine=test",), ("!machine!=test", "gpu")]),
    priority=st.sampled_from([0, 0, 1]),
    retries=st.sampled_from([0, 1]),
    lost_retries=st.sampled_from([0, 1, 3]),
    on_lost=st.sampled_from(OnLost),
    expires_at_ms=st.sampled_from([0, 0, 1_020_000, 1_200_000]),
    timeout_seconds=st.just(0.0),
    retry_delay_seconds=st.sampled_from([0.0, 0.5, 20.0]),
    lost_retry_delay_seconds=st.sampled_from([0.0, 3.0]),
)
PARAMETERS = st.sampled_from([b"", b"12345", b"x" * 30])
SPECS = st.lists(st.builds(TaskSpec, POLICIES, PARAMETERS, st.just("")), min_size=1, max_size=7)


class BrokerMachine(WithDisk):
    """Everything that clients, agents, networks, time and crashes can do, in any order."""

    @initialize()
    def begin(self):
        self.recorder = Recorder(slice_tasks_max=SLICE, batch_items_max=3, batch_bytes_max=40, **FEW_PIECES)
        self.agents = [
            ModelAgent(self.recorder, "w", b"1" * 32, 1, ("gpu",)),
            ModelAgent(self.recorder, "w", b"2" * 32, 2, ()),
            ModelAgent(self.recorder, "v", b"3" * 32, 2, ("gpu", "more")),
        ]
        self.without_blobs()
        self.revoked = 0
        self.promised = {}
        self.deleted = set()
        self.submissions = {}
        self.doomed = set()
        self.recorder.define("red")
        self.recorder.do = self.do

    def do(self, event):
        """A turn, and what it sends put on the wires."""
        commands = Recorder.do(self.recorder, event)
        records = [command.record for command in commands if isinstance(command, Persist)]
        cancelled = [one for one in records if isinstance(one, TaskFinished) and one.state is TaskState.CANCELLED]
        assert len(cancelled) <= SLICE + SLICES_LET_IN * SLICE + 1
        for record in records:
            if isinstance(record, TaskFinished) and record.state is TaskState.SUCCEEDED:
                self.check_outcome(record.payload)
        for command in commands:
            if isinstance(command, Order):
                self.orders.append(command)
            if isinstance(command, SendTasks):
                assert not self.doomed & {lease.ref.task_id for lease in command.leases}
            if isinstance(command, Send | SendTasks):
                for agent in self.agents:
                    if agent.session == command.session:
                        message = command if isinstance(command, SendTasks) else command.message
                        agent.inbox.append((command.sequence, message))
            elif isinstance(command, Persist) and isinstance(command.record, TasksAdded):
                standing = self.recorder.core.jobs.get("standing")
                if standing is not None and command.record.job_id == standing.id:
                    self.promised[command.record.first_id] = "standing"
            elif isinstance(command, EndSession):
                self.recorder.puppets.pop(command.session, None)
        return commands

    def ask(self, *arguments, **members):
        """A client's request; None if it is refused."""
        try:
            return self.recorder.ask(*arguments, **members)
        except DartError:
            return None

    # ---- clients ----

    @rule(job=JOBS)
    def define(self, job):
        if job not in self.recorder.core.jobs:
            self.recorder.define(job)

    @rule(worker_regex=st.sampled_from(["", "w", "v"]), retries=st.integers(0, 1))
    def define_standing(self, worker_regex, retries):
        if "standing" not in self.recorder.core.jobs:
            self.recorder.define_standing("standing", worker_regex=worker_regex, retries=retries)

    @rule(job=JOBS, specs=SPECS, after=st.booleans())
    def submit(self, job, specs, after):
        standing = self.recorder.core.jobs.get("standing")
        if after and standing is not None:
            token = token_of(standing.id)
            specs = [
                spec._replace(policy=spec.policy._replace(requires=(token, *spec.policy.requires))) for spec in specs
            ]
        first = self.ask(TasksSubmitted, job, tuple(specs), len(specs))
        if first:
            self.promised.update((task_id, job) for task_id in range(first, first + len(specs)))

    @rule(job=JOBS, specs=SPECS, more=st.integers(1, 3))
    def submit_first_slice(self, job, specs, more):
        total = len(specs) + more
        first = self.ask(TasksSubmitted, job, tuple(specs), total, last=False)
        if first:
            self.submissions[first] = (job, total, more)

    @precondition(lambda self: self.submissions)
    @rule(index=INDEX, abandon=st.booleans(), spec=st.builds(TaskSpec, POLICIES, PARAMETERS, st.just("")))
    def submit_last_slice(self, index, abandon, spec):
        first = list(self.submissions)[index % len(self.submissions)]
        job, total, more = self.submissions.pop(first)
        if abandon:
            self.recorder.do(SubmissionAbandoned(first))
        elif self.ask(TasksSubmitted, job, (spec,) * more, total, submission=first) == first:
            self.promised.update((task_id, job) for task_id in range(first, first + total))

    @rule(job=st.sampled_from(["red", "green", "standing"]))
    def stop(self, job):
        if job in self.recorder.core.jobs:
            self.recorder.stop(job)
            assert not self.recorder.core.jobs[job].open

    @rule(job=st.sampled_from(["red", "green", "standing"]))
    def begin_to_stop(self, job):
        """Whatever comes between its slices, a crash too, all that was open then ends as cancelled or finished."""
        known = self.recorder.core.jobs.get(job)
        if known is None:
            return
        was_open = {task_id for task_id, name in self.promised.items() if name == job}
        self.recorder.begin_stop(job)
        left = {task.id for task in known.open.values()} & was_open
        self.doomed |= left
        for task_id in left:
            assert all(task.id != task_id for queue in self.recorder.core.ready for task in queue)

    @rule(job=st.sampled_from(["red", "green", "standing"]))
    def purge(self, job):
        if self.ask(JobsPurged, (job,)) is None:
            assert any(other.comes_after for other in self.recorder.core.jobs.values())
            return
        self.promised = {task_id: other for task_id, other in self.promised.items() if other != job}

    @precondition(lambda self: self.promised)
    @rule(index=INDEX, delete=st.booleans())
    def cancel_or_delete(self, index, delete):
        task_id = list(self.promised)[index % len(self.promised)]
        job = self.promised[task_id]
        if not delete:
            self.recorder.cancel(task_id, job)
        elif task_id in self.recorder.store.outcomes:
            self.recorder.ask(ResultDeleted, job, task_id)
            self.deleted.add(task_id)

    @rule(name=st.sampled_from(["w", "v"]))
    def drain(self, name):
        self.ask(WorkersDrained, name)

    @rule(agent=AGENTS)
    def revoke(self, agent):
        """Nothing that a revoked agent has sent or still sends counts; another one takes its place."""
        old = self.agents[agent]
        self.recorder.ask(AgentsRevoked, old.name, old.id)
        assert self.recorder.core.agents.get(old.id) is None
        before = self.told_by_agents()
        for _ in range(3):
            self.deliver_up(old)
        old.connect()
        self.deliver_up(old)
        assert old.id not in self.recorder.core.agents
        assert self.told_by_agents() == before
        self.revoked += 1
        key = f"key {self.revoked}".encode().ljust(32)
        self.agents[agent] = ModelAgent(self.recorder, old.name, key, old.slots, old.capabilities)

    def told_by_agents(self):
        """Outcomes, but for those of stops, which go on by themselves."""
        outcomes = self.recorder.store.outcomes.items()
        return {task_id: told for task_id, told in outcomes if told.state is not TaskState.CANCELLED}

    @rule(moves=st.booleans())
    def move(self, moves):
        self.recorder.ask(ServerMoves, NextServer(1, b"k" * 32) if moves else None)

    # ---- agents and their wires ----

    @rule(agent=AGENTS)
    def connect(self, agent):
        self.agents[agent].connect()

    @rule(agent=AGENTS, boot=st.booleans())
    def reboot(self, agent, boot):
        if boot:
            self.agents[agent].boot()
        self.agents[agent].connect()

    @rule(agent=AGENTS)
    def exchange(self, agent):
        self.settle(self.agents[agent])

    @rule(agent=AGENTS, amount=st.integers(1, 3))
    def to_broker(self, agent, amount):
        for _ in range(amount):
            self.deliver_up(self.agents[agent])

    @rule(agent=AGENTS, amount=st.integers(1, 3))
    def to_agent(self, agent, amount):
        for _ in range(amount):
            self.deliver_down(self.agents[agent])

    @rule(agent=AGENTS, up=st.booleans())
    def drop(self, agent, up):
        wire = self.agents[agent]
        if wire.session is not None and (wire.outbox if up else wire.inbox):
            (wire.outbox if up else wire.inbox).popleft()

    @rule(agent=AGENTS, index=INDEX)
    def repeat(self, agent, index):
        wire = self.agents[agent]
        if wire.session is not None and wire.old:
            sequence, message = wire.old[index % len(wire.old)]
            self.recorder.do(FrameArrived(wire.session, wire.id, sequence, message))

    @rule(agent=AGENTS, index=INDEX, tell=st.booleans())
    def begin_task(self, agent, index, tell):
        ref = self.agents[agent].begin(index)
        if ref is not None and tell:
            self.agents[agent].say(Started((Start(ref, 1),)))

    @rule(
        agent=AGENTS,
        index=INDEX,
        success=st.booleans(),
        made=st.lists(st.sampled_from(sorted(BLOBS)), max_size=2, unique=True),
    )
    def end_task(self, agent, index, success, made):
        self.agents[agent].begin(index)
        self.agents[agent].end(index, success=success, made=made)

    @rule(agent=AGENTS, index=INDEX)
    def lose_blobs(self, agent, index):
        self.agents[agent].lose_blobs(index)

    @rule(agent=AGENTS)
    def heartbeat(self, agent):
        self.agents[agent].say(Heartbeat(0, reply=False, load=0.0))

    @rule(agent=AGENTS)
    def leave(self, agent):
        self.agents[agent].say(Bye("enough"))
        self.settle(self.agents[agent])
        self.agents[agent].boot()

    @rule(agent=AGENTS)
    def break_link(self, agent):
        if self.agents[agent].session is not None:
            self.recorder.do(SessionLost(self.agents[agent].session, "cut"))
            self.agents[agent].session = None

    def deliver_up(self, agent):
        if agent.session is not None and agent.outbox:
            sequence, message = agent.outbox.popleft()
            agent.old.append((sequence, message))
            self.recorder.do(FrameArrived(agent.session, agent.id, sequence, message))

    def deliver_down(self, agent):
        if agent.session is not None and agent.inbox:
            agent.hear(*agent.inbox.popleft())

    def settle(self, agent):
        """Carry everything over, in both directions."""
        while agent.session is not None and (agent.outbox or agent.inbox):
            self.deliver_up(agent)
            self.deliver_down(agent)

    # ---- time and crashes ----

    @rule(seconds=st.sampled_from([0.5, 5, 16, 61]))
    def wait(self, seconds):
        self.recorder.wait(seconds)

    @rule(crash=st.booleans())
    def restart(self, crash):
        self.recorder.restart(crash=crash)
        self.forget_orders()
        self.submissions = {}

    # ---- the end ----

    def teardown(self):
        """When agents come back and answer, every promised task has exactly one outcome."""
        if not hasattr(self, "agents"):
            return
        self.recorder.wait(200)
        if "standing" in self.recorder.core.jobs:
            # It may have failed or been cancelled; then somebody does it by hand.
            for name in ("w", "v"):
                self.recorder.submit(1, "standing", location=name)
        for agent in self.agents:
            agent.connect()  # frames that were dropped would show in time; no need to wait for that
        for _ in range(200):
            for agent in self.agents:
                if agent.draining:
                    agent.boot()
                if agent.session is None:
                    agent.connect()
                self.settle(agent)
                while agent.waiting or agent.running:
                    agent.begin(0)
                    agent.end(0, success=True, made=BLOBS)
                    self.settle(agent)
                agent.say(agent.credit())
                self.settle(agent)
                while self.orders:
                    self.disk_works("good")
                    self.settle(agent)
            if not self.recorder.core.tasks and not self.recorder.core.admitting:
                break
            self.recorder.wait(1)
        assert not self.recorder.core.tasks
        outcomes = self.recorder.store.outcomes
        assert set(outcomes) - self.deleted == set(self.promised) - self.deleted
        assert not self.recorder.store.tasks.keys() & self.promised.keys()
        assert self.recorder.core.ready.size == 0
        assert not self.recorder.core.stops
        tallies = {job.id: sum(job.tally.values()) for job in self.recorder.core.jobs.values()}
        for job in self.recorder.core.jobs.values():
            assert tallies[job.id] == sum(other == job.name for other in self.promised.values())


BrokerMachine.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBrokerCore = BrokerMachine.TestCase
