"""Questions to agents: who was asked with which nonce, when each answered, and what."""

import asyncio
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dart.broker.core.commands import Answered
from dart.ids import AgentId
from dart.wire.messages import Told


class Answers:
    """The answers to one nonce."""

    def __init__(self, agents: Sequence[AgentId]) -> None:
        self._missing = set(agents)
        self._asked_at = time.monotonic()
        self._complete = asyncio.Event()
        self.milliseconds: dict[AgentId, float] = {}
        """How long each took that answered."""
        self.told: dict[AgentId, Told] = {}
        """What those told that were asked for more than a sign of life."""
        if not self._missing:
            self._complete.set()

    def take(self, answered: Answered) -> None:
        """This one answered."""
        agent_id = answered.agent_id
        if agent_id in self._missing:
            if answered.told is not None:
                self.told[agent_id] = answered.told
            self._missing.remove(agent_id)
            self.milliseconds[agent_id] = (time.monotonic() - self._asked_at) * 1000
            if not self._missing:
                self._complete.set()

    async def wait(self, seconds: float) -> None:
        """Return when all have answered, or after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._complete.wait()
        except TimeoutError:
            pass


def new_nonce() -> int:
    """By which an answer is known; not to be guessed by an agent that was not asked."""
    return secrets.randbits(52) + 1


class Pings:
    """All round trips under way."""

    def __init__(self) -> None:
        self._open: dict[int, Answers] = {}

    @contextmanager
    def expect(self, nonce: int, agents: Sequence[AgentId]) -> Iterator[Answers]:
        """Collect answers to this nonce."""
        answers = self._open[nonce] = Answers(agents)
        try:
            yield answers
        finally:
            del self._open[nonce]

    def answered(self, answered: Answered) -> None:
        """An agent answered; nonces that nobody waits for are ignored."""
        answers = self._open.get(answered.nonce)
        if answers is not None:
            answers.take(answered)
