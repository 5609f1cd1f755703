"""Drives the broker's core without a shell: short names for events, scripted agents, a model store.

Every invariant is checked after every step.
"""

from itertools import count

from dart.broker.core.commands import EndSession, Note, Persist, Refuse, Reply, Send, SendTasks, ShutOut
from dart.broker.core.events import (
    AgentEnrolled,
    FrameArrived,
    JobDefined,
    JobsPurged,
    JobStopped,
    SessionLost,
    TaskCancelled,
    TasksSubmitted,
    TimePassed,
)
from dart.broker.core.invariants import check
from dart.broker.core.model import JobConfig, Standing, TaskPolicy, TaskSpec
from dart.broker.core.reactor import Reactor
from dart.limits import Limits
from dart.wire.messages import (
    Bye,
    Credit,
    Drain,
    Error,
    ErrorCode,
    Heartbeat,
    Hello,
    Progress,
    ProgressReport,
    Recall,
    Released,
    Result,
    Results,
    Start,
    Started,
)
from harness.model_store import ModelStore

CONFIG = JobConfig("module", "method", {})
PLENTY = 1 << 40
"""A credit in bytes that never matters."""


class Recorder:
    """One core, its store, and the agents that talk to it."""

    def __init__(self, now=1000.0, store=None, **limits):
        self.limits = Limits(**limits)
        self.store = store or ModelStore()
        self.now = now
        self.reactor = Reactor(self.store.recover(), self.limits, now)
        self.puppets = {}
        self.commands = []
        self._tokens = count(1)
        self._sessions = count(1)

    @property
    def core(self):
        return self.reactor.state

    def restart(self, *, crash=True):
        """A new core from what the store has; agents keep what they have, sessions are gone."""
        if crash:
            self.store.crash()
        self.reactor = Reactor(self.store.recover(), self.limits, self.now)
        self.puppets = {}

    def do(self, event):
        """One turn: its commands, carried out as far as there is something to carry out."""
        self.commands = self.reactor.handle(event, self.now)
        check(self.core)
        self.store.write([command.record for command in self.commands if isinstance(command, Persist)])
        for command in self.commands:
            if isinstance(command, Send | SendTasks):
                puppet = self.puppets.get(command.session)
                if puppet is not None and puppet.session == command.session:
                    puppet.hear(command)
            elif isinstance(command, EndSession):
                puppet = self.puppets.pop(command.session, None)
                if puppet is not None and puppet.session == command.session:
                    puppet.session = None
            elif isinstance(command, ShutOut):
                for session, puppet in list(self.puppets.items()):
                    if puppet.id == command.agent_id:
                        del self.puppets[session]
                        puppet.heard.append(Error(ErrorCode.REVOKED, "revoked"))
                        puppet.session = None
        return self.commands

    def ask(self, kind, *arguments, **members):
        """An event with a token: the value of its reply, or its refusal raised."""
        token = next(self._tokens)
        self.do(kind(token, *arguments, **members))
        assert any(isinstance(c, Reply | Refuse) and c.token == token for c in self.commands)
        return self.answer(token)

    def answer(self, token):
        """What the last turn answered to this token, None if nothing; a refusal is raised."""
        found = [c for c in self.commands if isinstance(c, Reply | Refuse) and c.token == token]
        if found and isinstance(found[0], Refuse):
            raise found[0].error
        return found[0].value if found else None

    def records(self, kind=object):
        """Records of the last turn."""
        return [c.record for c in self.commands if isinstance(c, Persist) and isinstance(c.record, kind)]

    def notes(self):
        """Log lines of the last turn."""
        return [c.text for c in self.commands if isinstance(c, Note)]

    def wait(self, seconds):
        """Let time pass, with a turn at each deadline on the way."""
        end = self.now + seconds
        turns = 0
        while (deadline := self.reactor.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.do(TimePassed())
            turns += 1
            assert turns < 100_000, "time stands still"
        self.now = end

    def define(self, name="job", *, after=(), retention=CONFIG.retention):
        defaults = {"after": list(after)} if after else {}
        return self.ask(JobDefined, name, JobConfig("module", "method", defaults, None, retention))

    def define_standing(self, name="init", *, worker_regex="", parameter=b"\xc0", after=(), **policy):
        """A standing job whose tasks have this policy."""
        standing = Standing(parameter, worker_regex, TaskPolicy(**policy))
        defaults = {"after": list(after)} if after else {}
        return self.ask(JobDefined, name, JobConfig("module", "method", defaults, standing))

    def submit(self, amount=1, job="job", *, size=1, tag="", **policy):
        """Submit equal tasks; their ids."""
        specs = (TaskSpec(TaskPolicy(**policy), b"p" * size, tag),) * amount
        first = self.ask(TasksSubmitted, job, specs, amount)
        return list(range(first, first + amount))

    def begin_stop(self, job="job"):
        """The first slice of a stop; its token."""
        token = next(self._tokens)
        self.do(JobStopped(token, job))
        return token

    def stop(self, job="job"):
        """A stop, slice by slice until it is answered; what all its turns told is in `commands`."""
        token = self.begin_stop(job)
        told = self.commands
        while (answer := self.answer(token)) is None:
            assert self.reactor.next_deadline() == self.now
            told = [*told, *self.do(TimePassed())]
        self.commands = told
        return answer

    def purge(self, *jobs):
        return self.ask(JobsPurged, jobs)

    def cancel(self, task_id, job="job"):
        return self.ask(TaskCancelled, job, task_id)

    def task(self, task_id):
        return self.core.tasks[task_id]

    def state(self, task_id):
        """State of an open task, or of its outcome."""
        task = self.core.tasks.get(task_id)
        return task.state if task is not None else self.store.outcomes[task_id].state

    def enroll(self, name="w", key=None):
        return self.ask(AgentEnrolled, key or name.encode().ljust(32, b"."), name)

    def agent(self, name="w", *, key=None, slots=1, credit=None, capabilities=(), hello=True):
        """An agent that is enrolled, connected, and has given credit."""
        puppet = Puppet(self, name, self.enroll(name, key), slots, tuple(capabilities))
        if hello:
            puppet.hello()
            if credit is not None:
                puppet.credit(credit)
        return puppet


class Puppet:
    """An agent on strings: does what a test says and nothing else."""

    def __init__(self, recorder, name, agent_id, slots, capabilities):
        self.recorder = recorder
        self.name = name
        self.id = agent_id
        self.slots = slots
        self.capabilities = capabilities
        self.boot = "b" * 32
        self.session = None
        self.sequence = 0
        self.seen = 0
        self.heard = []
        self.given = []
        """Refs of all leases that came, in order."""
        self.next_sequence = 1

    def hear(self, command):
        if isinstance(command, SendTasks):
            self.seen = command.sequence
            self.given += [lease.ref for lease in command.leases]
        message = command if isinstance(command, SendTasks) else command.message
        if isinstance(message, Error):
            assert command.sequence == 0
        else:
            assert command.sequence == self.next_sequence
            self.next_sequence += 1
        self.heard.append(message)

    def take(self, kind=object):
        """What came of this kind since the last look."""
        found = [message for message in self.heard if isinstance(message, kind)]
        self.heard = [message for message in self.heard if not isinstance(message, kind)]
        return found

    def say(self, message, sequence=None):
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        return self.recorder.do(FrameArrived(self.session, self.id, sequence, message))

    def hello(self, *, attempts=(), results=(), boot=None, session=None, **members):
        """Begin a session; the first message that came of it."""
        self.boot = boot or self.boot
        self.session = session or next(self.recorder._sessions)
        self.recorder.puppets[self.session] = self
        self.sequence = 0
        self.seen = 0
        self.next_sequence = 1
        self.heard = []
        message = Hello(
            (1,),
            self.name,
            self.slots,
            self.capabilities,
            "host-" + self.name,
            self.boot,
            self.recorder.store.store_id,
            tuple(attempts),
            tuple(results),
            {"machine": "test"},
            draining=False,
        )._replace(**members)
        self.say(message)
        return self.heard[0]

    def credit(self, tasks, payload_bytes=PLENTY, seen=None):
        return self.say(Credit(tasks, payload_bytes, self.seen if seen is None else seen))

    def result(self, ref, *, success=True, error_code=0, payload=b"\xc0"):
        return Result(ref, "made-up", "made-up", 5, 0.5, success, error_code, payload)

    def finish(self, *refs, credit=None, **members):
        """RESULTS for these attempts."""
        credit = None if credit is None else Credit(credit, PLENTY, self.seen)
        return self.say(Results(tuple(self.result(ref, **members) for ref in refs), credit))

    def fail(self, *refs, error_code=0, credit=None):
        return self.finish(*refs, success=False, error_code=error_code, payload=b"\xa3bad", credit=credit)

    def start(self, *refs):
        return self.say(Started(tuple(Start(ref, 7) for ref in refs)))

    def progress(self, ref, fraction, text=""):
        return self.say(Progress((ProgressReport(ref, fraction, text),)))

    def release(self, *refs):
        return self.say(Released(tuple(refs)))

    def heartbeat(self, nonce=0, *, reply=False):
        return self.say(Heartbeat(nonce, reply, 0.0))

    def bye(self):
        return self.say(Bye("enough"))

    def drain(self):
        return self.say(Drain("enough"))

    def lose(self):
        """The link is gone."""
        session, self.session = self.session, None
        return self.recorder.do(SessionLost(session, "unplugged"))

    def recalled(self):
        """Refs that RECALL named since the last look."""
        return [ref for message in self.take(Recall) for ref in message.attempts]
