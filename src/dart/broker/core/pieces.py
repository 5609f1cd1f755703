"""Pieces of blobs for agents: to whoever holds a lease that names the blob, and never many on their way.

Pieces are asked for, read by the shell, and sent as they come. What was sent counts as under way until a HEARTBEAT that
was sent behind it is answered. Its nonce cannot be guessed, so an agent that does not read gets no more than the bound.
"""

from dart.broker.core.commands import ReadBlob
from dart.broker.core.events import BlobRead
from dart.broker.core.foreign import denounce
from dart.broker.core.liveness import short
from dart.broker.core.model import Agent
from dart.broker.core.state import Core, note, send, session_of
from dart.wire.messages import BlobGet, Heartbeat


def on_blob_get(core: Core, agent: Agent, message: BlobGet, _now: float) -> None:
    """Have it read, when it is its turn. What cannot be answered is dropped; an honest agent asks again."""
    if message.ref is None:
        return
    lease = agent.leases.get(message.ref.task_id)
    if lease is None or lease.attempt != message.ref.attempt:
        denounce(core, agent, (message.ref,), "BLOB_GET")
        return
    session = session_of(agent)
    if len(session.pieces) < core.limits.blob_pieces_max:
        session.pieces.append(message)
        _read_on(core, agent)


def on_blob_read(core: Core, event: BlobRead, now: float) -> None:
    """Send it."""
    agent = core.sessions.get(event.session)
    if agent is None or agent.session is None:
        return
    session = agent.session
    session.pieces_read_bytes -= event.asked_bytes
    if event.blob is not None:
        session.pieces_sent_bytes += len(event.blob.data)
        send(core, agent, event.blob, now)
    if event.refused:
        text = (
            f"Agent {short(agent.id)} of worker {agent.name!r} asked for a blob that the parameter of its task does "
            "not name; it was not given."
        )
        note(core, "warning", text, agent.id)
    session.pieces_nonce = event.nonce
    _probe(core, agent, now)
    _read_on(core, agent)


def _probe(core: Core, agent: Agent, now: float) -> None:
    """Ask whether what was sent has arrived, unless it is being asked."""
    session = session_of(agent)
    if session.pieces_sent_bytes and not session.pieces_probe[0]:
        session.pieces_probe = (session.pieces_nonce, session.pieces_sent_bytes)
        send(core, agent, Heartbeat(session.pieces_nonce, reply=False, load=0.0), now)


def has_arrived(core: Core, agent: Agent, nonce: int, now: float) -> bool:
    """A HEARTBEAT was answered: whether it was one that asked for pieces."""
    session = session_of(agent)
    if nonce != session.pieces_probe[0]:
        return False
    session.pieces_sent_bytes -= session.pieces_probe[1]
    session.pieces_probe = (0, 0)
    _probe(core, agent, now)
    _read_on(core, agent)
    return True


def _read_on(core: Core, agent: Agent) -> None:
    session, limits = session_of(agent), core.limits
    while session.pieces and session.pieces_read_bytes + session.pieces_sent_bytes < limits.blob_pieces_bytes_max:
        asked = session.pieces.popleft()
        if asked.ref is None or asked.ref.task_id not in agent.leases:
            continue
        size = min(asked.size, limits.blob_piece_bytes)
        session.pieces_read_bytes += size
        core.commands.append(ReadBlob(session.id, asked.ref.task_id, asked.sha256, asked.offset, size))
