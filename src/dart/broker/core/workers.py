"""What clients do to workers: drain, ping; and what the server itself does: it moves, it ends."""

from dart.broker.core.commands import Answered, Refuse, Reply
from dart.broker.core.events import ServerMoves, Stopping, Token, WorkersAsked, WorkersDrained, WorkersPinged
from dart.broker.core.happenings import tell_worker
from dart.broker.core.hello import refuse_session
from dart.broker.core.liveness import end_session
from dart.broker.core.model import Agent
from dart.broker.core.recall import recall_all
from dart.broker.core.state import Core, send, session_of
from dart.errors import UnknownWorkerError
from dart.wire.messages import Bye, Drain, ErrorCode, Heartbeat, Told

_TOO_OLD = "this agent is of a version that knows no such question; `dart worker upgrade` brings another"


def on_workers_drained(core: Core, event: WorkersDrained, now: float) -> None:
    """Ask the agents of a name, or one of them, to finish and leave."""
    agents = _connected(core, event.token, event.name, event.agent_id)
    for agent in agents:
        if not agent.draining:
            tell_worker(core, agent, "draining", "asked for by a client")
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


def on_workers_asked(core: Core, event: WorkersAsked, now: float) -> None:
    """Send each agent of a name a question. For those whose version knows none, the answer is given here."""
    sessions = []
    nonce = event.question.nonce
    for agent in _connected(core, event.token, event.name):
        if agent.questions:
            send(core, agent, event.question, now)
        else:
            core.commands.append(Answered(agent.id, nonce, Told(nonce, _TOO_OLD, {})))
        sessions.append(session_of(agent).id)
    if sessions:
        core.commands.append(Reply(event.token, tuple(sessions)))


def on_server_moves(core: Core, event: ServerMoves, _now: float) -> None:
    """Tell agents in WELCOME where to connect from now on; those that had theirs are asked to begin anew."""
    core.next_server = event.next
    if event.next is not None:
        for agent in list(core.sessions.values()):
            text = "The broker's key changes; begin a new session to hear of it."
            refuse_session(core, session_of(agent).id, ErrorCode.SAY_HELLO, text)
            end_session(core, agent, "the broker's key changes, it is to hear of it")
    core.commands.append(Reply(event.token, None))


def on_stopping(core: Core, event: Stopping, now: float) -> None:
    """Give nothing more and say BYE; what agents hold stays theirs until the server is back."""
    core.stopping = True
    for agent in core.sessions.values():
        send(core, agent, Bye("the server stops"), now)
    core.commands.append(Reply(event.token, None))


def _connected(core: Core, token: Token, name: str, agent_id: str = "") -> list[Agent]:
    """The agents of a name, or the one of this id; the caller is refused if there is none."""
    agents = [agent for agent in core.connected.get(name, {}).values() if agent_id in {"", agent.id}]
    if not agents:
        text = f"No worker called {name!r} is connected; the connected ones are listed under /worker/."
        core.commands.append(Refuse(token, UnknownWorkerError(text, worker=name)))
    return agents
