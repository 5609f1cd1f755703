"""What requests may say: one type a call, read with messages that name the member at fault."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from dart.errors import InvalidRequestError
from dart.rest.member_types import (
    INTEGER_MAX,
    SECONDS_MAX,
    AgentDigits,
    Amount,
    AnyValue,
    ApiKey,
    BoundNames,
    Count,
    Cursor,
    EventKinds,
    EventPlace,
    Flag,
    Integer,
    JobNames,
    JoinTokenText,
    KeyName,
    KeyScope,
    KeyText,
    Method,
    ModulePath,
    Name,
    NameClaim,
    NameOrEmpty,
    Number,
    OpaqueValue,
    Pattern,
    PortOrAny,
    Priority,
    PublicKey,
    Requirements,
    Retries,
    Seconds,
    States,
    Tag,
    ToCome,
    TokenSeconds,
    TokenUses,
    WhenLost,
    WhenOffline,
    WhenStopped,
)

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,4})?")
_AT = re.compile(r"(?P<what>.*) - at (?P<key>`key` in )?`\$(?P<path>.*)`", re.DOTALL)
_KINDS = {"int": "an integer", "float": "a number", "str": "text", "array": "a list", "object": "an object"}
_KINDS |= {"bool": "true or false", "null": "null", "bytes": "bytes", "ext": "an extension value"}


NULL = msgspec.Raw(b"null")
NIL = msgspec.Raw(b"\xc0")
ENTRIES_MAX = 8_000_000
"""Entries of one request, whatever `tasks_per_request_max` is."""
ABSENT = msgspec.Raw()
"""No text is no value: this member was not given."""


class Members(msgspec.Struct, kw_only=True):
    """What every request may say."""

    key: ApiKey = msgspec.field(default_factory=lambda: NULL)
    """The API key of old programs; looked at elsewhere."""


class Retention(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of a job's results; what is left out follows the server's limits."""

    seconds: Seconds = 0
    results: Count = 0
    bytes: Count = 0


class NewJob(Members, kw_only=True):
    """`POST /job/`."""

    name: Name
    module_path: ModulePath
    method: Method
    requires: Requirements | msgspec.UnsetType = msgspec.UNSET
    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    retries: Retries | msgspec.UnsetType = msgspec.UNSET
    retry_delay: Seconds | msgspec.UnsetType = msgspec.UNSET
    lost_retries: Retries | msgspec.UnsetType = msgspec.UNSET
    lost_retry_delay: Seconds | msgspec.UnsetType = msgspec.UNSET
    on_lost: WhenLost | msgspec.UnsetType = msgspec.UNSET
    if_offline: WhenOffline | msgspec.UnsetType = msgspec.UNSET
    expires: Seconds | msgspec.UnsetType = msgspec.UNSET
    after: JobNames | msgspec.UnsetType = msgspec.UNSET
    standing: Flag = False
    parameter: OpaqueValue = msgspec.field(default_factory=lambda: ABSENT)
    worker_regex: Pattern = ""
    retention: Retention = msgspec.field(default_factory=Retention)
    serializer: ToCome = msgspec.field(default_factory=lambda: NULL)
    source: ToCome = msgspec.field(default_factory=lambda: NULL)


JOB_MEMBERS_TO_COME = ("serializer", "source")
"""Ignoring one of these would change what is run, so they are refused by name until they are there."""


class Each(msgspec.Struct, forbid_unknown_fields=True):
    """One task for each worker connected now that matches."""

    worker_regex: Pattern = ""
    requires: Requirements = []


class NewTask(msgspec.Struct, kw_only=True):
    """One entry of `location_and_parameters`, with its parameter decoded."""

    location: NameOrEmpty = ""
    parameter: AnyValue = None
    requires: Requirements | msgspec.UnsetType = msgspec.UNSET
    each: Each | msgspec.UnsetType = msgspec.UNSET
    priority: Priority | msgspec.UnsetType = msgspec.UNSET
    timeout: Seconds | msgspec.UnsetType = msgspec.UNSET
    retries: Retries | msgspec.UnsetType = msgspec.UNSET
    retry_delay: Seconds | msgspec.UnsetType = msgspec.UNSET
    lost_retries: Retries | msgspec.UnsetType = msgspec.UNSET
    lost_retry_delay: Seconds | msgspec.UnsetType = msgspec.UNSET
    on_lost: WhenLost | msgspec.UnsetType = msgspec.UNSET
    if_offline: WhenOffline | msgspec.UnsetType = msgspec.UNSET
    expires: Seconds | msgspec.UnsetType = msgspec.UNSET
    after: JobNames | msgspec.UnsetType = msgspec.UNSET
    tag: Tag = ""


class OpaqueTask(NewTask, kw_only=True, forbid_unknown_fields=True):
    """The same with the parameter's very bytes, for finding members that no task has."""

    parameter: msgspec.Raw = msgspec.field(default_factory=lambda: ABSENT)


class LenientOpaqueTask(NewTask, kw_only=True):
    """The same, ignoring what it does not know."""

    parameter: msgspec.Raw = msgspec.field(default_factory=lambda: ABSENT)


class Submission(Members, kw_only=True):
    """`POST /job/{job}/tasks/`; entries are read one by one."""

    location_and_parameters: Annotated[
        list[Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/NewTask"})]],
        # Told by the head of a MessagePack list, before anything is made of it.
        msgspec.Meta(max_length=ENTRIES_MAX, extra_json_schema={"maxItems": "tasks_per_request_max"}),
    ]
    if_stopped: WhenStopped = "run"
    wait: Seconds = 0
    cursor: Flag = False


class StopJob(Members, kw_only=True):
    """`DELETE /job/{job}/`."""

    purge: Flag = False


class ResultsWanted(Members, kw_only=True):
    """`GET /job/{job}/results/`."""

    amount: Amount | msgspec.UnsetType = msgspec.UNSET
    worker_regex: Pattern = ""
    wait: Seconds | msgspec.UnsetType = msgspec.UNSET
    after: Cursor | msgspec.UnsetType = msgspec.UNSET


class EventsWanted(Members, kw_only=True):
    """`GET /events/`, `GET /job/{job}/events/`."""

    after: EventPlace = "now"
    events: EventKinds = ""
    worker: NameOrEmpty = ""
    follow: Flag = True


class Page(Members, kw_only=True):
    """Lists by id."""

    amount: Amount = 100
    after: Count = 0
    state: States = ""


class AuditPage(Members, kw_only=True):
    """`GET /audit/`."""

    amount: Amount = 100
    after: Count = 0
    newest: Flag = False
    """Newest first; `after` then leads to older ones."""


class JobPage(Members, kw_only=True):
    """`GET /job/`."""

    amount: Amount = 100
    after: str = ""


class PingWanted(Members, kw_only=True):
    """`POST /worker/{name}/ping/`."""

    wait: Seconds = 5
    runner: Flag = False
    """Also start the owner's Python as for a task, and tell all versions."""


class NewKey(Members, kw_only=True):
    """`POST /key/`."""

    scope: KeyScope
    name: KeyName = ""
    jobs: BoundNames = []
    job_regex: Pattern = ""
    workers: BoundNames = []
    worker_regex: Pattern = ""
    expires: Seconds = 0
    text: KeyText = ""


class NewEnrolment(Members, kw_only=True):
    """`POST /enroll/`."""

    name: Name
    public_key: PublicKey
    token: JoinTokenText = ""


class NewToken(Members, kw_only=True):
    """`POST /token/`."""

    name: NameClaim
    expires: TokenSeconds = 3600
    uses: TokenUses = 1
    local: Flag = False


class Revocation(Members, kw_only=True):
    """`POST /worker/{name}/revoke/`."""

    agent: AgentDigits = ""


class NewRotation(Members, kw_only=True):
    """`POST /server/rotation/`."""

    agent_port: PortOrAny = 0


class RotationEnd(Members, kw_only=True):
    """`POST /server/rotation/finish/`."""

    leave_behind: Flag = False


BETWEEN_MEMBERS: dict[type[msgspec.Struct], dict[str, Any]] = {
    NewTask: {"not": {"required": ["each", "location"], "properties": {"location": {"minLength": 1}}}},
    NewJob: {
        "not": {
            "required": ["standing", "expires"],
            "properties": {
                "standing": {"enum": [True, "true", "1", "yes", ""]},
                "expires": {"not": {"enum": [0, "0"]}},
            },
        },
    },
}
"""What members say together, for the OpenAPI document; checked where they are used."""

M = TypeVar("M", bound=Members)


def read_members(members: Mapping[str, Any], kind: type[M]) -> tuple[M, list[str]]:
    """The members as this type, and the names of those that it does not have.

    Raises:
        InvalidRequestError: A member is missing or of a wrong type; `field` names it.
    """
    known = kind.__struct_fields__
    try:
        # The key stays bytes, and here there are none.
        taken = {name: value for name, value in members.items() if name in known and name != "key"}
        made = msgspec.convert(taken, kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    return made, [name for name in members if name not in known]


def invalid(error: msgspec.ValidationError, *, where: str = "") -> InvalidRequestError:
    """The readable form of a complaint about a type.

    Args:
        error: What msgspec says.
        where: Path to what was being read.
    """
    text = str(error)
    found = _AT.fullmatch(text)
    path = where + (found["path"] if found else "")
    what = found["what"] if found else text
    if missing := re.fullmatch("Object missing required field `(.*)`", what):
        name = f"{path.lstrip('.')}.{missing[1]}".lstrip(".")
        return InvalidRequestError(f"Member `{name}` is missing.", field=name)
    if unknown := re.fullmatch("Object contains unknown field `(.*)`", what, re.DOTALL):
        name = f"{path.lstrip('.')}.{unknown[1]}".lstrip(".")
        return InvalidRequestError(f"There is no member `{name:.300}` here.", field=name[:300])
    what = re.sub(
        "`([a-z |]+)`", lambda kinds: " or ".join(_KINDS.get(kind, kind) for kind in kinds[1].split(" | ")), what
    )
    what = what.replace("an integer or a number", "a number")
    field = path.lstrip(".") or "body"
    return InvalidRequestError(f"Member `{field:.300}`: {what[:1].lower()}{what[1:500]}.", field=field[:300])


def integer(value: Integer, field: str, *, minimum: int = 0, maximum: int = INTEGER_MAX, clamp: bool = False) -> int:
    """An integer within bounds, also as `"1"` or 1.0; `clamp` moves it to the nearer bound instead of refusing."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value.strip()):
            raise InvalidRequestError(f"Member `{field}` must be an integer, not {value!r:.60}.", field=field)
        value = int(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise InvalidRequestError(f"Member `{field}` must be an integer, not {value!r}.", field=field)
        value = int(value)
    if clamp:
        return max(minimum, min(maximum, value))
    if not minimum <= value <= maximum:
        raise InvalidRequestError(f"Member `{field}` must be {minimum}..{maximum}.", field=field)
    return value


def seconds(value: Number, field: str, *, maximum: float = SECONDS_MAX) -> float:
    """A finite number of seconds, at least 0, also from decimal text."""
    found = math.nan
    if not isinstance(value, str) or _NUMBER.fullmatch(value.strip()):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
    if not 0 <= found <= maximum:
        raise InvalidRequestError(f"Member `{field}` must be a number of seconds, 0..{maximum:.0f}.", field=field)
    return found


def flag(value: Flag, field: str) -> bool:
    """A truth value, also from a query string."""
    if isinstance(value, bool):
        return value
    if value.lower() in {"true", "1", "yes", ""}:
        return True
    if value.lower() in {"false", "0", "no"}:
        return False
    raise InvalidRequestError(f"Member `{field}` must be true or false.", field=field)


def choice(value: str, field: str, allowed: tuple[str, ...]) -> str:
    """One of these words."""
    if value not in allowed:
        raise InvalidRequestError(f"Member `{field}` must be one of {', '.join(allowed)}.", field=field)
    return value
