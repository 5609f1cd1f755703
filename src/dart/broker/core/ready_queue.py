"""Tasks that wait for an agent: by where they may run, then priority, then fair turns between jobs, then age.

Queues hold identities, never payloads. A push or a pop costs the same whatever the number queued. A task that leaves
from the middle (cancelled, expired, adopted) leaves a dead entry, and a lane that is half dead is compacted.
"""

from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterator

from dart.broker.core.capabilities import Capabilities
from dart.broker.core.model import Task
from dart.ids import JobId, TaskId

QueueKey = tuple[str, tuple[str, ...]]
"""Location and requirements: tasks that agree in both may run at the same agents."""

_COMPACT_FROM = 32
"""Dead entries below this number are not worth a rebuild."""


def key_of(task: Task) -> QueueKey:
    """Where a task may run."""
    policy = task.policy
    return policy.location, policy.requires


def is_doomed(task: Task) -> bool:
    """Whether this task is about to be cancelled with its job: such tasks stand in no queue."""
    return task.id <= task.job.doomed_through


class Lane:
    """The tasks of one job at one priority, first come first served."""

    __slots__ = ("dead", "tasks")

    def __init__(self) -> None:
        self.tasks: deque[Task] = deque()
        self.dead: set[TaskId] = set()

    def __len__(self) -> int:
        return len(self.tasks) - len(self.dead)

    def __iter__(self) -> Iterator[Task]:
        return (task for task in self.tasks if task.id not in self.dead)

    def revive(self, task: Task) -> None:
        """Take a dead entry of this task out, for it is about to be pushed again."""
        if task.id in self.dead:
            self.tasks.remove(task)
            self.dead.remove(task.id)

    def kill(self, task: Task) -> None:
        """Mark an entry dead. The first entry is alive afterwards, unless none is."""
        self.dead.add(task.id)
        if len(self.dead) >= _COMPACT_FROM and 2 * len(self.dead) > len(self.tasks):
            self.tasks = deque(self)
            self.dead.clear()
        else:
            self.strip()

    def strip(self) -> None:
        """Drop dead entries from the front."""
        tasks, dead = self.tasks, self.dead
        while dead and tasks[0].id in dead:
            dead.remove(tasks.popleft().id)


class Queue:
    """The tasks of one key."""

    __slots__ = ("_levels", "_priorities", "key", "served", "size")

    def __init__(self, key: QueueKey) -> None:
        self.key = key
        self.size = 0
        self.served = 0
        """When it last gave a task, in turns of its `ReadyQueues`."""
        self._levels: dict[int, OrderedDict[JobId, Lane]] = {}
        self._priorities: list[int] = []

    def priority(self) -> int:
        """Of the next task."""
        return self._priorities[-1]

    def head(self) -> Task:
        """The next task."""
        level = self._levels[self._priorities[-1]]
        return level[next(iter(level))].tasks[0]

    def push(self, task: Task, *, front: bool) -> None:
        """Append a task to its job's lane, or put it first."""
        priority, job_id = task.policy.priority, task.job.id
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = OrderedDict()
            insort(self._priorities, priority)
        lane = level.get(job_id)
        if lane is None:
            lane = level[job_id] = Lane()
        elif lane.dead:
            lane.revive(task)
        if front:
            lane.tasks.appendleft(task)
        else:
            lane.tasks.append(task)
        self.size += 1

    def pop(self) -> Task:
        """Take the next task; its job's turn is over."""
        priority = self._priorities[-1]
        level = self._levels[priority]
        job_id = next(iter(level))
        lane = level[job_id]
        task = lane.tasks.popleft()
        if lane.dead:
            lane.strip()
        if not lane.tasks:
            self._drop_lane(priority, job_id)
        elif len(level) > 1:
            level.move_to_end(job_id)
        self.size -= 1
        return task

    def remove(self, task: Task) -> None:
        """Take a task out from wherever it is."""
        priority, job_id = task.policy.priority, task.job.id
        lane = self._levels[priority][job_id]
        lane.kill(task)
        if not lane.tasks:
            self._drop_lane(priority, job_id)
        self.size -= 1

    def drop_job(self, job_id: JobId) -> int:
        """Take out all tasks of a job; how many there were."""
        dropped = 0
        for priority in list(self._priorities):
            lane = self._levels[priority].get(job_id)
            if lane is not None:
                dropped += len(lane)
                self._drop_lane(priority, job_id)
        self.size -= dropped
        return dropped

    def _drop_lane(self, priority: int, job_id: JobId) -> None:
        level = self._levels[priority]
        del level[job_id]
        if not level:
            del self._levels[priority]
            del self._priorities[bisect_left(self._priorities, priority)]

    def __iter__(self) -> Iterator[Task]:
        """All tasks, by priority and job; for checks."""
        for priority in reversed(self._priorities):
            for lane in self._levels[priority].values():
                yield from lane


class ReadyQueues:
    """All queues that are not empty."""

    __slots__ = ("_queues", "_turn", "changed", "size")

    def __init__(self) -> None:
        self._queues: dict[str, dict[tuple[str, ...], Queue]] = {}
        self._turn = 0
        self.size = 0
        """Tasks in all queues."""
        self.changed: dict[QueueKey, None] = {}
        """Queues that got tasks, or lost some otherwise than by placement, since placement last looked."""

    def __iter__(self) -> Iterator[Queue]:
        return (queue for queues in self._queues.values() for queue in queues.values())

    def get(self, key: QueueKey) -> Queue | None:
        """The queue of this key, unless it is empty."""
        queues = self._queues.get(key[0])
        return None if queues is None else queues.get(key[1])

    def matching(self, name: str, capabilities: Capabilities) -> list[Queue]:
        """Queues that an agent of this name and these capabilities may serve."""
        found = []
        for location in (name, ""):
            queues = self._queues.get(location)
            if queues is not None:
                found += [queue for requires, queue in queues.items() if capabilities.cover(requires)]
        return found

    def push(self, task: Task, *, front: bool = False) -> None:
        """Queue a task behind those of its job and priority, or before them; a doomed one is not queued."""
        if is_doomed(task):
            return
        key = key_of(task)
        queues = self._queues.get(key[0])
        if queues is None:
            queues = self._queues[key[0]] = {}
        queue = queues.get(key[1])
        if queue is None:
            queue = queues[key[1]] = Queue(key)
        queue.push(task, front=front)
        self.size += 1
        self.changed[key] = None

    def pop(self, queue: Queue) -> Task:
        """Take the next task of a queue."""
        self._turn += 1
        queue.served = self._turn
        task = queue.pop()
        self._shrunk(queue)
        return task

    def drop_job(self, job_id: JobId) -> None:
        """Take out whatever a job has queued, now that all of that is doomed."""
        for queue in list(self):
            dropped = queue.drop_job(job_id)
            if dropped:
                self.changed[queue.key] = None
                self._shrunk(queue, dropped)

    def remove(self, task: Task) -> None:
        """Take a queued task out."""
        if is_doomed(task):
            return
        key = key_of(task)
        queue = self._queues[key[0]][key[1]]
        queue.remove(task)
        self.changed[key] = None  # what was behind it may fit where it did not
        self._shrunk(queue)

    def _shrunk(self, queue: Queue, amount: int = 1) -> None:
        self.size -= amount
        if not queue.size:
            location, requires = queue.key
            queues = self._queues[location]
            del queues[requires]
            if not queues:
                del self._queues[location]
