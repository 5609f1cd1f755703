"""The table of all calls."""

from typing import Final

from dart.errors import (
    ConflictError,
    HostUnreachableError,
    JobExistsError,
    JobStoppedError,
    NotAvailableYetError,
    UnknownJobError,
    WorkerOfflineError,
)
from dart.rest import (
    access_schemas,
    audit,
    blobs,
    enrolments,
    events,
    host_schemas,
    job_schemas,
    jobs,
    keys,
    metrics,
    module_schemas,
    modules,
    openapi,
    results,
    rotation,
    schemas,
    server,
    tasks,
    workers,
)
from dart.rest import answer_schemas as shapes
from dart.rest.auth import Scope
from dart.rest.bodies import EVENT_STREAM
from dart.rest.call import Route
from dart.rest.dashboard import routes as dashboard_routes
from dart.rest.schemas import Members

ROUTES: Final = (
    Route("GET", "/server/", server.show, Scope.READ, historic=True, takes=Members, answers=shapes.Servers),
    Route("DELETE", "/server/", server.stop, Scope.ADMIN, historic=True, takes=Members, answers=shapes.Answer),
    Route("GET", "/worker/", workers.list_all, Scope.READ, historic=True, takes=Members, answers=shapes.Workers),
    Route(
        "POST", "/worker/", workers.add, Scope.ADMIN, historic=True,
        takes=host_schemas.NewWorkers, answers=shapes.HostsDone, errors=(NotAvailableYetError, HostUnreachableError),
    ),
    Route(
        "DELETE", "/worker/", workers.remove, Scope.ADMIN, historic=True,
        takes=host_schemas.GoneWorkers, answers=shapes.HostsDone, errors=(NotAvailableYetError, HostUnreachableError),
    ),
    Route(
        "POST", "/job/", jobs.define, Scope.SUBMIT, historic=True,
        takes=schemas.NewJob, answers=job_schemas.StatusOfJob, errors=(JobExistsError, UnknownJobError),
    ),
    Route("GET", "/job/{job}/", jobs.show, Scope.READ, historic=True, takes=Members, answers=job_schemas.OneJob),
    Route(
        "DELETE", "/job/{job}/", jobs.stop, Scope.SUBMIT, historic=True,
        takes=schemas.StopJob, answers=job_schemas.StoppedJob, errors=(ConflictError,), in_session=True,
    ),
    Route(
        "GET", "/job/{job}/status/", jobs.status, Scope.READ, historic=True,
        takes=Members, answers=job_schemas.StatusOfJob,
    ),
    Route(
        "POST", "/job/{job}/tasks/", tasks.submit, Scope.SUBMIT, historic=True,
        takes=schemas.Submission, answers=job_schemas.Submitted, in_query=("wait", "cursor"),
        errors=(ConflictError, JobStoppedError, WorkerOfflineError),
    ),
    Route(
        "GET", "/job/{job}/results/", results.list_all, Scope.READ, historic=True,
        takes=schemas.ResultsWanted, answers=job_schemas.Results,
    ),
    Route(
        "GET", "/job/{job}/results/{id}/", results.show, Scope.READ, takes=Members, answers=job_schemas.OneResult,
    ),
    Route(
        "DELETE", "/job/{job}/results/{id}/", results.delete, Scope.SUBMIT, historic=True,
        takes=Members, answers=shapes.Answer,
    ),
    Route(
        "GET", "/server/backup/", server.backup, Scope.ADMIN,
        takes=Members, answers="application/vnd.sqlite3", errors=(ConflictError,),
    ),
    Route("GET", "/job/", jobs.list_all, Scope.READ, takes=schemas.JobPage, answers=job_schemas.Jobs),
    Route("GET", "/job/{job}/tasks/", tasks.list_all, Scope.READ, takes=schemas.Page, answers=job_schemas.Tasks),
    Route("GET", "/job/{job}/tasks/{id}/", tasks.show, Scope.READ, takes=Members, answers=job_schemas.OneTask),
    Route(
        "DELETE", "/job/{job}/tasks/{id}/", tasks.cancel, Scope.SUBMIT,
        takes=Members, answers=job_schemas.CancelledTask, in_session=True,
    ),
    Route("GET", "/events/", events.of_all, Scope.READ, takes=schemas.EventsWanted, answers=EVENT_STREAM),
    Route(
        "GET", "/job/{job}/events/", events.of_job, Scope.READ,
        takes=schemas.EventsWanted, answers=EVENT_STREAM,
    ),
    Route("GET", "/worker/{name}/", workers.show, Scope.READ, takes=Members, answers=job_schemas.OneWorker),
    Route(
        "POST", "/worker/{name}/drain/", workers.drain, Scope.ADMIN,
        takes=Members, answers=shapes.Draining, in_session=True,
    ),
    Route("POST", "/worker/{name}/ping/", workers.ping, Scope.ADMIN, takes=schemas.PingWanted, answers=shapes.Pings),
    Route(
        "POST", "/worker/{name}/revoke/", enrolments.revoke, Scope.ADMIN,
        takes=schemas.Revocation, answers=access_schemas.Revoked,
    ),
    Route(
        "GET", "/module/", modules.list_all, Scope.READ,
        takes=module_schemas.ModulesWanted, answers=module_schemas.Modules,
    ),
    Route(
        "POST", "/module/", modules.push, Scope.ADMIN,
        takes=module_schemas.PushedModule, answers=module_schemas.Modules,
    ),
    Route(
        "DELETE", "/module/{name}/", modules.remove, Scope.ADMIN,
        takes=module_schemas.ModulesWanted, answers=module_schemas.Modules,
    ),
    Route(
        "POST", "/host/upgrade/", workers.upgrade, Scope.ADMIN,
        takes=host_schemas.Upgrade, answers=shapes.HostsDone, errors=(NotAvailableYetError, HostUnreachableError),
    ),
    Route(
        "POST", "/enroll/", enrolments.enroll, Scope.ADMIN, takes_token=True,
        takes=schemas.NewEnrolment, answers=access_schemas.Enrolled, errors=(ConflictError,),
    ),
    Route(
        "POST", "/token/", enrolments.make_token, Scope.ADMIN,
        takes=schemas.NewToken, answers=access_schemas.MadeJoinToken, errors=(ConflictError,),
    ),
    Route("GET", "/token/", enrolments.list_tokens, Scope.ADMIN, takes=Members, answers=access_schemas.JoinTokens),
    Route(
        "DELETE", "/token/{token_id}/", enrolments.withdraw_token, Scope.ADMIN,
        takes=Members, answers=shapes.Answer,
    ),
    Route(
        "GET", "/server/rotation/", rotation.show, Scope.ADMIN,
        takes=Members, answers=access_schemas.OneRotation, errors=(NotAvailableYetError,),
    ),
    Route(
        "POST", "/server/rotation/", rotation.begin, Scope.ADMIN,
        takes=schemas.NewRotation, answers=access_schemas.OneRotation, errors=(NotAvailableYetError, ConflictError),
    ),
    Route(
        "POST", "/server/rotation/finish/", rotation.finish, Scope.ADMIN,
        takes=schemas.RotationEnd, answers=access_schemas.OneRotation, errors=(NotAvailableYetError, ConflictError),
    ),
    Route("GET", "/key/", keys.list_all, Scope.ADMIN, takes=Members, answers=access_schemas.Keys, in_session=True),
    Route(
        "POST", "/key/", keys.add, Scope.ADMIN,
        takes=schemas.NewKey, answers=access_schemas.AddedKey, errors=(ConflictError,),
    ),
    Route(
        "DELETE", "/key/{key_id}/", keys.revoke, Scope.ADMIN,
        takes=Members, answers=access_schemas.RevokedKey, errors=(ConflictError,), in_session=True,
    ),
    *blobs.ROUTES,
    Route(
        "GET", "/audit/", audit.list_all, Scope.ADMIN,
        takes=schemas.AuditPage, answers=access_schemas.Audit, in_session=True,
    ),
    *dashboard_routes.ROUTES,
    Route("GET", "/healthz", server.health, Scope.OPEN, takes=Members, answers=shapes.Health),
    Route("GET", "/readyz", server.readiness, Scope.OPEN, takes=Members, answers=shapes.Health),
    Route("GET", "/metrics", metrics.show, Scope.READ, takes=Members, answers=metrics.MEDIA_TYPE),
    Route("GET", "/openapi.json", openapi.show, Scope.READ, takes=Members, answers="application/json"),
)  # fmt: skip
"""Every call, with the scope that a key needs for it, and its types."""
