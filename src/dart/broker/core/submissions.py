"""Submissions: tasks come in slices, become durable as a whole, and are then let in some each turn.

A submission is promised when its last slice is recorded (`SubmissionClosed`, or one `TasksAdded` alone). A large one
is not made ready at once, for a million pushes would stop the loop: `admit_some` goes on with it in the turns
that follow. A task that is cancelled before its turn comes stays where it is, and is passed over then.
"""

from dart.broker.core.commands import Refuse, Reply
from dart.broker.core.events import SubmissionAbandoned, TasksSubmitted
from dart.broker.core.happenings import tell_queued
from dart.broker.core.interactive import note_submission, slice_tasks
from dart.broker.core.leases import cancel, enter
from dart.broker.core.lifecycle import new_task
from dart.broker.core.model import IfOffline, Job, JobStatus, Task, TaskPolicy, TaskSpec, TaskState
from dart.broker.core.placement import candidates
from dart.broker.core.records import RequestAnswered, SubmissionClosed, SubmissionOpened, TasksAdded
from dart.broker.core.standing import comes_after, why_not_policies
from dart.broker.core.state import Core, Submission, persist, unknown_job
from dart.broker.core.tokens import without_tokens
from dart.errors import (
    ConflictError,
    DartError,
    JobStoppedError,
    LimitError,
    UnavailableError,
    WorkerOfflineError,
)
from dart.ids import TaskId

_SLICES_A_TURN = 2
"""Two, so that a small submission behind a large one is let in at once."""


def on_tasks_submitted(core: Core, event: TasksSubmitted, now: float) -> None:
    """Take one slice."""
    error = _why_not(core, event)
    if error is not None:
        abandon(core, event.submission)
        core.commands.append(Refuse(event.token, error))
        return
    if event.total == 0:
        if event.idempotency is not None:
            persist(core, RequestAnswered(event.idempotency, 0))
        core.commands.append(Reply(event.token, 0))
        return
    submission = core.submissions.get(event.submission) or _open(core, event)
    _stage(core, submission, event.tasks)
    note_submission(core, event.total, now)
    if event.last:
        _complete(core, submission, event)
    core.commands.append(Reply(event.token, submission.first_id))


def on_submission_abandoned(core: Core, event: SubmissionAbandoned, _now: float) -> None:
    """Its caller went away."""
    abandon(core, event.submission)


def abandon(core: Core, first_id: int) -> None:
    """Void what came of an unfinished submission; any other number is no error."""
    submission = core.submissions.pop(first_id, None)
    if submission is not None:
        core.reserved -= submission.last_id - submission.first_id + 1
        persist(core, SubmissionClosed(submission.first_id, complete=False))


def abandon_of_job(core: Core, job: Job) -> None:
    """Void all unfinished submissions to a job."""
    for first_id in [first_id for first_id, submission in core.submissions.items() if submission.job is job]:
        abandon(core, first_id)


def admit_some(core: Core, now: float) -> None:
    """Let in the next tasks of complete submissions, by turns, so that a large one does not hold up a small one."""
    most = slice_tasks(core)
    left = _SLICES_A_TURN * most
    while left > 0 and core.admitting:
        submission = core.admitting.popleft()
        amount = min(left, most, len(submission.staged))
        _admit(core, submission, amount, now)
        left -= amount
        if submission.staged:
            core.admitting.append(submission)


def admit_one(core: Core, job: Job, task_id: int) -> Task | None:
    """Let in a certain task of a job before its turn; None: it is not among those that are being let in."""
    for submission in core.admitting:
        task = submission.at(task_id)
        if task is not None and submission.job is job:
            enter(core, task)
            tell_queued(core, [task])
            submission.early += 1
            core.reserved -= 1
            return task
    return None


def drop_of_job(core: Core, job: Job) -> None:
    """Forget what is still being let in of a job."""
    for submission in [submission for submission in core.admitting if submission.job is job]:
        core.reserved -= submission.waiting
        core.admitting.remove(submission)


def _admit(core: Core, submission: Submission, amount: int, now: float) -> None:
    staged = submission.staged
    taken = [staged.popleft() for _ in range(amount)]
    admitted = [task for task in taken if task.state is TaskState.STAGED]
    for task in admitted:
        enter(core, task)
    tell_queued(core, admitted)
    core.reserved -= len(admitted)
    submission.early -= amount - len(admitted)
    if submission.last_id <= submission.job.doomed_through:
        for task in admitted:
            cancel(core, task, now)
        core.stops[submission.job.id].cancelled += len(admitted)


def _why_not(core: Core, event: TasksSubmitted) -> DartError | None:  # noqa: PLR0911 - one return a reason
    """Why this slice cannot be taken, if so."""
    name = event.job
    job = core.jobs.get(name)
    if core.stopping:
        return UnavailableError("The server is stopping; submit again when it is back.", retry_after=5)
    if job is None:
        return unknown_job(name)
    first = event.submission == 0
    submission = core.submissions.get(event.submission)
    stopped = job.status is JobStatus.STOPPED
    if stopped and (event.refuse_if_stopped if first else submission is None):
        return JobStoppedError(f"The job {name!r} is stopped; define another one for these tasks.", job=name)
    if not first and (submission is None or submission.job is not job):
        return ConflictError("This submission is not open any more; submit its tasks again.", job=name)
    if first and len(core.tasks) + core.reserved + event.total > core.limits.queued_tasks_max:
        return LimitError(
            f"{event.total} more tasks would be over the limit queued_tasks_max="
            f"{core.limits.queued_tasks_max} of unfinished ones; wait until some have finished.",
            limit="queued_tasks_max",
        )
    if core.standing:
        error = why_not_policies(core, {id(task.policy): task.policy for task in event.tasks}.values())
        if error is not None:
            return error
    if not _fits(event, submission):
        return ConflictError(
            f"The slices of this submission do not add up to its total of {event.total}; submit its tasks again."
        )
    return _offline(core, event.tasks) if event.if_offline is IfOffline.FAIL else None


def _fits(event: TasksSubmitted, submission: Submission | None) -> bool:
    left = event.total if submission is None else submission.last_id - submission.next_id + 1
    return len(event.tasks) == left if event.last else len(event.tasks) < left


def _offline(core: Core, tasks: tuple[TaskSpec, ...]) -> WorkerOfflineError | None:
    """The refusal if nobody connected matches one of these tasks."""
    checked: set[TaskPolicy] = set()
    for task in tasks:
        policy = task.policy
        if policy not in checked:
            checked.add(policy)
            # A worker that has still to do a standing job is there all the same; one that drains takes nothing more.
            requires = without_tokens(policy.requires)
            if all(agent.draining for agent in candidates(core, (policy.location, requires))):
                who = f"called {policy.location!r}" if policy.location else "at all"
                what = f" with the capabilities {', '.join(requires)}" if requires else ""
                return WorkerOfflineError(
                    f"No worker {who}{what} is connected; start one, or submit with if_offline=queue.",
                    location=policy.location,
                )
    return None


def _open(core: Core, event: TasksSubmitted) -> Submission:
    """Reserve the ids."""
    first_id = TaskId(core.highest_id + 1)
    last_id = TaskId(core.highest_id + event.total)
    core.highest_id = last_id
    core.reserved += event.total
    submission = Submission(first_id, last_id, core.jobs[event.job], event.idempotency, first_id)
    if not event.last:
        core.submissions[first_id] = submission
        persist(core, SubmissionOpened(first_id, last_id))
    return submission


def _stage(core: Core, submission: Submission, specs: tuple[TaskSpec, ...]) -> None:
    job = submission.job
    first_id = submission.next_id
    submission.staged.extend(
        new_task(TaskId(task_id), job, policy, tag, len(parameter))
        for task_id, (policy, parameter, tag) in enumerate(specs, first_id)
    )
    submission.next_id += len(specs)
    if core.standing:
        for policy in {id(spec.policy): spec.policy for spec in specs}.values():
            comes_after(job, policy)
    rows = tuple((policy, tag, parameter) for policy, parameter, tag in specs)
    persist(core, TasksAdded(job.id, TaskId(first_id), rows))


def _complete(core: Core, submission: Submission, event: TasksSubmitted) -> None:
    """The last slice is here: promise the tasks, and begin to let them in."""
    if core.submissions.pop(submission.first_id, None) is not None:
        persist(core, SubmissionClosed(submission.first_id, complete=True))
    idempotency = event.idempotency or submission.idempotency
    if idempotency is not None:
        persist(core, RequestAnswered(idempotency, submission.first_id))
    core.admitting.append(submission)
