"""Frames of agents: numbering, who is connected, what ends a session."""

from collections.abc import Callable
from typing import Any

from dart.broker.core.commands import Answered, EndSession
from dart.broker.core.events import FrameArrived, SessionLost
from dart.broker.core.fetching import look_again, on_blob_piece
from dart.broker.core.happenings import tell_worker
from dart.broker.core.hello import on_hello, refuse_session
from dart.broker.core.leases import lose_all
from dart.broker.core.liveness import end_session, short
from dart.broker.core.model import Agent
from dart.broker.core.pieces import has_arrived, on_blob_get
from dart.broker.core.results import on_credit, on_log, on_progress, on_released, on_results, on_started
from dart.broker.core.spares import recall_answered
from dart.broker.core.state import Core, note, send, session_of
from dart.wire.messages import (
    BlobGet,
    BlobPiece,
    Bye,
    Credit,
    Drain,
    Error,
    ErrorCode,
    Heartbeat,
    Hello,
    Log,
    Progress,
    Released,
    Results,
    Started,
    Told,
)


def on_frame_arrived(core: Core, event: FrameArrived, now: float) -> None:
    """Take a frame, if it is the next one of a session or begins one."""
    message = event.message
    agent = core.sessions.get(event.session)
    if agent is None or agent.session is None:
        if isinstance(message, Hello) and event.sequence == 1:
            on_hello(core, event, message, now)
        elif not isinstance(message, Error):  # a complaint about a complaint would never end
            text = "There is no session; begin one with HELLO on a new socket."
            refuse_session(core, event.session, ErrorCode.SAY_HELLO, text)
        return
    session = agent.session
    session.heard_at = now
    if event.sequence <= session.received:
        return
    if event.sequence > session.received + 1 or isinstance(message, Hello):
        text = "Frames of this session are missing; begin a new one with HELLO on a new socket."
        refuse_session(core, event.session, ErrorCode.SAY_HELLO, text)
        end_session(core, agent, f"frame {session.received + 1} is missing")
        return
    session.received = event.sequence
    _HANDLERS[type(message)](core, agent, message, now)
    if agent.session is session:
        look_again(core, agent, now)


def on_session_lost(core: Core, event: SessionLost, _now: float) -> None:
    """The transport gave it up; the time of its leases runs."""
    agent = core.sessions.get(event.session)
    if agent is not None:
        end_session(core, agent, event.reason)


def _on_heartbeat(core: Core, agent: Agent, message: Heartbeat, now: float) -> None:
    if message.nonce and message.reply:
        if not has_arrived(core, agent, message.nonce, now):
            core.commands.append(Answered(agent.id, message.nonce))
    elif message.nonce:
        send(core, agent, Heartbeat(message.nonce, reply=True, load=0.0), now)
    agent.spool_full = message.spool_full
    agent.spooled, agent.spooled_bytes = message.spooled, message.spooled_bytes
    # A RECALL that an agent has not answered by its next heartbeat is not waited for any longer.
    recall_answered(core, agent)


def _on_told(core: Core, agent: Agent, message: Told, _now: float) -> None:
    core.commands.append(Answered(agent.id, message.nonce, message))


def _on_drain(core: Core, agent: Agent, message: Drain, _now: float) -> None:
    if not agent.draining:
        tell_worker(core, agent, "draining", message.reason)
    agent.draining = True
    core.ripe[agent.id] = None
    note(core, "info", f"Agent {short(agent.id)} of worker {agent.name!r} drains: {message.reason}", agent.id)


def _on_error(core: Core, agent: Agent, message: Error, _now: float) -> None:
    text = f"Agent {short(agent.id)} of worker {agent.name!r} complains ({message.code}): {message.text}"
    note(core, "warning", text, agent.id)


def _on_bye(core: Core, agent: Agent, message: Bye, now: float) -> None:
    core.commands.append(EndSession(session_of(agent).id))
    end_session(core, agent, f"it left: {message.reason}")
    if agent.leases:
        lose_all(core, agent, now, f"its agent {agent.name!r} left")


_HANDLERS: dict[type, Callable[[Core, Agent, Any, float], None]] = {
    Results: on_results,
    Credit: on_credit,
    Started: on_started,
    Released: on_released,
    Progress: on_progress,
    Log: on_log,
    Heartbeat: _on_heartbeat,
    Told: _on_told,
    Drain: _on_drain,
    Error: _on_error,
    Bye: _on_bye,
    BlobGet: on_blob_get,
    BlobPiece: on_blob_piece,
}
