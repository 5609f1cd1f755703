"""Keeps one runner process alive a slot, hands tasks to it and tells what became of them; never blocks.

The agent's loop calls it: it has neither thread nor loop of its own. What happens is told through `emit`, also from
within the methods, so `emit` queues; the queue is worked off after each callback, before the next one.
"""

import logging
import signal
from collections.abc import Callable

from dart.agent import events
from dart.agent import runner_format as wire
from dart.agent.confinement import Confinement
from dart.agent.runner_answers import Answer, BrokenStreamError
from dart.agent.runner_output import OutputSplitter, PrintedLines
from dart.agent.runner_plan import SupervisorOptions, runner_plan
from dart.agent.runner_process import RunnerProcess
from dart.agent.runner_slot import SlotState
from dart.agent.worker_log import WorkerLog
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef
from dart.limits import Limits
from dart.wire import values
from dart.wire.messages import Lease

_LOG = logging.getLogger("dart.agent.supervisor")
_RETRY_SECONDS = 0.5
"""First wait after a runner that could not start; doubles."""
_LOOK_SECONDS = 0.5
"""How often to look whether a runner lives where the kernel does not tell (no pidfd), or a full system has room."""
_LAST_READS = 16
"""Of a dead runner; its sockets hold less, but a child that escaped may print for ever."""
_OUTPUT_READS = 8
"""Of a runner whose tasks end while their output is read; then the loop looks at the others."""
_LAST_WORDS_BYTES = 4096
"""Kept of what a runner prints before it is ready: the reason why it will not be."""
_CLOSED_SECONDS = 1.0
"""A runner that has closed its sockets is dying, or has to be helped."""
_CLOSE_SECONDS = 2.0
"""Killed processes are gone in milliseconds, unless the kernel itself hangs."""


class Supervisor:
    """The runners of one agent.

    Args:
        options: The owner's decisions.
        limits: All bounds.
        register: Called with a descriptor and what to call whenever it is readable (level-triggered).
        unregister: Ends that; called before the descriptor is closed.
        emit: Takes RunnerReady, RunnerFailed, TasksEnded, TaskProgressed, TaskPrinted, RunnerDied, TakenBack.
        clock: Seconds, the same clock as `on_time` gets.

    Raises:
        ConfigError: The log file cannot be opened, or the options ask for what this machine cannot do.
    """

    def __init__(
        self,
        options: SupervisorOptions,
        limits: Limits,
        *,
        register: Callable[[int, Callable[[], None]], None],
        unregister: Callable[[int], None],
        emit: Callable[[events.Event], None],
        clock: Callable[[], float],
    ) -> None:
        self._limits = limits
        self._register = register
        self._unregister = unregister
        self._emit = emit
        self._clock = clock
        self._stopping = False
        self._looked_at = clock()
        self._sweep_at: float | None = None
        self._log = WorkerLog(options.output_directory, options.worker, limits.log_bytes_max)
        self._plan = runner_plan(options, limits)
        self._slots = [SlotState(number) for number in range(options.slots)]

    @property
    def confinement(self) -> Confinement:
        """How runners are started, for what else runs the owner's modules."""
        return self._plan.confinement

    # ---- what the agent's core asks for ----

    def start(self) -> None:
        """Start a runner in each slot; RunnerReady or RunnerFailed follows for each."""
        for slot in self._slots:
            self._spawn(slot)

    def give(self, slot: events.Slot, leases: tuple[Lease, ...]) -> None:
        """Hand tasks to the runner of a slot, in order. Without a runner there they come back at once: TakenBack."""
        state = self._slots[slot]
        if state.runner is None or not state.ready or state.asked_to_die:
            self._emit(events.TakenBack(slot, tuple(lease.ref for lease in leases)))
            return
        state.used = True
        self._refuse(state, state.runner.give(leases))

    def take_back(self, slot: events.Slot) -> None:
        """Take from a runner what it has not begun; TakenBack names it, at once."""
        runner = self._slots[slot].runner
        self._emit(events.TakenBack(slot, runner.take_back() if runner else ()))

    def kill(self, slot: events.Slot, grace_seconds: float) -> None:
        """End a runner: SIGTERM to its process group, SIGKILL after the grace; RunnerDied follows, then a fresh one."""
        state = self._slots[slot]
        if state.runner is None:
            return
        state.asked_to_die = True
        state.runner.signal_group(signal.SIGTERM)
        at = self._clock() + grace_seconds
        state.kill_at = at if state.kill_at is None else min(state.kill_at, at)

    def stop(self, grace_seconds: float) -> None:
        """End all runners, idle ones in their own good order; none is started again. Then wait for `stopped`."""
        self._stopping = True
        for state in self._slots:
            state.retry_at = None
            if state.runner is None:
                continue
            if state.runner.running is not None:
                self.kill(state.number, grace_seconds)
            else:
                state.asked_to_die = True
                state.kill_at = self._clock() + grace_seconds
                state.runner.leave()

    @property
    def stopped(self) -> bool:
        """After `stop`: no runner is left."""
        return self._stopping and all(state.runner is None for state in self._slots)

    def close(self) -> None:
        """Kill what is left, reap it (waits for the kernel, 2 s at most) and close everything. No event follows."""
        self._stopping = True
        self._emit = lambda _: None
        for state in self._slots:
            if state.runner is not None:
                state.runner.signal_group(signal.SIGKILL)
        for state in self._slots:
            if state.runner is not None:
                self._forget(state, state.runner)
        self._plan.close()
        self._log.close()

    # ---- time ----

    def next_deadline(self) -> float | None:
        """When `on_time` wants to be called; None: not before something happens."""
        due = [at for state in self._slots for at in self._due(state)]
        if self._sweep_at is not None:
            due.append(self._sweep_at)
        return min(due, default=None)

    def _due(self, state: SlotState) -> list[float]:
        due = [at for at in (state.kill_at, state.retry_at) if at is not None]
        if state.runner is not None:
            if not state.ready:
                due.append(state.started_at + self._limits.runner_start_seconds_max)
            if state.runner.ended < 0 or state.runner.stuck:
                due.append(self._looked_at + _LOOK_SECONDS)
        return due

    def on_time(self, now: float) -> None:
        """Do what is due."""
        look = now >= self._looked_at + _LOOK_SECONDS
        if look:
            self._looked_at = now
        if self._sweep_at is not None and now >= self._sweep_at:
            self._sweep()
        for state in self._slots:
            self._attend(state, now, look=look)

    def _attend(self, state: SlotState, now: float, *, look: bool) -> None:
        if state.retry_at is not None and now >= state.retry_at:
            state.retry_at = None
            self._spawn(state)
        runner = state.runner
        if runner is None:
            return
        if not state.ready and now >= state.started_at + self._limits.runner_start_seconds_max:
            state.fault = state.fault or f"did not answer within {self._limits.runner_start_seconds_max:g} s"
            runner.signal_group(signal.SIGKILL)
        if state.kill_at is not None and now >= state.kill_at:
            state.kill_at = None
            if not state.asked_to_die:
                state.fault = state.fault or "killed, since it had closed the descriptors of its runner"
            runner.signal_group(signal.SIGKILL)
        if look and runner.stuck:
            self._refuse(state, runner.pass_on())
        if look and runner.ended < 0 and runner.has_ended():
            self._on_end(state)

    def child_ended(self) -> None:
        """SIGCHLD: it may be a process that left its runner and that nobody else will reap."""
        self._sweep_at = self._clock()

    def _sweep(self) -> None:
        """Reap and kill what has left the runners that are no more."""
        runners = {state.runner.pid for state in self._slots if state.runner is not None}
        again = self._plan.confinement.end_escaped(runners)
        self._sweep_at = self._clock() + _LOOK_SECONDS if again else None

    # ---- a runner's life ----

    def _spawn(self, state: SlotState) -> None:
        state.ready = state.used = state.asked_to_die = False
        state.fault, state.last_words, state.last_reads, state.kill_at = "", b"", 0, None
        state.started_at = self._clock()
        try:
            runner = RunnerProcess(self._plan, slot=state.number, pure=state.pure)
        except OSError as error:
            where = error.filename if error.filename is not None else self._plan.python
            self._failed(state, f"{where}: {error.strerror}")
            return
        state.runner = runner
        state.splitter = OutputSplitter(
            runner.mark,
            line_chars_max=self._limits.printed_line_chars_max,
            lines_per_second_max=self._limits.printed_lines_per_second_max,
        )
        self._watch(state, runner.answers, lambda: self._on_readable(state))
        self._watch(state, runner.output, lambda: self._on_readable(state))
        if runner.ended >= 0:
            self._watch(state, runner.ended, lambda: self._on_end(state))

    def _watch(self, state: SlotState, descriptor: int, callback: Callable[[], None]) -> None:
        state.registered.append(descriptor)
        self._register(descriptor, callback)

    def _failed(self, state: SlotState, reason: str) -> None:
        state.failures += 1
        _LOG.warning("runner of slot %d cannot be started: %s", state.number, reason)
        self._emit(events.RunnerFailed(state.number, reason))
        if not self._stopping:
            wait = min(_RETRY_SECONDS * 2 ** min(state.failures - 1, 16), self._limits.runner_retry_seconds_max)
            state.retry_at = self._clock() + wait

    def _on_end(self, state: SlotState) -> None:
        """A runner is dead: its children too, then its last results, then what it leaves."""
        runner = state.runner
        if runner is None:
            return
        runner.signal_group(signal.SIGKILL)
        state.last_reads += 1
        if self._pump(state) and state.last_reads < _LAST_READS:
            # Come back: the core is to know these results first. What it gives in answer can still be taken back then.
            return
        untouched = runner.take_back()
        running = runner.running
        if state.splitter is not None:
            self._print(state, *state.splitter.end(running, self._clock()))
        ended = self._forget(state, runner)
        reason = state.fault or ended
        if not state.ready and not state.asked_to_die:
            said = state.last_words.decode("utf-8", "replace").strip().rpartition("\n")[2]
            # Perhaps it is msgpack's compiled part that the owner's Python does not bear.
            state.pure = not state.pure
            self._failed(state, f"{self._plan.python} {reason} before it was ready{': ' + said if said else ''}")
            return
        self._emit(events.RunnerDied(state.number, reason, running, untouched))
        if self._stopping:
            return
        if state.used or state.asked_to_die:
            self._spawn(state)
        else:
            # Died with nothing to do: not at once again, or a broken one would eat the machine.
            state.retry_at = self._clock() + _RETRY_SECONDS

    def _forget(self, state: SlotState, runner: RunnerProcess) -> str:
        for descriptor in state.registered:
            self._unregister(descriptor)
        state.registered.clear()
        reason = runner.reap(_CLOSE_SECONDS)
        runner.close()
        state.runner = state.kill_at = None
        self._sweep()
        return reason

    # ---- what runners say ----

    def _on_readable(self, state: SlotState) -> None:
        self._pump(state)

    def _pump(self, state: SlotState) -> bool:
        """Take what a runner has written; true if there was anything.

        Answers are read before output and told after it: what a task printed is in the log before its result is known.
        """
        runner, splitter = state.runner, state.splitter
        if runner is None or splitter is None:
            return False
        answers = self._answers(state, runner)
        output = more = runner.printed()
        for _ in range(_OUTPUT_READS):
            later = self._answers(state, runner) if more else []
            answers += later
            if not any(answer.kind == wire.ENDED for answer in later):
                break
            more = runner.printed()
            output += more
        # Nothing has ended since the last text was read, so what follows the last mark is the running task's.
        if output:
            ended = {answer.ref for answer in answers if answer.kind == wire.ENDED}
            self._print(state, *splitter.split(output, runner.running, self._clock(), ended, tuple(runner.given)))
        self._tell(state, answers)
        self._refuse(state, runner.pass_on())
        if runner.output_over:
            self._unwatch(state, runner.output)
        if runner.answers_over:
            self._unwatch(state, runner.answers)
            if state.kill_at is None:
                state.kill_at = self._clock() + _CLOSED_SECONDS
        return bool(answers or output)

    def _answers(self, state: SlotState, runner: RunnerProcess) -> list[Answer]:
        try:
            answers = runner.receive()
            for index, answer in enumerate(answers):
                if answer.kind == wire.ENDED and runner.given.pop(answer.ref, None) is None:
                    self._broken(state, runner, "killed, since it answered for a task that it does not have")
                    return answers[:index]
                if answer.kind >= wire.ROOM:
                    runner.blobs.take(answer, runner.given)
        except BrokenStreamError:
            self._broken(state, runner, "killed, since it wrote into a descriptor of its runner")
            return []
        return answers

    def _broken(self, state: SlotState, runner: RunnerProcess, fault: str) -> None:
        state.fault = fault
        runner.signal_group(signal.SIGKILL)
        self._unwatch(state, runner.answers)

    def _unwatch(self, state: SlotState, descriptor: int) -> None:
        if descriptor in state.registered:
            state.registered.remove(descriptor)
            self._unregister(descriptor)

    def _print(self, state: SlotState, text: bytes, printed: PrintedLines) -> None:
        self._log.write(text)
        if not state.ready:
            state.last_words = (state.last_words + text)[-_LAST_WORDS_BYTES:]
        for ref, lines in printed:
            self._emit(events.TaskPrinted(ref, lines))

    def _tell(self, state: SlotState, answers: list[Answer]) -> None:
        ended = tuple(
            events.RunnerResult(ref, start_time_ms, seconds, success, error_code, payload)
            for kind, ref, start_time_ms, seconds, success, error_code, payload in answers
            if kind == wire.ENDED
        )
        reports = {answer.ref: answer for answer in answers if answer.kind == wire.PROGRESS}
        for ref, answer in reports.items():
            text = answer.payload.decode("utf-8", "replace")
            self._emit(events.TaskProgressed(ref, answer.number, text))
        if ended:
            self._emit(events.TasksEnded(state.number, ended))
        if not state.ready and any(answer.kind == wire.READY for answer in answers):
            state.ready = True
            state.failures = 0
            facts = dict(line.split("=", 1) for line in answers[0].payload.decode().splitlines())
            self._emit(events.RunnerReady(state.number, facts))

    def _refuse(self, state: SlotState, unfit: tuple[AttemptRef, ...]) -> None:
        """Results for tasks that no message to a runner can hold."""
        if unfit:
            text = values.encode("The names of this task (module path, method, job) are too long for a runner.")
            now_ms = int(self._clock() * 1000)
            results = (events.RunnerResult(ref, now_ms, 0.0, False, TaskErrorCode.REFUSED, text) for ref in unfit)
            self._emit(events.TasksEnded(state.number, tuple(results)))
