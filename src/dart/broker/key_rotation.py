"""Changes the broker's CURVE key while agents work: for a while two keys count, each at its own port."""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

import zmq

from dart.broker.answers import Address
from dart.broker.broker_keys import BrokerKeys
from dart.broker.core import views
from dart.broker.core.events import ServerMoves
from dart.broker.core.views import EnrolledView
from dart.broker.service import Service
from dart.broker.transport import Transport
from dart.errors import ConfigError, ConflictError
from dart.ids import AgentId
from dart.wire import curve
from dart.wire.messages import NextServer

SAVE_SECONDS = 1.0
"""Who has moved is written at most so often; whoever is forgotten so comes again by the new key."""

log = logging.getLogger("dart.broker.rotation")


class RotationView(NamedTuple):
    """How far the change of the key is."""

    is_on: bool
    former_url: str
    """Where agents have been; empty where no change is going on."""
    agents_url: str
    """Where they are to be."""
    moved: int
    left: tuple[EnrolledView, ...]
    """Agents that have not come by the new key yet."""


class KeyRotation:
    """Changes the broker's key on request.

    Args:
        keys: The files.
        service: Tells the agents.
        transport: Listens.
        host: Where to listen for agents.
        backlog: Connections that may wait there to be accepted.
        address: Where the server is, as others are told now.
        on_address: Called with the address that others are told from now on.
    """

    def __init__(
        self,
        keys: BrokerKeys,
        service: Service,
        transport: Transport,
        *,
        host: str,
        backlog: int,
        address: Address,
        on_address: Callable[[Address, bytes], None],
    ) -> None:
        self._keys = keys
        self._service = service
        self._transport = transport
        self._host = host
        self._backlog = backlog
        self._address = address
        self._on_address = on_address
        self._former = ""
        self._save_timer: asyncio.TimerHandle | None = None
        self._busy = asyncio.Lock()

    async def resume(self) -> None:
        """Go on with a change that an earlier run of the server began. Raises `ConfigError`."""
        if self._keys.next is not None:
            self._listen(self._keys.next, self._keys.next_port)
            await self._tell(self._keys.next)
            log.info("The broker's key is being changed: %d agents have moved so far.", len(self._keys.moved))

    def close(self) -> None:
        """Write down who has moved."""
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save()

    def view(self) -> RotationView:
        """How far it is."""
        keys = self._keys
        agents = views.enrolled(self._service.reactor.state) if keys.next is not None else []
        # Who was enrolled since then was told the new key at once.
        left = tuple(one for one in agents if one.id not in keys.moved and one.enrolled_at_ms < keys.began_at_ms)
        is_on = keys.next is not None
        return RotationView(is_on, self._former, self._address.agents_url, len(agents) - len(left), left)

    async def begin(self, port: int) -> RotationView:
        """Let a new key count too, at this port (0: the system chooses); while it does: no change.

        Raises:
            ConflictError: The port cannot be listened on, or another one was begun with.
            ConfigError: The key cannot be written.
        """
        async with self._busy:
            keys = self._keys
            if keys.next is not None and port not in (0, keys.next_port):
                raise ConflictError(f"The key is being changed already, at port {keys.next_port}; finish that first.")
            if keys.next is None:
                pair = keys.make_next()
                former_port = self._address.agent_port
                try:
                    port = self._listen(pair, port)
                except ConfigError as error:
                    raise ConflictError(error.message) from None
                keys.begin(pair, port, former_port, int(self._service.now * 1000))
                log.warning("The broker's key is being changed; the new one counts at port %d.", port)
                await self._tell(pair)
            return self.view()

    async def finish(self, *, leave_behind: bool) -> RotationView:
        """Let the new key alone count.

        Raises:
            ConflictError: No change is going on; or agents have not come by the new key and are not to be left behind.
        """
        async with self._busy:
            if self._keys.next is None:
                raise ConflictError("The broker's key is not being changed; `dart server rotate-key` begins that.")
            view = self.view()
            if view.left and not leave_behind:
                names = ", ".join(sorted({agent.name for agent in view.left})[:10])
                raise ConflictError(
                    f"{len(view.left)} agents have not come by the new key yet and would have to enrol anew, those of "
                    f"{names}. Wait for them, revoke those that are gone, or leave them behind (member `leave_behind`, "
                    "option --leave-behind).",
                    left=len(view.left),
                )
            self.close()
            self._save_timer = None
            self._keys.finish()
            self._former = ""
            self._transport.end_former()
            self._on_address(self._address, b"")
            await self._move(None)
            log.warning("The broker's former key is over; %d agents were left behind.", len(view.left))
            return view._replace(is_on=False, former_url="")

    def _listen(self, pair: curve.KeyPair, port: int) -> int:
        try:
            found = self._transport.bind_next(pair, self._host, port, backlog=self._backlog)
        except (OSError, zmq.ZMQError) as error:
            raise ConfigError(
                f"Port {port} of {self._host} cannot be listened on, where the broker's next key is to count: "
                f"{error.strerror or error}. Name a free port with --agent-port."
            ) from None
        self._transport.on_moved = self._on_moved
        return found

    async def _tell(self, pair: curve.KeyPair) -> None:
        former = self._address
        self._former = former.agents_url
        self._address = former._replace(agent_port=self._keys.next_port, public_key=pair.public)
        self._on_address(self._address, former.public_key)
        await self._move(NextServer(self._keys.next_port, pair.public))

    async def _move(self, coming: NextServer | None) -> None:
        self._service.next_server = coming
        await self._service.ask(lambda token: ServerMoves(token, coming))

    def _on_moved(self, agent_id: AgentId) -> None:
        if self._keys.next is not None and agent_id not in self._keys.moved:
            self._keys.moved.add(agent_id)
            if self._save_timer is None:
                self._save_timer = asyncio.get_running_loop().call_later(SAVE_SECONDS, self._save)

    def _save(self) -> None:
        self._save_timer = None
        try:
            self._keys.save()
        except ConfigError as error:
            log.warning("%s Who has moved to the new key is not remembered over a restart.", error.message)
