"""Short ways to make the records that tests of stores write."""

from dart.broker.core.access import ApiKey, AuditEntry, JoinToken, NameRule, Scope
from dart.broker.core.model import Idempotency, JobConfig, TaskPolicy, TaskState
from dart.broker.core.records import AuditNoted, JobAdded, RequestAnswered, TaskFinished, TasksAdded
from dart.broker.store.base import ResultQuery

POLICY = TaskPolicy(location="bob", requires=("gpu", "ram"), priority=3, timeout_seconds=1.5, expires_at_ms=9)._replace(
    retry_delay_seconds=2.5, lost_retry_delay_seconds=7.0
)
CONFIG = JobConfig("demo.module", "run", {"priority": 2, "timeout": 1.5, "tag": "ü", "requires": ["gpu"]})


def job(job_id, name=None):
    """A definition."""
    return JobAdded(job_id, name or f"job{job_id}", CONFIG, 1000 + job_id)


def tasks(job_id, *ids, parameter=b"parameter", policy=POLICY):
    """Tasks of consecutive ids."""
    assert list(ids) == list(range(ids[0], ids[-1] + 1))
    return TasksAdded(job_id, ids[0], tuple((policy, f"tag{i}", parameter) for i in ids))


def finished(job_id, task_id, state=TaskState.SUCCEEDED, worker="bob", payload=b"value", **changes):
    """An outcome."""
    members = {
        "id": task_id,
        "job_id": job_id,
        "state": state,
        "worker": worker,
        "host": "host",
        "location": "here",
        "tag": f"tag{task_id}",
        "attempts": 2,
        "start_time_ms": 1_700_000_000_000,
        "duration_seconds": 0.25,
        "error_code": 7,
        "finished_at_ms": 1_700_000_000_250,
        "payload": payload,
    }
    return TaskFinished(**(members | changes))


def done(job_id, *ids, **changes):
    """Tasks of consecutive ids, and their outcomes."""
    return [tasks(job_id, *ids), *(finished(job_id, task_id, **changes) for task_id in ids)]


def answered(key, answer, expires_at_ms=10_000, digest=b"digest"):
    """An answer to an idempotent request."""
    return RequestAnswered(Idempotency(key, digest, expires_at_ms), answer)


def api_key(key_id, **changes):
    """A key with all its members, the states of use and revocation but for what is asked."""
    rule = NameRule(("ü", "b"), "x.*")
    members = (f"name {key_id}", b"d\0\xff", "pepper", True, Scope.SUBMIT, rule, NameRule(), 2**62, 2**63 - 1)
    return ApiKey(key_id, *members)._replace(**changes)


def join_token(token_id, **changes):
    """A join token."""
    return JoinToken(token_id, b"d\0", "edge-.*", True, 1, 2**62, 5, created_by="ädmin")._replace(**changes)


def noted(n):
    """An entry of the audit."""
    return AuditNoted(AuditEntry(n, f"who{n}", "what", "tärget", "done", "::1", f"r-{n}"))


def results(store, job_id, workers=None, *, after=0, amount=1000, bytes_max=1 << 30):
    """One page of results."""
    return store.results(ResultQuery(job_id, workers, after, amount, bytes_max))


def result_ids(store, job_id, workers=None, **bounds):
    """Ids of one page of results."""
    return [result.id for result in results(store, job_id, workers, **bounds)]
