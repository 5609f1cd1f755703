"""The faults: each kind strikes, lasts, and is over; what it held up is told to the watcher."""

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator

from chaos.load import Watcher
from chaos.stage import AgentHost, Stage


class Faults:
    """All kinds, on one stage; every actor calls from a thread of its own with its own chance."""

    def __init__(self, on: Stage, watcher: Watcher, over: threading.Event, *, longest: float = 20.0) -> None:
        self.stage = on
        self.watcher = watcher
        self.over = over
        self.longest = longest
        """Seconds that a cut or a stopped agent lasts at most."""
        self.struck: Counter[str] = Counter()

    @contextlib.contextmanager
    def _one_host(self, chance: random.Random) -> Iterator[AgentHost | None]:
        """An agent that nothing else is happening to; None if there is none."""
        hosts = list(self.stage.hosts)
        chance.shuffle(hosts)
        for host in hosts:
            if host.busy.acquire(blocking=False):
                self.watcher.forget(host.label)
                try:
                    yield host
                finally:
                    host.busy.release()
                return
        yield None

    def _note(self, kind: str, *hosts: AgentHost) -> None:
        """Time it: until each of these agents has results again, or until anybody has."""
        self.struck[kind] += 1
        for label in [host.label for host in hosts] or [""]:
            self.watcher.wound(kind, label)

    def server_killed(self, chance: random.Random) -> None:
        with self.stage.server_busy:
            self._note("server SIGKILL, started at once")
            self.stage.kill_server()
            self.over.wait(chance.uniform(0.0, 0.5))
            self.stage.start_server()

    def server_stopped(self, chance: random.Random) -> None:
        with self.stage.server_busy:
            self.watcher.forget()
            process = self.stage.running.server.process
            process.send_signal(signal.SIGSTOP)
            self.over.wait(chance.uniform(1.0, self.longest / 4))
            process.send_signal(signal.SIGCONT)
            self._note("server SIGSTOP, from SIGCONT")

    def agent_killed(self, chance: random.Random) -> None:
        with self._one_host(chance) as host:
            if host is None:
                return
            self._note("agent SIGKILL, started at once", host)
            self.stage.kill_agent(host)
            self.stage.start_agent(host)

    def agent_stopped(self, chance: random.Random) -> None:
        with self._one_host(chance) as host:
            if host is None:
                return
            host.signal(signal.SIGSTOP)
            self.over.wait(chance.uniform(1.0, self.longest))
            host.signal(signal.SIGCONT)
            self._note("agent SIGSTOP, from SIGCONT", host)

    def runner_killed(self, chance: random.Random) -> None:
        with self._one_host(chance) as host:
            runners = host.runners() if host else []
            if host is None or not runners:
                return
            self._note("runner SIGKILL", host)
            self._signal(chance.choice(runners), signal.SIGKILL)

    def runner_stopped(self, chance: random.Random) -> None:
        with self._one_host(chance) as host:
            runners = host.runners() if host else []
            if host is None or not runners:
                return
            runner = chance.choice(runners)
            self._signal(runner, signal.SIGSTOP)
            self.over.wait(chance.uniform(0.5, self.longest / 4))
            self._signal(runner, signal.SIGCONT)
            self._note("runner SIGSTOP, from SIGCONT", host)

    def storm(self, _chance: random.Random) -> None:
        """All agents die at once and come back at once."""
        with contextlib.ExitStack() as stack:
            free = [host for host in self.stage.hosts if host.busy.acquire(blocking=False)]
            for host in free:
                stack.callback(host.busy.release)
                self.stage.kill_agent(host)
            self._note("all agents SIGKILL, started at once", *free)
            for host in free:
                self.stage.start_agent(host)

    def link_cut(self, chance: random.Random) -> None:
        toward, words = chance.choice(
            ((("server", "host"), "both ways"), (("server",), "agent to server"), (("host",), "server to agent"))
        )
        with self._one_host(chance) as host:
            if host is None or self.stage.network is None:
                return
            self.stage.network.cut(host.number, toward)
            self.over.wait(chance.uniform(2.0, self.longest))
            self.stage.network.heal(host.number)
            self._note(f"link cut {words}, from the heal", host)

    def link_bad(self, chance: random.Random) -> None:
        with self._one_host(chance) as host:
            if host is None or self.stage.network is None:
                return
            self.stage.network.worsen(host.number, loss=chance.uniform(0.02, 0.2), delay=chance.uniform(0.01, 0.15))
            self._note("link with loss and delay begins", host)
            self.over.wait(chance.uniform(2.0, self.longest))
            self.stage.network.heal(host.number)

    def all_cut(self, chance: random.Random) -> None:
        """The server's own link: everybody is cut off at once, and comes back at once."""
        with contextlib.ExitStack() as stack:
            free = [host for host in self.stage.hosts if host.busy.acquire(blocking=False)]
            for host in free:
                stack.callback(host.busy.release)
            if self.stage.network is None:
                return
            for host in free:
                self.watcher.forget(host.label)
                self.stage.network.cut(host.number)
            self.over.wait(chance.uniform(1.0, self.longest))
            for host in free:
                self.stage.network.heal(host.number)
            self._note("all links cut, from the heal", *free)

    @staticmethod
    def _signal(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def timetable(self) -> list[tuple[Callable[[random.Random], None], float]]:
        """Each kind and the mean seconds between two of it."""
        kinds: list[tuple[Callable[[random.Random], None], float]] = [
            (self.server_killed, 7.0),
            (self.agent_killed, 3.0),
            (self.agent_stopped, 25.0),
            (self.runner_killed, 10.0),
            (self.runner_stopped, 20.0),
            (self.server_stopped, 40.0),
            (self.storm, 75.0),
        ]
        if self.stage.network is not None:
            kinds += [(self.link_cut, 10.0), (self.link_bad, 15.0), (self.all_cut, 90.0)]
        return kinds


class Actor(threading.Thread):
    """Lets one kind of fault happen again and again."""

    def __init__(
        self, strike: Callable[[random.Random], None], mean: float, *, seed: int, over: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self.strike = strike
        self.mean = mean
        self.over = over
        self.chance = random.Random(f"{seed} {strike.__name__}")
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.wait(self.mean * self.chance.uniform(0.6, 1.4)):
                self.strike(self.chance)
        except BaseException as error:  # noqa: BLE001 - told by who joins
            self.failure = error
