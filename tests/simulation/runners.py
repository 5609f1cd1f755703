"""An agent's runner processes, as their supervisor shows them: they take time, print, report, die and are killed."""

from hashlib import sha256

from dart.agent import events
from dart.errors import TaskErrorCode
from dart.wire import values
from simulation.shelf import UNKNOWN, made, named

START_SECONDS = 0.05
RETRY_SECONDS = 0.5
READ_SECONDS = 0.002
"""Within so long, answers of a runner are read together."""


class Behaviour:
    """What a task does, as its parameter says.

    Attributes:
        seconds: How long it runs.
        fails: So many attempts end in an error.
        dies: So many attempts end with their runner.
        talks: Whether it prints and reports progress.
        blobs: References to those that it needs.
    """

    def __init__(self, parameter):
        self.token, self.seconds, self.fails, self.dies, self.talks, _padding, self.blobs = values.decode(parameter)


def parameter(token, *, seconds, fails=0, dies=0, talks=False, padding=0):
    """A task's parameter; the token makes each different."""
    return values.encode([token, seconds, fails, dies, talks, bytes(padding), named(token)])


class _Slot:
    def __init__(self, number):
        self.number = number
        self.ready = False
        self.alive = False
        self.asked_to_die = False
        self.pipeline = []
        self.unread = []
        """Answers that the supervisor has not read yet; they outlive their runner."""
        self.timers = []


class Runners:
    """All slots of one agent process.

    Args:
        world: Its clock.
        chance: Its luck.
        ledger: Learns of each run.
        emit: Takes the events.
        slots: How many.
    """

    def __init__(self, world, chance, ledger, emit, slots):
        self._world = world
        self._chance = chance
        self._ledger = ledger
        self._emit = emit
        self._slots = [_Slot(number) for number in range(slots)]
        self._runs = 0
        self.ended = False
        self.failing = False
        self.clock = lambda: 0.0
        self.name = ""
        self.agent_id = ""
        self.cache = None

    def start(self):
        for slot in self._slots:
            self._spawn(slot)

    def end(self):
        """All are killed with the agent; no event follows."""
        self.ended = True
        for slot in self._slots:
            self._stop_timers(slot)

    def idle(self):
        return not any(slot.pipeline or slot.unread for slot in self._slots)

    def give(self, number, leases):
        slot = self._slots[number]
        if not slot.alive or not slot.ready or slot.asked_to_die:
            self._emit(events.TakenBack(number, tuple(lease.ref for lease in leases)))
            return
        was_idle = not slot.pipeline
        slot.pipeline.extend(leases)
        self._ledger.deepest = max(self._ledger.deepest, len(slot.pipeline))
        if was_idle:
            self._begin(slot)

    def take_back(self, number):
        slot = self._slots[number]
        untouched = tuple(lease.ref for lease in slot.pipeline[1:])
        del slot.pipeline[1:]
        self._emit(events.TakenBack(number, untouched))

    def kill(self, number, grace_seconds):
        slot = self._slots[number]
        if slot.alive:
            slot.asked_to_die = True
            # What has ended, and nobody has read that, counts as running where the decision to kill was made.
            for item in (*slot.unread, *slot.pipeline[:1]):
                self._ledger.broke_off.add((item.ref.task_id, item.ref.attempt))
            delay = self._chance.random() * grace_seconds
            slot.timers.append(self._world.after(delay, self._die, slot, "killed by SIGTERM"))

    def kill_some(self, choice):
        """The machine kills a runner, such as for want of memory."""
        alive = [slot for slot in self._slots if slot.alive and slot.ready]
        if alive:
            self._die(alive[choice % len(alive)], "killed by SIGKILL")

    def _spawn(self, slot):
        if self.ended:
            return
        if self.failing and self._chance.random() < 0.7:
            self._emit(events.RunnerFailed(slot.number, "no such Python"))
            slot.timers.append(self._world.after(RETRY_SECONDS, self._spawn, slot))
            return
        slot.alive, slot.ready, slot.asked_to_die = True, False, False
        slot.timers.append(self._world.after(self._chance.random() * START_SECONDS, self._ready, slot))

    def _ready(self, slot):
        slot.ready = True
        self._emit(events.RunnerReady(slot.number, {"python": "3.11", "implementation": "cpython"}))

    def _stop_timers(self, slot):
        for timer in slot.timers:
            timer.cancel()
        slot.timers.clear()

    def _begin(self, slot):
        lease = slot.pipeline[0]
        self._ledger.run_began(lease.ref, bytes(lease.parameter))
        behaviour = Behaviour(lease.parameter)
        code = next((code for blob in behaviour.blobs if (code := self.cache.code(blob))), 0)
        if code:
            slot.timers.append(self._world.after(0.001, self._finish, slot, lease, 0.001, False, code))
            return
        if any(blob.sha256 == UNKNOWN for blob in behaviour.blobs):
            self._world.fail("a task begins although nobody has its blob")
        attempt = lease.ref.attempt.number % 1_000_000
        seconds = behaviour.seconds * (0.5 + self._chance.random())
        if attempt <= behaviour.dies:
            slot.timers.append(self._world.after(seconds / 2, self._die, slot, "killed by SIGSEGV"))
            return
        if behaviour.talks:
            for part in (1, 2, 3):
                slot.timers.append(self._world.after(seconds * part / 4, self._talk, lease.ref, part / 4))
        success = attempt > behaviour.fails
        slot.timers.append(self._world.after(seconds, self._finish, slot, lease, seconds, success))

    def _talk(self, ref, fraction):
        self._emit(events.TaskProgressed(ref, fraction, "on its way"))
        self._emit(events.TaskPrinted(ref, (f"at {fraction}",)))

    def _finish(self, slot, lease, seconds, success, code=0):
        self._runs += 1
        returned = []
        if success:
            success, code, returned = self._make(lease)
        payload = values.encode([self.name, self._runs, lease.ref.task_id, *returned])
        self._ledger.run_ended(lease.ref, payload, self.agent_id, success=success)
        slot.pipeline.pop(0)
        slot.timers = [timer for timer in slot.timers if not timer.cancelled() and timer.when > self._world.now]
        start_ms = int((self.clock() - seconds) * 1000)
        slot.unread.append(events.RunnerResult(lease.ref, start_ms, seconds, success, code, payload))
        if len(slot.unread) == 1:
            self._world.after(self._chance.random() * READ_SECONDS, self._read, slot)
        if slot.pipeline:
            self._begin(slot)

    def _read(self, slot):
        results, slot.unread = tuple(slot.unread), []
        if results:
            self._emit(events.TasksEnded(slot.number, results))

    def _make(self, lease):
        """Of a task that succeeds: whether it does, its error code, and references in what it returns."""
        data, is_returned = made(Behaviour(lease.parameter).token, f"{self.name} {self._runs}")
        if data is None:
            return True, 0, []
        if not self.cache.make(lease.ref, data):
            return False, TaskErrorCode.BLOB_UNAVAILABLE, []
        return True, 0, [values.BlobReference(sha256(data).digest(), len(data))] if is_returned else []

    def _die(self, slot, reason):
        if not slot.alive:
            return
        self._stop_timers(slot)
        running = slot.pipeline[0].ref if slot.pipeline else None
        untouched = tuple(lease.ref for lease in slot.pipeline[1:])
        if running is not None:
            self._ledger.broke_off.add((running.task_id, running.attempt))
        slot.pipeline.clear()
        self._read(slot)
        was_ready = slot.ready
        slot.alive = slot.ready = False
        if not was_ready and not slot.asked_to_die:
            self._emit(events.RunnerFailed(slot.number, reason))
        else:
            self._emit(events.RunnerDied(slot.number, reason, running, untouched))
        self._spawn(slot)
