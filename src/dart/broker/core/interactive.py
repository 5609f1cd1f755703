"""Small submissions beside a large backlog: for a while agents hold less work ahead, so that answers come soon.

What agents hold comes back through one loop and one log, in order. Two agents with 1,024 quick tasks each are a fifth
of a second of the broker's work, and whoever submits one task and waits for it stands behind that twice: with his
submission and with his result. With a few dozen ahead no slot idles as yet; only the batches are smaller, so that the
backlog is worked off at about half the speed if its tasks do nothing, and at the same if they do something. Nobody pays
for this who is alone.
"""

from dart.broker.core.leases import most_leases
from dart.broker.core.model import Agent
from dart.broker.core.state import Core

_EACH_MIN = 8
"""Leases beyond its slots that an agent may hold in any case: with so few no network keeps a slot waiting for long."""


def note_submission(core: Core, total: int, now: float) -> None:
    """So many tasks were submitted as a whole: their sender waits for them if they are few."""
    limits = core.limits
    if total > limits.interactive_tasks_max or core.ready.size < limits.interactive_backlog_min:
        return
    core.interactive_until = now + limits.interactive_seconds
    _set_share(core, max(limits.interactive_leases_max // max(1, len(core.sessions)), _EACH_MIN))


def look_at_clock(core: Core, now: float) -> None:
    """Once a turn: when nobody has submitted a few for long enough, all agents may hold more again."""
    if core.interactive_share and now >= core.interactive_until:
        _set_share(core, 0)


def leases_to_give(core: Core, agent: Agent) -> int:
    """How many leases an agent may be given in all, whatever credit it gives."""
    most, share = most_leases(core, agent), core.interactive_share
    return min(most, agent.slots + max(share, agent.slots)) if share else most


def slice_tasks(core: Core) -> int:
    """Tasks of a submission that are handled in one piece."""
    most = core.limits.slice_tasks_max
    return min(most, core.limits.interactive_leases_max) if core.interactive_share else most


def _set_share(core: Core, share: int) -> None:
    if share != core.interactive_share:
        core.interactive_share = share
        # Others than those whose leases change in this turn may have room now.
        core.ripe.update(dict.fromkeys(agent.id for agent in core.sessions.values()))
