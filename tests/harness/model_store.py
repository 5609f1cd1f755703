"""What a store must remember, as plain dictionaries: applies records, and tells what a core starts from.

Not a `Store`: it knows no threads, groups or payloads. Lazy records wait for the next other one, as they may in the
real store, and a crash loses them.
"""

from collections import defaultdict
from copy import deepcopy

from dart.broker.core.model import IdGap, JobStatus, Recovered, RecoveredJob, RecoveredLease, RecoveredTask, TaskState
from dart.broker.core.records import (
    LAZY_RECORDS,
    AttemptsCounted,
    AuditNoted,
    EnrolmentAdded,
    EnrolmentForgotten,
    EnrolmentNamed,
    EnrolmentRevoked,
    JobAdded,
    JobForgotten,
    JobStatusSet,
    KeyAdded,
    KeyForgotten,
    KeyRevoked,
    KeysUsed,
    LeaseAdded,
    LeasesClosed,
    RequestAnswered,
    ResultForgotten,
    ResultsBounded,
    SubmissionClosed,
    SubmissionOpened,
    TaskFinished,
    TasksAdded,
    TasksDoomed,
    TokenAdded,
    TokenForgotten,
    TokenRevoked,
    TokenSpent,
)


class _Counts(defaultdict[tuple[str, TaskState], int]):
    """Zero where nothing was counted; can be copied."""

    def __init__(self):
        super().__init__(int)


class ModelStore:
    """Holds everything in dictionaries and asserts what records must never do."""

    def __init__(self, store_id="5" * 32):
        self.store_id = store_id
        self.incarnation = 0
        self.highest_id = 0
        self.jobs = {}
        self.tallies = defaultdict(_Counts)
        self.tasks = {}
        self.outcomes = {}
        self.leases = {}
        self.enrolments = {}
        self.keys = {}
        self.join_tokens = {}
        self.audit = []
        self.submissions = {}
        self.gaps = []
        self.answers = {}
        self.bounds = []
        """Every `ResultsBounded`; outcomes stay, so that tests can look at them."""
        self.pending = []

    def write(self, records):
        """Take the records of one turn."""
        self.pending += records
        if any(not isinstance(record, LAZY_RECORDS) for record in records):
            pending, self.pending = self.pending, []
            for record in pending:
                self._apply(record)

    def crash(self):
        """Lose what was not committed."""
        self.pending = []

    def restored(self, incarnations=1000, ids=1000):
        """Another store, as it is after this one was backed up now and restored at any later time."""
        store = deepcopy(self)
        store.crash()
        store.incarnation += incarnations
        store.gaps += [IdGap(first, last) for first, last in store.submissions.items()]
        store.gaps.append(IdGap(store.highest_id + 1, store.highest_id + ids))
        store.highest_id += ids
        return store

    def recover(self):
        """What a core starts from."""
        self.incarnation += 1
        for first, last in self.submissions.items():
            for task_id in range(first, last + 1):
                self.tasks.pop(task_id, None)
        self.submissions = {}
        jobs = tuple(
            RecoveredJob(
                added.id,
                added.name,
                added.config,
                status,
                added.defined_at_ms,
                dict(self.tallies[added.id]),
                at_ms,
                doomed,
            )
            for added, status, at_ms, doomed in self.jobs.values()
        )
        keys = tuple(key for _, key in sorted(self.keys.items()))
        tokens = tuple(token for _, token in sorted(self.join_tokens.items()))
        tasks = tuple(
            RecoveredTask(task_id, job_id, policy, tag, len(parameter), errors, losses)
            for task_id, (job_id, policy, tag, parameter, errors, losses) in sorted(self.tasks.items())
        )
        leases = tuple(
            RecoveredLease(lease_id, lease.agent_id, lease.attempts) for lease_id, lease in sorted(self.leases.items())
        )
        enrolments = tuple(self.enrolments.values())
        numbers = self.store_id, self.incarnation, self.highest_id
        return Recovered(*numbers, jobs, tasks, leases, enrolments, tuple(self.gaps), keys, tokens)

    def _apply(self, record):
        match record:
            case JobAdded():
                assert record.id > self.highest_id
                self.highest_id = record.id
                self.jobs[record.id] = (record, JobStatus.RUNNING, 0, 0)
            case JobStatusSet():
                added, _, _, doomed = self.jobs[record.id]
                self.jobs[record.id] = (added, record.status, record.at_ms, doomed)
            case TasksDoomed():
                self.jobs[record.job_id] = (*self.jobs[record.job_id][:3], record.last_id)
            case JobForgotten():
                del self.jobs[record.id]
                self.tasks = {key: row for key, row in self.tasks.items() if row[0] != record.id}
                self.outcomes = {key: row for key, row in self.outcomes.items() if row.job_id != record.id}
                self.tallies.pop(record.id, None)
            case SubmissionOpened():
                assert record.first_id > self.highest_id
                self.submissions[record.first_id] = record.last_id
                self.highest_id = record.last_id
            case SubmissionClosed():
                last = self.submissions.pop(record.first_id)
                came = [task_id for task_id in range(record.first_id, last + 1) if task_id in self.tasks]
                if record.complete:
                    assert len(came) == last - record.first_id + 1
                else:
                    for task_id in came:
                        del self.tasks[task_id]
            case TasksAdded():
                assert record.job_id in self.jobs
                for task_id, (policy, tag, parameter) in enumerate(record.rows, record.first_id):
                    assert task_id not in self.tasks
                    assert task_id not in self.outcomes
                    self.tasks[task_id] = (record.job_id, policy, tag, parameter, 0, 0)
                    self.highest_id = max(self.highest_id, task_id)
            case TaskFinished():
                assert record.id not in self.outcomes
                assert self.tasks.pop(record.id)[0] == record.job_id
                self.outcomes[record.id] = record
                self.tallies[record.job_id][record.worker, record.state] += 1
            case AttemptsCounted():
                self.tasks[record.id] = (*self.tasks[record.id][:4], record.errors, record.losses)
            case ResultForgotten():
                found = self.outcomes.get(record.id)
                if found is not None and found.job_id == record.job_id:
                    del self.outcomes[record.id]
            case ResultsBounded():
                self.bounds.append(record)
            case LeaseAdded():
                assert record.lease_id not in self.leases
                self.leases[record.lease_id] = record
            case LeasesClosed():
                for lease_id in record.lease_ids:
                    del self.leases[lease_id]
            case EnrolmentAdded():
                assert record.enrolment.agent_id not in self.enrolments
                self.enrolments[record.enrolment.agent_id] = record.enrolment
            case EnrolmentNamed():
                known = self.enrolments[record.agent_id]
                assert known.name_is_pattern
                self.enrolments[record.agent_id] = known._replace(name=record.name, name_is_pattern=False)
            case EnrolmentRevoked():
                known = self.enrolments[record.agent_id]
                assert not known.revoked_at_ms
                self.enrolments[record.agent_id] = known._replace(revoked_at_ms=record.at_ms)
            case EnrolmentForgotten():
                assert self.enrolments[record.agent_id].revoked_at_ms
                del self.enrolments[record.agent_id]
            case KeyAdded():
                assert record.key.id not in self.keys
                self.keys[record.key.id] = record.key
            case KeyRevoked():
                assert not self.keys[record.id].revoked_at_ms
                self.keys[record.id] = self.keys[record.id]._replace(revoked_at_ms=record.at_ms)
            case KeysUsed():
                for key_id, at_ms in record.used_at_ms:
                    self.keys[key_id] = self.keys[key_id]._replace(last_used_at_ms=at_ms)
            case KeyForgotten():
                del self.keys[record.id]
            case TokenAdded():
                assert record.token.id not in self.join_tokens
                self.join_tokens[record.token.id] = record.token
            case TokenSpent():
                known = self.join_tokens[record.id]
                assert known.uses < known.uses_max
                self.join_tokens[record.id] = known._replace(uses=known.uses + 1)
            case TokenRevoked():
                self.join_tokens[record.id] = self.join_tokens[record.id]._replace(revoked_at_ms=record.at_ms)
            case TokenForgotten():
                del self.join_tokens[record.id]
            case AuditNoted():
                self.audit.append(record.entry)
            case RequestAnswered():
                self.answers[record.idempotency.key] = record.answer
            case _:
                raise AssertionError(f"a record of no known kind: {record}")
