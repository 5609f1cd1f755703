"""The agent's core against arbitrary brokers, networks and runners: its books agree, and no task is lost or doubled."""

from collections import deque

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from dart.agent import events
from dart.agent.core import SpoolMode
from dart.agent.core.state import Fate, Phase
from dart.ids import AttemptRef, StoreId
from dart.wire import messages
from harness.agent_blobs import BLOBS, BlobCommand, WithBlobs, value_that_names
from harness.agent_recorder import OTHER_STORE, SMALL_TERMS, STORE, Recorder, lease
from harness.fake_runner import FakeRunner

SLOTS = 3
DURATIONS = st.sampled_from([0.0001, 0.001, 0.02, 0.3, 5.0])


class AgentMachine(WithBlobs):
    """Events in any order that a supervisor, a link and a broker could produce."""

    @initialize(
        mode=st.sampled_from(SpoolMode),
        duration=st.one_of(st.none(), DURATIONS),
        blob_bytes_max=st.sampled_from([1000, 1000, 50, 0]),
        joins=st.sampled_from([True, True, False]),
    )
    def begin(self, mode: SpoolMode, duration: float | None, blob_bytes_max: int, *, joins: bool) -> None:
        self.blob_bytes_max = blob_bytes_max
        self.agent = Recorder(
            slots=SLOTS,
            spool=mode,
            pipeline_max=4,
            prefetch_max=8,
            spool_bytes_max=4000,
            hello_items_max=20,
            blob_piece_bytes=10,
            blob_fetch_bytes_max=30,
            blob_tasks_max=3,
            blob_cache_bytes_max=600,
            blob_pieces_max=6,
        )
        self.without_blobs()
        self.agent.state.duration_seconds = duration
        self.runners = [FakeRunner() for _ in range(SLOTS)]
        self.next_task = 0
        self.leased: set[AttemptRef] = set()
        self.outcome: dict[AttemptRef, str] = {}
        """What the broker knows of each lease: result, released, cancelled or dropped."""
        self.sent_sequence = 0
        self.credit = 0
        self.writes = 0
        self.synced = 0
        self.on_disk: set[AttemptRef] = set()
        self.hello: messages.Hello | None = None
        self.exit: list[int] = []
        self.do(events.Started(()))
        while joins and not self.live:
            self.a_good_moment()

    # ---- the world around ----

    def do(self, *happened: events.Event) -> None:
        """Hand in events and carry out what follows, until nothing follows any more."""
        pending = deque([happened])
        while pending:
            batch = pending.popleft()
            commands = self.agent.do(*batch)
            if self.exit:
                assert commands == []
            for command in commands:
                pending.extend((event,) for event in self.carry_out(command))

    def carry_out(self, command: events.Command) -> list[events.Event]:
        match command:
            case command if isinstance(command, BlobCommand):
                self.take_blob_command(command)
            case events.Give(slot, leases):
                self.check_blobs_of(leases)
                runner = self.runners[slot]
                assert runner.ready
                assert not runner.dying, "nothing is given to a runner that is being killed"
                runner.given.extend(entry.ref for entry in leases)
            case events.TakeBack(slot):
                runner = self.runners[slot]
                untouched = runner.untouched()
                for ref in untouched:
                    runner.given.remove(ref)
                return [events.TakenBack(slot, untouched)]
            case events.Kill(slot):
                self.runners[slot].dying = True
            case events.SpoolWrite(number, _, results):
                assert number == self.writes + 1
                self.writes = number
                self.on_disk.update(result.ref for result in results)
            case events.SpoolForget(refs):
                assert self.on_disk.issuperset(refs), "only what is on disk is forgotten there"
                self.on_disk.difference_update(refs)
            case events.Connect():
                self.hello, self.sent_sequence = None, 0
                self.asked = []
                return [events.LinkUp(0.5)]
            case events.Send(sequence, message):
                self.sent_sequence += 1
                assert sequence == self.sent_sequence, "running numbers without gaps"
                self.hear(message)
            case events.Exit(code):
                assert not any(runner.given for runner in self.runners)
                self.exit.append(code)
        return []

    def hear(self, message: messages.AgentMessage) -> None:
        match message:
            case messages.Hello():
                assert sequence_starts(self)
                self.hello = message
                self.agent.sequence = 0
                named = set(message.attempts) | set(message.results)
                state = self.agent.state
                for ref in self.leased - named - set(self.outcome) - set(state.kept):
                    # The broker learns that it never arrived, was given back, or was killed on the way out.
                    assert ref not in state.held or (state.killing and state.held[ref].fate is Fate.ABANDONED)
                    self.outcome[ref] = "released"
            case messages.BlobGet():
                self.hear_blob_get(message)
            case messages.BlobPiece():
                self.hear_piece(message)
            case messages.Results(results, credit):
                assert self.hello is not None
                for result in results:
                    assert result.ref in self.leased
                    self.check_result(result)
                    assert self.outcome.get(result.ref) != "released", "what was given back has no result"
                    if self.agent.state.identity.spool_mode is SpoolMode.BEFORE_SEND:
                        assert result.ref in self.on_disk
                if credit is not None:
                    self.take_credit(credit)
            case messages.Credit():
                self.take_credit(message)
            case messages.Released(attempts):
                for ref in attempts:
                    assert self.outcome.setdefault(ref, "released") != "result"
            case _:
                pass

    def take_credit(self, credit: messages.Credit) -> None:
        assert credit.tasks >= 0
        assert credit.payload_bytes >= 0
        self.credit = credit.tasks
        if self.agent.state.leaving:
            assert credit.tasks == 0

    @property
    def live(self) -> bool:
        return self.agent.state.phase is Phase.LIVE

    # ---- what may happen ----

    @rule(slot=st.integers(0, SLOTS - 1))
    def runner_is_ready(self, slot: int) -> None:
        if not self.runners[slot].ready:
            self.runners[slot].ready = True
            self.do(events.RunnerReady(slot, {"python": "3"}))

    @rule(slot=st.integers(0, SLOTS - 1))
    def runner_cannot_start(self, slot: int) -> None:
        if not self.runners[slot].ready:
            self.do(events.RunnerFailed(slot, "no python"))

    @rule(
        slot=st.integers(0, SLOTS - 1),
        amount=st.integers(1, 4),
        duration=DURATIONS,
        makes=st.lists(st.sampled_from(sorted(BLOBS)), max_size=2),
        named=st.sampled_from([(), tuple(BLOBS), tuple(BLOBS)]),
        success=st.sampled_from([True, True, False]),
    )
    def tasks_end(
        self, slot: int, amount: int, duration: float, makes: list[bytes], named: tuple[bytes, ...], *, success: bool
    ) -> None:
        given = self.runners[slot].given
        self.makes_blobs(given, makes)
        payload = value_that_names(named) + b"x" * 100
        results = tuple(
            events.RunnerResult(given.popleft(), 1, duration, success, 0 if success else 1, payload)
            for _ in range(min(amount, len(given)))
        )
        if results:
            self.do(events.TasksEnded(slot, results))

    @rule(slot=st.integers(0, SLOTS - 1))
    def runner_dies(self, slot: int) -> None:
        runner = self.runners[slot]
        if not runner.ready:
            return
        running = runner.given[0] if runner.given else None
        untouched = runner.untouched()
        runner.given.clear()
        runner.ready = runner.dying = False
        self.do(events.RunnerDied(slot, "killed by SIGKILL", running, untouched))

    @precondition(lambda self: self.live)
    @rule(
        amount=st.integers(1, 12),
        timeout=st.sampled_from([0.0, 0.5]),
        named=st.lists(st.sampled_from(sorted(BLOBS)), max_size=2),
    )
    def broker_gives(self, amount: int, timeout: float, named: list[bytes]) -> None:
        parameter = value_that_names(named)
        leases = []
        for _ in range(min(amount, self.credit)):
            self.next_task += 1
            leases.append(lease(self.next_task, timeout=timeout, parameter=parameter))
            self.leased.add(leases[-1].ref)
        self.credit -= len(leases)
        self.agent.sequence += 1
        self.do(events.FrameArrived(self.agent.sequence, messages.Tasks(tuple(leases))))

    def some(self, data: st.DataObject, refs: set[AttemptRef]) -> tuple[AttemptRef, ...]:
        return tuple(data.draw(st.lists(st.sampled_from(sorted(refs)), unique=True))) if refs else ()

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def broker_acknowledges(self, data: st.DataObject) -> None:
        sent = {ref for ref, kept in self.agent.state.kept.items() if kept.sent}
        refs = self.some(data, sent)
        for ref in refs:
            self.outcome[ref] = "result"
        self.say(messages.Ack(refs))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def broker_cancels(self, data: st.DataObject) -> None:
        refs = self.some(data, set(self.agent.state.held))
        for ref in refs:
            self.outcome[ref] = "cancelled"
        self.say(messages.Cancel(refs))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def broker_recalls(self, data: st.DataObject) -> None:
        self.say(messages.Recall(self.some(data, self.leased)))

    def say(self, message: messages.BrokerMessage) -> None:
        self.agent.sequence += 1
        self.do(events.FrameArrived(self.agent.sequence, message))

    @precondition(lambda self: self.hello is not None and not self.live)
    @rule(data=st.data(), other_store=st.booleans())
    def broker_welcomes(self, data: st.DataObject, other_store: bool) -> None:
        hello = self.hello
        assert hello is not None
        if self.agent.state.phase is not Phase.CONNECTING:
            return
        drop = set(self.some(data, set(hello.attempts)))
        forget = set(self.some(data, set(hello.results)))
        store_id = OTHER_STORE if other_store else STORE
        foreign = hello.store_id not in {"", store_id}
        if foreign:
            # Another store knows nothing of these; what ran for the former one is void.
            drop, forget = {ref for ref in self.leased if ref in self.agent.state.held}, set()
        for ref in drop:
            self.outcome[ref] = "dropped"
        for ref in forget:
            self.outcome[ref] = "result"
        self.welcome(hello, store_id, drop=drop, forget=forget, foreign=foreign)

    def welcome(
        self, hello: messages.Hello, store_id: StoreId, *, drop: set[AttemptRef], forget: set[AttemptRef], foreign: bool
    ) -> None:
        self.agent.sequence += 1
        terms = SMALL_TERMS._replace(
            store_id=store_id,
            blob_bytes_max=self.blob_bytes_max,
            keep=tuple(set(hello.attempts) - drop),
            drop=tuple(drop.intersection(hello.attempts)),
            send=() if foreign else tuple(set(hello.results) - forget),
            forget=tuple(forget),
            hold=hello.results if foreign else (),
        )
        self.do(events.FrameArrived(self.agent.sequence, terms))

    @rule()
    def link_is_lost(self) -> None:
        self.do(events.LinkDown("gone", 0.5))

    @precondition(lambda self: self.live)
    @rule()
    def frame_is_lost(self) -> None:
        self.agent.sequence += 1
        self.say(messages.Ack(()))

    @rule(seconds=st.sampled_from([0.005, 0.05, 0.3, 1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.agent.now += seconds
        self.do(events.TimePassed())

    @rule()
    def deadline_comes(self) -> None:
        deadline = self.agent.core.next_deadline()
        if deadline is not None and deadline != float("inf"):
            self.agent.now = max(self.agent.now, deadline)
            self.do(events.TimePassed())

    @rule(amount=st.integers(0, 3))
    def spool_syncs(self, amount: int) -> None:
        self.synced = min(self.writes, self.synced + amount)
        self.do(events.SpoolSynced(self.synced))

    @rule(full=st.booleans())
    def spool_fills(self, full: bool) -> None:
        self.do(events.SpoolFull("no space") if full else events.SpoolRoom())

    @precondition(lambda self: self.next_task > 8)
    @rule(drain=st.booleans())
    def asked_to_leave(self, drain: bool) -> None:
        if not drain:
            self.do(events.StopAsked())
        elif self.live:
            self.say(messages.Drain("maintenance"))

    # ---- what holds always ----

    @invariant()
    def every_task_is_somewhere(self) -> None:
        """A lease is held, kept as a result, or its end is known to the broker; unless the agent left with it."""
        if not hasattr(self, "agent") or self.exit:
            return
        state = self.agent.state
        lost = [
            ref for ref in self.leased if ref not in state.held and ref not in state.kept and ref not in self.outcome
        ]
        if self.live and not state.leaving:
            assert lost == []

    @invariant()
    def runners_and_core_agree(self) -> None:
        """Each runner has exactly what the core believes it has."""
        if not hasattr(self, "agent") or self.exit:
            return
        for runner, slot in zip(self.runners, self.agent.state.slots, strict=True):
            assert list(runner.given) == list(slot.pipeline)
            assert runner.ready == slot.ready

    def teardown(self) -> None:
        """With a good broker and good runners everything comes to its end."""
        if not hasattr(self, "agent") or self.agent.state.leaving:
            return
        self.do(events.SpoolRoom())
        for _ in range(200):
            self.a_good_moment()
            state = self.agent.state
            held_back = [ref for ref, kept in state.kept.items() if kept.store_id != state.store_id]
            if self.live and not state.held and len(state.kept) == len(held_back):
                assert all(ref in self.outcome for ref in self.leased.difference(held_back))
                assert state.session.credit_left > 0 or state.kept_bytes >= 4000 or state.offered_bytes > 300
                return
        raise AssertionError(f"it does not come to rest: {self.agent.state}")

    def a_good_moment(self) -> None:
        for slot, runner in enumerate(self.runners):
            if runner.dying:
                self.runner_dies(slot)
            self.runner_is_ready(slot)
            self.tasks_end(slot, 2, 0.001, [], (), success=True)
        self.spool_syncs(3)
        self.a_good_moment_for_blobs()
        state = self.agent.state
        if self.live:
            refs = tuple(ref for ref, kept in state.kept.items() if kept.sent)
            self.outcome.update(dict.fromkeys(refs, "result"))
            self.say(messages.Ack(refs))
        elif self.hello is not None and state.phase is Phase.CONNECTING:
            foreign = self.hello.store_id not in {"", STORE}
            drop = set(state.held) if foreign else set()
            self.outcome.update(dict.fromkeys(drop, "dropped"))
            self.welcome(self.hello, STORE, drop=drop, forget=set(), foreign=foreign)
        self.agent.now += 0.05
        self.do(events.TimePassed())
        if not self.live:
            self.deadline_comes()


def sequence_starts(machine: AgentMachine) -> bool:
    """HELLO is the first frame of its session."""
    return machine.sent_sequence == 1


TestAgentCore = AgentMachine.TestCase
TestAgentCore.settings = settings(
    max_examples=150,
    report_multiple_bugs=False,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
