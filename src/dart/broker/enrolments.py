"""The gateway's part for agents' keys: enrolment by an admin or a join token, the tokens, revocation."""

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import NamedTuple

from dart.broker.answers import Address, EnrolmentAnswer
from dart.broker.config import is_local
from dart.broker.core import events, views
from dart.broker.core.access import JoinToken
from dart.broker.core.views import EnrolledView
from dart.broker.service import Service
from dart.errors import ConflictError, UnknownWorkerError
from dart.ids import AgentId, JoinTokenId
from dart.wire import join_token
from dart.wire.join_token import JoinText


class MadeToken(NamedTuple):
    """A new join token: its text, which nobody can see again, and what is kept of it."""

    text: str
    kept: JoinToken


class Enrolments:
    """Agents' keys and join tokens.

    Args:
        service: Runs the core.
        address: Where the server is, as others are told now.
    """

    def __init__(self, service: Service, address: Callable[[], Address]) -> None:
        self._service = service
        self._address = address

    async def enroll(self, public_key: bytes, name: str, *, origin: str = "") -> EnrolmentAnswer:
        """Admit an agent's key for one name; repeated: the same answer. `origin` says what brought it here."""
        made = self._service.ask(lambda token: events.AgentEnrolled(token, public_key, name, origin))
        return self._answer(await made)

    def is_genuine(self, token: JoinText) -> bool:
        """Whether this server made it, whatever has become of it since."""
        known = self._service.reactor.state.join_tokens.get(JoinTokenId(token.id))
        return known is not None and hmac.compare_digest(known.digest, _digest(token.secret))

    async def join(self, public_key: bytes, name: str, token: JoinText) -> EnrolmentAnswer:
        """Admit an agent's key because of a join token; the same key and token again: the same answer.

        The name is one that the token is for, or its very pattern, which the agent's first HELLO fixes.

        Raises:
            UnauthorizedError: There is no such token.
            ForbiddenError: It has expired, was used up or revoked, is for another name; or the key was revoked.
            ConflictError: The key is enrolled for another name.
        """
        digest = _digest(token.secret)
        token_id = JoinTokenId(token.id)
        return self._answer(
            await self._service.ask(lambda number: events.AgentJoined(number, public_key, name, token_id, digest))
        )

    def _answer(self, agent_id: AgentId) -> EnrolmentAnswer:
        address = self._address()
        store_id = self._service.recovered.store_id
        return EnrolmentAnswer(agent_id, address.agents_url, address.public_key, store_id)

    async def make_token(
        self, name: str, *, seconds: float, uses_max: int, created_by: str, for_this_machine: bool
    ) -> MadeToken:
        """A new join token.

        Args:
            name: What the worker may be called; `*` stands for any characters.
            seconds: How long it counts.
            uses_max: How many keys may be enrolled by it.
            created_by: Who asked for it.
            for_this_machine: Whether an address that only this machine reaches will do.

        Raises:
            ConflictError: The server has no address that an agent elsewhere could use.
            LimitError: There are too many tokens.
        """
        address = self._address()
        self._check_address(address, for_this_machine=for_this_machine)
        secret = secrets.token_urlsafe(32)
        now_ms = int(self._service.now * 1000)
        kept = JoinToken(
            id=JoinTokenId(secrets.token_hex(join_token.ID_CHARS // 2)),
            digest=_digest(secret),
            name=name,
            name_is_pattern=join_token.is_pattern(name),
            created_at_ms=now_ms,
            expires_at_ms=now_ms + int(seconds * 1000),
            uses_max=uses_max,
            created_by=created_by,
        )
        text = join_token.write(JoinText(address.url, address.fingerprint, kept.id, secret, name, kept.expires_at_ms))
        await self._service.ask(lambda token: events.JoinTokenMade(token, kept))
        return MadeToken(text, kept)

    def _check_address(self, address: Address, *, for_this_machine: bool) -> None:
        if not address.fingerprint:
            raise ConflictError(
                "An agent joins over TLS, and REST of this server has none (--no-tls, or a unix socket): start the "
                "server with an address as --host, and without --no-tls."
            )
        local = [host for host in (address.host, address.agent_host) if is_local(host)]
        if local and not for_this_machine:
            raise ConflictError(
                f"The server tells others to connect to {local[0]}, which is their own machine to them. Start it with "
                "--host 0.0.0.0 --agent-host 0.0.0.0, and --advertise ADDRESS if that is found out wrongly; or ask for "
                "a token for this machine (member `local`, option --local)."
            )

    async def tokens(self) -> list[JoinToken]:
        """All join tokens, the newest first; those that are good for nothing any more too, until they are forgotten."""
        found = list(self._service.reactor.state.join_tokens.values())
        await self._service.durable()
        return sorted(found, key=lambda token: (-token.created_at_ms, token.id))

    def state_of(self, token: JoinToken) -> str:
        """`valid`, or why it lets nobody in any more."""
        if token.revoked_at_ms:
            return "revoked"
        if 0 < token.expires_at_ms <= int(self._service.now * 1000):
            return "expired"
        return "used up" if token.uses >= token.uses_max else "valid"

    async def withdraw_token(self, token_id: str) -> None:
        """Let nobody in by it any more, or `UnknownTokenError`."""
        await self._service.ask(lambda token: events.JoinTokenWithdrawn(token, JoinTokenId(token_id)))

    async def revoke(self, name: str, agent_id: str = "") -> int:
        """Cut off all agents of a name, or those whose id begins so; how many. `UnknownWorkerError` if none."""
        revoked: int = await self._service.ask(lambda token: events.AgentsRevoked(token, name, agent_id))
        return revoked

    def name_of(self, agent_id: AgentId, *, origin: str) -> str:
        """The name of an agent that may connect and was brought here by this; empty: there is none."""
        known = self._service.reactor.state.enrolments.get(agent_id)
        if known is None or known.revoked_at_ms or known.token_id != origin:
            return ""
        return known.name

    def is_connected(self, agent_id: AgentId) -> bool:
        """Whether it is connected now."""
        core = self._service.reactor.state
        known = core.enrolments.get(agent_id)
        return known is not None and agent_id in core.connected.get(known.name, ())

    async def drain(self, agent_id: AgentId) -> None:
        """Ask one agent to finish and leave; one that is not connected is no error."""
        known = self._service.reactor.state.enrolments.get(agent_id)
        if known is not None and self.is_connected(agent_id):
            with contextlib.suppress(UnknownWorkerError):
                await self._service.ask(lambda token: events.WorkersDrained(token, known.name, agent_id))

    async def revoke_agent(self, agent_id: AgentId) -> None:
        """Cut one agent off; one that was cut off already or is unknown is no error."""
        known = self._service.reactor.state.enrolments.get(agent_id)
        if known is not None:
            with contextlib.suppress(UnknownWorkerError):
                await self.revoke(known.name, agent_id)

    async def of(self, name: str) -> list[EnrolledView]:
        """All agents that are enrolled for a name, connected or not."""
        found = views.enrolled(self._service.reactor.state, name)
        await self._service.durable()
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
