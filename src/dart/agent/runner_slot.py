"""What the supervisor remembers of one slot."""

from dataclasses import dataclass, field

from dart.agent.runner_output import OutputSplitter
from dart.agent.runner_process import RunnerProcess


@dataclass(slots=True)
class SlotState:
    """One slot: its present runner, if any, and when something is due."""

    number: int
    runner: RunnerProcess | None = None
    splitter: OutputSplitter | None = None
    ready: bool = False
    used: bool = False
    failures: int = 0
    pure: bool = False
    """msgpack without its compiled part, because a runner with it did not start."""
    started_at: float = 0.0
    last_reads: int = 0
    kill_at: float | None = None
    retry_at: float | None = None
    asked_to_die: bool = False
    fault: str = ""
    registered: list[int] = field(default_factory=list)
    last_words: bytes = b""
