"""What the broker asks the agent itself, beside all tasks; and runners that begin anew since modules were switched."""

from dart.agent.core.dispatch import take_back
from dart.agent.core.slots import kill
from dart.agent.core.state import Phase, State
from dart.agent.events import Answer, Answered
from dart.wire.messages import Ask, Told

WAITING_MAX = 8
"""Questions that wait for their answers; further ones are refused."""


def on_ask(state: State, question: Ask) -> None:
    """Have it answered, unless too many wait already."""
    if state.questions >= WAITING_MAX:
        state.send(Told(question.nonce, f"{WAITING_MAX} questions wait already; ask again later", {}))
        return
    state.questions += 1
    state.commands.append(Answer(question))


def on_answered(state: State, event: Answered) -> None:
    """Tell it, if there still is a session; runners of before a switch take nothing more."""
    state.questions -= 1
    if state.phase is Phase.LIVE:
        state.send(Told(event.nonce, event.error, event.facts))
    if event.renew:
        for number, slot in enumerate(state.slots):
            slot.stale = True
            if len(slot.pipeline) > 1:
                take_back(state, number)


def renew_runners(state: State) -> None:
    """End runners that have older modules, as soon as they run nothing."""
    for number, slot in enumerate(state.slots):
        if slot.stale and slot.ready and not slot.pipeline:
            kill(state, number)
