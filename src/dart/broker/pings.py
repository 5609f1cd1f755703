"""Round trips to agents: who was asked with which nonce, and when each answered."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dart.ids import AgentId


class Answers:
    """The answers to one nonce."""

    def __init__(self, agents: Sequence[AgentId]) -> None:
        self._missing = set(agents)
        self._asked_at = time.monotonic()
        self._complete = asyncio.Event()
        self.milliseconds: dict[AgentId, float] = {}
        """How long each took that answered."""
        if not self._missing:
            self._complete.set()

    def take(self, agent_id: AgentId) -> None:
        """This one answered."""
        if agent_id in self._missing:
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

    def answered(self, agent_id: AgentId, nonce: int) -> None:
        """An agent answered; nonces that nobody waits for are ignored."""
        answers = self._open.get(nonce)
        if answers is not None:
            answers.take(agent_id)
