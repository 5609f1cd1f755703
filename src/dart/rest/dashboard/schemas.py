"""Types of the calls that the page at `/` is made with: what they take and what they answer."""

from typing import Annotated, Literal, NotRequired, TypedDict

from msgspec import Meta

from dart.rest.answer_schemas import Amount, Answer, Milliseconds
from dart.rest.job_schemas import Status
from dart.rest.member_types import Amount as AmountWanted
from dart.rest.member_types import Count, Flag, shown
from dart.rest.schemas import Members

WORKER_STATES = ("", "connected", "away", "draining")
WORKER_ORDERS = ("name", "busy", "contact")
JOB_ORDERS = ("newest", "name")
Sought = Annotated[
    str, shown("stands somewhere in what is looked for, whatever its case; empty: all", maxLength="name_chars_max")
]
Percent = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": 100})]
Latency = Annotated[float, Meta(extra_json_schema={"description": "seconds; -1: there was none", "minimum": -1})]


class WorkersWanted(Members, kw_only=True):
    """`GET /overview/workers/`."""

    match: Sought = ""
    only: Annotated[str, shown(enum=list(WORKER_STATES))] = ""
    """Only those that are so; draining ones are connected, too. Empty: all."""
    order: Annotated[str, shown(enum=list(WORKER_ORDERS))] = "name"
    offset: Count = 0
    amount: AmountWanted = 100


class JobsWanted(Members, kw_only=True):
    """`GET /overview/jobs/`."""

    match: Sought = ""
    open: Flag = False
    """Only those with tasks that are not finished."""
    order: Annotated[str, shown(enum=list(JOB_ORDERS))] = "newest"
    offset: Count = 0
    amount: AmountWanted = 100


class OverviewWanted(Members, kw_only=True):
    """`GET /overview/`."""

    since: Count = 0
    """Unix ms: only later samples."""


class WorkerRow(TypedDict):
    """A worker, connected or only enrolled."""

    name: str
    connected: bool
    hosts: list[str]
    architectures: list[str]
    versions: list[str]
    count: Amount
    """Slots."""
    busy: Amount
    draining: bool
    last_contact: NotRequired[Milliseconds]
    """Left out where the server has not heard of it since it was started."""
    loads: list[Percent]
    """Of its slots that were busy, one in ten seconds, the oldest first."""


class WorkerRows(Answer):
    """`GET /overview/workers/`."""

    workers: list[WorkerRow]
    total: Amount


class JobRow(TypedDict):
    """A job and how far it is."""

    name: str
    status: Status
    standing: bool
    module_path: str
    method: str
    defined_at: Milliseconds
    tasks: dict[str, Amount]


class JobRows(Answer):
    """`GET /overview/jobs/`."""

    jobs: list[JobRow]
    total: Amount


class Samples(TypedDict):
    """One value a second in each list, the oldest first; numbers of that second."""

    at: list[Milliseconds]
    submitted: list[Amount]
    finished: list[Amount]
    failed: list[Amount]
    open: list[Amount]
    slots: list[Amount]
    busy: list[Amount]
    wait_p50: list[Latency]
    wait_p95: list[Latency]
    run_p50: list[Latency]
    run_p95: list[Latency]


class Now(TypedDict):
    """The server as it is."""

    at: Milliseconds
    trouble: NotRequired[str]
    """Why no work is taken."""
    tasks: dict[str, Amount]
    """Open ones, by state."""
    finished: dict[str, Amount]
    """Since the server was started, by state."""
    jobs: dict[str, Amount]
    workers: Amount
    """Names that are connected."""
    agents: Amount
    draining: Amount
    slots: Amount
    busy: Amount


class Overview(Answer):
    """`GET /overview/`."""

    now: Now
    history: Samples


class SessionShown(TypedDict):
    """A key and what it may do; never its text."""

    key: str
    """Its id."""
    name: str
    scope: Literal["read", "submit", "admin"]
    jobs: NotRequired[list[str]]
    job_regex: NotRequired[str]
    workers: NotRequired[list[str]]
    worker_regex: NotRequired[str]
    expires_at: NotRequired[Milliseconds]


class Session(Answer):
    """`GET /session/`."""

    session: SessionShown


class BegunSession(Session):
    """`POST /session/`; a cookie comes with it."""

    proof: str
    """For the header `X-Dart-Session` of each request, beside the cookie."""
