"""A supervisor with real runners in a small loop of its own, for tests: give tasks, wait for what comes of them."""

import contextlib
import selectors
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dart.agent import events
from dart.agent.runner_plan import SupervisorOptions
from dart.agent.supervisor import Supervisor
from dart.ids import Attempt, AttemptRef, TaskId
from dart.limits import Limits
from dart.wire import values
from dart.wire.messages import Lease


def ref(number: int) -> AttemptRef:
    """The first attempt at the task of this number."""
    return AttemptRef(TaskId(number), Attempt(1, 1))


def lease(number: int, module_path: str, method: str, parameter: Any = None) -> Lease:
    """A lease of task `number`."""
    return Lease(ref(number), "a job", module_path, method, 0.0, values.encode(parameter))


class Supervision:
    """The loop. `events` has all that the supervisor emitted, in order."""

    def __init__(self, options: SupervisorOptions, limits: Limits) -> None:
        self.events: list[events.Event] = []
        self._selector = selectors.DefaultSelector()
        self.supervisor = Supervisor(
            options,
            limits,
            register=lambda descriptor, call: self._selector.register(descriptor, selectors.EVENT_READ, call) and None,
            unregister=lambda descriptor: self._selector.unregister(descriptor) and None,
            emit=self.events.append,
            clock=time.monotonic,
        )

    def close(self) -> None:
        self.supervisor.close()
        assert not self._selector.get_map(), "the supervisor left descriptors registered"
        self._selector.close()

    def turn(self, seconds_max: float) -> None:
        """One turn of the loop."""
        deadline = self.supervisor.next_deadline()
        if deadline is not None:
            seconds_max = min(seconds_max, max(deadline - time.monotonic(), 0.0))
        for key, _ in self._selector.select(seconds_max):
            if key.fd in self._selector.get_map():
                key.data()
        self.supervisor.on_time(time.monotonic())

    def until(self, done: Callable[[], Any], explain: str, seconds: float = 15.0) -> None:
        """Turn until `done()`."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{explain}; events were {self.events}"
            self.turn(0.05)

    def of(self, kind: type) -> list[Any]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def start(self, slots: int = 1) -> None:
        """Start, and wait until all runners are ready."""
        self.supervisor.start()
        self.until(lambda: len(self.of(events.RunnerReady)) >= slots, "the runners did not get ready")

    def results(self) -> dict[int, events.RunnerResult]:
        """All results so far by task id."""
        return {result.ref.task_id: result for event in self.of(events.TasksEnded) for result in event.results}

    def run(self, module_path: str, method: str, parameter: Any = None, *, slot: int = 0) -> events.RunnerResult:
        """Run one task to its end."""
        number = 1 + max(self.results(), default=0)
        self.supervisor.give(slot, (lease(number, module_path, method, parameter),))
        self.until(lambda: number in self.results(), f"no result of {module_path}.{method}")
        return self.results()[number]

    def value(self, module_path: str, method: str, parameter: Any = None, *, slot: int = 0) -> Any:
        """What a task returns that must succeed."""
        result = self.run(module_path, method, parameter, slot=slot)
        value = values.decode(result.payload)
        assert result.success, value
        return value

    def error(self, module_path: str, method: str, parameter: Any = None) -> tuple[int, str]:
        """Code and text of a task that must fail."""
        result = self.run(module_path, method, parameter)
        value = values.decode(result.payload)
        assert not result.success, value
        return result.error_code, value


@contextlib.contextmanager
def supervision(folder: Path, *, limits: dict[str, Any] | None = None, **options: Any) -> Iterator[Supervision]:
    """A supervision whose modules lie in `folder/modules` and whose log in `folder/logs`; nothing is started yet."""
    (folder / "modules").mkdir(exist_ok=True)
    settings = {
        "slots": 1,
        "worker": "worker-1",
        "host": "host-1",
        "module_prefix": folder / "modules",
        "output_directory": folder / "logs",
    }
    held = Supervision(SupervisorOptions(**{**settings, **options}), replace(Limits(), **(limits or {})))
    try:
        yield held
    finally:
        held.close()
