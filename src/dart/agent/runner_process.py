"""One runner process as the agent holds it: its start, its channels, its end. No decisions are made here."""

import array
import contextlib
import os
import signal
import socket
import subprocess
from collections import deque
from pathlib import Path

from dart.agent import runner_format as wire
from dart.agent.made_blobs import Missing
from dart.agent.runner_answers import Answer, AnswerReader, task_message, task_reference
from dart.agent.runner_blobs import RunnerBlobs
from dart.agent.runner_plan import RunnerPlan
from dart.agent.shared_block import passed_block
from dart.ids import AttemptRef
from dart.wire.blob_references import references_in
from dart.wire.messages import Lease, Named

_HERE = Path(__file__).resolve().parent
_READ_BYTES_MAX = 1024 * 1024
"""Answers taken from one runner before the loop looks at the others."""
_OUTPUT_BYTES = 64 * 1024
"""What a pipe holds: after reading so much, everything printed before is read."""
_FACTS_CHARS_MAX = 16 * 1024
_REASON_BYTES_MAX = 200
_PASSED_AHEAD_MAX = 2
"""Tasks with descriptors given to a runner ahead: large parameters, each in memory once more, and blobs."""


class RunnerProcess:
    """A started runner.

    Raises:
        OSError: It cannot be started; `strerror` and `filename` say why.
    """

    def __init__(self, plan: RunnerPlan, *, slot: int, pure: bool) -> None:
        self.given: dict[AttemptRef, bool] = {}
        """What it has and has not answered yet, in order; true for one that came with descriptors."""
        self.mark = os.urandom(16)
        self.answers_over = False
        self.output_over = False
        """Nothing more can come: it is dead, or has closed its end."""
        self._limits = plan.limits
        self._policy = plan.policy
        self.blobs = RunnerBlobs(plan.blobs, self._reply)
        self._waiting: deque[Lease] = deque()
        limits = plan.limits
        self._reader = AnswerReader(
            limits.value_bytes_max + 1024, text_bytes_max=4 * max(limits.progress_chars_max, _FACTS_CHARS_MAX)
        )
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            self._tasks, self._tasks_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.callback(self._tasks.close)
            # Kept open: what the runner has not read can be read back here, also after its death.
            ours.callback(self._tasks_theirs.close)
            self._answers, answers_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.callback(self._answers.close)
            theirs.callback(answers_theirs.close)
            lifeline_theirs, self._lifeline = os.pipe()
            ours.callback(os.close, self._lifeline)
            theirs.callback(os.close, lifeline_theirs)
            self.output, output_theirs = os.pipe()
            ours.callback(os.close, self.output)
            theirs.callback(os.close, output_theirs)
            self._tasks.setblocking(False)
            self._answers.setblocking(False)
            os.set_blocking(self.output, False)
            descriptors = {
                "tasks": self._tasks_theirs.fileno(),
                "answers": answers_theirs.fileno(),
                "lifeline": lifeline_theirs,
                "shared": plan.shared.descriptor if plan.shared else -1,
            }
            confinement = plan.confinement
            confinement.hand_over(output_theirs)
            scratch = confinement.fresh_scratch(slot)
            ours.callback(confinement.drop_scratch, scratch)
            self._process = confinement.start(
                scratch,
                _command(plan, descriptors, self.mark, pure=pure),
                stdin=subprocess.DEVNULL,
                stdout=output_theirs,
                stderr=output_theirs,
                pass_fds=[descriptor for descriptor in descriptors.values() if descriptor >= 0],
                cwd=plan.module_prefix,
                env=plan.policy.passed_on(os.environ) | confinement.environment(scratch),
                start_new_session=True,
            )
            self.pid = self._process.pid
            try:
                self.ended: int = os.pidfd_open(self.pid)
            except (AttributeError, OSError):
                self.ended = -1  # an old kernel: the supervisor looks from time to time
            else:
                ours.callback(os.close, self.ended)
            self._close = ours.pop_all()

    @property
    def answers(self) -> int:
        """Descriptor that is readable when answers have come."""
        return self._answers.fileno()

    @property
    def running(self) -> AttemptRef | None:
        """The task it is at, as far as is known."""
        return next(iter(self.given), None)

    def give(self, leases: tuple[Lease, ...]) -> tuple[AttemptRef, ...]:
        """Queue tasks; those whose names no message can hold come back."""
        self._waiting.extend(leases)
        return self.pass_on()

    def pass_on(self) -> tuple[AttemptRef, ...]:
        """Write what waits, as far as the socket takes it; the rest follows when an answer has come."""
        unfit = []
        while self._waiting:
            lease = self._waiting[0]
            named = self._policy.names(lease.module_path, lease.method)
            block = len(lease.parameter) > self._limits.inline_bytes_max
            if block and self._is_far_ahead():
                break
            blobs = references_in(lease.parameter, self._limits.blobs_per_task_max)
            if blobs and self._is_far_ahead():
                break
            told, descriptors = self._open_blobs(blobs)
            message = task_message(lease, self._limits.inline_bytes_max, named=named, blobs=told)
            if message is None:
                for descriptor in descriptors:
                    os.close(descriptor)
                unfit.append(self._waiting.popleft().ref)
                continue
            try:
                self._write(message, lease if block else None, descriptors)
            except OSError:
                # Full (EAGAIN), or short of descriptors or memory. A runner that is gone shows elsewhere.
                break
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            self.given[self._waiting.popleft().ref] = block or bool(blobs)
        return tuple(unfit)

    @property
    def stuck(self) -> bool:
        """Tasks wait although the runner has none: the system was short of something; try again soon."""
        return bool(self._waiting) and not self.given

    def _is_far_ahead(self) -> bool:
        return sum(self.given.values()) >= _PASSED_AHEAD_MAX

    def _open_blobs(self, blobs: tuple[Named, ...]) -> tuple[bytes, list[int]]:
        """What the runner is told of these blobs, and descriptors of those that are here."""
        told: list[bytes] = []
        descriptors: list[int] = []
        for sha256, _ in blobs:
            code, text = 0, b""
            try:
                descriptors.append(self.blobs.open(sha256))
            except Missing as missing:
                code, text = missing.code, missing.reason.encode("utf-8", "replace")[:_REASON_BYTES_MAX]
            told += (wire.BLOB.pack(sha256, code, len(text)), text)
        return b"".join(told), descriptors

    def _write(self, message: bytes, large: Lease | None, blobs: list[int]) -> None:
        if large is None and not blobs:
            self._tasks.send(message)
            return
        blocks = [] if large is None else [passed_block(large.parameter)]
        try:
            passed = array.array("i", [*blocks, *blobs])
            self._tasks.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)])
        finally:
            for block in blocks:
                os.close(block)

    def _reply(self, outcome: int | Missing | None) -> None:
        """Answer what a task asked of the cache: a descriptor, which is closed here, an error, or that it is done."""
        missing = outcome if isinstance(outcome, Missing) else None
        descriptors = [outcome] if isinstance(outcome, int) else []
        text = missing.reason.encode("utf-8", "replace")[:_REASON_BYTES_MAX] if missing else b""
        message = wire.REPLY.pack(missing.code if missing else 0, len(text)) + text
        passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            # It waits for this alone, so there is room; a runner that does not read, or is gone, shows elsewhere.
            with contextlib.suppress(OSError):
                self._answers.sendmsg([message], passed)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def take_back(self) -> tuple[AttemptRef, ...]:
        """Everything that it has not begun, in order; from now on it does not have it."""
        taken = []
        with contextlib.suppress(BlockingIOError):
            while True:
                # The socket belongs to two processes: only this flag keeps just this call from blocking.
                message, ancillary, _, _ = self._tasks_theirs.recvmsg(
                    wire.TASK_BYTES_MAX, wire.DESCRIPTORS_BYTES, socket.MSG_DONTWAIT
                )
                if not message:
                    break
                for _, _, data in ancillary:
                    for descriptor in memoryview(data[: len(data) // 4 * 4]).cast("i"):
                        os.close(descriptor)
                taken.append(task_reference(message))
        for ref in taken:
            self.given.pop(ref, None)
        taken.extend(lease.ref for lease in self._waiting)
        self._waiting.clear()
        return tuple(taken)

    def receive(self) -> list[Answer]:
        """The answers that have come; a bounded amount at a time.

        Raises:
            BrokenStreamError: It does not keep to the format.
        """
        answers: list[Answer] = []
        total = 0
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while total < _READ_BYTES_MAX and not self.answers_over:
                count = self._answers.recv_into(self._reader.room())
                self.answers_over = count == 0
                total += count
                answers += self._reader.received(count)
        return answers

    def printed(self) -> bytes:
        """What it and its children printed; everything that was printed before this call, or most of 64 KiB."""
        pieces = []
        total = 0
        with contextlib.suppress(BlockingIOError):
            while total < _OUTPUT_BYTES and not self.output_over:
                pieces.append(os.read(self.output, _OUTPUT_BYTES))
                self.output_over = not pieces[-1]
                total += len(pieces[-1])
        return b"".join(pieces)

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the runner and everything it started. Its group exists as long as it is not reaped."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def leave(self) -> None:
        """Let it end by itself: no more tasks will come."""
        # Our copy of its end stays: what it has not read can still be taken back from there.
        self._tasks.close()

    def has_ended(self) -> bool:
        """Whether it is dead (and waits to be reaped)."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def reap(self, seconds_max: float) -> str:
        """After its death: how it ended."""
        try:
            return end_text(self._process.wait(seconds_max))
        except subprocess.TimeoutExpired:
            return "killed, but the system has not ended it yet"

    def close(self) -> None:
        """Close everything of it here."""
        self.blobs.close()
        self._close.close()


def end_text(code: int) -> str:
    """`exited with code 3`, `killed by SIGSEGV`: for the error of a task and for people."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hints: dict[int, str] = {
        signal.SIGKILL: " (by somebody, or by the system because memory was short)",
        signal.SIGXCPU: " (it used more processor time than the agent's owner allows: isolation.cpu_seconds)",
    }
    return f"killed by {name}{hints.get(-code, '')}"


def _command(plan: RunnerPlan, descriptors: dict[str, int], mark: bytes, *, pure: bool) -> list[str]:
    limits = plan.limits
    arguments = {
        **descriptors,
        "shared_bytes": plan.shared.size if plan.shared else 0,
        "worker": plan.worker,
        "host": plan.host,
        "prefix": plan.module_prefix,
        "values": _HERE.parent / "wire" / "values.py",
        "msgpack": plan.msgpack,
        "pure": int(pure),
        "mark": mark.hex(),
        "text_chars_max": limits.progress_chars_max,
        "error_chars_max": limits.error_chars_max,
        "apart": int(plan.confinement.without_domain),
        **plan.confinement.limits(),
        "value_bytes_max": limits.value_bytes_max,
        "value_depth_max": limits.value_depth_max,
        "accept_pickle": int(plan.policy.accept_pickle),
        "by_rules": int(plan.policy.has_rules),
    }
    return [str(plan.python), str(_HERE / "runner.py"), *(f"{name}={value}" for name, value in arguments.items())]
