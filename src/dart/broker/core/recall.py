"""Leases that wait behind others are taken back when another candidate has an idle slot.

One RECALL at a time is out to a holder. It counts as answered when RELEASED comes, when one of the leases leaves the
holder in another way or begins, and at the holder's next heartbeat, for an agent says nothing of what had begun.
Only leases beyond the holder's slots are asked for, newest first, and each only once. Looking costs what it finds:
an idle agent looks through the holders that it may ask (`spares.py`), and a holder that may be asked again through the
idle agents until one wants what it has.
"""

from collections.abc import Iterator
from itertools import islice

from dart.broker.core.model import Agent, HeldLease, TaskState
from dart.broker.core.ready_queue import key_of
from dart.broker.core.room import Room, may_run, room_of
from dart.broker.core.spares import asked, keep, settle
from dart.broker.core.state import Core, send
from dart.ids import AgentId, AttemptRef
from dart.wire.messages import Recall


def recall_for(core: Core, room: Room, now: float) -> None:
    """Ask other agents for at most so many leases as this one could begin at once."""
    wanted = _wanted(core, room)
    found: dict[AgentId, list[HeldLease]] = {}
    for holder_id in _givers(core, room.agent):
        if wanted <= 0:
            break
        if holder_id not in found:
            found[holder_id] = _spared(core, core.agents[holder_id], room, wanted)
            wanted -= len(found[holder_id])
    for holder_id, leases in found.items():
        _ask(core, core.agents[holder_id], room.agent, leases, now)


def recall_from(core: Core, holder: Agent, now: float) -> None:
    """Ask an agent that may be asked again, for the first that wants something of it."""
    settle(core, holder)
    if not holder.spares:
        return
    for room in filter(None, (room_of(core, core.agents[agent_id]) for agent_id in core.hungry)):
        wanted = _wanted(core, room)
        leases = _spared(core, holder, room, wanted) if wanted > 0 else []
        if leases:
            _ask(core, holder, room.agent, leases, now)
            return


def recall_all(core: Core, agent: Agent, now: float) -> None:
    """Ask an agent for everything that it has not begun."""
    found = [held for held in agent.leases.values() if held.task.state is TaskState.LEASED and not held.recalled]
    for start in range(0, len(found), core.limits.batch_items_max):
        _send_recall(core, agent, found[start : start + core.limits.batch_items_max], now)


def _wanted(core: Core, room: Room) -> int:
    """How many leases an idle agent could begin at once that nobody was asked for yet."""
    wanted = min(room.idle, room.tasks) - core.asked.get(room.agent.id, 0)
    if wanted > 0 and core.ready.matching(room.agent.name, room.agent.capabilities):
        return 0  # something waits that is too large for now
    return wanted


def _givers(core: Core, agent: Agent) -> Iterator[AgentId]:
    """Agents that may be asked for leases that this one could run; one may come twice."""
    for location in (agent.name, ""):
        for requires, holders in core.givers.get(location, {}).items():
            if agent.capabilities.cover(requires):
                yield from holders


def _spared(core: Core, holder: Agent, room: Room, wanted: int) -> list[HeldLease]:
    """At most so many leases beyond the holder's slots that the agent with this room could run, newest first."""
    agent = room.agent
    keys = {key for key in holder.spares if may_run(agent, key)}
    beyond = islice(reversed(holder.leases.values()), max(0, len(holder.leases) - holder.slots))
    fitting = (
        held
        for held in beyond
        if held.spare
        and key_of(held.task) in keys
        and (not agent.leases or held.task.parameter_bytes <= room.payload_bytes)
    )
    return list(islice(fitting, min(wanted, core.limits.batch_items_max)))


def _ask(core: Core, holder: Agent, agent: Agent, found: list[HeldLease], now: float) -> None:
    """Ask for these; where there is none, what made the holder look like a giver is over."""
    if found:
        _send_recall(core, holder, found, now)
        asked(core, holder, agent, len(found))
    else:
        settle(core, holder)


def _send_recall(core: Core, holder: Agent, found: list[HeldLease], now: float) -> None:
    for held in found:
        held.recalled = True
        keep(core, holder, held)
    send(core, holder, Recall(tuple(AttemptRef(held.task.id, held.attempt) for held in found)), now)
