"""Leases that wait behind others are taken back when another candidate has an idle slot.

One RECALL at a time is out to a holder. It counts as answered when RELEASED comes, when one of the leases leaves the
holder in another way or begins, and at the holder's next heartbeat, for an agent says nothing of what had begun.
Only leases beyond the holder's slots are asked for, newest first, and each only once.
"""

from collections.abc import Iterator
from itertools import islice

from dart.broker.core.model import Agent, HeldLease, TaskState
from dart.broker.core.ready_queue import QueueKey, key_of
from dart.broker.core.state import Core, send
from dart.ids import AgentId, AttemptRef
from dart.wire.messages import Recall


def recall_for(core: Core, agent: Agent, idle: int, payload_bytes: int, now: float) -> None:
    """Ask other agents for at most so many leases that this agent could begin at once."""
    if core.ready.matching(agent.name, agent.capabilities):
        return  # something waits that is too large for now
    wanted = idle - sum(amount for wanting, amount in core.recalls.values() if wanting == agent.id)
    for holder_id, keys in _holders(core, agent).items():
        if wanted <= 0:
            return
        holder = core.agents[holder_id]
        if holder.session is None or holder_id in core.recalls:
            continue
        room = payload_bytes if agent.leases else None
        found = list(islice(_waiting(holder, keys, room), min(wanted, core.limits.batch_items_max)))
        if found:
            core.recalls[holder_id] = (agent.id, len(found))
            wanted -= len(found)
            _send_recall(core, holder, found, now)


def recall_all(core: Core, agent: Agent, now: float) -> None:
    """Ask an agent for everything that it has not begun."""
    found = [held for held in agent.leases.values() if held.task.state is TaskState.LEASED and not held.recalled]
    for start in range(0, len(found), core.limits.batch_items_max):
        _send_recall(core, agent, found[start : start + core.limits.batch_items_max], now)


def recall_answered(core: Core, holder: Agent) -> None:
    """The holder gave back what it could: agents that still have an idle slot may ask again."""
    if core.recalls.pop(holder.id, None) is not None:
        core.ripe.update(core.hungry)


def _send_recall(core: Core, holder: Agent, found: list[HeldLease], now: float) -> None:
    for held in found:
        held.recalled = True
    send(core, holder, Recall(tuple(AttemptRef(held.task.id, held.attempt) for held in found)), now)


def _holders(core: Core, agent: Agent) -> dict[AgentId, set[QueueKey]]:
    """Other agents that hold leases this one could run, and of which queues."""
    found: dict[AgentId, set[QueueKey]] = {}
    for location in (agent.name, ""):
        for requires, counts in core.holders.get(location, {}).items():
            if len(counts) == 1 and agent.id in counts:
                continue  # the common case: it is alone at its location
            if agent.capabilities.cover(requires):
                for holder_id in counts:
                    if holder_id != agent.id:
                        found.setdefault(holder_id, set()).add((location, requires))
    return found


def _waiting(holder: Agent, keys: set[QueueKey], payload_bytes: int | None) -> Iterator[HeldLease]:
    """Leases beyond the holder's slots that were not begun, newest first."""
    beyond = len(holder.leases) - holder.slots
    for held in islice(reversed(holder.leases.values()), max(0, beyond)):
        task = held.task
        if (
            task.state is TaskState.LEASED
            and not held.recalled
            and key_of(task) in keys
            and (payload_bytes is None or task.parameter_bytes <= payload_bytes)
        ):
            yield held
