"""Time: heartbeats, silence, the end of leases, tasks that expire; and the one deadline of all of them."""

import math
from heapq import heappop, heappush

from dart.broker.core.arrivals import leave_all
from dart.broker.core.commands import EndSession
from dart.broker.core.events import TimePassed
from dart.broker.core.happenings import tell_worker
from dart.broker.core.leases import finish_without_answer, interrupt, lose_all
from dart.broker.core.lifecycle import Transition
from dart.broker.core.model import Agent
from dart.broker.core.spares import disconnected
from dart.broker.core.state import Core, note, send
from dart.errors import TaskErrorCode
from dart.ids import AgentId
from dart.wire.messages import Heartbeat

_TICK_SECONDS = 0.25
"""Between moments at which agents are looked after: of two thousand a hundred have their time in each, in one turn, and
their heartbeats go out together."""


def next_deadline(core: Core, now: float) -> float | None:
    """When time itself will next change something; None: never."""
    if core.admitting or core.stops:
        return now
    times = []
    if core.agent_timers:
        times.append(core.agent_timers[0][0])
    if core.expiries:
        times.append(core.expiries[0][0] / 1000)
    if core.delays:
        times.append(core.delays[0][0])
    if core.upkeep:
        times.append(core.upkeep[0][0])
    return min(times, default=None)


def arm(core: Core, agent: Agent) -> None:
    """See to it that the core wakes when this agent next needs it. Deadlines that moved later are found on waking."""
    if agent.session is not None:
        deadline = min(
            agent.session.heard_at + core.limits.silence_seconds, agent.session.sent_at + core.limits.heartbeat_seconds
        )
    elif agent.lease_expires_at < float("inf"):
        deadline = agent.lease_expires_at
    else:
        return
    deadline = math.ceil(deadline / _TICK_SECONDS) * _TICK_SECONDS
    if deadline < core.armed.get(agent.id, float("inf")):
        core.armed[agent.id] = deadline
        heappush(core.agent_timers, (deadline, agent.id))


def excuse(core: Core, now: float) -> None:
    """Add the time in which the broker itself did not run to everybody's time.

    Where `TimePassed` is late by more than a heartbeat, the process or its machine was stopped: nobody could be heard,
    so that is nobody's silence, and takes nothing off a lease.
    """
    timers = core.agent_timers
    if not timers or now - timers[0][0] <= core.limits.heartbeat_seconds:
        return
    late = now - timers[0][0]
    for agent in core.agents.values():
        agent.lease_expires_at += late
        if agent.session is not None:
            agent.session.heard_at += late
            agent.session.sent_at += late
    # All by the same amount: the heap stays one.
    core.agent_timers = [(deadline + late, agent_id) for deadline, agent_id in timers]
    core.armed = {agent_id: deadline + late for agent_id, deadline in core.armed.items()}
    note(core, "warning", f"The broker did not run for {late:.1f} s; nobody loses tasks for that.")


def on_time_passed(core: Core, _event: TimePassed, now: float) -> None:
    """See to all agents whose time has come. Tasks expire at the end of every turn."""
    timers = core.agent_timers
    while timers and timers[0][0] <= now:
        deadline, agent_id = heappop(timers)
        if core.armed.get(agent_id) != deadline:
            continue  # armed for an earlier time since
        del core.armed[agent_id]
        agent = core.agents.get(agent_id)
        if agent is not None:
            _look_after(core, agent, now)
            if agent_id in core.agents:
                arm(core, agent)


def _look_after(core: Core, agent: Agent, now: float) -> None:
    session = agent.session
    if session is None:
        _wait_on(core, agent)
        if agent.lease_expires_at <= now:
            silent = f"its agent {agent.name!r} was silent for more than {core.limits.lease_seconds:g} s"
            lose_all(core, agent, now, silent)
    elif session.heard_at + core.limits.silence_seconds <= now:
        core.commands.append(EndSession(session.id))
        end_session(core, agent, f"silent for more than {core.limits.silence_seconds:g} s")
    elif session.sent_at + core.limits.heartbeat_seconds <= now:
        send(core, agent, Heartbeat(0, reply=False, load=0.0), now)


def _wait_on(core: Core, agent: Agent) -> None:
    """Who is not back since the start keeps its leases while others come: it may stand in line behind them."""
    if not agent.boot_id and agent.lease_expires_at < float("inf"):
        latest = min(core.joined_at, core.started_at + core.limits.return_seconds_max)
        agent.lease_expires_at = max(agent.lease_expires_at, latest + core.limits.lease_seconds)


def end_session(core: Core, agent: Agent, reason: str) -> None:
    """The connection of an agent is over; from now on the time of its leases runs."""
    session = agent.session
    if session is None:
        return
    del core.sessions[session.id]
    connected = core.connected[agent.name]
    del connected[agent.id]
    if not connected:
        del core.connected[agent.name]
    core.takers.drop(agent, last=not connected)
    disconnected(core, agent)
    core.hungry.pop(agent.id, None)
    core.held_up.pop(agent.id, None)
    leave_all(core, agent)
    agent.session = None
    tell_worker(core, agent, "disconnected", reason)
    core.heard_at[agent.id] = session.heard_at
    agent.lease_expires_at = session.heard_at + core.limits.lease_seconds
    if agent.leases:
        arm(core, agent)
    else:
        del core.agents[agent.id]
    note(core, "info", f"Agent {short(agent.id)} of worker {agent.name!r} is disconnected: {reason}.", agent.id)


def expire_tasks(core: Core, now: float) -> None:
    """End the tasks whose time is over."""
    # The same division as in `next_deadline`, or rounding could make the two disagree for ever.
    while core.expiries and core.expiries[0][0] / 1000 <= now:
        _, task_id = heappop(core.expiries)
        task = core.tasks.get(task_id)
        if task is not None:
            interrupt(core, task)
            text = "The task expired: it was not finished before the time given as `expires`."
            finish_without_answer(core, task, Transition.EXPIRE, now, error_code=TaskErrorCode.EXPIRED, text=text)


def short(agent_id: AgentId) -> str:
    """An agent's fingerprint for log lines."""
    return agent_id[:16]
