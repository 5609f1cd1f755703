"""Whose key may connect under which name: enrolment by an admin or a join token, names that are fixed, revocation."""

from hashlib import sha256
from hmac import compare_digest

from dart.broker.core.access import JoinToken
from dart.broker.core.commands import Refuse, Reply, ShutOut
from dart.broker.core.events import AgentEnrolled, AgentJoined, AgentsRevoked, JoinTokenMade, JoinTokenWithdrawn
from dart.broker.core.leases import lose
from dart.broker.core.liveness import end_session, short
from dart.broker.core.model import Enrolment
from dart.broker.core.records import (
    EnrolmentAdded,
    EnrolmentForgotten,
    EnrolmentNamed,
    EnrolmentRevoked,
    TokenAdded,
    TokenForgotten,
    TokenRevoked,
    TokenSpent,
)
from dart.broker.core.state import Core, milliseconds, note, persist
from dart.errors import (
    ConflictError,
    DartError,
    ForbiddenError,
    LimitError,
    UnauthorizedError,
    UnknownTokenError,
    UnknownWorkerError,
)
from dart.ids import AgentId, JoinTokenId
from dart.wire.join_token import claims


def on_agent_enrolled(core: Core, event: AgentEnrolled, now: float) -> None:
    """Admit a key for one name, because an admin says so."""
    agent_id = AgentId(sha256(event.public_key).hexdigest())
    fault = _contradiction(core.enrolments.get(agent_id), event.name)
    if fault is not None:
        core.commands.append(Refuse(event.token, fault))
        return
    if agent_id not in core.enrolments:
        _admit(core, Enrolment(agent_id, event.public_key, event.name, milliseconds(now), 0, JoinTokenId(event.origin)))
    core.commands.append(Reply(event.token, agent_id))


def on_agent_joined(core: Core, event: AgentJoined, now: float) -> None:
    """Admit a key because of a join token; the same key again is answered the same and uses nothing up."""
    agent_id = AgentId(sha256(event.public_key).hexdigest())
    join_token = core.join_tokens.get(event.token_id)
    # A stranger learns nothing of tokens, not even which there are.
    if join_token is None or not compare_digest(join_token.digest, event.digest):
        text = "The server does not know this join token; make one there with `dart agent token`."
        _refuse_joining(core, event, agent_id, UnauthorizedError(text))
        return
    known = core.enrolments.get(agent_id)
    fault = _contradiction(known, event.name)
    if fault is None and (known is None or join_token.revoked_at_ms):
        fault = _objection(core, join_token, event.name, milliseconds(now))
    if fault is not None:
        _refuse_joining(core, event, agent_id, fault)
        return
    if known is None:
        name_is_pattern = join_token.name_is_pattern and event.name == join_token.name
        at_ms = milliseconds(now)
        _admit(core, Enrolment(agent_id, event.public_key, event.name, at_ms, 0, join_token.id, name_is_pattern))
        core.join_tokens[join_token.id] = join_token._replace(uses=join_token.uses + 1)
        persist(core, TokenSpent(join_token.id))
        text = f"Agent {short(agent_id)} has joined as worker {event.name!r} with the token {join_token.id}."
        note(core, "info", text)
    core.commands.append(Reply(event.token, agent_id))


def _admit(core: Core, enrolment: Enrolment) -> None:
    core.enrolments[enrolment.agent_id] = enrolment
    persist(core, EnrolmentAdded(enrolment))


def _contradiction(known: Enrolment | None, name: str) -> DartError | None:
    """Why a key that is known already cannot be enrolled under this name, if so."""
    if known is None:
        return None
    if known.revoked_at_ms:
        return ForbiddenError("This key was revoked and does not come back; make another key to enrol again.")
    if known.name == name or (known.name_is_pattern and claims(known.name, name)):
        return None
    text = f"This key is enrolled for the worker {known.name!r} already; make another key for {name!r}."
    return ConflictError(text, worker=known.name)


def _objection(core: Core, join_token: JoinToken, name: str, now_ms: int) -> DartError | None:
    """Why a genuine token does not let a new key in under this name, if so."""
    if join_token.revoked_at_ms:
        return ForbiddenError("This join token was revoked; ask for another one.")
    if 0 < join_token.expires_at_ms <= now_ms:
        return ForbiddenError("This join token has expired; ask for another one.")
    if join_token.uses >= join_token.uses_max:
        return ForbiddenError(f"This join token was used {join_token.uses} times, which is all it is good for.")
    if name != join_token.name and not (join_token.name_is_pattern and claims(join_token.name, name)):
        return ForbiddenError(f"This join token is for the name {join_token.name!r}, not for {name!r}.")
    if name != join_token.name and is_taken(core, name, join_token.id):
        return ForbiddenError(taken(name))
    return None


def is_taken(core: Core, name: str, token_id: JoinTokenId) -> bool:
    """Whether agents have this name that did not come by this token: no pattern lets anybody in among them."""
    return any(
        known.name == name and known.token_id != token_id and not known.revoked_at_ms
        for known in core.enrolments.values()
    )


def taken(name: str) -> str:
    """What is said to who claims such a name by a pattern."""
    return (
        f"Other agents have the name {name!r}, and a join token for a pattern is for new names; take another name, or a"
        " token for just this one."
    )


def _refuse_joining(core: Core, event: AgentJoined, agent_id: AgentId, fault: DartError) -> None:
    text = f"Agent {short(agent_id)} was not let in as {event.name!r} by token {event.token_id}: {fault.message}"
    note(core, "warning", text, AgentId(event.token_id))  # as many lines as any one agent may cause
    core.commands.append(Refuse(event.token, fault))


def fix_name(core: Core, agent_id: AgentId, name: str) -> None:
    """A key that came for a pattern has said its name, which it keeps."""
    known = core.enrolments[agent_id]
    if known.name_is_pattern:
        core.enrolments[agent_id] = known._replace(name=name, name_is_pattern=False)
        persist(core, EnrolmentNamed(agent_id, name))


# ---- join tokens ----


def on_join_token_made(core: Core, event: JoinTokenMade, now: float) -> None:
    """Take a new token; those that are good for nothing any more make room for it, the oldest first."""
    if len(core.join_tokens) >= core.limits.join_tokens_max:
        now_ms = milliseconds(now)
        dead = [known for known in core.join_tokens.values() if _objection(core, known, known.name, now_ms) is not None]
        if not dead:
            text = f"There are {len(core.join_tokens)} join tokens, the limit join_tokens_max; revoke some first."
            core.commands.append(Refuse(event.token, LimitError(text)))
            return
        oldest = min(dead, key=lambda known: (known.created_at_ms, known.id))
        del core.join_tokens[oldest.id]
        persist(core, TokenForgotten(oldest.id))
    core.join_tokens[event.join_token.id] = event.join_token
    persist(core, TokenAdded(event.join_token))
    core.commands.append(Reply(event.token, None))


def on_join_token_withdrawn(core: Core, event: JoinTokenWithdrawn, now: float) -> None:
    """Let nobody in by this token any more; who came by it stays."""
    known = core.join_tokens.get(event.token_id)
    if known is None:
        text = f"There is no join token {event.token_id!r}; `dart agent token --list` shows them."
        core.commands.append(Refuse(event.token, UnknownTokenError(text)))
        return
    if not known.revoked_at_ms:
        core.join_tokens[known.id] = known._replace(revoked_at_ms=milliseconds(now))
        persist(core, TokenRevoked(known.id, milliseconds(now)))
    core.commands.append(Reply(event.token, None))


# ---- revocation ----


def on_agents_revoked(core: Core, event: AgentsRevoked, now: float) -> None:
    """Cut agents off for good: what they hold is lost at once, and nothing they still send counts."""
    chosen = [
        known
        for known in core.enrolments.values()
        if known.name == event.name and known.agent_id.startswith(event.agent_id) and not known.revoked_at_ms
    ]
    if not chosen:
        whom = f"agent {event.agent_id!r} of the name" if event.agent_id else "agent of the name"
        text = f"No {whom} {event.name!r} is enrolled; `dart worker show NAME` lists them."
        core.commands.append(Refuse(event.token, UnknownWorkerError(text, worker=event.name)))
        return
    for known in chosen:
        _revoke(core, known, now)
    _forget_oldest(core)
    core.commands.append(Reply(event.token, len(chosen)))


def _forget_oldest(core: Core) -> None:
    """Each agent that is brought to a host and taken away leaves a revoked key: those of long ago are let go.

    Nobody comes in by that: a key that is unknown is refused as one that is revoked.
    """
    gone = [known for known in core.enrolments.values() if known.revoked_at_ms]
    surplus = len(gone) - core.limits.revoked_agents_max
    if surplus > 0:
        for known in sorted(gone, key=lambda known: (known.revoked_at_ms, known.agent_id))[:surplus]:
            del core.enrolments[known.agent_id]
            persist(core, EnrolmentForgotten(known.agent_id))


def _revoke(core: Core, known: Enrolment, now: float) -> None:
    at_ms = milliseconds(now)
    core.enrolments[known.agent_id] = known._replace(revoked_at_ms=at_ms)
    persist(core, EnrolmentRevoked(known.agent_id, at_ms))
    core.commands.append(ShutOut(known.agent_id))
    note(core, "warning", f"Agent {short(known.agent_id)} of worker {known.name!r} was revoked.")
    for memory in (core.superseded, core.drained, core.heard_at):
        memory.pop(known.agent_id, None)
    agent = core.agents.get(known.agent_id)
    if agent is None:
        return
    end_session(core, agent, "its key was revoked")
    core.heard_at.pop(known.agent_id, None)
    # It never comes back: tasks that wait for that very agent are lost too. The oldest ends up first in the queue.
    for held in reversed(list(agent.leases.values())):
        lose(core, held.task, now, f"its agent {agent.name!r} was revoked")
