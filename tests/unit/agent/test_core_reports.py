"""STARTED, PROGRESS and LOG."""

from dart.agent import events
from dart.wire import messages
from harness.agent_recorder import Recorder, ref


def test_long_tasks_are_reported_as_started_once():
    """Short ones end first; a new session is told again."""
    agent = Recorder(started_after_seconds=0.1).live()
    agent.tasks(1)
    agent.passes(0.05)
    assert agent.sent(messages.Started) == []
    agent.passes(0.06)
    assert agent.sent(messages.Started) == [messages.Started((messages.Start(ref(1), 1_000_000),))]
    agent.passes(1.0)
    assert agent.sent(messages.Started) == []
    agent.do(events.LinkDown("gone", 0.0))
    agent.hello()
    agent.welcome(keep=(ref(1),))
    assert agent.sent(messages.Started) == [messages.Started((messages.Start(ref(1), 1_000_000),))]


def test_nobody_is_told_that_an_abandoned_task_started():
    """It is being killed."""
    agent = Recorder(started_after_seconds=0.1).live()
    agent.tasks(1)
    agent.hears(messages.Cancel((ref(1),)))
    agent.passes(0.2)
    assert agent.sent(messages.Started) == []


def test_progress_is_gathered_and_the_last_word_counts():
    """At most five messages a second, the fraction within bounds, the text cut."""
    agent = Recorder(progress_chars_max=4).live()
    agent.tasks(1)
    agent.do(events.TaskProgressed(ref(1), 0.1, "one"))
    assert agent.sent(messages.Progress) == [messages.Progress((messages.ProgressReport(ref(1), 0.1, "one"),))]
    agent.do(events.TaskProgressed(ref(1), 0.2, "two"))
    agent.do(events.TaskProgressed(ref(1), 7.0, "three"))
    assert agent.sent(messages.Progress) == []
    agent.passes(0.2)
    assert agent.sent(messages.Progress) == [messages.Progress((messages.ProgressReport(ref(1), 1.0, "thre"),))]


def test_lines_are_gathered_and_bounded():
    """The newest thousand wait, and how many went is told; what no task printed is not sent."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.do(events.TaskPrinted(None, ("noise",)))
    assert agent.commands == []
    agent.do(events.TaskPrinted(ref(1), ("a", "b")))
    assert agent.sent(messages.Log) == [messages.Log(((ref(1), "a"), (ref(1), "b")))]
    agent.do(events.TaskPrinted(ref(1), tuple(str(n) for n in range(1500))))
    agent.do(events.TaskPrinted(ref(1), ("last",)))
    agent.passes(0.2)
    lines = agent.sent(messages.Log)[0].lines
    assert lines[0] == (ref(1), "[501 lines left out here; they are in the worker's log file]")
    assert len(lines) == 1001
    assert lines[-1] == (ref(1), "last")


def test_reports_without_a_session_or_a_task_are_dropped():
    """Nobody to tell, or nothing to tell of."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.do(events.TaskProgressed(ref(2), 0.5, ""))
    assert agent.commands == []
    agent.do(events.TaskProgressed(ref(1), 0.1, "sent"))
    agent.do(events.TaskProgressed(ref(1), 0.5, "waits"), events.TaskPrinted(ref(1), ("waits",)))
    agent.do(events.LinkDown("gone", 0.9))
    agent.do(events.TaskProgressed(ref(1), 0.5, ""), events.TaskPrinted(ref(1), ("x",)))
    agent.hello()
    agent.welcome(keep=(ref(1),))
    agent.passes(1.0)
    assert agent.sent(messages.Progress) == []
    assert agent.sent(messages.Log) == []


def test_progress_of_a_task_that_ended_is_dropped():
    """Its result says more."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.do(events.TaskProgressed(ref(1), 0.1, "sent"))
    agent.do(events.TaskProgressed(ref(1), 0.9, "late"))
    agent.ends(0, 1)
    agent.passes(1.0)
    assert agent.sent(messages.Progress) == []


def test_reports_are_split_as_the_broker_takes_them():
    """More items than its `batch_items_max` would be refused, and the session with them."""
    agent = Recorder(slots=3, started_after_seconds=0.1).start()
    agent.hello()
    agent.welcome(batch_items_max=2)
    agent.tasks(1, 2, 3)
    agent.passes(0.2)
    assert [len(started.starts) for started in agent.sent(messages.Started)] == [2, 1]
    reports = [events.TaskProgressed(ref(task), 0.5, "") for task in (1, 2, 3)]
    agent.do(*reports, events.TaskPrinted(ref(1), ("a", "b", "c")))
    assert [len(progress.reports) for progress in agent.sent(messages.Progress)] == [2, 1]
    assert [len(log.lines) for log in agent.sent(messages.Log)] == [2, 1]


def test_lines_travel_before_the_results_of_their_tasks():
    """Afterwards the broker would not know whose they are."""
    agent = Recorder().live()
    agent.tasks(1)
    agent.do(events.TaskPrinted(ref(1), ("first",)))
    agent.do(events.TaskPrinted(ref(1), ("last",)))
    agent.ends(0, 1)
    sent = [command.message for command in agent.of(events.Send)]
    kinds = [type(message) for message in sent if isinstance(message, messages.Log | messages.Results)]
    assert kinds == [messages.Log, messages.Results]
    assert agent.sent(messages.Log) == [messages.Log(((ref(1), "last"),))]
