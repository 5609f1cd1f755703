"""What the broker asks the agent itself, and runners that are renewed between tasks when modules were switched."""

from dart.agent import events
from dart.agent.core.questions import WAITING_MAX
from dart.wire import messages
from harness.agent_recorder import Recorder


def ask(nonce: int) -> messages.Ask:
    return messages.Ask(nonce, "push", "", b"\x80")


def test_a_question_is_passed_on_and_its_answer_told():
    """Both with the nonce."""
    agent = Recorder().live()
    agent.hears(ask(7))
    assert agent.of(events.Answer) == [events.Answer(ask(7))]
    agent.do(events.Answered(7, "", {"m": "1"}))
    assert agent.sent(messages.Told) == [messages.Told(7, "", {"m": "1"})]


def test_too_many_questions_are_refused():
    """A broker cannot pile them up; each answer makes room for one."""
    agent = Recorder().live()
    for nonce in range(1, WAITING_MAX + 1):
        assert events.Answer(ask(nonce)) in agent.hears(ask(nonce))
    agent.hears(ask(WAITING_MAX + 1))
    assert agent.of(events.Answer) == []
    (refused,) = agent.sent(messages.Told)
    assert (refused.nonce, refused.facts) == (WAITING_MAX + 1, {})
    assert "wait already" in refused.error
    agent.do(events.Answered(1, "no", {}))
    agent.hears(ask(99))
    assert agent.of(events.Answer)[-1].question.nonce == 99


def test_without_a_session_an_answer_is_told_to_nobody():
    """Whoever asked has another session now, and asks again."""
    agent = Recorder().live()
    agent.hears(ask(7))
    agent.do(events.LinkDown("gone", 0.5))
    agent.do(events.Answered(7, "", {}))
    assert agent.sent(messages.Told) == []


def test_idle_runners_are_renewed_at_once():
    """They take nothing before."""
    agent = Recorder(slots=2).live()
    agent.hears(ask(7))
    agent.do(events.Answered(7, "", {}, renew=True))
    assert [kill.slot for kill in agent.of(events.Kill)] == [0, 1]
    agent.tasks(1)
    assert agent.given() == {}
    agent.dies(0)
    agent.do(events.RunnerReady(0, {}))
    assert agent.given() == {0: [1]}


def test_a_busy_runner_ends_its_task_and_takes_no_other():
    """What waited in it is taken back, and runs with the new modules."""
    agent = Recorder(slots=1).live()
    agent.tasks(1, 2)
    agent.hears(ask(7))
    agent.do(events.Answered(7, "", {}, renew=True))
    assert agent.of(events.TakeBack) == [events.TakeBack(0)]
    agent.takes_back(0, 2)
    assert agent.of(events.Kill) == []
    agent.ends(0, 1)
    assert [kill.slot for kill in agent.of(events.Kill)] == [0]
    agent.dies(0)
    agent.do(events.RunnerReady(0, {}))
    assert agent.given()[0][-1] == 2
    agent.ends(0, 2)
    assert agent.of(events.Kill) == [], "it is renewed once"


def test_a_question_that_changed_nothing_renews_nothing():
    """Nor does a refused push."""
    agent = Recorder().live()
    agent.hears(ask(7))
    agent.do(events.Answered(7, "the owner does not take it", {}))
    assert agent.of(events.Kill) == []
