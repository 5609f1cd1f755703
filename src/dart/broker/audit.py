"""The audit as REST and the server need it: what is noted beside events, what is told in numbers, what can be read."""

import asyncio
from dataclasses import dataclass

from dart.broker.actors import ACTOR, show
from dart.broker.core.access import SERVER, Actor, AuditEntry, AuditRow
from dart.broker.core.events import Noted, Signed
from dart.broker.service import Service
from dart.errors import UnavailableError
from dart.limits import Limits
from dart.networks import network

WINDOW_SECONDS = 60.0
SUBJECTS_MAX = 100
"""Of refusals in one window: further ones are counted together."""
STRANGERS_MAX = 10
"""The same of those who have shown no key that counts: they are not to push out what the audit is kept for."""
_STRANGER = "nobody"
_CONNECT = "agent.connect"


@dataclass(slots=True)
class _Refusals:
    actor: Actor
    what: str
    target: str
    why: str
    further: int = 0


@dataclass(slots=True)
class _Repeated:
    actor: Actor
    further: int = 0


class Audit:
    """Notes and reads entries of one service."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service = service
        self._limits = limits
        self._refusals: dict[tuple[bool, str, str, str], _Refusals] = {}
        self._repeated: dict[tuple[str, str, str], _Repeated] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def note(self, what: str, target: str = "", outcome: str = "done") -> None:
        """Tell of something that is no event of the core; returns when it is durable.

        While nothing can be written it is told by the log alone: what is noted so changes nothing in the store.
        """
        try:
            await self._service.ask(lambda token: Noted(token, what, target, outcome))
        except UnavailableError:
            actor = ACTOR.get()
            show(AuditEntry(int(self._service.now * 1000), actor.who, what, target, outcome, *actor[1:]))

    def tell(self, what: str, target: str) -> None:
        """Tell of what the server did by itself; nobody waits for it."""
        self._post(SERVER, what, target, "done")

    def is_repeated(self, what: str, target: str) -> bool:
        """Whether this caller has done this to this target within the minute: then it needs no entry of its own.

        What was done so is to be told to `repeated`.
        """
        actor = ACTOR.get()
        subject = (actor.who, what, target)
        if subject in self._repeated:
            return True
        if len(self._repeated) >= SUBJECTS_MAX:
            self.count()
        self._repeated[subject] = _Repeated(actor)
        self._count_soon()
        return False

    def repeated(self, what: str, target: str) -> None:
        """Count what was done without an entry; once a minute its number is told."""
        actor = ACTOR.get()
        self._repeated.setdefault((actor.who, what, target), _Repeated(actor)).further += 1
        self._count_soon()

    def refuse(self, what: str, target: str, why: str, actor: Actor | None = None) -> None:
        """Tell that somebody was refused: the first time at once, then their number once a minute."""
        actor = actor or ACTOR.get()
        where = network(actor.address)
        is_stranger = actor.who == _STRANGER or (what == _CONNECT and bool(where))
        # Why an agent is turned away has in it what the agent says of itself.
        subject = (is_stranger, what, "" if what == _CONNECT else why, where or actor.who)
        alike = sum(known[0] is is_stranger for known in self._refusals)
        if subject not in self._refusals and alike >= (STRANGERS_MAX if is_stranger else SUBJECTS_MAX):
            subject = (is_stranger, "", "", "")
            actor, what, target, why = Actor("many"), "refusals", "", "of many others"
        known = self._refusals.get(subject)
        if known is not None:
            known.further += 1
            return
        self._refusals[subject] = _Refusals(actor, what, target, why)
        self._post(actor, what, target, f"refused: {why}")
        self._count_soon()

    def refuse_agent(self, agent_id: str, why: str, address: str = "") -> None:
        """Tell that an agent was turned away."""
        self.refuse(_CONNECT, agent_id[:16], why, Actor(f"agent {agent_id[:16]}", address))

    def count(self) -> None:
        """Tell how much there was beside what was told of, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        refusals, self._refusals = self._refusals, {}
        for one in refusals.values():
            if one.further:
                self._post(one.actor, one.what, one.target, f"refused {one.further} more times: {one.why}")
        repeated, self._repeated = self._repeated, {}
        for (_, what, target), many in repeated.items():
            if many.further:
                self._post(many.actor, what, target, f"done, {many.further} more times")

    def _count_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WINDOW_SECONDS, self.count)

    async def rows(self, *, after: int, amount: int, newest_first: bool) -> list[AuditRow]:
        """A page of what is kept; `after` is the cursor, 0 the begin in the order asked for."""
        amount = max(1, min(amount, self._limits.page_items_max))
        read = self._service.store.audit
        return await self._service.read(lambda: read(after=after, amount=amount, newest_first=newest_first))

    def _post(self, actor: Actor, what: str, target: str, outcome: str) -> None:
        self._service.post([Signed(Noted(0, what, target, outcome), actor)])
