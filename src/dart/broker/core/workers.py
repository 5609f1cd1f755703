"""What clients do to workers: enroll, drain, ping; and the end of the server."""

from hashlib import sha256

from dart.broker.core.commands import Refuse, Reply
from dart.broker.core.events import AgentEnrolled, Stopping, Token, WorkersDrained, WorkersPinged
from dart.broker.core.model import Agent, Enrolment
from dart.broker.core.recall import recall_all
from dart.broker.core.records import EnrolmentAdded
from dart.broker.core.state import Core, milliseconds, persist, send, session_of
from dart.errors import ConflictError, UnknownWorkerError
from dart.ids import AgentId
from dart.wire.messages import Bye, Drain, Heartbeat


def on_agent_enrolled(core: Core, event: AgentEnrolled, now: float) -> None:
    """Admit a key for one name."""
    agent_id = AgentId(sha256(event.public_key).hexdigest())
    known = core.enrolments.get(agent_id)
    if known is None:
        enrolment = Enrolment(agent_id, event.public_key, event.name, milliseconds(now))
        core.enrolments[agent_id] = enrolment
        persist(core, EnrolmentAdded(enrolment))
    elif known.name != event.name:
        text = f"This key is enrolled for the worker {known.name!r} already; make another key for {event.name!r}."
        core.commands.append(Refuse(event.token, ConflictError(text, worker=known.name)))
        return
    core.commands.append(Reply(event.token, agent_id))


def on_workers_drained(core: Core, event: WorkersDrained, now: float) -> None:
    """Ask the agents of a name to finish and leave."""
    agents = _connected(core, event.token, event.name)
    for agent in agents:
        agent.draining = True
        core.drained[agent.id] = agent.boot_id
        core.hungry.pop(agent.id, None)
        send(core, agent, Drain("asked for by a client"), now)
        recall_all(core, agent, now)
    if agents:
        core.commands.append(Reply(event.token, len(agents)))


def on_workers_pinged(core: Core, event: WorkersPinged, now: float) -> None:
    """Send each agent of a name a HEARTBEAT that asks for an answer."""
    sessions = []
    for agent in _connected(core, event.token, event.name):
        send(core, agent, Heartbeat(event.nonce, reply=False, load=0.0), now)
        sessions.append(session_of(agent).id)
    if sessions:
        core.commands.append(Reply(event.token, tuple(sessions)))


def on_stopping(core: Core, event: Stopping, now: float) -> None:
    """Give nothing more and say BYE; what agents hold stays theirs until the server is back."""
    core.stopping = True
    for agent in core.sessions.values():
        send(core, agent, Bye("the server stops"), now)
    core.commands.append(Reply(event.token, None))


def _connected(core: Core, token: Token, name: str) -> list[Agent]:
    """The agents of a name; the caller is refused if there is none."""
    agents = list(core.connected.get(name, {}).values())
    if not agents:
        text = f"No worker called {name!r} is connected; the connected ones are listed under /worker/."
        core.commands.append(Refuse(token, UnknownWorkerError(text, worker=name)))
    return agents
