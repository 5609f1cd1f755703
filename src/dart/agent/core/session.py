"""The session with the broker: connecting, HELLO and WELCOME, running numbers, heartbeats, complaints."""

from operator import itemgetter

from dart.agent.core import blobs, credit, leaving, outcomes, questions, reports, result_blobs, slots
from dart.agent.core.state import Fate, Phase, Session, State
from dart.agent.core.terms import within_bounds
from dart.agent.events import Connect, Disconnect, FrameArrived, Joined, LinkDown, LinkUp, Remember, Revoked
from dart.wire.messages import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSIONS,
    Ack,
    Ask,
    Blob,
    BlobAsk,
    Bye,
    Cancel,
    Drain,
    Error,
    ErrorCode,
    Heartbeat,
    Hello,
    Recall,
    Tasks,
    Welcome,
)

RUNNER_WAIT_SECONDS = 2.0
"""HELLO waits for the first runner, whose Python it names, but no longer than this."""
STEADY_SECONDS = 1.0
"""A session that ends sooner was none: a broker that welcomes and throws out again is asked ever more seldom."""
PATIENCE = 2
"""So many times as long a connection that was not the first attempt waits for WELCOME."""
OVER_LIMIT_FAILURES = 5
"""A broker that has no room is asked again as seldom as after so many failures."""

# ---- connecting ----


def on_started(state: State) -> None:
    """Connect when the first runner has spoken, or soon."""
    state.retry_at = state.now + RUNNER_WAIT_SECONDS


def on_first_runner(state: State) -> None:
    """A runner has spoken: no need to wait further before the first HELLO."""
    if not state.started and state.retry_at is not None:
        state.retry_at = state.now


def connect_when_due(state: State) -> None:
    """Open a socket when the time of waiting is over."""
    if state.phase is Phase.WAITING and state.retry_at is not None and state.retry_at <= state.now:
        state.started = True
        state.retry_at = None
        state.phase = Phase.CONNECTING
        state.session = Session()
        state.last_heard_at = state.now
        state.commands.append(Connect())


def on_link_up(state: State, event: LinkUp) -> None:
    """Say HELLO on the new socket."""
    state.jitter = event.jitter
    if state.phase is not Phase.CONNECTING or state.session.sent:
        return
    identity = state.identity
    most = state.limits.hello_items_max
    attempts = [ref for ref, held in state.held.items() if held.fate is not Fate.ABANDONED]
    # Those held back come last: where not all can be named, they must not keep the others from being sent.
    ours = [(ref, kept.held_back) for ref, kept in state.kept.items() if kept.store_id == state.store_id]
    results = [ref for ref, _ in sorted(ours, key=itemgetter(1))]
    state.session.server = event.server
    state.session.hello_store_id = state.store_id
    state.send(
        Hello(
            versions=PROTOCOL_VERSIONS,
            name=identity.name,
            slots=identity.slots,
            capabilities=identity.capabilities,
            host=identity.host,
            boot_id=identity.boot_id,
            store_id=state.store_id,
            attempts=tuple(attempts[:most]),
            results=tuple(results[:most]),
            facts=state.facts,
            draining=state.leaving,
            questions=True,
        )
    )


def on_link_down(state: State, event: LinkDown) -> None:
    """The socket is gone."""
    state.jitter = event.jitter
    if state.phase in {Phase.CONNECTING, Phase.LIVE}:
        lose(state, event.reason)


def lose(state: State, reason: str) -> None:
    """The session is over; a new one follows after a while that grows with each failure."""
    if state.phase is Phase.LIVE and state.now >= state.session.live_since + STEADY_SECONDS:
        state.failures = 0
        state.lost_because = ""
    if reason != state.lost_because:
        state.say("warning", f"no link to the broker: {reason}; trying again", bounded=True)
    state.lost_because = reason
    state.phase = Phase.WAITING
    reports.clear(state)
    state.commands.append(Disconnect(0.0))
    limits = state.limits
    wait = min(limits.reconnect_seconds_max, limits.reconnect_seconds_min * 2.0 ** min(state.failures, 30))
    # The first wait may be next to nothing, later ones at least half of what is due.
    least = 0.0 if state.failures == 0 else 0.5
    state.retry_at = state.now + wait * (least + (1.0 - least) * state.jitter)
    state.failures += 1


# ---- hearing ----


def on_frame(state: State, event: FrameArrived) -> None:
    """Check the running number, then act."""
    if state.phase not in {Phase.CONNECTING, Phase.LIVE}:
        return
    message = event.message
    session = state.session
    if event.sequence != 0:
        if event.sequence <= session.heard:
            return
        if event.sequence != session.heard + 1:
            lose(state, f"frame {session.heard + 1} of the broker is missing")
            return
        session.heard = event.sequence
    elif not isinstance(message, Error):
        return
    state.last_heard_at = state.now
    if isinstance(message, Error):
        _on_error(state, message)
    elif isinstance(message, Welcome):
        _on_welcome(state, message)
    elif state.phase is Phase.LIVE:
        _act(state, event.sequence, message)


def _act(
    state: State, sequence: int, message: Tasks | Ack | Cancel | Recall | Ask | Heartbeat | Drain | Bye | Blob | BlobAsk
) -> None:
    match message:
        case Tasks():
            if not credit.covers(state, message.leases):
                lose(state, "the broker gave more tasks than this agent asked for")
                return
            state.session.tasks_seen = sequence
            state.session.credit_left -= len(message.leases)
            slots.on_tasks(state, message)
        case Ack():
            outcomes.forget(state, message.attempts)
        case Cancel():
            slots.abandon(state, message.attempts)
        case Recall():
            slots.recall(state, message.attempts)
        case Ask():
            questions.on_ask(state, message)
        case Heartbeat():
            _on_heartbeat(state, message)
        case Drain():
            leaving.on_drain(state, message)
        case Bye():
            lose(state, f"the server leaves ({message.reason})")
        case _:
            _on_blob(state, message)


def _on_blob(state: State, message: Blob | BlobAsk) -> None:
    if isinstance(message, Blob):
        blobs.on_piece(state, message)
    elif not result_blobs.on_ask(state, message):
        lose(state, "the broker asks for more pieces of blobs than this agent reads at a time")


def _on_welcome(state: State, welcome: Welcome) -> None:
    if state.phase is Phase.LIVE or not state.session.sent:
        return
    if welcome.version not in PROTOCOL_VERSIONS:
        leaving.refuse(state, f"the broker chose protocol version {welcome.version}, which this agent does not speak")
        return
    state.phase = Phase.LIVE
    state.session.live_since = state.now
    state.session.welcome = welcome = within_bounds(welcome, state.limits)
    _meet_store(state, welcome)
    if state.phase is not Phase.LIVE:
        return
    slots.abandon(state, welcome.drop)
    blobs.on_welcome(state)
    outcomes.on_welcome(state, welcome)
    for slot in state.slots:
        slot.start_told = False
    state.commands.append(Joined(state.identity.name, state.identity.slots))
    if state.leaving:
        state.send(Drain("stopping"))
    _beat(state)
    _follow(state, welcome)


def _follow(state: State, welcome: Welcome) -> None:
    """Keep where the server wants its agents from now on, and go there; but try that once only, not in a circle."""
    if welcome.next == state.next_server:
        return
    state.next_server = welcome.next
    state.commands.append(Remember(welcome.next))
    if welcome.next is not None and welcome.next != state.session.server:
        lose(state, f"the server changes its key, and wants agents at port {welcome.next.port}")


def _meet_store(state: State, welcome: Welcome) -> None:
    """Attempts of another store are void. Results that this store waits for must be named to it in a HELLO."""
    if welcome.store_id == state.session.hello_store_id:
        return
    foreign = [ref for ref, held in state.held.items() if held.store_id != welcome.store_id]
    state.store_id = welcome.store_id
    slots.abandon(state, foreign)
    if any(kept.store_id == welcome.store_id for kept in state.kept.values()):
        lose(state, "the broker has the store of an earlier session again, its results are to be named")


# ---- heartbeats ----


def _beat(state: State) -> None:
    session = state.session
    session.nonce += 1
    session.nonce_sent_at = state.now
    _send_heartbeat(state, session.nonce, reply=False)


def _send_heartbeat(state: State, nonce: int, *, reply: bool) -> None:
    state.session.full_told = credit.is_full(state)
    load = state.running() / len(state.slots)
    full = state.session.full_told
    state.send(Heartbeat(nonce, reply, load, spool_full=full, spooled=len(state.kept), spooled_bytes=state.kept_bytes))


def _on_heartbeat(state: State, heartbeat: Heartbeat) -> None:
    session = state.session
    if heartbeat.reply:
        if heartbeat.nonce == session.nonce:
            state.round_trip_seconds = max(0.0, state.now - session.nonce_sent_at)
    elif heartbeat.nonce:
        _send_heartbeat(state, heartbeat.nonce, reply=True)


def keep_alive(state: State) -> None:
    """Give up a silent link; send a heartbeat on a quiet one, and when the spool gets full or has room again."""
    if state.phase in {Phase.CONNECTING, Phase.LIVE} and _silent_at(state) <= state.now:
        lose(state, f"nothing was heard for {state.now - state.last_heard_at:.0f} s")
    changed = credit.is_full(state) != state.session.full_told
    if state.phase is Phase.LIVE and (changed or _beat_at(state) <= state.now):
        _beat(state)


def _silent_at(state: State) -> float:
    welcome = state.session.welcome
    if welcome is not None:
        return state.last_heard_at + welcome.silence_seconds
    # A broker that many want to come back to is slow: who gives up and begins anew makes it slower.
    patience = PATIENCE if state.failures else 1
    return state.last_heard_at + patience * state.limits.silence_seconds


def _beat_at(state: State) -> float:
    welcome = state.session.welcome
    return state.last_sent_at + (state.limits.heartbeat_seconds if welcome is None else welcome.heartbeat_seconds)


def deadline(state: State) -> float | None:
    """When to connect, to beat or to give up."""
    if state.phase is Phase.WAITING:
        return state.retry_at
    if state.phase is Phase.CONNECTING:
        return _silent_at(state)
    return min(_silent_at(state), _beat_at(state)) if state.phase is Phase.LIVE else None


# ---- complaints ----


def _on_error(state: State, error: Error) -> None:
    code = error.code
    if code == ErrorCode.SAY_HELLO:
        lose(state, error.text or "the broker asks for a new session")
    elif code == ErrorCode.SUPERSEDED:
        leaving.refuse(
            state,
            f"another agent with the same key is connected and newer ({error.text}): this one stops. Two agents must "
            "not share a home directory's key (was a disk or SD card copied?); enrol one of them anew",
        )
    elif code == ErrorCode.REVOKED:
        state.commands.append(Revoked())
        text = f"the key of this agent was revoked ({error.text}). Results stay in its spool; to join again as a new "
        leaving.refuse(state, text + "agent it needs a new token")
    elif code == ErrorCode.NAME_REFUSED:
        leaving.refuse(
            state,
            f"the broker refuses the name {state.identity.name!r} ({error.text}); start with the name that this key "
            "was enrolled for, or with another home directory",
        )
    elif code == ErrorCode.UNSUPPORTED_VERSION:
        leaving.refuse(
            state,
            f"the broker does not speak protocol version {PROTOCOL_VERSION} ({error.text}); upgrade the older one",
        )
    elif code == ErrorCode.OVER_LIMIT:
        state.failures = max(state.failures, OVER_LIMIT_FAILURES)
        state.say("warning", f"the broker has no room for this agent: {error.text}", bounded=True)
        lose(state, error.text)
    else:
        state.say("warning", f"the broker complains (code {code}): {error.text}", bounded=True)
