"""What requests may say: one type a call, read with messages that name the member at fault."""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from dart.errors import InvalidRequestError

Integer = int | str
"""Old programs and query strings write integers as decimal text."""
Number = int | float | str
Flag = bool | str

INTEGER_MAX = (1 << 63) - 1
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_AT = re.compile(r"(?P<what>.*) - at (?P<key>`key` in )?`\$(?P<path>.*)`", re.DOTALL)
_KINDS = {"int": "an integer", "float": "a number", "str": "text", "array": "a list", "object": "an object"}
_KINDS |= {"bool": "true or false", "null": "null", "bytes": "bytes", "ext": "an extension value"}


class Members(msgspec.Struct, kw_only=True):
    """What every request may say."""

    key: Any = None
    """The API key of old programs; looked at elsewhere."""


class Retention(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of a job's results; what is left out follows the server's limits."""

    seconds: Number = 0
    results: Integer = 0
    bytes: Integer = 0


class NewJob(Members, kw_only=True):
    """`POST /job/`."""

    name: str
    module_path: str
    method: str
    requires: list[str] | msgspec.UnsetType = msgspec.UNSET
    priority: Integer | msgspec.UnsetType = msgspec.UNSET
    timeout: Number | msgspec.UnsetType = msgspec.UNSET
    retries: Integer | msgspec.UnsetType = msgspec.UNSET
    retry_delay: Number | msgspec.UnsetType = msgspec.UNSET
    lost_retries: Integer | msgspec.UnsetType = msgspec.UNSET
    lost_retry_delay: Number | msgspec.UnsetType = msgspec.UNSET
    on_lost: str | msgspec.UnsetType = msgspec.UNSET
    if_offline: str | msgspec.UnsetType = msgspec.UNSET
    expires: Number | msgspec.UnsetType = msgspec.UNSET
    after: list[str] | msgspec.UnsetType = msgspec.UNSET
    standing: Flag = False
    parameter: Any = msgspec.UNSET
    worker_regex: str = ""
    retention: Retention = msgspec.field(default_factory=Retention)
    serializer: Any = None
    source: Any = None


JOB_MEMBERS_TO_COME = ("serializer", "source")
"""Ignoring one of these would change what is run, so they are refused by name until they are there."""


class Each(msgspec.Struct, forbid_unknown_fields=True):
    """One task for each worker connected now that matches."""

    worker_regex: str = ""
    requires: list[str] = []


class NewTask(msgspec.Struct, kw_only=True):
    """One entry of `location_and_parameters`, with its parameter decoded."""

    location: str = ""
    parameter: Any = None
    requires: list[str] | msgspec.UnsetType = msgspec.UNSET
    each: Each | msgspec.UnsetType = msgspec.UNSET
    priority: Integer | msgspec.UnsetType = msgspec.UNSET
    timeout: Number | msgspec.UnsetType = msgspec.UNSET
    retries: Integer | msgspec.UnsetType = msgspec.UNSET
    retry_delay: Number | msgspec.UnsetType = msgspec.UNSET
    lost_retries: Integer | msgspec.UnsetType = msgspec.UNSET
    lost_retry_delay: Number | msgspec.UnsetType = msgspec.UNSET
    on_lost: str | msgspec.UnsetType = msgspec.UNSET
    if_offline: str | msgspec.UnsetType = msgspec.UNSET
    expires: Number | msgspec.UnsetType = msgspec.UNSET
    after: list[str] | msgspec.UnsetType = msgspec.UNSET
    tag: str = ""


class StrictTask(NewTask, kw_only=True, forbid_unknown_fields=True):
    """The same, for finding members that no task has."""


class OpaqueTask(StrictTask, kw_only=True, forbid_unknown_fields=True):
    """The same with the parameter's very bytes."""

    parameter: msgspec.Raw = msgspec.Raw(b"\xc0")


class LenientOpaqueTask(NewTask, kw_only=True):
    """The same, ignoring what it does not know."""

    parameter: msgspec.Raw = msgspec.Raw(b"\xc0")


class Submission(Members, kw_only=True):
    """`POST /job/{job}/tasks/`; entries are read one by one."""

    location_and_parameters: list[msgspec.Raw]
    if_stopped: str = "run"
    wait: Number = 0
    cursor: Flag = False


class StopJob(Members, kw_only=True):
    """`DELETE /job/{job}/`."""

    purge: Flag = False


class ResultsWanted(Members, kw_only=True):
    """`GET /job/{job}/results/`."""

    amount: Integer | msgspec.UnsetType = msgspec.UNSET
    worker_regex: str = ""
    wait: Number | msgspec.UnsetType = msgspec.UNSET
    after: Integer | msgspec.UnsetType = msgspec.UNSET


class Page(Members, kw_only=True):
    """Lists by id."""

    amount: Integer = 100
    after: Integer = 0
    state: str | list[str] = ""


class JobPage(Members, kw_only=True):
    """`GET /job/`."""

    amount: Integer = 100
    after: str = ""


class Ssh(msgspec.Struct):
    """How hosts are reached; old programs write the names with hyphens."""

    username: str = ""
    port: Integer = 22
    public_key: str = ""
    private_key: str = ""


class NewWorkers(Members, kw_only=True):
    """`POST /worker/`."""

    name: str
    hosts: list[str]
    workers_per_host: Integer = 1
    capabilities: list[str] = []
    shm_size: Integer = 0
    ssh: Ssh = msgspec.field(default_factory=Ssh)


class GoneWorkers(Members, kw_only=True):
    """`DELETE /worker/`."""

    hosts: list[str] | str | None = None
    ssh: Ssh = msgspec.field(default_factory=Ssh)


class PingWanted(Members, kw_only=True):
    """`POST /worker/{name}/ping/`."""

    wait: Number = 5


class NewEnrolment(Members, kw_only=True):
    """`POST /enroll/`."""

    name: str
    public_key: str


M = TypeVar("M", bound=Members)


def read_members(members: Mapping[str, Any], kind: type[M]) -> tuple[M, list[str]]:
    """The members as this type, and the names of those that it does not have.

    Raises:
        InvalidRequestError: A member is missing or of a wrong type; `field` names it.
    """
    try:
        made = msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    known = kind.__struct_fields__
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
    field = path.lstrip(".") or "body"
    return InvalidRequestError(f"Member `{field:.300}`: {what[:1].lower()}{what[1:500]}.", field=field[:300])


def integer(value: Integer, field: str, *, minimum: int = 0, maximum: int = INTEGER_MAX, clamp: bool = False) -> int:
    """An integer within bounds, also from decimal text; `clamp` moves it to the nearer bound instead of refusing."""
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value.strip()):
            raise InvalidRequestError(f"Member `{field}` must be an integer, not {value!r:.60}.", field=field)
        value = int(value)
    if clamp:
        return max(minimum, min(maximum, value))
    if not minimum <= value <= maximum:
        raise InvalidRequestError(f"Member `{field}` must be {minimum}..{maximum}.", field=field)
    return value


def seconds(value: Number, field: str, *, maximum: float = 1e9) -> float:
    """A finite number of seconds, at least 0."""
    try:
        found = float(value)
    except (ValueError, OverflowError):
        found = math.nan
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
