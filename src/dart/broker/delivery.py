"""Frames to sessions in the order given, also while the parameters of one are read from the store."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from dart.broker.core.commands import EndSession, Send, SendTasks
from dart.broker.core.events import Event, SessionLost, TasksShortened
from dart.broker.parameters import ParameterCache
from dart.errors import DartError
from dart.ids import AgentId, SessionId, TaskId
from dart.wire.messages import BrokerMessage, Lease, Tasks

log = logging.getLogger("dart.broker.delivery")


class Outlet(Protocol):
    """What delivery needs of the transport."""

    def send(self, session: SessionId, sequence: int, message: BrokerMessage) -> str:
        """Send; tells why that failed, or nothing."""

    def end(self, session: SessionId) -> None:
        """Forget a session's address."""


Outgoing = Send | SendTasks | EndSession
ReadParameters = Callable[[Sequence[TaskId]], Awaitable[dict[TaskId, bytes]]]


class Gate(Outlet, Protocol):
    """What the service needs of the transport, beyond an outlet."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read again."""

    def end_all(self, why: str) -> None:
        """Ask all agents to say HELLO."""

    def shut_out(self, agent_id: AgentId) -> None:
        """Tell this agent that it is revoked, and read nothing of it any more."""


class Delivery:
    """Carries out `Send`, `SendTasks` and `EndSession`.

    Args:
        outlet: The transport.
        cache: Asked for parameters first.
        read: Reads parameters of open tasks from the store.
        tell: Takes `SessionLost` and `TasksShortened`.
        sent: Called with each TASKS frame that goes out.
    """

    def __init__(
        self,
        outlet: Outlet,
        *,
        cache: ParameterCache,
        read: ReadParameters,
        tell: Callable[[Event], None],
        sent: Callable[[SendTasks], None] = lambda _command: None,
    ) -> None:
        self._outlet = outlet
        self._cache = cache
        self._read = read
        self._tell = tell
        self._sent = sent
        self._held: dict[SessionId, deque[Outgoing]] = {}
        self._fetches: set[asyncio.Task[None]] = set()

    async def idle(self) -> None:
        """Return when no frame waits for its parameters."""
        while self._fetches:
            await asyncio.wait(self._fetches)

    def give(self, command: Outgoing) -> None:
        """Carry this out after everything given for its session before."""
        held = self._held.get(command.session)
        if held is not None:
            held.append(command)
        else:
            self._carry_out(command)

    def void(self) -> None:
        """Forget what is held: the core that wanted it is gone."""
        self._held.clear()
        for fetch in self._fetches:
            fetch.cancel()

    def _carry_out(self, command: Outgoing) -> bool:
        """Whether it is done; False: its parameters are being read."""
        if isinstance(command, EndSession):
            self._outlet.end(command.session)
        elif isinstance(command, Send):
            self._send(command.session, command.sequence, command.message)
        else:
            ids = [order.ref.task_id for order in command.leases]
            found = self._cache.take(ids)
            if len(found) < len(ids):
                self._held.setdefault(command.session, deque())
                fetch = asyncio.get_running_loop().create_task(self._fetch(command, found))
                self._fetches.add(fetch)
                fetch.add_done_callback(self._fetches.discard)
                return False
            self._send_tasks(command, found)
        return True

    async def _fetch(self, command: SendTasks, found: dict[TaskId, bytes]) -> None:
        missing = [order.ref.task_id for order in command.leases if order.ref.task_id not in found]
        try:
            found.update(await self._read(missing))
        except DartError as error:
            log.warning("Parameters of %d tasks could not be read: %s", len(missing), error.message)
            del self._held[command.session]
            self._outlet.end(command.session)
            self._tell(SessionLost(command.session, "the parameters of its tasks could not be read"))
            return
        self._send_tasks(command, found)
        held = self._held[command.session]
        while held:
            if not self._carry_out(held.popleft()):
                return
        del self._held[command.session]

    def _send_tasks(self, command: SendTasks, parameters: dict[TaskId, bytes]) -> None:
        self._sent(command)
        # A task that ended while its parameter was read is left out. The frame goes even if it is empty: its number
        # was given.
        leases = tuple(
            Lease(
                order.ref,
                order.job,
                order.module_path,
                order.method,
                order.timeout_seconds,
                parameter,
                order.traceparent,
            )
            for order in command.leases
            if (parameter := parameters.get(order.ref.task_id)) is not None
        )
        if len(leases) < len(command.leases):
            payload_bytes = sum(len(lease.parameter) for lease in leases)
            self._tell(TasksShortened(command.session, command.sequence, len(leases), payload_bytes))
        self._send(command.session, command.sequence, Tasks(leases))

    def _send(self, session: SessionId, sequence: int, message: BrokerMessage) -> None:
        fault = self._outlet.send(session, sequence, message)
        if fault:
            self._outlet.end(session)
            self._tell(SessionLost(session, fault))
