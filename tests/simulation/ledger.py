"""The oracle: what is durable, what was really run, what was told to whom; and what must hold between the three."""

from collections import Counter

from dart.broker.core import records as r
from dart.broker.core.model import OnLost, TaskState
from dart.broker.core.tokens import standing_jobs
from dart.errors import TaskErrorCode
from dart.wire.blob_references import named_in

ANSWERED = (TaskState.SUCCEEDED, TaskState.FAILED)
DECIDED_BY_AGENT = {TaskErrorCode.RUNNER_DIED, TaskErrorCode.TIMED_OUT}


class Ledger:
    """Follows the groups that reach the disk, the runs of tasks, and the answers to clients.

    Args:
        world: Told when a promise is broken.
    """

    def __init__(self, world):
        self.world = world
        # On disk
        self.jobs = {}
        self.jobs_ever = {}
        self.stopped = set()
        self.purged = set()
        self.standing = set()
        self.retained = {}
        """How many results are kept of jobs that do not keep all."""
        self.tasks = {}
        """Every task ever added: its job, policy and parameter."""
        self.open = set()
        self.submissions = {}
        self.finished = {}
        self.deleted = set()
        self.latest = {}
        """The latest attempt of each task that a lease row tells of."""
        self.counted = {}
        self.retried = set()
        """Attempts that ended in an error after which the task goes on."""
        self.answers = Counter()
        self.given = set()
        """Standing jobs and the workers that got them."""
        self.done = set()
        """And those that have done them."""
        self.revoked = set()
        """Agents whose keys count no more."""
        # What happened
        self.runs = {}
        """What each run of a task produced: payload -> (task, attempt, success, agent)."""
        self.begun = {}
        """Attempts of each task that began to run."""
        self.forbidden = ""
        """The job whose module no owner lets run."""
        self.refused = 0
        """Outcomes that say so."""
        self.starts = 0
        """Of the core, from what the store has."""
        self.deepest = 0
        """Most tasks that were with one runner at once."""
        self.broke_off = set()
        """Attempts whose runner died or was killed."""
        self.cancels_asked = set()
        self.stops_asked = set()
        self.shelf = None
        """The server's blobs."""
        self.rotten = set()
        """Blobs that tasks made and that were damaged on their agent's disk."""
        self.lost_blobs = 0
        """Outcomes that say so."""
        # What clients know
        self.acknowledged = {}
        self.seen = {}
        self.keys = {}

    # ---- the disk ----

    def committed(self, records):
        """A group is durable."""
        for record in records:
            _APPLY[type(record)](self, record)

    def recovered(self, recovered):
        """A start: submissions without their last slice are void."""
        self.starts += 1
        for first, last in self.submissions.items():
            self._void(first, last)
        self.submissions.clear()
        told = {task.id for task in recovered.tasks}
        if told != self.open:
            self.world.fail(f"the store has the open tasks {sorted(told)}, promised were {sorted(self.open)}")

    def _new_id(self, number):
        if number in self.tasks or number in self.jobs_ever:
            self.world.fail(f"the id {number} was given a second time")

    def _job_added(self, record):
        self._new_id(record.id)
        self.jobs[record.id] = self.jobs_ever[record.id] = record.name
        if record.config.standing is not None:
            self.standing.add(record.id)
        if record.config.retention.results:
            self.retained[record.id] = record.config.retention.results

    def _status_set(self, record):
        self.stopped.add(record.id)

    def _job_forgotten(self, record):
        self.jobs.pop(record.id, None)
        self.purged.add(record.id)
        self.open = {task for task in self.open if self.tasks[task][0] != record.id}

    def _tasks_added(self, record):
        for task, (policy, _tag, parameter) in enumerate(record.rows, record.first_id):
            self._new_id(task)
            self.tasks[task] = (record.job_id, policy, parameter)
            if record.job_id in self.jobs:
                self.open.add(task)
            if record.job_id in self.standing:
                self._given(record.job_id, policy.location)

    def _given(self, job_id, worker):
        if (job_id, worker) in self.given:
            self.world.fail(f"the standing job {job_id} was given twice to {worker}")
        self.given.add((job_id, worker))

    def _opened(self, record):
        self.submissions[record.first_id] = record.last_id

    def _closed(self, record):
        last = self.submissions.pop(record.first_id, None)
        if last is not None and not record.complete:
            self._void(record.first_id, last)

    def _void(self, first, last):
        self.open.difference_update(range(first, last + 1))

    def _lease_added(self, record):
        for ref in record.attempts:
            known = self.latest.get(ref.task_id)
            if known is None or known < ref.attempt:
                self.latest[ref.task_id] = ref.attempt

    def _revoked(self, record):
        self.revoked.add(record.agent_id)

    def _attempts_counted(self, record):
        errors, _losses = self.counted.get(record.id, (0, 0))
        if record.errors > errors:
            if self._is_forbidden(record.id):
                self.world.fail(f"task {record.id} was refused by the policy of an owner and is retried")
            self.retried.add((record.id, self.latest.get(record.id)))
        self.counted[record.id] = (record.errors, record.losses)

    def _result_forgotten(self, record):
        self.deleted.add(record.id)

    def _answered(self, record):
        self.answers[record.idempotency.key] += 1
        if self.answers[record.idempotency.key] > 1:
            self.world.fail(f"the request {record.idempotency.key} was carried out twice")

    def _finished(self, record):
        task = record.id
        if task in self.finished:
            self.world.fail(f"task {task} has two outcomes: {self.finished[task]!r} and {record!r}")
        elif task not in self.open:
            self.world.fail(f"task {task} is not open and gets the outcome {record!r}")
        self.open.discard(task)
        self.finished[task] = record
        if record.job_id in self.standing and record.state is TaskState.SUCCEEDED:
            self.done.add((record.job_id, record.worker))
        fault = self._fault_of(record) if task in self.tasks else ""
        if fault:
            self.world.fail(f"the outcome {record!r} cannot be: {fault}")

    def _fault_of(self, record):
        """Why nothing that happened can have led to this outcome."""
        task, state = record.id, record.state
        _job, policy, _parameter = self.tasks[task]
        if state in ANSWERED:
            return self._fault_of_answer(record)
        if state is TaskState.CANCELLED:
            asked = task in self.cancels_asked or self.jobs_ever[record.job_id] in self.stops_asked
            return "" if asked else "nobody asked for it"
        if state is TaskState.EXPIRED:
            due = 0 < policy.expires_at_ms <= record.finished_at_ms
            return "" if due else "its time was not over"
        _errors, losses = self.counted.get(task, (0, 0))
        spent = policy.on_lost is OnLost.FAIL or losses >= policy.lost_retries
        return "" if spent else f"it was lost {losses + 1} times, {policy.lost_retries} further runs were left"

    def _is_forbidden(self, task):
        return task in self.tasks and self.jobs_ever[self.tasks[task][0]] == self.forbidden

    def _fault_of_answer(self, record):
        latest = self.latest.get(record.id)
        if record.error_code == TaskErrorCode.POLICY_REFUSED:
            self.refused += 1
            return "" if self._is_forbidden(record.id) else "no policy refuses it"
        if record.error_code in DECIDED_BY_AGENT:
            return "" if (record.id, latest) in self.broke_off else f"nothing happened to the runner of {latest}"
        if record.error_code == TaskErrorCode.BLOB_UNAVAILABLE and record.payload not in self.runs:
            self.lost_blobs += 1
            named = any(digest.hex().encode() in record.payload for digest in self.rotten)
            return "" if named else "no blob of its result was lost"
        if not self.shelf.files.keys() >= named_in(record.payload):
            return "the server does not have the blob that it names"
        run = self.runs.get(record.payload)
        if run is None:
            return "no run produced it"
        return self._fault_of_run(record, run)

    def _fault_of_run(self, record, run):
        latest = self.latest.get(record.id)
        task, attempt, success, agent_id = run
        if agent_id in self.revoked:
            return "the key of the agent that produced it was revoked before"
        if task != record.id or success != (record.state is TaskState.SUCCEEDED):
            return f"it is what task {task} produced"
        if attempt != latest:
            return f"it is of the stale attempt {attempt}, the latest is {latest}"
        return ""

    # ---- what agents do and are told ----

    def run_began(self, ref, parameter):
        """An agent begins to run this."""
        known = self.tasks.get(ref.task_id)
        self.begun.setdefault(ref.task_id, set()).add(ref.attempt)
        if self._is_forbidden(ref.task_id):
            self.world.fail(f"task {ref.task_id} runs, although the policy of the owner refuses it")
        if known is None:
            self.world.fail(f"task {ref.task_id} runs and was never durable")
        elif known[2] != parameter:
            self.world.fail(f"task {ref.task_id} runs with the parameter {parameter!r}, submitted was {known[2]!r}")

    def run_ended(self, ref, payload, agent_id, *, success):
        self.runs[payload] = (ref.task_id, ref.attempt, success, agent_id)

    def told_done(self, refs, agent_id, core, what):
        """The broker tells an agent that these results are durable or not wanted."""
        for ref in refs:
            task_id, attempt = ref
            if task_id not in self.open or (task_id, attempt) in self.retried:
                continue
            task = None if core is None else core.tasks.get(task_id)
            if task is None:
                latest = self.latest.get(task_id)
                wrong = latest is None or attempt >= latest
            else:
                wrong = task.attempt == attempt and task.agent_id == agent_id
            if wrong:
                self.world.fail(f"{what} for attempt {attempt} of task {task_id}, whose outcome is not durable")

    def told_to_run(self, leases, worker):
        for lease in leases:
            known = self.tasks.get(lease.ref.task_id)
            if known is None:
                self.world.fail(f"task {lease.ref.task_id} was given to an agent before it was durable")
                continue
            for job_id in standing_jobs(known[1].requires):
                if (job_id, worker) not in self.done:
                    self.world.fail(f"task {lease.ref.task_id} was given to {worker}, which has not done job {job_id}")

    def told_to_stop(self, refs):
        for ref in refs:
            if ref.task_id in self.open:
                self.world.fail(f"task {ref.task_id} is interrupted before its end is durable")

    # ---- at the end ----

    def _settle_retained(self, kept, there):
        """Results that went since their job keeps the newest only: which those are, is checked."""
        gone = set()
        for job_id, most in self.retained.items():
            results = [task for task in self.finished if task in kept and self.tasks[task][0] == job_id]
            newest = [task for task in results if self.finished[task].state is not TaskState.CANCELLED][-most:]
            if not there.issuperset(newest):
                self.world.fail(f"of job {job_id}, which keeps {most} results, {sorted(set(newest) - there)} are gone")
            gone.update(task for task in results if task not in there)
        return gone

    def _count_runs(self):
        """No attempt that began goes uncounted; but a core that dies may forget leases whose rows were not written."""
        for task_id, attempts in self.begun.items():
            policy = self.tasks[task_id][1]
            most = 1 + policy.retries + (0 if policy.on_lost is OnLost.FAIL else policy.lost_retries)
            if len(attempts) > most:
                self.world.fail(f"task {task_id} began in the attempts {sorted(attempts)}, allowed are {most}")

    def settle(self, store, workers):
        """All is quiet: compare what was promised with what the disk has.

        Args:
            store: The disk.
            workers: Names of all workers, which are connected.
        """
        for job_id in self.standing:
            missing = workers - {worker for job, worker in self.done if job == job_id}
            if missing:
                self.world.fail(f"the standing job {job_id} was not done by {sorted(missing)}")
        for task_id, job in self.acknowledged.items():
            job_id = self.tasks[task_id][0] if task_id in self.tasks else None
            if task_id not in self.finished and job_id not in self.purged:
                self.world.fail(f"task {task_id} of job {job} was promised and has no outcome")
        if self.starts == 1:
            self._count_runs()
        kept = {task for task in self.finished if task not in self.deleted}
        kept = {task for task in kept if self.tasks[task][0] not in self.purged}
        there = {task for _job, task in store._outcome_sequences}
        kept -= self._settle_retained(kept, there)
        if kept != there:
            self.world.fail(f"recorded outcomes {sorted(kept - there)} are gone, {sorted(there - kept)} came back")
        for task_id, (job_id, state, payload) in self.seen.items():
            if task_id not in kept:
                continue
            rows = store.results_of(job_id, [task_id])
            if not rows or (rows[0].state, rows[0].payload) != (state, payload):
                self.world.fail(f"the result of task {task_id} was seen and is not there any more")


_APPLY = {
    r.JobAdded: Ledger._job_added,
    r.JobStatusSet: Ledger._status_set,
    r.TasksDoomed: lambda _ledger, _record: None,
    r.JobForgotten: Ledger._job_forgotten,
    r.TasksAdded: Ledger._tasks_added,
    r.SubmissionOpened: Ledger._opened,
    r.SubmissionClosed: Ledger._closed,
    r.TaskFinished: Ledger._finished,
    r.AttemptsCounted: Ledger._attempts_counted,
    r.ResultForgotten: Ledger._result_forgotten,
    r.LeaseAdded: Ledger._lease_added,
    r.LeasesClosed: lambda _ledger, _record: None,
    r.EnrolmentAdded: lambda _ledger, _record: None,
    r.EnrolmentNamed: lambda _ledger, _record: None,
    r.EnrolmentRevoked: Ledger._revoked,
    r.EnrolmentForgotten: lambda _ledger, _record: None,
    r.KeyAdded: lambda _ledger, _record: None,
    r.KeyRevoked: lambda _ledger, _record: None,
    r.KeysUsed: lambda _ledger, _record: None,
    r.KeyForgotten: lambda _ledger, _record: None,
    r.TokenAdded: lambda _ledger, _record: None,
    r.TokenSpent: lambda _ledger, _record: None,
    r.TokenRevoked: lambda _ledger, _record: None,
    r.TokenForgotten: lambda _ledger, _record: None,
    r.AuditNoted: lambda _ledger, _record: None,
    r.RequestAnswered: Ledger._answered,
    r.ResultsBounded: lambda _ledger, _record: None,
}
