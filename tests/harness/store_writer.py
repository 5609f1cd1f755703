"""A process that commits groups until it is killed or its disk is full, and tells of each on stdout.

Usage: store_writer.py DATABASE FIRST_GROUP PAYLOAD_BYTES GROUPS

Group g adds tasks, finishes those of the group before, and tells `committed g` after its commit. When a commit fails
it tells `refused CODE MESSAGE`, waits for a line on stdin, probes until that succeeds, and tells `recovered`.
"""

import sys
from pathlib import Path

from dart.broker.core.model import JobConfig, TaskPolicy, TaskState
from dart.broker.core.records import JobAdded, TaskFinished, TasksAdded
from dart.broker.store.sqlite import SqliteStore
from dart.errors import StoreError
from dart.limits import Limits

TASKS = 20
"""In each group."""


def ids_of(group):
    """Ids of a group's tasks."""
    return range(10 + group * TASKS, 10 + (group + 1) * TASKS)


def _records(group, payload):
    ids = ids_of(group)
    yield TasksAdded(1, ids[0], tuple((TaskPolicy(), "", payload) for _ in ids))
    if group:
        for task_id in ids_of(group - 1):
            yield TaskFinished(task_id, 1, TaskState.SUCCEEDED, "w", "h", "", "", 1, 1, 0.5, 0, payload, 2)


def _tell(text):
    print(text, flush=True)


def main():
    """See the module."""
    path, first, payload_bytes, groups = Path(sys.argv[1]), *map(int, sys.argv[2:])
    store = SqliteStore(path, Limits())
    if not store.recover().jobs:
        store.commit([JobAdded(1, "job", JobConfig("m", "f", {}), 1)])
    _tell("ready")
    for group in range(first, first + groups):
        try:
            store.commit(list(_records(group, b"x" * payload_bytes)))
        except StoreError as error:
            _tell(f"refused {error.code} {error}")
            sys.stdin.readline()
            store.probe()
            store.recover()
            _tell("recovered")
            store.commit(list(_records(group, b"x" * payload_bytes)))
        _tell(f"committed {group}")
    store.close()


if __name__ == "__main__":
    main()
