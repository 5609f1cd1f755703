"""The audit: one entry for each thing that somebody had done, in the very turn that does it.

So nothing is done without its entry, and none is there of what became void. Entries say who, what and to what, with
numbers of tasks and names of jobs and workers; never a parameter, a result or a secret.
"""

from collections.abc import Callable
from typing import Any

from dart.broker.core import events
from dart.broker.core.access import Actor, ApiKey, AuditEntry
from dart.broker.core.commands import Audited, Persist, Refuse, Reply
from dart.broker.core.records import AuditNoted
from dart.broker.core.state import Core, milliseconds

MEMBER_CHARS_MAX = 300
"""Of each text of an entry; the middle of longer ones is left out."""

Words = tuple[str, str, str]
"""What, target, outcome."""


def write_down(core: Core, signed: events.Signed, now: float) -> None:
    """Add the entry of an event that was just handled: its record first, so that whatever it brought waits for it."""
    event, answer = signed.event, None
    for command in core.commands:
        if isinstance(command, Reply | Refuse) and command.token == getattr(event, "token", 0):
            if isinstance(command, Refuse):
                return  # it changed nothing
            answer = command.value
    words = describe(event, answer)
    if words is not None:
        entry = _entry(signed.actor, words, now)
        core.commands[:0] = [Persist(AuditNoted(entry)), Audited(entry)]


def on_noted(core: Core, event: events.Noted, _now: float) -> None:
    """Nothing else happens: `write_down` does the rest."""
    core.commands.append(Reply(event.token, None))


def describe(event: events.Event, answer: Any) -> Words | None:
    """An event in words, with what it was answered; None: it changes nothing that the audit tells of."""
    words = _WORDS.get(type(event))
    return None if words is None else words(event, answer)


def _entry(actor: Actor, words: Words, now: float) -> AuditEntry:
    who, address, request_id = actor
    return AuditEntry(milliseconds(now), *map(_clipped, (who, *words, address, request_id)))


def _clipped(text: str) -> str:
    half = MEMBER_CHARS_MAX // 2 - 1
    return text if len(text) <= MEMBER_CHARS_MAX else f"{text[:half]}…{text[-half:]}"


def _submitted(event: events.TasksSubmitted, first_id: int) -> Words | None:
    # Of a submission in slices the last one makes it count.
    if not event.last or not event.total:
        return None
    return "task.submit", event.job, f"done, {event.total} tasks from {first_id} on"


def _key(key: ApiKey) -> str:
    return f"{key.name} ({key.id})"


_WORDS: dict[type, Callable[[Any, Any], Words | None]] = {
    events.JobDefined: lambda event, _: ("job.define", event.name, "done"),
    events.JobStopped: lambda event, cancelled: (
        "job.stop", event.name, "begun, with many tasks" if cancelled is None else f"done, {cancelled} tasks cancelled"
    ),
    events.JobsPurged: lambda event, purged: ("job.purge", ", ".join(event.names), f"done, {purged} jobs forgotten"),
    events.TasksSubmitted: _submitted,
    events.TaskCancelled: lambda event, was_open: (
        "task.cancel", f"{event.job}/{event.task_id}", "done" if was_open else "done before: it was over"
    ),
    events.ResultDeleted: lambda event, _: (
        None if event.counted else ("result.delete", f"{event.job}/{event.task_id}", "done")
    ),
    events.AgentEnrolled: lambda event, agent_id: ("agent.enroll", event.name, f"done, key {str(agent_id)[:16]}"),
    events.AgentJoined: lambda event, agent_id: (
        "agent.join", event.name, f"done, key {str(agent_id)[:16]}, token {event.token_id}"
    ),
    events.AgentsRevoked: lambda event, revoked: (
        "worker.revoke", event.name, f"done, {revoked} agents" + (f", those of {event.agent_id}" * bool(event.agent_id))
    ),
    events.JoinTokenMade: lambda event, _: (
        "token.add", event.join_token.id, f"done, for {event.join_token.name}, {event.join_token.uses_max} uses"
    ),
    events.JoinTokenWithdrawn: lambda event, _: ("token.revoke", event.token_id, "done"),
    events.ServerMoves: lambda event, _: (
        "server.rotate-key", "", "done" if event.next is None else f"begun, at port {event.next.port}"
    ),
    events.WorkersDrained: lambda event, asked: ("worker.drain", event.name, f"done, {asked} agents asked"),
    events.KeyIssued: lambda event, _: (
        "key.add", _key(event.key), f"done, scope {event.key.scope.name.lower()}"
    ),
    events.KeyWithdrawn: lambda event, _: ("key.revoke", event.id, "done"),
    events.Stopping: lambda _event, _answer: ("server.end", "", "done"),
    events.Noted: lambda event, _: (event.what, event.target, event.outcome),
}  # fmt: skip
UNTOLD = (
    events.KeysSeen,
    events.SubmissionAbandoned,
    events.WorkersPinged,
    events.WorkersAsked,
    events.BlobRead,
    events.BlobGrew,
    events.BlobKept,
    events.BlobRefused,
    events.FrameArrived,
    events.SessionLost,
    events.TasksShortened,
    events.TimePassed,
    events.Signed,
)
"""Every other event: nobody asked for it, or it changes nothing."""
