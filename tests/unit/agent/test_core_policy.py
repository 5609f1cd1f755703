"""The owner's policy in the agent's core, and what goes into the audit log."""

import pytest

from dart.agent import events
from dart.agent.policy import read_policy
from dart.errors import TaskErrorCode
from dart.wire import messages
from harness.agent_recorder import STORE, Recorder, lease, ref, runner_result


def agent_with(members=None, **more) -> Recorder:
    return Recorder(policy=read_policy(members or {}), **more).live()


def outcomes(agent: Recorder) -> dict[int, messages.Result]:
    return {found.ref.task_id: found for results in agent.sent(messages.Results) for found in results.results}


def audited(agent: Recorder) -> list[tuple[int, str]]:
    return [(e.lease.ref.task_id, e.outcome) for audit in agent.of(events.Audit) for e in audit.entries]


def test_what_the_policy_refuses_reaches_no_runner():
    """It ends at once with an error of its own, is written down and told; the others run."""
    agent = agent_with({"deny": ["secret:*"]}, slots=2)
    agent.tasks(1, lease(2)._replace(module_path="secret"), lease(3)._replace(module_path="/secret"))
    assert agent.given() == {0: [1]}
    found = outcomes(agent)
    assert {task_id: result.error_code for task_id, result in found.items()} == dict.fromkeys(
        (2, 3), TaskErrorCode.POLICY_REFUSED
    )
    assert b"refuses this task: 'secret:method' is denied" in bytes(found[2].payload)
    assert audited(agent) == [(2, "refused"), (3, "refused")]
    assert "the policy refused task 2 of job 'job', 'secret:method'" in agent.texts()
    assert all(say.bounded for say in agent.of(events.Say)), "a broker must not be able to flood the log"


def test_a_path_that_leads_out_reaches_no_runner_either():
    """The same rule as the runner's, before anything is given to one."""
    agent = agent_with()
    agent.tasks(lease(1)._replace(module_path="../x"), lease(2)._replace(method="os.system"))
    assert agent.given() == {}
    assert [outcomes(agent)[n].error_code for n in (1, 2)] == [TaskErrorCode.REFUSED, TaskErrorCode.POLICY_REFUSED]


def test_a_parameter_above_the_owners_bound_reaches_no_runner():
    """Beside the bound of the agent itself."""
    agent = agent_with({"parameter_bytes_max": 3})
    agent.tasks(lease(1, parameter=b"xxxx"), lease(2, parameter=b"xxx"))
    assert agent.given() == {0: [2]}
    assert outcomes(agent)[1].error_code == TaskErrorCode.POLICY_REFUSED


def test_a_result_above_the_owners_bound_does_not_leave():
    """Whatever the runner says; an error's text may be as long as a runner makes them, and no longer."""
    agent = agent_with({"result_bytes_max": 3}, slots=3, error_chars_max=2)
    agent.tasks(1, 2, 3)
    long, text, forged = (runner_result(number, b"x" * size) for number, size in ((1, 4), (2, 13), (3, 14)))
    agent.do(events.TasksEnded(0, (long,)))
    assert outcomes(agent)[1].error_code == TaskErrorCode.POLICY_REFUSED
    assert b"4 bytes, at most 3" in bytes(outcomes(agent)[1].payload)
    for slot, failed in ((1, text), (2, forged)):
        agent.do(events.TasksEnded(slot, (events.RunnerResult(*_members(failed), False, 0, failed.payload),)))
        code = TaskErrorCode.POLICY_REFUSED if failed is forged else TaskErrorCode.RAISED
        assert outcomes(agent)[failed.ref.task_id].error_code == code


def _members(result):
    return result.ref, result.start_time_ms, result.duration_seconds


@pytest.mark.parametrize(
    ("timeout", "ends", "said"), [(0.0, 2.0, "policy"), (9.0, 2.0, "policy"), (1.0, 1.0, "timeout")]
)
def test_the_owners_time_limit_holds_for_every_task(timeout, ends, said):
    """The smaller one counts, and the text says whose it was."""
    agent = agent_with({"task_seconds_max": 2})
    agent.tasks(lease(1, timeout=timeout))
    agent.passes(ends - 0.1)
    assert agent.of(events.Kill) == []
    agent.passes(0.1)
    assert len(agent.of(events.Kill)) == 1
    agent.dies(0, 1)
    assert outcomes(agent)[1].error_code == TaskErrorCode.TIMED_OUT
    assert said.encode() in bytes(outcomes(agent)[1].payload)
    assert audited(agent) == [(1, "timed out")]


def test_every_end_is_written_down_once():
    """With the lease, the store and what came of it, in the turn in which it ended."""
    agent = agent_with(slots=3)
    agent.tasks(1, 2, 3)
    agent.ends(0, 1)
    (audit,) = agent.of(events.Audit)
    assert audit.entries == (events.AuditEntry(lease(1), STORE, "success", 1_000, 0.5, 0, b"\x02"),)
    failed = events.RunnerResult(ref(2), 1, 0.1, False, 0, b"\x03")
    agent.do(events.TasksEnded(1, (failed,)))
    assert audited(agent) == [(2, "error")]
    agent.dies(2, 3)
    assert audited(agent) == [(3, "died")]
    agent.passes(1.0)
    assert audited(agent) == []


def test_what_nobody_waits_for_is_written_down_too():
    """A cancelled task has run: whether its runner was killed, or answered first. What never began has not."""
    agent = agent_with(slots=2)
    agent.tasks(1, 2, 3)
    agent.hears(messages.Cancel((ref(1), ref(2), ref(3))))
    agent.takes_back(0, 3)
    assert audited(agent) == []
    agent.dies(0, 1)
    assert audited(agent) == [(1, "dropped")]
    agent.ends(1, 2)
    assert audited(agent) == [(2, "dropped")]


def test_a_run_that_was_interrupted_is_written_down_beside_the_next():
    """It began, was killed with the runner of another, and runs again."""
    agent = agent_with()
    agent.state.duration_seconds = 0.001
    agent.tasks(1, 2)
    agent.hears(messages.Cancel((ref(1),)))
    agent.dies(0, 2)
    assert (2, "interrupted") in audited(agent)
    agent.do(events.RunnerReady(0, {}))
    agent.ends(0, 2)
    assert audited(agent) == [(2, "success")]


def test_without_audit_nothing_is_written_down():
    """The owner may do without."""
    agent = agent_with({"audit": False})
    agent.tasks(1)
    agent.ends(0, 1)
    assert agent.of(events.Audit) == []


def test_what_runs_alone_goes_on_while_the_audit_log_is_stuck():
    """There is nothing behind it to be taken back."""
    agent = agent_with()
    agent.tasks(1)
    agent.do(events.AuditStuck("no space"))
    assert agent.of(events.TakeBack) == []
    agent.ends(0, 1)
    assert audited(agent) == [(1, "success")]


def test_what_cannot_be_written_down_does_not_run():
    """While the audit log is stuck no task begins: what waits is given back, what comes is too, what runs may end."""
    agent = agent_with()
    agent.state.duration_seconds = 0.001
    agent.tasks(1, 2)
    agent.do(events.AuditStuck("no space"))
    assert "audit log cannot be written: no space" in agent.texts()
    assert agent.of(events.TakeBack) == [events.TakeBack(0)]
    assert agent.sent(messages.Credit)[-1].tasks == 0
    agent.takes_back(0, 2)
    assert agent.sent(messages.Released) == [messages.Released((ref(2),))]
    agent.tasks(3, lease(4)._replace(module_path="../x"))
    assert agent.given() == {}
    assert agent.sent(messages.Released) == [messages.Released((ref(3), ref(4)))]
    agent.ends(0, 1)
    assert audited(agent) == [(1, "success")]
    agent.do(events.AuditGoesOn())
    assert agent.sent(messages.Credit)[-1].tasks > 0
    agent.tasks(5)
    assert agent.given() == {0: [5]}
