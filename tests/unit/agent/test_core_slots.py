"""Tasks on their way: queue, pipelines, taking back, recall, cancel, timeout, dying runners."""

from dart.agent import events
from dart.errors import TaskErrorCode
from dart.wire import messages
from harness.agent_recorder import Recorder, lease, ref, result, runner_result


def quick(agent: Recorder, seconds: float = 0.001) -> Recorder:
    """Let the agent know that tasks are short."""
    agent.state.duration_seconds = seconds
    return agent


def text_of(outcome: messages.Result) -> str:
    return bytes(outcome.payload)[5:].decode()


def outcome(agent: Recorder) -> messages.Result:
    (results,) = agent.sent(messages.Results)
    (only,) = results.results
    return only


def test_idle_slots_first_then_ahead_evenly():
    """Each slot gets a task before any gets a second; unknown durations go one ahead."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2, 3, 4, 5)
    assert agent.given() == {0: [1, 3], 1: [2, 4]}
    assert len(agent.of(events.Give)) == 2, "one Give a slot"
    agent.ends(0, 1)
    assert agent.given() == {}, "tasks of half a second need none ahead"
    agent.ends(0, 3)
    assert agent.given() == {0: [5]}


def test_short_tasks_go_deep_and_are_refilled_when_half_is_gone():
    """Pipelines keep runners busy while the agent is not asked for every task."""
    agent = quick(Recorder(pipeline_max=4).live())
    agent.tasks(*range(1, 11))
    assert agent.given() == {0: [1, 2, 3, 4, 5]}
    agent.ends(0, 1, duration=0.001)
    assert agent.given() == {}
    agent.ends(0, 2, duration=0.001)
    assert agent.given() == {0: [6, 7]}


def test_long_tasks_are_not_given_ahead():
    """What waits at a slot cannot run elsewhere; a long task leaves time to bring the next."""
    agent = quick(Recorder().live(), 10.0)
    agent.tasks(1, 2)
    assert agent.given() == {0: [1]}


def test_a_long_task_does_not_hold_up_those_behind_it():
    """An idle slot takes over what waits behind a task that runs for a while."""
    agent = quick(Recorder(slots=2).live())
    agent.tasks(1, 2, 3, 4)
    assert agent.given() == {0: [1, 3], 1: [2, 4]}
    agent.ends(1, 2, 4, duration=0.001)
    assert agent.of(events.TakeBack) == [], "it may end any moment"
    assert agent.core.next_deadline() == agent.now + 0.01
    agent.until_deadline()
    assert agent.of(events.TakeBack) == [events.TakeBack(0)]
    assert agent.passes(0.02) == [], "asked once"
    agent.takes_back(0, 3)
    assert agent.given() == {1: [3]}


def test_taking_over_that_comes_too_late_is_tried_again_later():
    """The runner had begun already: nothing comes back, and the agent does not ask in a loop."""
    agent = quick(Recorder(slots=2).live())
    agent.tasks(1, 2, 3)
    agent.ends(1, 2, duration=0.001)
    agent.until_deadline()
    assert agent.of(events.TakeBack)
    assert agent.takes_back(0) == []
    assert agent.core.next_deadline() == agent.now + 0.01


def test_recall_gives_back_what_is_not_begun():
    """From the queue at once, from a pipeline by taking back; what runs goes on."""
    agent = quick(Recorder(pipeline_max=2).live())
    agent.tasks(1, 2, 3, 4, 5)
    assert agent.given() == {0: [1, 2, 3]}
    agent.hears(messages.Recall((ref(1), ref(3), ref(5), ref(99))))
    assert agent.sent(messages.Released) == [messages.Released((ref(5),))]
    assert agent.of(events.TakeBack) == [events.TakeBack(0)]
    agent.takes_back(0, 2, 3)
    assert agent.sent(messages.Released) == [messages.Released((ref(3),))]
    assert agent.given() == {0: [2, 4]}


def test_recall_that_comes_too_late_means_nothing():
    """What began in the meantime ends as usual."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2)
    agent.hears(messages.Recall((ref(2),)))
    agent.takes_back(0)
    assert agent.sent(messages.Released) == []
    agent.hears(messages.Recall((ref(1),)))
    agent.ends(0, 1, 2)
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1), ref(2)]


def test_recall_asked_twice_takes_back_once():
    """The second one finds the first under way."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2, 3)
    agent.hears(messages.Recall((ref(2),)))
    agent.hears(messages.Recall((ref(2), ref(3))))
    assert agent.of(events.TakeBack) == []
    agent.takes_back(0, 2, 3)
    assert agent.sent(messages.Released) == [messages.Released((ref(2), ref(3)))]


def test_releases_are_split_like_everything():
    """No message has more items than the broker takes."""
    agent = Recorder(prefetch_max=50).start()
    agent.hello()
    agent.welcome(batch_items_max=2)
    agent.tasks(1, 2, 3, 4, 5)
    agent.hears(messages.Recall((ref(3), ref(4), ref(5))))
    assert agent.sent(messages.Released) == [messages.Released((ref(3), ref(4))), messages.Released((ref(5),))]


def test_cancel_drops_what_waits_and_kills_what_runs():
    """No result is sent; what waits behind the killed task runs elsewhere or afterwards."""
    agent = quick(Recorder(pipeline_max=2).live())
    agent.tasks(1, 2, 3, 4)
    agent.hears(messages.Cancel((ref(1), ref(4), ref(77))))
    assert agent.of(events.TakeBack) == [events.TakeBack(0)]
    assert agent.of(events.Kill) == [events.Kill(0, agent.limits.kill_grace_seconds)]
    agent.takes_back(0, 2, 3)
    assert agent.given() == {}
    agent.dies(0, 1)
    assert agent.sent(messages.Results) == []
    agent.do(events.RunnerReady(0, {}))
    assert agent.given() == {0: [2, 3]}


def test_cancel_of_an_untouched_task_takes_it_back():
    """The one in front goes on, the ones beside it are given again."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2, 3)
    agent.hears(messages.Cancel((ref(2),)))
    assert agent.of(events.Kill) == []
    agent.takes_back(0, 2, 3)
    assert agent.given() == {0: [3]}
    assert ref(2) not in agent.state.held


def test_cancel_of_a_task_that_began_in_the_meantime_kills_it():
    """It was not untouched any more: its result is not wanted, so it is interrupted."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2)
    agent.hears(messages.Cancel((ref(2),)))
    agent.takes_back(0)
    assert agent.of(events.Kill)
    agent.ends(0, 1)
    assert [r.ref for r in agent.sent(messages.Results)[0].results] == [ref(1)]
    agent.dies(0, 2)
    assert agent.sent(messages.Results) == []
    assert agent.state.held == {}


def test_a_cancelled_task_that_ends_first_has_no_result():
    """The runner was faster than the signal."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.hears(messages.Cancel((ref(1),)))
    agent.hears(messages.Cancel((ref(1),)))
    assert agent.of(events.Kill) == [], "killed once"
    agent.ends(0, 1)
    assert agent.sent(messages.Results) == []
    agent.dies(0)
    assert agent.state.held == {}


def test_cancel_of_what_a_killed_runner_has_untouched():
    """It is dropped when the runner is dead, since a dying runner is not asked for anything."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2, 3)
    agent.hears(messages.Cancel((ref(1),)))
    agent.takes_back(0)
    agent.hears(messages.Cancel((ref(2),)))
    assert agent.of(events.TakeBack) == []
    agent.dies(0, 1, 2, 3)
    assert list(agent.state.held) == [ref(3)]


def test_a_task_that_began_just_before_the_kill_of_its_predecessor_runs_again():
    """It was our signal that hit it; it is not to blame."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2)
    agent.hears(messages.Cancel((ref(1),)))
    agent.takes_back(0)
    agent.ends(0, 1)
    agent.dies(0, 2)
    assert agent.sent(messages.Results) == []
    agent.do(events.RunnerReady(0, {}))
    assert agent.given() == {0: [2]}


def test_the_same_on_the_way_out_is_left_to_the_broker():
    """Nothing is begun any more; at BYE the broker sees that it has no result."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2)
    agent.hears(messages.Cancel((ref(1),)))
    agent.takes_back(0)
    agent.ends(0, 1)
    agent.do(events.StopAsked())
    agent.dies(0, 2)
    assert agent.sent(messages.Results) == []
    assert agent.of(events.Exit)


def test_a_task_that_runs_too_long_is_killed_and_says_so():
    """The time counts from when it began, and the text names the limit."""
    agent = quick(Recorder().live())
    agent.tasks(1, lease(2, timeout=3.0))
    agent.now += 2.0
    agent.ends(0, 1)
    agent.passes(2.9)
    assert agent.of(events.Kill) == []
    agent.passes(0.1)
    assert agent.of(events.Kill) == [events.Kill(0, agent.limits.kill_grace_seconds)]
    agent.now += 0.5
    agent.dies(0, 2)
    found = outcome(agent)
    assert (found.error_code, found.success) == (TaskErrorCode.TIMED_OUT, False)
    assert text_of(found) == "ran longer than 3 s, the task's timeout, and was interrupted"
    assert found.duration_seconds == 3.5
    assert found.start_time_ms == 1_002_000


def test_what_a_timed_out_task_still_returns_is_not_its_result():
    """It may have cleaned up on SIGTERM; what it returns then is not what was asked for."""
    agent = Recorder().live()
    agent.tasks(lease(1, timeout=1.0))
    agent.passes(1.0)
    agent.ends(0, 1)
    assert outcome(agent).error_code == TaskErrorCode.TIMED_OUT
    assert agent.passes(5.0)
    agent.dies(0)
    assert agent.sent(messages.Results) == []


def test_a_runner_that_dies_is_an_error_of_what_it_ran():
    """With the reason; what it had not begun is given again, in order."""
    agent = quick(Recorder(pipeline_max=2).live())
    agent.tasks(1, 2, 3, 4)
    agent.now += 2.0
    agent.dies(0, 1, 2, 3)
    found = outcome(agent)
    assert found.error_code == TaskErrorCode.RUNNER_DIED
    assert text_of(found) == "the runner process ended while it ran this task: killed by SIGSEGV"
    agent.do(events.RunnerReady(0, {}))
    assert agent.given() == {0: [2, 3, 4]}


def test_a_result_lost_in_the_pipe_counts_as_begun():
    """Neither untouched nor answered: it may have run, so it is not run again unasked."""
    agent = quick(Recorder().live())
    agent.tasks(1, 2, 3)
    agent.dies(0, 2, 3)
    (results,) = agent.sent(messages.Results)
    assert {r.ref for r in results.results} == {ref(1), ref(2)}


def test_an_idle_runner_that_dies_is_only_replaced():
    """No task, no error."""
    agent = Recorder().live()
    agent.dies(0)
    assert agent.sent(messages.Results) == []
    assert agent.sent(messages.Credit)[0].tasks == 0
    agent.do(events.RunnerReady(0, {}))
    assert agent.sent(messages.Credit)[0].tasks == 2


def test_when_no_runner_works_everything_is_given_back():
    """Others may have what waits here; people are told once a slot."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2, 3, 4, 5)
    agent.dies(0, 1, 3)
    agent.dies(1, 2, 4)
    agent.do(events.RunnerFailed(0, "no python"))
    assert "slot 0 cannot be started: no python" in agent.texts()
    assert agent.sent(messages.Released) == []
    agent.do(events.RunnerFailed(0, "no python"))
    assert agent.texts() == ""
    agent.do(events.RunnerFailed(1, "no python"))
    assert agent.sent(messages.Released) == [messages.Released((ref(3), ref(4), ref(5)))] or agent.sent(
        messages.Released
    ) == [messages.Released((ref(4), ref(3), ref(5)))]


def test_a_lease_given_twice_runs_once():
    """Whatever the broker meant, one attempt is one run."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.tasks(1)
    assert "given twice" in agent.texts()
    assert agent.given() == {}
    agent.ends(0, 1)
    agent.tasks(1)
    assert agent.given() == {}


def test_a_parameter_too_large_is_refused_with_both_sizes():
    """The result says what the limit is and which."""
    agent = Recorder(value_bytes_max=1024).live()
    agent.tasks(lease(1, parameter=b"x" * 1025))
    found = outcome(agent)
    assert found.error_code == TaskErrorCode.TOO_LARGE
    assert "1025" in text_of(found)
    assert "1024 (value_bytes_max)" in text_of(found)


def test_answers_for_foreign_tasks_are_ignored():
    """A runner that answers what it was not given is not believed."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2)
    agent.do(events.TasksEnded(0, (runner_result(2), runner_result(99))))
    assert agent.sent(messages.Results) == []
    assert "which it does not have" in agent.texts()
    agent.takes_back(0, 99, 2)
    assert agent.given() == {}


def test_results_of_all_slots_travel_together():
    """What happened together is told together, with one credit."""
    agent = Recorder(slots=2).live()
    agent.tasks(1, 2)
    agent.do(events.TasksEnded(0, (runner_result(1),)), events.TasksEnded(1, (runner_result(2),)))
    assert agent.sent(messages.Results) == [
        messages.Results((result(1), result(2)), messages.Credit(3, agent.limits.credit_bytes_max, 2))
    ]


def test_runners_that_come_up_later_get_what_waits():
    """Tasks may come before the second runner is ready."""
    agent = Recorder(slots=2)
    agent.do(events.Started(()))
    agent.do(events.RunnerReady(0, {}))
    agent.hello()
    agent.welcome()
    agent.tasks(1, 2, 3)
    assert agent.given() == {0: [1, 2]}
    agent.do(events.RunnerReady(1, {}))
    assert agent.given() == {1: [3]}
