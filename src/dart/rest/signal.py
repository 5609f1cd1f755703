"""What many may wait for at once, at the price of one future for all of them."""

import asyncio


class Signal:
    """Something that happens: again and again (`ring`), or once and for all (`set`).

    Wait for `future` with `asyncio.wait` only: it is shared, and whoever awaits it himself would cancel it for all.
    """

    def __init__(self) -> None:
        self._future: asyncio.Future[None] | None = None
        self._is_set = False

    def ring(self) -> None:
        """It happened: wake those who wait now."""
        future, self._future = self._future, None
        if future is not None and not future.done():
            future.set_result(None)

    def set(self) -> None:
        """It happened, and whoever asks from now on need not wait."""
        self._is_set = True
        self.ring()

    def is_set(self) -> bool:
        """Whether it happened once and for all."""
        return self._is_set

    def future(self) -> "asyncio.Future[None]":
        """Done when it happens next, or already."""
        if self._future is None:
            self._future = asyncio.get_running_loop().create_future()
            if self._is_set:
                self._future.set_result(None)
        return self._future

    async def wait(self) -> None:
        """Return when it happens next, or at once."""
        await asyncio.wait([self.future()])
