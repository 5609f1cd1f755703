"""Who gets what: idle slots of all candidates first, then prefetch by credit, spread over the agents.

After every turn no queue holds a task that an agent with credit may run, but for one that is too large for what is
left of the credit. So a turn looks only at agents whose room may have grown and at queues that changed.
"""

from collections.abc import Iterator

from dart.broker.core.commands import LeaseOrder, SendTasks
from dart.broker.core.leases import hold, new_lease_id
from dart.broker.core.lifecycle import Transition, move, next_attempt
from dart.broker.core.model import Agent, Task
from dart.broker.core.ready_queue import Queue, QueueKey
from dart.broker.core.recall import recall_for, recall_from
from dart.broker.core.records import LeaseAdded
from dart.broker.core.room import Room, room_of
from dart.broker.core.spares import may_be_asked
from dart.broker.core.state import Core, next_sequence, persist
from dart.ids import AgentId, AttemptRef


def place(core: Core, now: float) -> None:
    """Give leases where there is room, send them, and recall what an idle agent could run."""
    if not (core.ripe or core.ready.changed or core.freed):
        return
    rooms = _rooms(core)
    core.ripe.clear()
    core.ready.changed.clear()
    if core.ready.size:
        _fill(core, [room for room in rooms if room.idle > 0], prefetch=False)
        _fill(core, rooms, prefetch=True)
    for room in rooms:
        if room.given:
            _send(core, room, now)
        if room.tasks > 0 and core.ready.size and core.ready.matching(room.agent.name, room.agent.capabilities):
            core.held_up[room.agent.id] = None
        else:
            core.held_up.pop(room.agent.id, None)
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


def _rooms(core: Core) -> list[Room]:
    rooms: dict[AgentId, Room | None] = {}
    for agent_id in (*core.ripe, *core.held_up):
        agent = core.agents.get(agent_id)
        rooms[agent_id] = None if agent is None else room_of(core, agent)
        if rooms[agent_id] is None:
            core.hungry.pop(agent_id, None)
            core.held_up.pop(agent_id, None)
    for key in core.ready.changed:
        for agent in candidates(core, key):
            if agent.id not in rooms:
                rooms[agent.id] = room_of(core, agent)
    return [room for room in rooms.values() if room is not None]


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
