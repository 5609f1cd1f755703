"""Blobs that results name, fetched from the agent piece by piece; such a result counts when all of them are durable.

The broker asks, so it decides how much is under way; what came before a cut or a restart is not asked for again. A
session loses no message, so nothing is asked for twice. Few blobs of an agent are open at a time, in the
order named. Where the disk is full, the result waits at the agent, which keeps it until its ACK.
"""

import math
from itertools import islice

from dart.broker.core.coming import Arrival, Coming, ComingStage
from dart.broker.core.commands import OpenBlob, WriteBlob
from dart.broker.core.events import BlobGrew, BlobKept, BlobRefused
from dart.broker.core.happenings import TaskProgressed
from dart.broker.core.leases import text_value
from dart.broker.core.liveness import short
from dart.broker.core.model import Agent, Task
from dart.broker.core.outcomes import began, take
from dart.broker.core.reconciliation import adopt
from dart.broker.core.state import Core, note, send, session_of
from dart.errors import TaskErrorCode
from dart.ids import TaskId
from dart.wire.messages import BlobAsk, BlobPiece, Result
from dart.wire.piece_window import TELL_SECONDS, adapted, share_of

TRIES_MAX = 2
"""A blob that came damaged so often is not asked for again."""
WINDOW_BATCHES = 4
"""Of results that an agent has sent and that wait for their ACK; see the protocol."""
TOLD_MAX = 16
"""Tasks for which it is told how far a blob is."""


def expect(core: Core, agent: Agent, task: Task, result: Result, now: float) -> None:
    """Take a result that counts when its blobs have come. Its task is the agent's until then."""
    session, task_id = session_of(agent), task.id
    if task_id in session.arrivals:
        return  # said twice
    waiting = sum(len(arrival.result.payload) for arrival in session.arrivals.values())
    if waiting >= core.limits.frame_bytes_max + WINDOW_BATCHES * core.limits.batch_bytes_max:
        text = f"Results of worker {agent.name!r} (agent {short(agent.id)}) wait for blobs, with so many bytes"
        note(core, "warning", f"{text} that those beyond are to come again in its next session", agent.id)
        return
    if task_id not in agent.leases:
        adopt(core, agent, task, result.ref)
    began(core, agent, agent.leases[task_id], result.start_time_ms)
    session.arrivals[task_id] = Arrival(result, {blob.sha256 for blob in result.blobs})
    for sha256, size in result.blobs:
        coming = session.coming.get(sha256)
        if coming is None:
            coming = session.coming[sha256] = Coming(size)
        coming.tasks[task_id] = None
    core.fetchers[agent.id] = None
    if max(size for _, size in result.blobs) > core.limits.blob_bytes_max:
        text = f"The result names a blob of more than {core.limits.blob_bytes_max} bytes (limit blob_bytes_max)."
        _fail(core, agent, task_id, now, code=TaskErrorCode.TOO_LARGE, text=text)


def _fail(core: Core, agent: Agent, task_id: TaskId, now: float, *, code: int, text: str) -> None:
    """The result cannot be had whole: its task ends with an error."""
    result = session_of(agent).arrivals[task_id].result
    failed = result._replace(success=False, error_code=code, payload=text_value(text), blobs=())
    take(core, agent, agent.leases[task_id].task, failed, now)


# ---- what the disk tells ----


def _whose(core: Core, event: BlobGrew | BlobKept | BlobRefused) -> tuple[Agent | None, Coming | None]:
    """What the event is about, unless it answers an order that is void."""
    agent = core.sessions.get(event.session)
    coming = None if agent is None else session_of(agent).coming.get(event.sha256)
    return (agent, coming) if coming is not None and coming.number == event.number else (None, None)


def on_blob_grew(core: Core, event: BlobGrew, now: float) -> None:
    """So much of a blob is on the disk."""
    agent, coming = _whose(core, event)
    if agent is None or coming is None:
        return
    if coming.stage is not ComingStage.FETCHING:
        coming.stage = ComingStage.FETCHING
        coming.received = coming.asked = event.size
    coming.here = event.size
    if now >= coming.told_at + TELL_SECONDS:
        coming.told_at = now
        share = 100 * coming.here // max(1, coming.size)
        _tell(core, agent, coming, f"sending its result: {share} % of {coming.size} bytes")
    core.fetchers[agent.id] = None


def _tell(core: Core, agent: Agent, coming: Coming, text: str) -> None:
    for task_id in islice(coming.tasks, TOLD_MAX):
        task = agent.leases[task_id].task
        task.told = task.told._replace(text=text)
        told = TaskProgressed(task.job.name, task.policy.location, agent.name, task.id, task.told.fraction, text)
        core.happened.append(told)


def on_blob_kept(core: Core, event: BlobKept, now: float) -> None:
    """All of a blob is durable here: what waited for nothing else counts now."""
    agent, coming = _whose(core, event)
    if agent is None or coming is None:
        return
    del session_of(agent).coming[event.sha256]
    for task_id in coming.tasks:
        arrival = session_of(agent).arrivals[task_id]
        arrival.missing.remove(event.sha256)
        if not arrival.missing:
            take(core, agent, agent.leases[task_id].task, arrival.result, now)
    core.fetchers[agent.id] = None


def on_blob_refused(core: Core, event: BlobRefused, now: float) -> None:
    """The disk cannot have it now, or never; or what came was not it."""
    agent, coming = _whose(core, event)
    if agent is None or coming is None:
        return
    core.fetchers[agent.id] = None
    name = event.sha256.hex()
    if event.later:
        coming.stage = ComingStage.WAITING
        _tell(core, agent, coming, f"its result waits: {event.reason}")
        session = session_of(agent)
        if session.retry_at == math.inf:
            session.retry_at = now + core.limits.blob_retry_seconds
            text = f"Blob {name} of worker {agent.name!r} (agent {short(agent.id)}) waits: {event.reason}"
            note(core, "warning", text, agent.id)
        return
    coming.failures += 1
    coming.stage = ComingStage.QUEUED
    if coming.failures < TRIES_MAX:
        return
    text = f"The blob {name}, which the result names, came damaged from worker {agent.name!r}: {event.reason}"
    for task_id in list(coming.tasks):
        _fail(core, agent, task_id, now, code=TaskErrorCode.BLOB_UNAVAILABLE, text=text)


# ---- what the agent sends ----


def on_blob_piece(core: Core, agent: Agent, message: BlobPiece, now: float) -> None:
    """The next piece goes to the disk; what was not asked for is ignored. Of a lost blob the agent tells itself."""
    session = session_of(agent)
    coming = session.coming.get(message.sha256)
    if coming is None or coming.stage is not ComingStage.FETCHING:
        return
    size = len(message.data)
    end = message.offset + size
    if message.total != coming.size or message.offset != coming.received or not size or end > coming.asked:
        return
    session.coming_pieces = adapted(session.coming_pieces, now - coming.asked_at)
    coming.received, coming.asked_at = end, now
    if size < min(core.limits.blob_piece_bytes, coming.size - message.offset):
        coming.asked = end  # an agent whose pieces are smaller: the rest of this one is asked for as well
    core.commands.append(WriteBlob(session.id, coming.number, agent.id, message.sha256, message.offset, message.data))


def look_again(core: Core, agent: Agent, now: float) -> None:
    """Any message came: blobs that had no room are tried again after a while."""
    session = session_of(agent)
    if session.retry_at > now:
        return
    session.retry_at = math.inf
    core.fetchers[agent.id] = None
    for coming in session.coming.values():
        if coming.stage is ComingStage.WAITING:
            coming.stage = ComingStage.QUEUED


def ask_on(core: Core, now: float) -> None:
    """At the end of a turn: ask those agents for what fits whose blobs came, went or have to wait."""
    for agent_id in core.fetchers:
        agent = core.agents.get(agent_id)
        if agent is not None and agent.session is not None:
            _ask(core, agent, now)
    core.fetchers.clear()


def _ask(core: Core, agent: Agent, now: float) -> None:
    session, limits = session_of(agent), core.limits
    able = (item for item in session.coming.items() if item[1].stage is not ComingStage.WAITING)
    first = list(islice(able, limits.blob_fetches_max))
    for sha256, coming in first:
        if coming.stage is ComingStage.QUEUED:
            _open(core, agent, sha256, coming)
    fetching = [(sha256, coming) for sha256, coming in first if coming.stage is ComingStage.FETCHING]
    for sha256, coming in fetching:
        share = share_of(session.coming_pieces, len(fetching), limits)
        while coming.asked < coming.size and coming.asked - coming.here < share:
            if coming.asked == coming.received:
                coming.asked_at = now
            size = min(limits.blob_piece_bytes, coming.size - coming.asked)
            send(core, agent, BlobAsk(sha256, coming.asked, size), now)
            coming.asked += size


def _open(core: Core, agent: Agent, sha256: bytes, coming: Coming) -> None:
    session = session_of(agent)
    session.opened += 1
    coming.stage, coming.number = ComingStage.OPENING, session.opened
    core.commands.append(OpenBlob(session.id, session.opened, agent.id, sha256, coming.size))
