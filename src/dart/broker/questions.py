"""Who waits for which reply of the core."""

import asyncio
from collections.abc import Callable
from typing import Any

from dart.broker.core.commands import Refuse, Reply
from dart.broker.core.events import Token
from dart.errors import DartError


class Questions:
    """Futures by the token of the event that asked."""

    def __init__(self) -> None:
        self._last_token = 0
        self._asked: dict[Token, asyncio.Future[Any]] = {}

    def ask(self) -> tuple[Token, "asyncio.Future[Any]"]:
        """A new token and what its reply will be told to."""
        self._last_token += 1
        token = self._last_token
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[token] = future
        future.add_done_callback(lambda _: self._asked.pop(token, None))
        return token, future

    def reply(self, reply: Reply) -> None:
        """Tell whoever still waits."""
        future = self._asked.get(reply.token)
        if future is not None and not future.done():
            future.set_result(reply.value)

    def refuse(self, refusal: Refuse) -> None:
        """Likewise that it is refused."""
        future = self._asked.get(refusal.token)
        if future is not None and not future.done():
            future.set_exception(refusal.error)

    def fail(self, make: Callable[[], DartError]) -> None:
        """None of the questions that are open will be answered."""
        for future in list(self._asked.values()):
            if not future.done():
                future.set_exception(make())
