"""Leases that could be had back from their agents, and whom to ask for them.

A lease is spare while it waits behind as many others as its agent has slots, is not known to have begun, and was not
asked for. An agent with spare leases is listed among the givers while it is connected and has no RECALL to answer; so
whoever looks for work sees nobody in vain. One exception: a lease that moves up into the slots, since one before it
left, is taken for spare until somebody looks at it (`settle`).
"""

from itertools import islice

from dart.broker.core.model import Agent, HeldLease, TaskState
from dart.broker.core.ready_queue import QueueKey, key_of
from dart.broker.core.state import Core
from dart.ids import AgentId


def may_be_asked(core: Core, holder: Agent) -> bool:
    """Whether an agent hears us and has answered what it was asked before."""
    return holder.session is not None and holder.id not in core.recalls


def spare(core: Core, holder: Agent, held: HeldLease) -> None:
    """This lease may be asked for."""
    held.spare = True
    key = key_of(held.task)
    amount = holder.spares.get(key, 0)
    holder.spares[key] = amount + 1
    if not amount and may_be_asked(core, holder):
        _enlist(core, holder.id, key)


def keep(core: Core, holder: Agent, held: HeldLease) -> None:
    """This lease may not be asked for; harmless when repeated."""
    if not held.spare:
        return
    held.spare = False
    key = key_of(held.task)
    if holder.spares[key] > 1:
        holder.spares[key] -= 1
        return
    if may_be_asked(core, holder):
        _strike(core, holder.id, key)
    del holder.spares[key]


def settle(core: Core, holder: Agent) -> None:
    """What has moved up into the slots is not spare any more."""
    for held in islice(holder.leases.values(), holder.slots):
        keep(core, holder, held)


def asked(core: Core, holder: Agent, agent: Agent, amount: int) -> None:
    """The holder was sent a RECALL of so many leases for this agent."""
    _strike_all(core, holder)
    core.recalls[holder.id] = (agent.id, amount)
    core.asked[agent.id] = core.asked.get(agent.id, 0) + amount


def recall_answered(core: Core, holder: Agent) -> None:
    """The holder gave back what it could: agents that still have an idle slot may ask again."""
    if holder.id in core.recalls:
        agent_id = _asked_no_more(core, holder)
        if agent_id in core.hungry:
            core.ripe[agent_id] = None
        for key in holder.spares:
            _enlist(core, holder.id, key)
        core.freed[holder.id] = None


def connected(core: Core, holder: Agent) -> None:
    """A session has begun, with other slots perhaps: all of its leases may be asked for again."""
    holder.spares.clear()
    for place, held in enumerate(holder.leases.values()):
        held.recalled = held.spare = False
        if place >= holder.slots and held.task.state is TaskState.LEASED:
            spare(core, holder, held)


def disconnected(core: Core, holder: Agent) -> None:
    """Its session is about to end: nobody is asked who does not hear it."""
    if holder.id in core.recalls:
        _asked_no_more(core, holder)
    else:
        _strike_all(core, holder)
    core.freed.pop(holder.id, None)


def _asked_no_more(core: Core, holder: Agent) -> AgentId:
    """For whom it was asked."""
    agent_id, amount = core.recalls.pop(holder.id)
    core.asked[agent_id] -= amount
    if not core.asked[agent_id]:
        del core.asked[agent_id]
    return agent_id


def _enlist(core: Core, holder_id: AgentId, key: QueueKey) -> None:
    location, requires = key
    core.givers.setdefault(location, {}).setdefault(requires, {})[holder_id] = None


def _strike(core: Core, holder_id: AgentId, key: QueueKey) -> None:
    location, requires = key
    at_location = core.givers[location]
    del at_location[requires][holder_id]
    if not at_location[requires]:
        del at_location[requires]
        if not at_location:
            del core.givers[location]


def _strike_all(core: Core, holder: Agent) -> None:
    for key in holder.spares:
        _strike(core, holder.id, key)
