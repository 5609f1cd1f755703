"""One future for all who wait."""

import asyncio

from dart.rest.signal import Signal


async def test_all_who_wait_are_woken_and_one_who_gives_up_disturbs_nobody():
    """Each time it rings."""
    signal = Signal()
    waiting = [asyncio.create_task(signal.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting[1:])
    signal.ring()
    await asyncio.gather(*waiting[1:])
    assert not signal.future().done()


async def test_what_is_set_needs_no_waiting():
    """For those who wait and those who come later."""
    signal = Signal()
    early = signal.future()
    assert not signal.is_set()
    signal.set()
    signal.ring()
    assert early.done()
    assert signal.is_set()
    await signal.wait()
