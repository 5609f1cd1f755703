"""The agent process: one selectors loop that joins core, link, spool and supervisor; signals; good order at the end."""

import contextlib
import logging
import os
import selectors
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from dart import traces
from dart.agent import enrol, events, kernel_calls
from dart.agent.addresses import Addresses
from dart.agent.audit_log import AuditLog
from dart.agent.blob_cache import FOLDER, BlobCache
from dart.agent.blob_events import BlobFind, BlobFree, BlobLack, BlobLet, BlobPin, BlobRead, BlobWrite, Later
from dart.agent.config import USAGE, AgentConfig, read_config
from dart.agent.core import AgentCore, Identity, SpoolMode
from dart.agent.desk import Desk, versions_of
from dart.agent.home import Home, secret_folders
from dart.agent.joining import enrolment_of, hide_token
from dart.agent.link import Link
from dart.agent.policy import Policy
from dart.agent.policy_file import find_policy
from dart.agent.probing import facts_of
from dart.agent.pushed_modules import PushedModules
from dart.agent.runner_plan import SupervisorOptions
from dart.agent.signals import handled
from dart.agent.spool import Spool
from dart.agent.supervisor import Supervisor
from dart.agent.task_spans import TaskSpans
from dart.clock import Clock
from dart.complaints import Complaints
from dart.errors import ConfigError, DartError, ForbiddenError, HostUnreachableError
from dart.garbage import TRIM_SECONDS, collect_seldom, trim
from dart.ids import BootId, StoreId
from dart.limits import Limits, limits_from_environment
from dart.logs import log_to_stderr, one_line
from dart.wire import curve

_LOG = logging.getLogger("dart.agent")
_FAILED, _USAGE, _UNREACHABLE, _NOT_ALLOWED = 1, 2, 3, 4
_RUNNERS_END_SECONDS = 3.0
"""How long runners have at the very end, before they are killed."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Agent:
    """One run of an agent, from its first connection to its last word.

    Args:
        config: How the owner set it up.
        policy: What the owner lets run here.
        enrolment: How the server knows this agent.
        keys: Its key pair.
        limits: All bounds.
    """

    def __init__(
        self,
        config: AgentConfig,
        policy: Policy,
        enrolment: enrol.Enrolment,
        keys: curve.KeyPair,
        limits: Limits,
    ) -> None:
        self._config = config
        self._addresses = Addresses(config.home, enrolment, config.server)
        self._clock = Clock()
        self._selector = selectors.DefaultSelector()
        self._events: deque[events.Event | Later] = deque()
        self._exit_code: int | None = None
        self._complaints = Complaints(_LOG)
        self._joined = False
        self._sent = False
        self._trim_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._register(self._wake_read, self._woken)
        self._spool = Spool(
            config.home / "spool",
            limits,
            self._from_thread,
            gather=config.spool_mode is not SpoolMode.BEFORE_SEND,
        )
        self._audit = (
            AuditLog(config.home, limits, self._from_thread, broker=enrolment.server_public_key)
            if policy.audit
            else None
        )
        self._blobs = BlobCache(config.home / FOLDER, limits, self._from_thread)
        self._spans = TaskSpans(traces.from_environment("dart-agent"), config.name)
        self._supervisor = Supervisor(
            SupervisorOptions(
                slots=config.slots,
                worker=config.name,
                host=config.host,
                module_prefix=config.module_prefix,
                output_directory=config.output_directory,
                python_home=config.python_home,
                shared_bytes=config.shm_bytes,
                policy=policy,
                home=config.home,
                secret=secret_folders(config.home, enrolment.state_directory),
                blobs=self._blobs,
            ),
            limits,
            register=self._register,
            unregister=self._unregister,
            emit=self._events.append,
            clock=self._clock,
        )
        self._desk = Desk(
            policy,
            PushedModules(config.module_prefix, limits),
            lambda: versions_of(config, policy, limits, self._supervisor.confinement),
            self._from_thread,
        )
        self._link = Link(
            find=self._addresses.find,
            keys=keys,
            limits=limits,
            emit=self._events.append,
            watch=lambda descriptor: self._register(descriptor, self._link_is_ready),
            unwatch=self._unregister,
        )
        identity = Identity(
            name=config.name,
            slots=config.slots,
            capabilities=config.capabilities,
            host=config.host,
            boot_id=BootId(os.urandom(16).hex()),
            facts=facts_of(config, policy, limits, self._supervisor.confinement),
            store_id=StoreId(enrolment.store_id),
            next_server=self._addresses.next,
            spool_mode=config.spool_mode,
            stop_grace_seconds=config.stop_grace_seconds,
            policy=policy,
        )
        self._core = AgentCore(identity, limits, self._clock())

    @property
    def open_to_tasks(self) -> tuple[str, ...]:
        """What tasks are not kept from on this machine."""
        return self._supervisor.confinement.open_to_tasks

    def run(self) -> int:
        """Work until the core says that it is over.

        Returns:
            The exit code.
        """
        self._events.append(events.Started(self._spool.stored))
        calls = dict.fromkeys(_STOP_SIGNALS, self._on_stop_signal)
        with handled({**calls, signal.SIGCHLD: lambda _: self._supervisor.child_ended()}, wake=self._wake_write):
            try:
                self._supervisor.start()
                while self._exit_code is None:
                    self._turn()
                self._end_runners()
            finally:
                self._close()
        return self._exit_code

    def _turn(self) -> None:
        """Wait, gather what happened, let the core decide, do it."""
        self._listen(self._patience())
        now = self._clock()
        self._complaints.tell()
        if now >= self._trim_at:
            trim()
            self._trim_at = now + TRIM_SECONDS
        self._supervisor.on_time(now)
        happened = tuple(self._take_events()) or (events.TimePassed(),)
        for command in self._core.handle_all(happened, now):
            self._carry_out(command)
        if self._sent:
            # The socket's descriptor may have changed while it was written to, and would not tell again.
            self._sent = False
            self._link_is_ready()

    def _patience(self) -> float | None:
        if self._events or self._sent:
            return 0.0
        deadlines = (self._core.next_deadline(), self._supervisor.next_deadline())
        first = min((deadline for deadline in deadlines if deadline is not None), default=None)
        return None if first is None else max(0.0, first - self._clock())

    def _take_events(self) -> Iterator[events.Event]:
        for _ in range(len(self._events)):
            event = self._events.popleft()
            if isinstance(event, Later):
                event.call()
                continue
            self._spans.happened(event)
            yield event

    def _carry_out(self, command: events.Command) -> None:
        match command:
            case events.Give(slot, leases):
                self._spans.given(leases)
                self._supervisor.give(slot, leases)
            case events.Send(sequence, message):
                self._link.send(sequence, message)
                self._sent = True
            case events.SpoolWrite(number, store_id, results):
                self._spool.write(number, store_id, results)
            case events.SpoolForget(refs):
                self._spool.forget(refs)
            case events.Audit(entries) if self._audit is not None:
                self._audit.write(entries)
            case events.TakeBack(slot):
                self._supervisor.take_back(slot)
            case events.Kill(slot, grace_seconds):
                self._supervisor.kill(slot, grace_seconds)
            case _:
                self._carry_out_rare(command)

    def _carry_out_rare(self, command: events.Command) -> None:
        match command:
            case events.Answer(question):
                self._desk.take(question)
            case BlobFind() | BlobWrite() | BlobLack() | BlobLet() | BlobPin() | BlobFree() | BlobRead():
                self._blobs.do(command)
            case events.Connect():
                self._link.connect()
                self._sent = True
            case events.Disconnect(flush_seconds):
                self._link.disconnect(flush_seconds)
            case events.Say(level, text, bounded):
                write = self._complaints.say if bounded else _log
                write(logging.getLevelName(level.upper()), text)
            case events.Joined(name, slots):
                self._keep(self._addresses.answered)
                self._tell_joined(name, slots)
            case events.Remember(server):
                self._keep(lambda: self._addresses.remember(server))
            case events.Revoked():
                self._keep(self._addresses.revoked)
            case events.Exit(code):
                self._exit_code = code

    def _keep(self, change: Callable[[], None]) -> None:
        """Change what is kept in the home; where that fails, this run goes on all the same."""
        try:
            change()
        except ConfigError as error:
            _LOG.error("%s What the server told is forgotten at the next start.", error.message)

    def _tell_joined(self, name: str, slots: int) -> None:
        self._complaints.say(logging.INFO, f"joined as {name} with {slots} slots", "sessions")
        if not self._joined:
            self._joined = True
            # Whoever started this agent may have gone and closed the pipe; that is no reason to end.
            with contextlib.suppress(OSError):
                print(f"joined {name} slots {slots}", flush=True)  # noqa: T201 - the promised line

    # ---- the loop's ears ----

    def _listen(self, patience: float | None) -> None:
        for key, _ in self._selector.select(patience):
            # What was called before may have closed this one, and its number may be used again.
            if self._selector.get_map().get(key.fd) is key:
                key.data()

    def _register(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def _unregister(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def _link_is_ready(self) -> None:
        if self._link.ready():
            self._sent = True  # there is more: look again without waiting

    def _from_thread(self, event: events.Event | Later) -> None:
        self._events.append(event)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._wake_read, 4096):
                pass

    def _on_stop_signal(self, number: signal.Signals) -> None:
        _LOG.info("%s: stopping", number.name)
        self._events.append(events.StopAsked())

    # ---- the end ----

    def _end_runners(self) -> None:
        self._supervisor.stop(_RUNNERS_END_SECONDS / 2)
        end = self._clock() + _RUNNERS_END_SECONDS
        while not self._supervisor.stopped and self._clock() < end:
            deadline = self._supervisor.next_deadline()
            until = end if deadline is None else min(end, deadline)
            self._listen(max(0.0, until - self._clock()))
            self._supervisor.on_time(self._clock())

    def _close(self) -> None:
        self._complaints.close()
        self._desk.close()
        self._blobs.close()
        self._supervisor.close()
        if not self._spool.close():
            _LOG.error("not all results could be written to the spool; their tasks run again")
        if self._audit is not None:
            self._audit.close()
        self._link.close()
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)


def _log(level: int, text: str) -> None:
    _LOG.log(level, "%s", text)


def main(arguments: Sequence[str]) -> int:
    """Run an agent with these arguments.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 no server to enrol with, 4 not allowed.
    """
    if "--help" in arguments or "-h" in arguments:
        print(USAGE, end="")  # noqa: T201 - asked for
        return 0
    try:
        log_to_stderr(os.environ.get("DART_LOG_LEVEL", "info"))
        limits = limits_from_environment()
        hide_token(arguments)
        config = read_config(arguments, limits)
    except (ConfigError, ValueError) as error:
        return _complain(str(error), _USAGE)
    try:
        return _run(config, limits, arguments)
    except DartError as error:
        codes = {ConfigError: _USAGE, HostUnreachableError: _UNREACHABLE, ForbiddenError: _NOT_ALLOWED}
        return _complain(error.message, codes.get(type(error), _FAILED))


def _complain(text: str, code: int) -> int:
    print(f"dart agent: {one_line(text)}", file=sys.stderr)  # noqa: T201 - the promised sentence
    return code


def _run(config: AgentConfig, limits: Limits, arguments: Sequence[str]) -> int:
    kernel_calls.keep_to_oneself()
    collect_seldom()
    if config.end_with_stdin:
        from dart.stdin_end import end_with_stdin  # noqa: PLC0415 - few agents are somebody's children

        end_with_stdin()
    for warning in config.warnings:
        _LOG.warning("%s", warning)
    policy = find_policy(config.policy_file, config.policy_folders, limits.policy_bytes_max)
    _LOG.info("policy: %s", f"{policy.path} (SHA-256 {policy.sha256})" if policy.path else "none, the defaults hold")
    home = Home(config.home)
    try:
        enrolment = enrolment_of(config, arguments)
        keys = enrol.own_keys(config.home)
        about: dict[str, str | int] = {
            "name": config.name,
            "slots": config.slots,
            "policy": policy.path,
            "policy_sha256": policy.sha256,
        }
        home.announce(**about)
        agent = Agent(config, policy, enrolment, keys, limits)
        home.announce(**about, open_to_tasks=", ".join(agent.open_to_tasks))
        return agent.run()
    finally:
        home.close()
