"""Order of frames while parameters are read."""

import asyncio

from dart.broker.core.commands import EndSession, LeaseOrder, Send, SendTasks
from dart.broker.core.events import SessionLost, TasksShortened
from dart.broker.core.model import TaskPolicy
from dart.broker.core.records import TasksAdded
from dart.broker.delivery import Delivery
from dart.broker.parameters import ParameterCache
from dart.errors import StoreError
from dart.ids import Attempt, AttemptRef, JobId, SessionId, TaskId
from dart.wire.messages import Bye

ONE, TWO = SessionId(1), SessionId(2)


class Bench:
    """A delivery whose outlet notes what it is given and whose reads wait for the test."""

    def __init__(self):
        self.out = []
        self.told = []
        self.fault = ""
        self.cache = ParameterCache(bytes_max=10_000)
        self.reads = []
        self.delivery = Delivery(self, cache=self.cache, read=self.read, tell=self.told.append)

    def send(self, session, sequence, message):
        if not self.fault:
            leases = getattr(message, "leases", ())
            self.out.append((session, sequence, [(lease.ref.task_id, lease.parameter) for lease in leases]))
        return self.fault

    def end(self, session):
        self.out.append((session, "end"))

    async def read(self, ids):
        future = asyncio.get_running_loop().create_future()
        self.reads.append((list(ids), future))
        return await future

    async def answer(self, **outcome):
        """Answer the oldest read."""
        await asyncio.sleep(0)
        _, future = self.reads.pop(0)
        if "error" in outcome:
            future.set_exception(outcome["error"])
        else:
            future.set_result(outcome["parameters"])
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def tasks(session, sequence, *ids):
    orders = tuple(LeaseOrder(AttemptRef(TaskId(number), Attempt(1, 1)), "j", "m", "f", 0.0) for number in ids)
    return SendTasks(session, sequence, orders)


async def test_cached_parameters_go_at_once():
    """Without a read."""
    bench = Bench()
    bench.cache.watch([TasksAdded(JobId(1), TaskId(7), ((TaskPolicy(), "", b"x"),))])
    bench.delivery.give(tasks(ONE, 1, 7))
    assert bench.out == [(ONE, 1, [(7, b"x")])]


async def test_what_follows_waits_for_the_read_of_its_session_only():
    """Order within a session; other sessions go on."""
    bench = Bench()
    bench.delivery.give(tasks(ONE, 1, 7))
    bench.delivery.give(Send(ONE, 2, Bye("x")))
    bench.delivery.give(tasks(ONE, 3, 8))
    bench.delivery.give(EndSession(ONE))
    bench.delivery.give(Send(TWO, 1, Bye("x")))
    assert bench.out == [(TWO, 1, [])]
    await bench.answer(parameters={7: b"seven"})
    assert bench.out[1:] == [(ONE, 1, [(7, b"seven")]), (ONE, 2, [])]
    await bench.answer(parameters={8: b"eight"})
    assert bench.out[3:] == [(ONE, 3, [(8, b"eight")]), (ONE, "end")]
    await bench.delivery.idle()


async def test_a_task_that_ended_meanwhile_is_left_out():
    """Its frame goes nevertheless, for its number was given; the core is told what was in it."""
    bench = Bench()
    bench.delivery.give(tasks(ONE, 1, 7, 8))
    bench.delivery.give(tasks(ONE, 2, 9))
    await bench.answer(parameters={8: b"eight"})
    await bench.answer(parameters={})
    assert bench.out == [(ONE, 1, [(8, b"eight")]), (ONE, 2, [])]
    assert bench.told == [TasksShortened(ONE, 1, 1, 5), TasksShortened(ONE, 2, 0, 0)]


async def test_a_failed_read_ends_the_session():
    """Its leases go back by the session's end; what was held is dropped."""
    bench = Bench()
    bench.delivery.give(tasks(ONE, 1, 7))
    bench.delivery.give(Send(ONE, 2, Bye("x")))
    await bench.answer(error=StoreError("no"))
    assert bench.out == [(ONE, "end")]
    assert [told.session for told in bench.told] == [ONE]


async def test_a_failed_send_ends_the_session():
    """The core is told why."""
    bench = Bench()
    bench.fault = "it does not read"
    bench.delivery.give(Send(ONE, 1, Bye("x")))
    assert (bench.out, bench.told) == ([(ONE, "end")], [SessionLost(ONE, "it does not read")])


async def test_void_forgets_what_is_held():
    """Nothing of an abandoned core goes out later."""
    bench = Bench()
    bench.delivery.give(tasks(ONE, 1, 7))
    await asyncio.sleep(0)
    bench.delivery.void()
    await bench.delivery.idle()
    bench.delivery.give(Send(ONE, 2, Bye("x")))
    assert bench.out == [(ONE, 2, [])]
