"""HELLO: who may begin a session, on what terms, and whose session gives way."""

from collections import deque

from dart import __version__
from dart.broker.core.capabilities import Capabilities
from dart.broker.core.commands import EndSession, Send
from dart.broker.core.enrolments import fix_name, is_taken, taken
from dart.broker.core.events import FrameArrived
from dart.broker.core.foreign import denounce
from dart.broker.core.happenings import tell_worker
from dart.broker.core.liveness import arm, end_session, short
from dart.broker.core.model import Agent, Enrolment, Session
from dart.broker.core.reconciliation import Verdicts, judge, settle_unnamed
from dart.broker.core.spares import connected
from dart.broker.core.standing import capabilities_of, join
from dart.broker.core.state import Core, note, send, session_of
from dart.ids import AgentId, SessionId
from dart.wire.join_token import claims
from dart.wire.messages import PROTOCOL_VERSIONS, Drain, Error, ErrorCode, Hello, Welcome

_SUPERSEDED_KEPT = 8
"""Boots remembered an agent: a clone that keeps coming is met within few."""


def refuse_session(core: Core, session: SessionId, code: int, text: str) -> None:
    """Answer a connection with a complaint and be done with it. Complaints stand outside the numbering of a session."""
    core.commands.append(Send(session, 0, Error(code, text)))
    core.commands.append(EndSession(session))


def on_hello(core: Core, event: FrameArrived, hello: Hello, now: float) -> None:
    """Begin a session, or say why not."""
    complaint = _complaint(core, event.agent_id, hello, now)
    if complaint is not None:
        code, text = complaint
        note(core, "warning", f"Agent {short(event.agent_id)} was refused: {text}", event.agent_id, refusal=True)
        refuse_session(core, event.session, code, text)
        return
    fix_name(core, event.agent_id, hello.name)
    name = core.enrolments[event.agent_id].name
    agent = core.agents.get(event.agent_id)
    same_boot = agent is not None and agent.boot_id == hello.boot_id
    if agent is not None:
        _end_earlier(core, agent, hello)
    # The earlier session may have been all that kept the agent known.
    agent = core.agents.get(event.agent_id)
    if event.agent_id not in core.heard_at and (agent is None or not agent.boot_id):
        core.joined_at = now
    if agent is None:
        agent = Agent(event.agent_id, name, hello.boot_id, hello.host, hello.slots, Capabilities(), {})
        core.agents[agent.id] = agent
    asked_to_drain = core.drained.get(agent.id) == hello.boot_id
    agent.boot_id = hello.boot_id
    agent.host = hello.host
    agent.slots = hello.slots
    agent.capabilities = capabilities_of(core, name, hello.capabilities, hello.facts)
    agent.facts = hello.facts
    agent.questions = hello.questions
    agent.draining = hello.draining or asked_to_drain
    # Its first HEARTBEAT says otherwise.
    agent.spool_full = False
    agent.spooled = agent.spooled_bytes = 0
    version = max(set(hello.versions) & set(PROTOCOL_VERSIONS))
    _begin(core, agent, event, version, now)
    denounce(core, agent, (*hello.attempts, *hello.results), "HELLO")
    verdicts = judge(core, agent, hello)
    settle_unnamed(core, agent, hello, now, same_boot=same_boot)
    send(core, agent, _welcome(core, agent, version, verdicts), now)
    if asked_to_drain and not hello.draining:
        send(core, agent, Drain("asked for before this session"), now)
    arm(core, agent)
    join(core, agent)
    core.ripe[agent.id] = None
    tell_worker(core, agent, "connected")
    text = f"Agent {short(agent.id)} is connected as worker {name!r} with {agent.slots} slots."
    note(core, "info", text, agent.id)
    agent.results_held = len(verdicts.hold)
    if verdicts.hold:
        text = "results of tasks that this store does not know: of another store, or given after the backup it is from"
        note(core, "warning", f"Worker {name!r} keeps {agent.results_held} {text}.", agent.id)


def _complaint(  # noqa: PLR0911 - one return a reason
    core: Core, agent_id: AgentId, hello: Hello, now: float
) -> tuple[int, str] | None:
    """Why this agent cannot have a session, if so."""
    limits = core.limits
    if not set(hello.versions) & set(PROTOCOL_VERSIONS):
        spoken = ", ".join(map(str, hello.versions))
        known = ", ".join(map(str, PROTOCOL_VERSIONS))
        text = f"The agent speaks protocol {spoken}, the broker {known}; update the older of the two."
        return ErrorCode.UNSUPPORTED_VERSION, text
    enrolment = core.enrolments.get(agent_id)
    if enrolment is None:
        return ErrorCode.REVOKED, "This key is not enrolled; enroll it for a worker's name."
    if enrolment.revoked_at_ms:
        return ErrorCode.REVOKED, "This key was revoked."
    if not _may_be_called(enrolment, hello.name):
        text = f"The key is enrolled for {enrolment.name!r}, not for {hello.name!r}; enroll another key for that name."
        return ErrorCode.NAME_REFUSED, text
    if enrolment.name_is_pattern and is_taken(core, hello.name, enrolment.token_id):
        return ErrorCode.NAME_REFUSED, taken(hello.name)
    if not 1 <= hello.slots <= limits.slots_max:
        return ErrorCode.OVER_LIMIT, f"{hello.slots} slots are not within 1 and the limit slots_max={limits.slots_max}."
    if len(hello.capabilities) > limits.capabilities_max:
        text = f"{len(hello.capabilities)} capabilities are over the limit capabilities_max={limits.capabilities_max}."
        return ErrorCode.OVER_LIMIT, text
    agent = core.agents.get(agent_id)
    if len(core.sessions) >= limits.agents_max and (agent is None or agent.session is None):
        return ErrorCode.OVER_LIMIT, f"{len(core.sessions)} agents are connected, the limit is agents_max."
    if agent is not None and hello.boot_id in core.superseded.get(agent_id, ()) and _lives(agent, now):
        return ErrorCode.SUPERSEDED, "A newer agent with the same key is at work; give each agent a key of its own."
    return None


def _may_be_called(enrolment: Enrolment, name: str) -> bool:
    if not enrolment.name_is_pattern:
        return name == enrolment.name
    return name.isprintable() and "/" not in name and claims(enrolment.name, name)


def _lives(agent: Agent, now: float) -> bool:
    """Whether an agent counts as being there: connected, or silent within its lease."""
    return agent.session is not None or now < agent.lease_expires_at


def _end_earlier(core: Core, agent: Agent, hello: Hello) -> None:
    """Another boot gives way to this one and is told; a session of the same boot is merely forgotten."""
    session = agent.session
    if agent.boot_id not in ("", hello.boot_id):
        core.superseded.setdefault(agent.id, deque(maxlen=_SUPERSEDED_KEPT)).append(agent.boot_id)
        if session is not None:
            text = "A newer agent with the same key is connected; give each agent a key of its own."
            refuse_session(core, session.id, ErrorCode.SUPERSEDED, text)
    elif session is not None:
        core.commands.append(EndSession(session.id))
    end_session(core, agent, "it said HELLO again")


def _begin(core: Core, agent: Agent, event: FrameArrived, version: int, now: float) -> None:
    session = Session(event.session, version, received=event.sequence, heard_at=now, sent_at=now)
    agent.session = session
    core.heard_at.pop(agent.id, None)
    core.sessions[session.id] = agent
    core.connected.setdefault(agent.name, {})[agent.id] = agent
    connected(core, agent)


def _welcome(core: Core, agent: Agent, version: int, verdicts: Verdicts) -> Welcome:
    limits = core.limits
    return Welcome(
        version,
        session_of(agent).id,
        core.store_id,
        core.incarnation,
        limits.heartbeat_seconds,
        limits.silence_seconds,
        limits.lease_seconds,
        limits.frame_bytes_max,
        limits.value_bytes_max,
        limits.batch_items_max,
        limits.batch_bytes_max,
        f"dart {__version__}",
        tuple(verdicts.keep),
        tuple(verdicts.drop),
        tuple(verdicts.send),
        tuple(verdicts.forget),
        tuple(verdicts.hold),
        core.next_server,
        limits.blob_bytes_max,
    )
