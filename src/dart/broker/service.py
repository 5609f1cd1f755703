"""Turns: events go into the core, its records into the store, and what it says out again once that is durable.

The only place that knows all of core, store and transport. A failed commit voids its turn and all later ones; then
the core is built again from the store, by the same code as at a start.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from dart.broker.actors import show, signed
from dart.broker.alarm import Alarm
from dart.broker.committer import Committer
from dart.broker.core import commands as out
from dart.broker.core.access import ApiKey
from dart.broker.core.events import Event, TimePassed, Token
from dart.broker.core.happenings import Happening
from dart.broker.core.model import Enrolment, Recovered
from dart.broker.core.reactor import Reactor
from dart.broker.core.records import LAZY_RECORDS, Record
from dart.broker.delivery import Delivery, Gate
from dart.broker.fresh_outcomes import FreshOutcomes
from dart.broker.measures import Measures
from dart.broker.notes import Notes
from dart.broker.outbox import Barrier, Outbox, payload_bytes
from dart.broker.pace import Pace
from dart.broker.parameters import ParameterCache
from dart.broker.questions import Questions
from dart.broker.room import trouble_of
from dart.broker.store.base import Store
from dart.broker.tidying import Tidying
from dart.errors import DartError, StoreError, UnavailableError
from dart.ids import AgentId, JobId, KeyId
from dart.limits import Limits
from dart.wire.messages import NextServer

T = TypeVar("T")

LAZY_SECONDS = 0.5
"""Records that nothing waits for are written after this, if no group took them along."""

log = logging.getLogger("dart.broker.service")


class Service:
    """Runs one core over one store.

    Args:
        store: Opened; for others, to use in `read` alone; closed by its owner after `close`.
        limits: Bounds of groups, cache and outbox.
        clock: Unix time that does not jump.
        committer: Another kind of it, for simulations.
    """

    def __init__(
        self, store: Store, *, limits: Limits, clock: Callable[[], float], committer: type[Committer] = Committer
    ) -> None:
        self.store = store
        self._limits = limits
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dart-reader")
        self.measures = Measures(clock)
        self._committer = committer(
            store,
            group_records_max=limits.group_records_max,
            on_committed=self._on_committed,
            on_failed=self._on_failed,
            measure=self.measures.committed,
        )
        self._cache = ParameterCache(bytes_max=limits.cache_bytes_max)
        self.fresh = FreshOutcomes()
        self._outbox = Outbox()
        self._gate: Gate
        self._delivery: Delivery
        self._show: dict[type, Callable[[Any], None]] = {}
        self._reactor: Reactor | None = None
        self._image: Reactor | None = None
        """The core as the store has it, to read from while the store cannot be written."""
        self.keys: Mapping[KeyId, ApiKey] = {}
        """API keys as the core last knew them, also while it is being built again."""
        self._enrolments: Mapping[AgentId, Enrolment] = {}
        self.next_server: NextServer | None = None
        """For cores that are built from now on; the present one is told by `ServerMoves`."""
        self._events: list[Event] = []
        self._turn_is_due = False
        self._turn_number = 0
        self._lazy: list[Record] = []
        self._lazy_timer: asyncio.TimerHandle | None = None
        self._tidying = Tidying(store, lambda: self._committer.put(self._turn_number, ()))
        self._alarm = Alarm(lambda: self.post([TimePassed()]))
        self._questions = Questions()
        self.notes = Notes(self._loop)
        self._recovery: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._paused = False
        self.recovered: Recovered
        """What the store told last; its tasks are left out."""
        self.trouble = "the server is starting"
        """Why nothing can be done now; empty: all is well."""
        self.on_results: Callable[[JobId], None] = lambda _job: None
        """Called when outcomes of a job are durable."""
        self.on_answer: Callable[[out.Answered], None] = lambda _answered: None
        self.on_blob: Callable[[out.BlobOrder], None] = lambda _order: None
        """Called when an agent answers a HEARTBEAT or a question; when blobs are to be read or written for one."""
        self.on_happened: Callable[[Sequence[Happening], bool], None] = lambda _happened, _void: None
        """Called with what people may watch when it is durable; with True when it and all of before became void."""

    async def start(self, gate: Gate, *, forget_jobs: bool = False) -> None:
        """Build the core and take events. Raises `StoreError`."""
        self._gate = gate
        self._delivery = delivery = Delivery(
            gate,
            cache=self._cache,
            read=lambda ids: self.read(self.store.parameters, ids),
            tell=lambda event: self.post([event]),
            sent=self.measures.sent,
        )
        self._show = {
            out.Send: delivery.give,
            out.SendTasks: delivery.give,
            out.EndSession: delivery.give,
            **dict.fromkeys(out.BlobOrder.__args__, lambda order: self.on_blob(order)),  # noqa: PLW0108 - set after the start
            out.ShutOut: lambda order: gate.shut_out(order.agent_id),
            out.Reply: self._questions.reply,
            out.Refuse: self._questions.refuse,
            out.ResultsRecorded: lambda recorded: self.on_results(recorded.job_id),
            out.Answered: lambda answered: self.on_answer(answered),  # noqa: PLW0108 - set after the start
            out.Note: self.notes.show,
            out.Audited: self._show_later,
            Barrier: lambda barrier: barrier.call(False),
        }
        self._build(await self._committer.call(lambda: self.store.recover(forget_jobs=forget_jobs)))

    async def close(self) -> None:
        """Write what waits, show it, and end the threads."""
        if self._recovery is not None:
            self._recovery.cancel()
        self._alarm.stop()
        self._tidying.stop()
        self._flush_lazy()
        await self._committer.close()
        await asyncio.sleep(0)  # what the committer told last
        if len(self._outbox):
            self._void()
        await self._delivery.idle()
        self.notes.close()
        self._reader.shutdown(wait=True)

    # ---- for the gateway ----

    @property
    def reactor(self) -> Reactor:
        """The core to look at, or `UnavailableError` while there is none."""
        reactor = self._reactor or self._image
        if reactor is None:
            raise self._unavailable()
        return reactor

    def knows(self, agent_id: AgentId) -> bool:
        """Whether an agent with this key may connect."""
        return (known := self._enrolments.get(agent_id)) is not None and not known.revoked_at_ms

    def post(self, events: Sequence[Event]) -> None:
        """Take events that nobody waits for; while there is no core they are dropped."""
        if self._reactor is not None:
            self._events.extend(events)
            self._turn_soon()

    def ask(self, make: Callable[[Token], Event]) -> asyncio.Future[Any]:
        """Take an event and promise its reply, which comes when it is durable. Raises `UnavailableError`."""
        if self._reactor is None:
            raise self._unavailable()
        if self._outbox.bytes > self._limits.outbox_bytes_max:
            raise UnavailableError(
                f"More than {self._limits.outbox_bytes_max} bytes (limit outbox_bytes_max) wait to be written; "
                "try again in a moment.",
                retry_after=1,
            )
        token, future = self._questions.ask()
        self.post([signed(make(token))])
        return future

    @property
    def crowded(self) -> bool:
        """Whether a large submission should wait before its next slice."""
        return self._outbox.bytes > self._limits.outbox_bytes_max // 4

    @property
    def waiting_bytes(self) -> int:
        """Payloads that are still to be written."""
        return self._outbox.bytes

    async def durable(self) -> None:
        """Return when all that the core knows now is durable. Raises `UnavailableError` if it became void."""
        if self._reactor is None:
            if self._image is not None:
                return
            raise self._unavailable()
        if self._outbox.durable >= self._turn_number:
            return
        future: asyncio.Future[None] = self._loop.create_future()

        def call(void: bool) -> None:  # noqa: FBT001 - a callback
            if not future.done():
                if void:
                    future.set_exception(self._unavailable())
                else:
                    future.set_result(None)

        self._outbox.put(self._turn_number, Barrier(call))
        await future

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a reading method of the store in the reader thread."""
        return await self._loop.run_in_executor(self._reader, function, *arguments)

    @property
    def now(self) -> float:
        """The core's time."""
        return self._clock()

    # ---- turns ----

    def _turn_soon(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_is_due = False
        reactor, events = self._reactor, self._events
        if reactor is None:
            return
        self._events = []
        now = self._clock()
        try:
            wanted = reactor.handle_all(events, now)
            deadline = reactor.next_deadline()
        except Exception:
            log.exception("The core failed; it is built again from the store.")
            self._begin_recovery("the server met a fault of its own and restores its state")
            return
        self._take(wanted, reactor.happened())
        self._alarm.set(deadline, now)

    def _take(self, wanted: list[out.Command], happened: list[Happening]) -> None:
        records: list[Record] = []
        durable_ones = False
        for command in wanted:
            if isinstance(command, out.Persist):
                records.append(command.record)
                if not durable_ones and not isinstance(command.record, LAZY_RECORDS):
                    durable_ones = True
                    self._turn_number += 1
            else:
                self._outbox.put(self._turn_number, command)
        if happened:
            self._outbox.put(self._turn_number, Barrier(partial(self.on_happened, happened)))
        if durable_ones:
            self._cache.watch(records)
            self._outbox.put(self._turn_number, Barrier(partial(self.fresh.taken, records)))
            self.measures.taken(records)
            self._outbox.weigh(self._turn_number, payload_bytes(records))
            self._committer.put(self._turn_number, [*self._lazy, *records])
            self._lazy.clear()
            self._stop_lazy_timer()
            self._watch_outbox()
        elif records:
            self._lazy.extend(records)
            if self._lazy_timer is None:
                self._lazy_timer = self._loop.call_later(LAZY_SECONDS, self._flush_lazy)
        self._release()

    def _release(self) -> None:
        for entry in self._outbox.ready():
            self._show[type(entry)](entry)

    def _show_later(self, audited: out.Audited) -> None:
        """Frames and answers that wait for the same commit go before its lines in the log."""
        self._loop.call_soon(show, audited.entry)

    def _on_committed(self, number: int) -> None:
        self._outbox.committed(number)
        self._tidying.committed()
        self._watch_outbox()
        self._release()

    def _watch_outbox(self) -> None:
        """Let agents wait while the store is behind."""
        crowded = self._outbox.bytes > self._limits.outbox_bytes_max
        if crowded and not self._paused:
            self._paused = True
            self._gate.pause()
        elif self._paused and not crowded and self._reactor is not None:
            self._paused = False
            self._gate.resume()

    def _flush_lazy(self) -> None:
        self._stop_lazy_timer()
        if self._lazy and self._reactor is not None:
            # Under the number of the last turn: nothing visible waits for this group.
            self._committer.put(self._turn_number, self._lazy)
            self._lazy = []

    def _stop_lazy_timer(self) -> None:
        if self._lazy_timer is not None:
            self._lazy_timer.cancel()
            self._lazy_timer = None

    # ---- when the store fails ----

    def _on_failed(self, error: StoreError) -> None:
        log.error("A commit failed, its turn and all later ones are void: %s", error.message)
        self._begin_recovery(trouble_of(error))

    def _begin_recovery(self, trouble: str) -> None:
        if self._recovery is not None:
            return
        self.trouble = trouble
        self._reactor = None
        self._void()
        self.on_happened((), True)
        self._paused = True
        self._gate.end_all("The broker restores its state; say HELLO again.")
        self._gate.pause()
        self._recovery = self._loop.create_task(self._recover())

    def _void(self) -> None:
        self._alarm.stop()
        self._stop_lazy_timer()
        self._events.clear()
        self._lazy.clear()
        self._cache.clear()
        self.on_blob(out.LeaveAllBlobs())
        self._delivery.void()
        for entry in self._outbox.void():
            if isinstance(entry, Barrier):
                entry.call(True)
        self._questions.fail(self._unavailable)

    async def _recover(self) -> None:
        def recover() -> Recovered:
            self.store.probe()
            recovered = self.store.recover()
            self._committer.recovered()
            return recovered

        wait = self._pace.first_wait(self._clock())
        while True:
            if wait:
                await self._read_on()
                await asyncio.sleep(wait)
            wait = self._pace.next_wait()
            try:
                self._build(await self._committer.call(recover))
                break
            except DartError as error:
                self.trouble = trouble_of(error)
                log.warning("The store still cannot be written, next try in %.1f s: %s", wait, error.message)
            except Exception:
                log.exception("The state could not be restored; next try in %.1f s.", wait)
        self._pace.succeeded(self._clock())
        self._recovery = None
        self._paused = False
        self._gate.resume()
        log.warning("The store can be written again; the state was restored from it.")

    async def _read_on(self) -> None:
        """Let what is durable be read although nothing can be written. Nobody is connected in this image."""
        if self._image is None:
            try:
                self._image = Reactor(await self.read(self.store.look), self._limits, self._clock())
                # Without what the failed core knew beyond it: nobody was told of that.
                self.keys = self._image.state.keys
            except Exception:
                log.exception("The store cannot be read either.")

    def _build(self, recovered: Recovered) -> None:
        now = self._clock()
        self._reactor = Reactor(recovered, self._limits, now)
        self._reactor.state.next_server = self.next_server
        self._image = None
        # Stays in use while the core is being built again: a refused handshake would cost an agent more than a wait.
        self._enrolments = self._reactor.state.enrolments
        self.keys = self._reactor.state.keys
        self.recovered = recovered._replace(tasks=(), jobs=(), leases=())
        self._outbox.committed(self._turn_number)
        self.trouble = ""
        self._alarm.set(self._reactor.next_deadline(), now)

    def _unavailable(self) -> UnavailableError:
        why = self.trouble or "the server is stopping"
        return UnavailableError(f"Not possible now: {why}. Try again in a moment.", retry_after=1)
