"""Attempts that an agent names although it never had them: they change nothing, and are counted and told.

No slip of an honest agent leads here: what it names it was given, and what was given to others since, or is finished,
has a later attempt or no task any more.
"""

from collections.abc import Iterable

from dart.broker.core.liveness import short
from dart.broker.core.model import Agent
from dart.broker.core.state import Core, note
from dart.ids import AttemptRef


def is_foreign(core: Core, agent: Agent, ref: AttemptRef) -> bool:
    """Whether this is the attempt of another agent, or one that nobody was given."""
    task = core.tasks.get(ref.task_id)
    if task is None:
        return False
    if ref.attempt == task.attempt:
        return task.agent_id not in (None, agent.id)
    # Of earlier incarnations there may be attempts that were not written down in time.
    return ref.attempt.incarnation >= core.incarnation and (task.attempt is None or ref.attempt > task.attempt)


def denounce(core: Core, agent: Agent, refs: Iterable[AttemptRef], message: str) -> None:
    """Count the foreign ones among what this message named, and have it logged."""
    foreign = sum(is_foreign(core, agent, ref) for ref in refs)
    if foreign:
        core.foreign_attempts += foreign
        text = (
            f"Agent {short(agent.id)} of worker {agent.name!r} named {foreign} attempts in {message} that it was "
            "never given; nothing was done about them."
        )
        note(core, "warning", text, agent.id)
