"""What every store must do with jobs, open tasks and submissions: a part of the store contract."""

from dart.broker.core.lifecycle import FINAL_STATES
from dart.broker.core.model import Enrolment, JobStatus
from dart.broker.core.records import (
    AttemptsCounted,
    EnrolmentAdded,
    JobForgotten,
    JobStatusSet,
    LeaseAdded,
    SubmissionClosed,
    SubmissionOpened,
    TasksDoomed,
)
from harness.store_samples import CONFIG, POLICY, answered, done, finished, job, result_ids, results, tasks

FINAL = frozenset(FINAL_STATES)


class DefinitionContract:
    """Jobs, open tasks, submissions."""

    def test_job_comes_back_as_it_was_defined(self, store, restart):
        """Recovery gives name, configuration, status and time of a definition."""
        store.commit([job(1)])
        (found,) = restart(store).recover().jobs
        assert (found.id, found.name, found.config, found.status, found.defined_at_ms, found.tally) == (
            1,
            "job1",
            CONFIG,
            JobStatus.RUNNING,
            1001,
            {},
        )

    def test_job_status_is_remembered(self, store, restart):
        """A stopped job is stopped after a start; a status for a job that is gone is no error."""
        store.commit([job(1), JobStatusSet(1, JobStatus.STOPPED), JobStatusSet(99, JobStatus.STOPPED)])
        assert [found.status for found in restart(store).recover().jobs] == [JobStatus.STOPPED]

    def test_what_is_being_cancelled_is_remembered(self, store, restart):
        """Up to which id, after a start too; of a job that is gone it is no error."""
        store.commit([job(1), tasks(1, 2, 3), TasksDoomed(1, 3), TasksDoomed(99, 3)])
        store = restart(store)
        assert [found.doomed_through for found in store.recover().jobs] == [3]
        assert len(store.recover().tasks) == 2

    def test_open_task_comes_back_without_its_parameter(self, store, restart):
        """Recovery gives policy, tag and the size of the parameter; the parameter is read on its own."""
        store.commit([job(1), tasks(1, 2, 3, parameter=b"12345")])
        store = restart(store)
        found = store.recover().tasks
        assert [(t.id, t.job_id, t.policy, t.tag, t.parameter_bytes, t.errors, t.losses) for t in found] == [
            (2, 1, POLICY, "tag2", 5, 0, 0),
            (3, 1, POLICY, "tag3", 5, 0, 0),
        ]
        assert type(found[0].policy.on_lost) is type(POLICY.on_lost)
        assert store.parameters([3, 2, 77]) == {2: b"12345", 3: b"12345"}

    def test_tasks_with_equal_policies_share_one_object(self, store, restart):
        """A million tasks of one submission do not hold a million policies."""
        store.commit([job(1), tasks(1, 2), tasks(1, 3)])
        first, second = restart(store).recover().tasks
        assert first.policy is second.policy

    def test_many_parameters_are_read_at_once(self, store):
        """The number of ids in one call is not bounded by what one statement takes."""
        store.commit([job(1), tasks(1, *range(2, 2502), parameter=b"x")])
        assert store.parameters(range(2, 2502)) == dict.fromkeys(range(2, 2502), b"x")
        assert store.parameters([]) == {}

    def test_counted_attempts_are_remembered(self, store, restart):
        """The latest count holds; a count for a task that is not open is no error and leaves nothing."""
        store.commit([job(1), tasks(1, 2), AttemptsCounted(2, 1, 0), AttemptsCounted(2, 1, 2)])
        store.commit([AttemptsCounted(55, 1, 1)])
        (task,) = restart(store).recover().tasks
        assert (task.errors, task.losses) == (1, 2)

    def test_counted_attempts_go_with_the_task(self, store, restart):
        """A task with counted attempts can finish."""
        store.commit([job(1), tasks(1, 2), AttemptsCounted(2, 1, 0)])
        store.commit([finished(1, 2)])
        assert restart(store).recover().tasks == ()

    def test_unfinished_submission_is_void_after_a_start(self, store, restart):
        """Tasks whose last slice never came are gone, those of others stay, the ids are used up."""
        store.commit([job(1), tasks(1, 2), SubmissionOpened(3, 9), tasks(1, 3, 4), tasks(1, 10)])
        store = restart(store)
        found = store.recover()
        assert [task.id for task in found.tasks] == [2, 10]
        assert found.highest_id == 10
        assert store.parameters([3]) == {}

    def test_completed_submission_stays(self, store, restart):
        """With its last slice a submission is like any other."""
        store.commit([job(1), SubmissionOpened(2, 4), tasks(1, 2, 3)])
        store.commit([tasks(1, 4), SubmissionClosed(2, complete=True)])
        assert [task.id for task in restart(store).recover().tasks] == [2, 3, 4]

    def test_abandoned_submission_vanishes(self, store, restart):
        """Its tasks are not open any more at once, and cannot finish."""
        staged = range(2, 60)
        store.commit([job(1), SubmissionOpened(2, 99), tasks(1, *staged), tasks(1, 100)])
        store.commit([SubmissionClosed(2, complete=False), SubmissionClosed(777, complete=False)])
        assert store.parameters([*staged, 100]) == {100: b"parameter"}
        store.commit([finished(1, 59), AttemptsCounted(58, 1, 1)])
        assert result_ids(store, 1) == []
        store = restart(store)
        assert store.parameters([*staged, 100]) == {100: b"parameter"}
        assert [task.id for task in store.recover().tasks] == [100]

    def test_highest_id_never_falls(self, store, restart):
        """Jobs, tasks and reserved ids raise it; forgetting lowers it never."""
        store.commit([job(1)])
        assert store.recover().highest_id == 1
        store.commit([tasks(1, 2, 3)])
        assert store.recover().highest_id == 3
        store.commit([SubmissionOpened(4, 40)])
        assert store.recover().highest_id == 40
        store.commit([job(7, "late"), JobForgotten(1), JobForgotten(7)])
        assert restart(store).recover().highest_id == 40

    def test_incarnation_rises_and_store_id_stays(self, store, restart):
        """Each recovery is a new incarnation of one store."""
        before = store.recover()
        after = restart(store).recover()
        assert (after.incarnation, after.store_id) == (before.incarnation + 1, before.store_id)
        assert len(after.store_id) == 32
        assert int(after.store_id, 16)

    def test_forgotten_job_leaves_nothing(self, store, restart):
        """Job, tasks, outcomes and tally are gone at once; its name is free."""
        store.commit([job(1), *done(1, 2, 3), tasks(1, 4), job(5), *done(5, 6), *done(1, *range(10, 60))])
        store.commit([JobForgotten(1), JobForgotten(99)])
        self._assert_only_job_five(store)
        store = restart(store)
        found = store.recover()
        assert [j.id for j in found.jobs] == [5]
        assert found.tasks == ()
        self._assert_only_job_five(store)
        store.commit([job(7, "job1")])
        assert store.recover().jobs[1].tally == {}

    @staticmethod
    def _assert_only_job_five(store):
        assert result_ids(store, 1) == result_ids(store, 1, ("bob",)) == store.results_of(1, [2, 3]) == []
        assert store.finished_tasks(1, after=0, amount=10, states=FINAL) == []
        assert store.parameters([4]) == {}
        assert result_ids(store, 5) == [6]

    def test_what_comes_for_a_forgotten_job_is_dropped(self, store, restart):
        """Tasks and outcomes that follow the forgetting, even in its group, do not bring anything back."""
        store.commit([job(1), tasks(1, 2, 3)])
        store.commit([finished(1, 3), JobForgotten(1), finished(1, 2), tasks(1, 4), AttemptsCounted(2, 1, 1)])
        store.commit([tasks(1, 5), finished(1, 5)])
        found = restart(store).recover()
        assert (found.jobs, found.tasks, found.highest_id) == ((), (), 5)
        assert result_ids(store, 1) == []

    def test_all_jobs_can_be_forgotten_at_a_start(self, store, restart):
        """Enrolments, highest id, store id and sequences stay; everything else goes."""
        enrolment = Enrolment("aa", b"k" * 32, "bob", 5)
        store.commit([job(1), *done(1, 2), tasks(1, 3), EnrolmentAdded(enrolment), answered("key", 1)])
        store.commit([LeaseAdded(1, "aa", ()), AttemptsCounted(3, 1, 1), SubmissionOpened(4, 5), tasks(1, 4)])
        (last,) = results(store, 1)
        found = restart(store).recover(forget_jobs=True)
        assert (found.jobs, found.tasks, found.leases) == ((), (), ())
        assert (found.highest_id, found.enrolments) == (5, (enrolment,))
        assert store.answer("key", 0) is None
        store.commit([job(6), *done(6, 7)])
        assert results(store, 6)[0].sequence > last.sequence
