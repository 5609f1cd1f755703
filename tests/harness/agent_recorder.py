"""Drives an AgentCore with short names, checks its books after each step, and shows what it wants done."""

from typing import TypeVar

from dart.agent import events
from dart.agent.core import AgentCore, Identity, SpoolMode
from dart.agent.core.state import Fate, Phase, WantedStage
from dart.agent.policy import Policy
from dart.ids import Attempt, AttemptRef, BootId, SessionId, StoreId, TaskId
from dart.limits import Limits
from dart.wire import messages

STORE = StoreId("a" * 32)
NO_STORE = StoreId("")
OTHER_STORE = StoreId("b" * 32)
BOOT = BootId("0" * 32)
SMALL_TERMS = messages.Welcome(
    version=1,
    session=SessionId(1),
    store_id=STORE,
    incarnation=1,
    heartbeat_seconds=5.0,
    silence_seconds=15.0,
    lease_seconds=60.0,
    frame_bytes_max=10_000,
    value_bytes_max=10_000,
    batch_items_max=3,
    batch_bytes_max=250,
    server="",
    keep=(),
    drop=(),
    send=(),
    forget=(),
    hold=(),
)
T = TypeVar("T")


def ref(task_id: int, number: int = 1) -> AttemptRef:
    """An attempt of incarnation 1."""
    return AttemptRef(TaskId(task_id), Attempt(1, number))


def lease(task_id: int, *, timeout: float = 0.0, parameter: bytes = b"\x01", number: int = 1) -> messages.Lease:
    """A task."""
    return messages.Lease(ref(task_id, number), "job", "module", "method", timeout, parameter)


def runner_result(task_id: int, payload: bytes = b"\x02", *, duration: float = 0.5) -> events.RunnerResult:
    """What a runner says of a task that went well."""
    return events.RunnerResult(ref(task_id), 1_000, duration, True, 0, payload)


def result(task_id: int, payload: bytes = b"\x02", *, duration: float = 0.5) -> messages.Result:
    """The same as it is kept and sent."""
    return messages.Result(ref(task_id), "edge-1", "box", 1_000, duration, True, 0, payload)


class Recorder:
    """An agent's core under test; time stands still unless told otherwise."""

    def __init__(
        self,
        *,
        slots: int = 1,
        spool: SpoolMode = SpoolMode.EAGER,
        grace: float = 5.0,
        store_id: StoreId = NO_STORE,
        policy: Policy | None = None,
        **limits: float,
    ) -> None:
        identity = Identity(
            name="edge-1",
            slots=slots,
            capabilities=("gpu",),
            host="box",
            boot_id=BOOT,
            facts={"architecture": "test"},
            store_id=store_id,
            spool_mode=spool,
            stop_grace_seconds=grace,
            policy=policy or Policy(),
        )
        self.now = 1000.0
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.core = AgentCore(identity, self.limits, self.now)
        self.state = self.core.state
        self.sequence = 0
        self.commands: list[events.Command] = []

    # ---- doing ----

    def do(self, *happened: events.Event) -> list[events.Command]:
        """Hand in events; the commands are returned and kept until the next step."""
        self.commands = self.core.handle_all(happened, self.now)
        check(self.core)
        return self.commands

    def passes(self, seconds: float) -> list[events.Command]:
        """Time goes by, with nothing else."""
        self.now += seconds
        return self.do(events.TimePassed())

    def until_deadline(self) -> list[events.Command]:
        """Time goes by until the core wants to be asked."""
        deadline = self.core.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        return self.do(events.TimePassed())

    def hears(self, message: messages.BrokerMessage, sequence: int | None = None) -> list[events.Command]:
        """A frame of the broker."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        return self.do(events.FrameArrived(sequence, message))

    # ---- usual ways ----

    def start(self, *stored: tuple[StoreId, messages.Result], ready: bool = True) -> "Recorder":
        """Started, all runners ready."""
        self.do(events.Started(stored))
        if ready:
            self.do(*(events.RunnerReady(slot, {"python": "3.11"}) for slot in range(len(self.state.slots))))
        return self

    def hello(self) -> messages.Hello:
        """A new socket; the HELLO said on it."""
        while self.state.phase is not Phase.CONNECTING:
            self.until_deadline()
        self.sequence = 0
        self.do(events.LinkUp(0.5))
        return self.sent(messages.Hello)[0]

    def welcome(self, **changes: object) -> list[events.Command]:
        """WELCOME with these terms."""
        terms = messages.Welcome(
            version=1,
            session=SessionId(1),
            store_id=STORE,
            incarnation=1,
            heartbeat_seconds=5.0,
            silence_seconds=15.0,
            lease_seconds=60.0,
            frame_bytes_max=self.limits.frame_bytes_max,
            value_bytes_max=self.limits.value_bytes_max,
            batch_items_max=self.limits.batch_items_max,
            batch_bytes_max=self.limits.batch_bytes_max,
            server="test",
            keep=(),
            drop=(),
            send=(),
            forget=(),
            hold=(),
        )
        return self.hears(terms._replace(**changes))

    def live(self) -> "Recorder":
        """Started, connected, welcomed."""
        self.start()
        self.hello()
        self.welcome()
        return self

    def tasks(self, *leases: messages.Lease | int) -> list[events.Command]:
        """Leases, by their task ids if nothing is special about them."""
        made = tuple(lease(entry) if isinstance(entry, int) else entry for entry in leases)
        return self.hears(messages.Tasks(made))

    def ends(self, slot: int, *task_ids: int, duration: float = 0.5) -> list[events.Command]:
        """A runner ended these, in order."""
        results = tuple(runner_result(task_id, duration=duration) for task_id in task_ids)
        return self.do(events.TasksEnded(slot, results))

    def takes_back(self, slot: int, *task_ids: int) -> list[events.Command]:
        """A runner's answer to TakeBack."""
        return self.do(events.TakenBack(slot, tuple(ref(task_id) for task_id in task_ids)))

    def dies(self, slot: int, running: int | None = None, *untouched: int) -> list[events.Command]:
        """A runner's end."""
        at = None if running is None else ref(running)
        return self.do(events.RunnerDied(slot, "killed by SIGSEGV", at, tuple(ref(n) for n in untouched)))

    # ---- seeing ----

    def of(self, kind: type[T]) -> list[T]:
        """The commands of a kind in the last step."""
        return [command for command in self.commands if isinstance(command, kind)]

    def sent(self, kind: type[T]) -> list[T]:
        """The messages of a kind sent in the last step."""
        return [command.message for command in self.of(events.Send) if isinstance(command.message, kind)]

    def given(self) -> dict[int, list[int]]:
        """Slot -> task ids given in the last step."""
        found: dict[int, list[int]] = {}
        for give in self.of(events.Give):
            found.setdefault(give.slot, []).extend(lease.ref.task_id for lease in give.leases)
        return found

    def texts(self) -> str:
        """What was said in the last step."""
        return "\n".join(say.text for say in self.of(events.Say))


def check(core: AgentCore) -> None:
    """The books agree: every held attempt is in exactly one place, and all sums are right."""
    state = core.state
    places = [*state.queue, *state.waiting, *(ref for slot in state.slots for ref in slot.pipeline)]
    assert len(places) == len(set(places)), places
    assert set(places) == set(state.held), (places, list(state.held))
    for number, slot in enumerate(state.slots):
        assert all(state.held[ref].slot == number for ref in slot.pipeline)
        assert len(slot.pipeline) <= state.limits.pipeline_max + 1
        assert slot.ready or not slot.pipeline
    assert all(state.held[ref].slot is None and state.held[ref].fate is Fate.WANTED for ref in state.queue)
    assert state.held_bytes == sum(len(held.lease.parameter) for held in state.held.values())
    assert state.kept_bytes == sum(len(kept.result.payload) + 256 for kept in state.kept.values())
    assert not set(state.held) & set(state.kept)
    offered = {(*blob, ref) for ref, kept in state.kept.items() for blob in kept.result.blobs}
    assert offered == {(name, size, ref) for name, refs in state.offered.items() for ref, size in refs.items()}
    assert state.offered_bytes == sum(blob.size for kept in state.kept.values() for blob in kept.result.blobs)
    if state.phase is Phase.LIVE:
        sent = [kept for kept in state.kept.values() if kept.sent]
        assert state.session.in_flight == len(sent)
        assert state.session.in_flight_bytes == sum(len(kept.result.payload) for kept in sent)
    assert set(state.progress) <= set(state.held)
    assert not (state.leaving and (state.queue or state.waiting))
    named = {(sha256, ref) for ref, held in state.held.items() for sha256 in held.blobs}
    assert named == {(sha256, ref) for sha256, wanted in state.blobs.items() for ref in wanted.tasks}
    open_blobs = {sha256 for sha256, wanted in state.blobs.items() if wanted.stage is not WantedStage.SETTLED}
    for ref in state.held:
        assert state.waiting.get(ref, set()) == open_blobs.intersection(state.held[ref].blobs)
    for wanted in state.blobs.values():
        assert wanted.here <= wanted.received <= wanted.asked
        assert wanted.received - wanted.here <= state.limits.blob_fetch_bytes_max + state.limits.blob_piece_bytes
    deadline = core.next_deadline()
    assert state.exited or deadline is None or deadline > state.now, "a deadline that is not met by TimePassed"
