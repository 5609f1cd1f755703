"""An asyncio loop in virtual time: the real shell of the broker runs on it unchanged. It dies with its process."""

import asyncio
import contextlib
import weakref
from asyncio import events
from collections import deque

THREAD_SECONDS = 0.0005
"""What a word from another thread takes at most to be heard."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """What the broker's shell needs of a loop.

    Args:
        world: Whose clock it shows.
        chance: Decides how long other threads take.
        read_seconds: How long the reader thread takes at most.
    """

    def __init__(self, world, chance, *, read_seconds):
        self._world = world
        self._chance = chance
        self._read_seconds = read_seconds
        self._ready = deque()
        self._due = False
        self._heard_at = 0.0
        self._tasks = weakref.WeakSet()
        self.dead = False
        world.loops.append(self)

    def die(self):
        """The process is gone: nothing of it runs any more."""
        self.dead = True
        self._world.after(0.0, self.bury)

    def bury(self):
        """End all coroutines, which would otherwise end whenever they are found to be garbage."""
        for task in list(self._tasks):
            # What their `finally` does is without effect. Some may end more than once, or wait for one another.
            with contextlib.suppress(Exception):
                task.get_coro().close()

    def time(self):
        return self._world.now

    def get_debug(self):
        return False

    def is_running(self):
        return not self.dead

    def is_closed(self):
        return self.dead

    def call_soon(self, callback, *arguments, context=None):
        handle = events.Handle(callback, arguments, self, context)
        if not self.dead:
            self._ready.append(handle)
            if not self._due:
                self._due = True
                self._world.after(0.0, self._run)
        return handle

    def call_soon_threadsafe(self, callback, *arguments, context=None):
        # Words of one thread keep their order.
        self._heard_at = max(self._heard_at, self._world.now + self._chance.random() * THREAD_SECONDS)
        return self.call_at(self._heard_at, callback, *arguments)

    def call_later(self, delay, callback, *arguments, context=None):
        return self.call_at(self._world.now + delay, callback, *arguments, context=context)

    def call_at(self, when, callback, *arguments, context=None):
        return self._world.at(when, self._call, callback, arguments)

    def create_future(self):
        return asyncio.Future(loop=self)

    def create_task(self, coroutine, *, name=None, context=None):
        task = asyncio.Task(coroutine, loop=self, name=name)
        self._tasks.add(task)
        return task

    def run_in_executor(self, executor, function, *arguments):
        """After a while, as of then."""
        future = self.create_future()
        self.call_later(self._chance.random() * self._read_seconds, self._settle, future, function, arguments)
        return future

    def call_exception_handler(self, context):
        error = context.get("exception")
        # What a killed process left behind complains when it is collected, and so does a request nobody waits for.
        if not self.dead and error is not None and "never retrieved" not in context.get("message", ""):
            self._world.fail(f"in the broker's loop: {context.get('message')}: {error!r}")

    def _settle(self, future, function, arguments):
        if future.done():
            return
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001 - carried to who waits
            future.set_exception(error)

    def _run(self):
        self._due = False
        for _ in range(len(self._ready)):
            if self.dead:
                return
            handle = self._ready.popleft()
            if not handle._cancelled:
                self._call(handle._callback, handle._args)
        if self._ready and not self._due and not self.dead:
            self._due = True
            self._world.after(0.0, self._run)

    def _call(self, callback, arguments):
        if self.dead:
            return
        events._set_running_loop(self)
        try:
            callback(*arguments)
        finally:
            events._set_running_loop(None)
