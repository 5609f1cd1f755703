"""Who gets what: idle slots of all candidates first, then prefetch by credit, spread over the agents.

After every turn no queue holds a task that an agent with credit may run, but for one that is too large for what is
left of the credit. So a turn looks only at queues that changed, at agents whose room may have grown, and at as many
others (`takers.py`) as there are tasks for: what a task costs does not depend on how many are connected.
"""

from collections.abc import Iterable, Iterator

from dart.broker.core.commands import LeaseOrder, SendTasks
from dart.broker.core.leases import hold, new_lease_id
from dart.broker.core.lifecycle import Transition, move, next_attempt
from dart.broker.core.model import Agent, Task
from dart.broker.core.ready_queue import Queue, QueueKey
from dart.broker.core.recall import recall_for, recall_from
from dart.broker.core.records import LeaseAdded
from dart.broker.core.room import Room, may_run, room_of
from dart.broker.core.spares import may_be_asked
from dart.broker.core.state import Core, next_sequence, persist
from dart.ids import AgentId, AttemptRef


def place(core: Core, now: float) -> None:
    """Give leases where there is room, send them, and recall what an idle agent could run."""
    if not (core.ripe or core.ready.changed or core.freed):
        return
    rooms = _rooms(core)
    changed = tuple(core.ready.changed)
    core.ripe.clear()
    core.ready.changed.clear()
    if not core.stopping:
        _fill_all(core, rooms, changed, prefetch=False)
        _fill_all(core, rooms, changed, prefetch=True)
    for room in rooms.values():
        if room.given:
            _send(core, room, now)
        if room.tasks > 0 and core.ready.size and core.ready.matching(room.agent.name, room.agent.capabilities):
            core.held_up[room.agent.id] = None
        else:
            core.held_up.pop(room.agent.id, None)
            if room.tasks > 0:
                core.takers.add(room.agent, idle=room.idle > 0)
    _recall(core, rooms.values(), now)


def _recall(core: Core, rooms: Iterable[Room], now: float) -> None:
    """Have given back what these agents, or others that wait, could run at once."""
    for room in rooms:
        if room.idle > 0 and room.tasks > 0:
            core.hungry[room.agent.id] = None
            recall_for(core, room, now)
        else:
            core.hungry.pop(room.agent.id, None)
    freed, core.freed = core.freed, {}
    for holder_id in freed:
        if may_be_asked(core, core.agents[holder_id]):
            recall_from(core, core.agents[holder_id], now)


def candidates(core: Core, key: QueueKey) -> Iterator[Agent]:
    """Connected agents that may run the tasks of this queue."""
    location, requires = key
    names = (location,) if location else core.connected
    for name in names:
        for agent in core.connected.get(name, {}).values():
            if agent.capabilities.cover(requires):
                yield agent


def urgency(queue: Queue) -> tuple[int, int]:
    """Higher priority first, then the queue that has waited longest for its turn."""
    return queue.priority(), -queue.served


def _rooms(core: Core) -> dict[AgentId, Room]:
    """Of agents whose room may have grown, and of those that a large task holds up."""
    rooms: dict[AgentId, Room] = {}
    for agent_id in {**core.ripe, **core.held_up}:
        agent = core.agents.get(agent_id)
        room = None if agent is None else room_of(core, agent)
        if room is None:
            core.hungry.pop(agent_id, None)
            core.held_up.pop(agent_id, None)
        else:
            rooms[agent_id] = room
    return rooms


def _fill_all(core: Core, rooms: dict[AgentId, Room], changed: Iterable[QueueKey], *, prefetch: bool) -> None:
    """Give to these agents and to as many others as queues that changed have tasks for, until nobody takes any more."""
    while core.ready.size:
        drawn = [room for key in changed for room in _draw(core, key, rooms, idle=not prefetch)]
        rooms.update((room.agent.id, room) for room in drawn)
        able = [room for room in rooms.values() if room.tasks > 0 and (prefetch or room.idle > 0)]
        _fill(core, able, prefetch=prefetch)
        if not drawn:
            return


def _draw(core: Core, key: QueueKey, rooms: dict[AgentId, Room], *, idle: bool) -> list[Room]:
    """Agents with room that may serve this queue and are not in `rooms`: no more than it has tasks."""
    queue = core.ready.get(key)
    if queue is None:
        return []
    waiting = core.takers.get(key)
    if waiting is None:
        waiting = core.takers.make(key)
        for agent in candidates(core, key):
            room = room_of(core, agent)
            if room is not None:
                waiting.add(agent, idle=room.idle > 0)
    drawn: list[Room] = []
    while len(drawn) < queue.size and (taken := waiting.take(idle=idle)) is not None:
        room = room_of(core, taken)
        if room is not None and taken.id not in rooms and may_run(taken, key):
            drawn.append(room)
    return drawn


def _fill(core: Core, rooms: list[Room], *, prefetch: bool) -> None:
    """Give to all rooms in rounds: each takes its share of what is queued for it, until all is full or given."""
    while rooms:
        waiting = core.ready.size
        sharers = range(len(rooms), 0, -1)
        rooms = [
            room for room, left in zip(rooms, sharers, strict=True) if _take_share(core, room, left, prefetch=prefetch)
        ]
        if core.ready.size == waiting:
            return  # what is left is too large for all of them


def _take_share(core: Core, room: Room, sharers: int, *, prefetch: bool) -> bool:
    """Give one agent its share, with so many left to share; False: it can take no more in this phase."""
    queues = core.ready.matching(room.agent.name, room.agent.capabilities)
    limit = room.tasks if prefetch else min(room.idle, room.tasks)
    share = min(limit, -(-sum(queue.size for queue in queues) // sharers))
    for _ in range(share):
        queue = queues[0] if len(queues) == 1 else max(queues, key=urgency)
        task = queue.head()
        size = task.parameter_bytes
        if size > room.payload_bytes and (room.given or room.agent.leases):
            # The next task waits for its bytes, for nothing smaller may pass it for ever; or another agent takes it.
            return True
        core.ready.pop(queue)
        if not queue.size:
            queues.remove(queue)
        room.given.append(task)
        room.tasks -= 1
        room.payload_bytes -= size
        room.idle -= 1
    return bool(queues) and share < limit


def _send(core: Core, room: Room, now: float) -> None:
    """Lease what was given, in as many TASKS frames as the limits of one message ask for."""
    limits = core.limits
    frame: list[Task] = []
    frame_bytes = 0
    for task in room.given:
        size = task.parameter_bytes
        if frame and (len(frame) >= limits.batch_items_max or frame_bytes + size > limits.batch_bytes_max):
            _send_frame(core, room, frame, frame_bytes, now)
            frame, frame_bytes = [], 0
        frame.append(task)
        frame_bytes += size
    _send_frame(core, room, frame, frame_bytes, now)


def _send_frame(core: Core, room: Room, tasks: list[Task], frame_bytes: int, now: float) -> None:
    agent, session = room.agent, room.session
    lease_id = new_lease_id(core)
    refs = []
    orders = []
    for task in tasks:
        attempt = next_attempt(task, core.incarnation)
        move(task, Transition.LEASE)
        hold(core, agent, task, attempt, lease_id)
        ref = AttemptRef(task.id, attempt)
        refs.append(ref)
        job = task.job
        module_path, method, *_ = job.config
        policy = task.policy
        orders.append(LeaseOrder(ref, job.name, module_path, method, policy.timeout_seconds, policy.traceparent))
    persist(core, LeaseAdded(lease_id, agent.id, tuple(refs)))
    session_id, sequence = next_sequence(agent, now)
    core.commands.append(SendTasks(session_id, sequence, tuple(orders)))
    session.in_flight.append((sequence, len(tasks), frame_bytes))
    session.in_flight_tasks += len(tasks)
    session.in_flight_bytes += frame_bytes
