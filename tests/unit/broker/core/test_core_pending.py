"""Why a task waits, candidate by candidate."""

import pytest

from dart.broker.core import views
from dart.broker.core.events import Stopping
from dart.broker.core.model import OnLost
from dart.broker.core.pending import REASONS_MAX
from dart.broker.core.tokens import token_of
from dart.wire.messages import Heartbeat
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def said(r, task_id, job="job"):
    """The sentence, and the list."""
    view = views.task(r.core, job, task_id)
    return view.pending_reason, view.pending_reasons


def test_nobody_there(r):
    """A worker that is not connected; no candidate at all."""
    (there,), (anywhere,) = r.submit(1, location="w"), r.submit(1)
    assert said(r, there) == ("No worker called 'w' is connected.", ("Worker 'w' is not connected.",))
    assert said(r, anywhere) == ("No worker is connected.", ())


def test_each_candidate_has_its_own_reason(r):
    """Capabilities, draining, spool, slots and credit, room for the parameter, silence."""
    r.agent("lacks", credit=1)
    able = {"capabilities": ("gpu",)}
    r.agent("drains", **able).drain()
    r.agent("full", **able).say(Heartbeat(0, reply=False, load=0.0, spool_full=True))
    busy = r.agent("busy", slots=2, credit=2, **able)
    r.submit(2, location="busy")
    assert len(busy.given) == 2
    r.agent("idle", slots=2, **able)
    small = r.agent("small", slots=2, **able)
    small.credit(2, payload_bytes=15)
    r.submit(1, location="small", size=10)
    gone = r.agent("gone", credit=2, **able)
    r.submit(1, location="gone")
    gone.lose()
    (task_id,) = r.submit(1, requires=("gpu",), size=10)
    sentence, reasons = said(r, task_id)
    assert sentence == "Waits for a free slot of any connected worker."
    assert reasons == (
        "Worker 'lacks' on host 'host-lacks': lacks the capability gpu.",
        "Worker 'drains' on host 'host-drains': is draining.",
        "Worker 'full' on host 'host-full': its spool is full, it takes nothing until results were acknowledged.",
        "Worker 'busy' on host 'host-busy': all 2 slots are busy and its credit is used.",
        "Worker 'idle' on host 'host-idle': 0 of 2 slots are busy and its credit is used.",
        "Worker 'small' on host 'host-small': has no room for 10 bytes, or for what goes before them.",
        "Worker 'gone': silent; 1 tasks that it holds wait until they are given up at 1970-01-01 00:17:40 UTC.",
    )


def test_conditions_say_what_is_there_instead(r):
    """Values of the key that was asked about; a worker satisfies all of it with one agent or not at all."""
    r.agent("w", capabilities=("site=oslo", "gpu"))
    (worker,) = views.workers(r.core, r.now)
    assert worker.cover(("machine=test", "site!=rome", "gpu"))
    assert not worker.cover(("machine=test", "!gpu"))
    (task_id,) = r.submit(1, requires=("!gpu", "fpga", "site=rome", "size>1"))
    unsatisfied = [
        f"does not satisfy {text}" for text in ("!gpu", "site=rome (site is oslo)", "size>1 (size is not known)")
    ]
    assert said(r, task_id) == (
        "No agent of any connected worker satisfies !gpu, fpga, site=rome, size>1.",
        (f"Worker 'w' on host 'host-w': lacks the capability fpga; {'; '.join(unsatisfied)}.",),
    )
    (task_id,) = r.submit(1, requires=("!gpu",))
    assert said(r, task_id)[1] == ("Worker 'w' on host 'host-w': does not satisfy !gpu.",)


def test_full_spools(r):
    """Where nobody else could run it, the sentence says so; with room again it goes on."""
    agent = r.agent("w", slots=1)
    agent.say(Heartbeat(0, reply=False, load=0.0, spool_full=True))
    (task_id,) = r.submit(1, location="w")
    assert said(r, task_id)[0] == "The spools of all agents of worker 'w' that could run it are full."
    (worker,) = views.workers(r.core, r.now)
    assert worker.agents[0].spool_full
    agent.say(Heartbeat(0, reply=False, load=0.0))
    assert said(r, task_id)[0] == "Waits for a free slot of worker 'w'."
    agent.say(Heartbeat(0, reply=False, load=0.0, spool_full=True))
    agent.hello()
    assert not views.workers(r.core, r.now)[0].agents[0].spool_full


def test_standing_jobs(r):
    """Not done yet, failed, not for this worker, stopped before: each is said."""
    init = r.define_standing(worker_regex="a|b|d")
    a, b, _, d = (r.agent(name, slots=2, credit=5) for name in "abcd")
    b.fail(b.given[0], credit=5)
    (task_id,) = r.submit(1, requires=(token_of(init),))
    sentence, reasons = said(r, task_id)
    assert (
        sentence == "Comes after the standing job 'init', which is not done on any connected worker that could run it."
    )
    head = "the standing job 'init'"
    assert [reason.partition(": ")[2] for reason in reasons] == [
        f"{head} is not done there yet.",
        f"{head} did not succeed there; submit a task for it to that job.",
        f"{head} is not for it.",
        f"{head} is not done there yet.",
    ]
    r.stop("init")
    r.agent("e", credit=5)
    assert said(r, task_id)[1][-1].endswith("was stopped before it was done there.")
    d.credit(0)
    r.submit(1, "init", location="d")
    d.credit(1)
    d.finish(d.given[-1])
    assert said(r, task_id)[1][3].endswith("0 of 2 slots are busy and its credit is used.")
    assert a.given


def test_delayed(r):
    """How often it failed or was lost, and when it is tried again."""
    agent = r.agent("w", slots=3, credit=3)
    (failed,), (lost,) = r.submit(1, retries=1, retry_delay_seconds=60.0), r.submit(1, lost_retry_delay_seconds=60.0)
    agent.fail(agent.given[0])
    agent.bye()
    sentence = "It failed 1 times, and is tried again at 1970-01-01 00:17:40 UTC."
    assert said(r, failed) == (sentence, (sentence,))
    assert said(r, lost)[0] == "It was lost 1 times, and is tried again at 1970-01-01 00:17:40 UTC."


@pytest.mark.parametrize(
    ("on_lost", "then"),
    [
        (OnLost.REQUEUE, "then it may run elsewhere"),
        (OnLost.WAIT, "then it goes on waiting for that very agent"),
        (OnLost.FAIL, "then it is lost"),
    ],
)
def test_silent_holder(r, on_lost, then):
    """Until when the task stays with an agent that is silent, and what follows."""
    agent = r.agent("w", slots=1, credit=1)
    (task_id,) = r.submit(1, on_lost=on_lost)
    if on_lost is OnLost.FAIL:
        agent.start(agent.given[0])
    agent.lose()
    assert said(r, task_id)[0].endswith(f"keeps the task until 1970-01-01 00:17:40 UTC; {then}.")
    r.wait(61)
    if on_lost is OnLost.WAIT:
        assert said(r, task_id)[0].endswith("which was lost (on_lost=wait).")
        (other,) = r.submit(1, location="w")
        assert said(r, other)[1] == (
            "Worker 'w' is not connected.",
            "Worker 'w': silent; 1 tasks that it holds wait until they come back.",
        )


def test_running_and_stopping(r):
    """A task that runs waits for nothing; the end of the server is the only reason then."""
    agent = r.agent("w", credit=1)
    (running,), (queued,) = r.submit(1), r.submit(1)
    agent.start(agent.given[0])
    assert said(r, running) == ("", ())
    r.ask(Stopping)
    assert said(r, queued) == ("The server is stopping.", ("The server is stopping.",))


def test_the_list_is_bounded(r):
    """A thousand workers are not listed one by one."""
    for number in range(REASONS_MAX + 5):
        r.agent(f"w{number}")
    (task_id,) = r.submit(1)
    assert len(said(r, task_id)[1]) == REASONS_MAX
