"""The timer of the core's deadline."""

import asyncio

from dart.broker.alarm import Alarm


async def test_it_rings_once_for_the_last_deadline_set():
    """An earlier setting is forgotten; a deadline in the past rings soon."""
    rung = asyncio.Event()
    times = 0

    def ring():
        nonlocal times
        times += 1
        rung.set()

    alarm = Alarm(ring)
    alarm.set(1_000_000.0, 0.0)
    alarm.set(-5.0, 0.0)
    alarm.set(-5.0, 0.0)
    async with asyncio.timeout(5):
        await rung.wait()
    assert times == 1
    rung.clear()
    alarm.set(-5.0, 0.0)
    async with asyncio.timeout(5):
        await rung.wait()
    assert times == 2


async def test_without_a_deadline_it_is_silent():
    """None and stop take the setting back."""
    alarm = Alarm(lambda: None)
    alarm.set(0.0, 0.0)
    alarm.set(None, 0.0)
    assert alarm._timer is None
    alarm.set(0.0, 0.0)
    alarm.stop()
    alarm.stop()
    assert alarm._timer is None
