"""Tries small faults in a copy of the broker's core, one at a time: the tests must find every one of them.

`python tests/mutations.py [WORD ...]` tries those whose file or text contains a word, without words all; the exit
code is 1 if any survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = Path("src/dart/broker/core")
TESTS = ("tests/unit/broker/core", "tests/property/test_broker_core_machine.py")
SECONDS = 120
"""A mutant may run for ever: that is found too."""

MUTATIONS = (
    # Each: file, text that occurs in it exactly once, what to put there.
    ("lifecycle.py", "    (TaskState.QUEUED, Transition.ADOPT): TaskState.LEASED,\n", ""),
    ("lifecycle.py", "    (TaskState.RUNNING, Transition.RETRY): TaskState.QUEUED,\n", ""),
    (
        "lifecycle.py",
        "(TaskState.LEASED, Transition.EXPIRE): TaskState.EXPIRED",
        "(TaskState.LEASED, Transition.EXPIRE): TaskState.LOST",
    ),
    (
        "lifecycle.py",
        "(TaskState.RUNNING, Transition.LOSE): TaskState.QUEUED",
        "(TaskState.RUNNING, Transition.LOSE): TaskState.LEASED",
    ),
    ("lifecycle.py", "(given_back + (counted == number)) * _GIVEN_BACK", "given_back * _GIVEN_BACK"),
    ("lifecycle.py", "counts[before] -= 1", "counts[before] -= 0"),
    ("ready_queue.py", "task = lane.tasks.popleft()", "task = lane.tasks.pop()"),
    ("ready_queue.py", "            lane.tasks.appendleft(task)", "            lane.tasks.append(task)"),
    ("ready_queue.py", " if capabilities.cover(requires)", ""),
    ("ready_queue.py", "            level.move_to_end(job_id)\n", "            pass\n"),
    ("ready_queue.py", "        return self._priorities[-1]\n", "        return self._priorities[0]\n"),
    (
        "ready_queue.py",
        "        level = self._levels[self._priorities[-1]]\n",
        "        level = self._levels[self._priorities[0]]\n",
    ),
    ("ready_queue.py", "        elif lane.dead:\n            lane.revive(task)\n", ""),
    ("ready_queue.py", "2 * len(self.dead) > len(self.tasks)", "2 * len(self.dead) > 9 * len(self.tasks)"),
    ("ready_queue.py", "        if lane.dead:\n            lane.strip()\n", ""),
    ("ready_queue.py", "        self.changed[key] = None  # what", "        # what"),
    (
        "room.py",
        "    if session is None or agent.draining or core.stopping:\n",
        "    if session is None or core.stopping:\n",
    ),
    ("room.py", "    if tasks <= 0:\n", "    if tasks < 0:\n"),
    ("room.py", "session.credit_tasks - session.in_flight_tasks", "session.credit_tasks"),
    ("room.py", "session.credit_bytes - session.in_flight_bytes", "session.credit_bytes"),
    ("placement.py", "        _fill_all(core, rooms, changed, prefetch=False)\n", ""),
    ("placement.py", "if size > room.payload_bytes and", "if size >= room.payload_bytes and"),
    ("placement.py", "and (room.given or room.agent.leases)", "and room.given"),
    ("placement.py", "len(frame) >= limits.batch_items_max", "len(frame) > limits.batch_items_max"),
    ("placement.py", "frame_bytes + size > limits.batch_bytes_max", "frame_bytes > limits.batch_bytes_max"),
    ("placement.py", "        room.payload_bytes -= size\n", ""),
    ("placement.py", "queue.priority(), -queue.served", "queue.priority(), queue.served"),
    ("placement.py", "    persist(core, LeaseAdded(lease_id, agent.id, tuple(refs)))\n", ""),
    ("placement.py", "    session.in_flight_tasks += len(tasks)\n", "    session.in_flight_tasks += 1\n"),
    ("recall.py", " - core.asked.get(room.agent.id, 0)", ""),
    ("recall.py", "reversed(holder.leases.values())", "iter(holder.leases.values())"),
    ("recall.py", "        if held.spare\n        and key_of", "        if key_of"),
    ("recall.py", "len(holder.leases) - holder.slots", "len(holder.leases)"),
    ("spares.py", "        core.freed[holder.id] = None\n", ""),
    ("spares.py", "        if agent_id in core.hungry:\n            core.ripe[agent_id] = None\n", ""),
    ("spares.py", "    core.freed.pop(holder.id, None)\n", ""),
    ("leases.py", "        persist(core, AttemptsCounted(task.id, task.errors, losses))\n", ""),
    ("leases.py", "losses > policy.lost_retries", "losses >= policy.lost_retries"),
    ("leases.py", "        core.closed_leases.append(held.lease_id)\n", ""),
    ("leases.py", "if held.task.policy.on_lost is not OnLost.WAIT:", "if held.task.policy.on_lost is not OnLost.FAIL:"),
    (
        "leases.py",
        "    requeue(core, task, Transition.RELEASE, now)\n    task.agent_id = None\n",
        "    requeue(core, task, Transition.RELEASE, now)\n",
    ),
    (
        "delays.py",
        "        core.ready.push(task, front=True)\n        return\n",
        "        core.ready.push(task)\n        return\n",
    ),
    ("outcomes.py", "task.errors < task.policy.retries", "task.errors <= task.policy.retries"),
    ("leases.py", "    persist(core, AttemptsCounted(task.id, task.errors, task.losses))\n", ""),
    ("results.py", "task is None or task.attempt != result.ref.attempt or", "task is None or"),
    ("results.py", " or task.agent_id is None:", ":"),
    ("results.py", "in_flight[0][0] <= session.credit_seen", "in_flight[0][0] < session.credit_seen"),
    ("leases.py", "    task.agent_id = None  # this", "    # this"),
    ("results.py", "lambda held: held.task.id, reverse=True", "lambda held: held.task.id, reverse=False"),
    (
        "liveness.py",
        "agent.lease_expires_at = session.heard_at + core",
        "agent.lease_expires_at = session.sent_at + core",
    ),
    (
        "liveness.py",
        "elif session.heard_at + core.limits.silence_seconds <= now",
        "elif session.sent_at + core.limits.silence_seconds <= now",
    ),
    ("sessions.py", "event.sequence > session.received + 1", "event.sequence > session.received + 2"),
    ("sessions.py", "event.sequence <= session.received", "event.sequence < session.received"),
    ("hello.py", "if not _may_be_called(enrolment, hello.name):", "if False:"),
    ("reconciliation.py", "ref.attempt.incarnation >= core.incarnation", "ref.attempt.incarnation > core.incarnation"),
    ("reconciliation.py", "if same_boot and task.state is TaskState.LEASED:", "if same_boot:"),
    ("submissions.py", "        core.reserved -= submission.last_id - submission.first_id + 1\n", ""),
    ("submissions.py", "    core.highest_id = last_id\n", "    core.highest_id = TaskId(last_id - 1)\n"),
    ("recovery.py", "reversed(recovered.leases)", "recovered.leases"),
    ("interactive.py", "and now >= core.interactive_until", "and now > core.interactive_until + 1"),
    (
        "interactive.py",
        "min(most, agent.slots + max(share, agent.slots)) if",
        "agent.slots + max(share, agent.slots) if",
    ),
    ("interactive.py", "        core.ripe.update(dict.fromkeys(agent.id for agent in core.sessions.values()))\n", ""),
)


def survives(path: str, text: str, other: str) -> bool:
    """Whether all tests pass with this one fault."""
    source = (ROOT / CORE / path).read_text(encoding="utf-8")
    if source.count(text) != 1:
        sys.exit(f"{path} has {source.count(text)} times, not once: {text!r}")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
        (copy / CORE / path).write_text(source.replace(text, other), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        for tests in TESTS:  # the fast ones first
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--no-header", tests]
            try:
                done = subprocess.run(
                    command, cwd=ROOT, env=environment, capture_output=True, timeout=SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                return False
            if done.returncode == 1:
                return False
            if done.returncode != 0:
                sys.exit(f"{path}: the tests could not be run:\n{done.stdout.decode()}{done.stderr.decode()}")
        return True


def main(words: list[str]) -> int:
    """Try the chosen mutations one after the other."""
    chosen = [one for one in MUTATIONS if not words or any(word in text for word in words for text in one)]
    survivors = 0
    for path, text, other in chosen:
        alive = survives(path, text, other)
        survivors += alive
        print(f"{'SURVIVED' if alive else 'caught':9}{path}: {text.strip()!r} -> {other.strip()!r}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
