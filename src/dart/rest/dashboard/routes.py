"""The calls that the page at `/` is made with; part of the table of all calls."""

from typing import Final

from dart.rest.answer_schemas import Answer
from dart.rest.auth import Scope
from dart.rest.call import Route
from dart.rest.dashboard import schemas, session, tables
from dart.rest.schemas import Members

ROUTES: Final = (
    Route("POST", "/session/", session.begin, Scope.READ, takes=Members, answers=schemas.BegunSession),
    Route("GET", "/session/", session.show, Scope.READ, takes=Members, answers=schemas.Session),
    Route("DELETE", "/session/", session.end, Scope.READ, takes=Members, answers=Answer, in_session=True),
    Route("GET", "/overview/", tables.overview, Scope.READ, takes=schemas.OverviewWanted, answers=schemas.Overview),
    Route(
        "GET", "/overview/workers/", tables.workers, Scope.READ,
        takes=schemas.WorkersWanted, answers=schemas.WorkerRows,
    ),
    Route("GET", "/overview/jobs/", tables.jobs, Scope.READ, takes=schemas.JobsWanted, answers=schemas.JobRows),
)  # fmt: skip
