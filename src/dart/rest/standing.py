"""What makes a job standing, as a definition says it."""

from typing import Any, Final

import msgspec

from dart.broker.core.model import Standing
from dart.errors import ForbiddenError, InvalidRequestError
from dart.patterns import compile_pattern
from dart.rest import json_values, schemas
from dart.rest.call import Call
from dart.rest.policies import Policies
from dart.rest.submission import checked_value

_MEMBERS: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_NIL: Final = b"\xc0"


async def standing_of(call: Call, wanted: schemas.NewJob, defaults: dict[str, Any]) -> Standing | None:
    """The parameter, the workers and the policy of a standing job; None: the job is none.

    Raises:
        InvalidRequestError: A member that standing jobs must not have, or a pattern that is none.
        UnknownJobError: `after` names a job that is not a standing one.
    """
    for name in defaults.get("after", ()):
        call.caller.check_job(name)
    policy, _ = Policies(defaults, call.limits, call.gateway.standing_jobs()).of(schemas.NewTask())
    if not schemas.flag(wanted.standing, "standing"):
        given = {"parameter": wanted.parameter is not msgspec.UNSET, "worker_regex": bool(wanted.worker_regex)}
        call.note_unknown([member for member, is_given in given.items() if is_given])
        return None
    if not call.caller.workers.is_open:
        raise ForbiddenError(
            f"The key {call.caller.name} is bound to workers, so it may not define standing jobs: they run on workers"
            " that join later, too.",
            field="standing",
        )
    if policy.expires_at_ms:
        text = "The tasks of a standing job do not expire, since their workers may join at any time."
        raise InvalidRequestError(f"Member `expires`: {text}", field="expires")
    if wanted.worker_regex:
        compile_pattern(wanted.worker_regex, call.limits)
    return Standing(await _parameter(call, wanted), wanted.worker_regex, policy)


async def _parameter(call: Call, wanted: schemas.NewJob) -> bytes:
    if wanted.parameter is msgspec.UNSET:
        return _NIL
    if call.body.is_messagepack:
        members = _MEMBERS.decode(await call.body.read())
        return checked_value(bytes(members["parameter"]), call.limits.value_bytes_max)
    return json_values.encode_parameter(wanted.parameter, may_have_tags=True, bytes_max=call.limits.value_bytes_max)
