"""What makes a job standing, as a definition says it."""

from typing import Any

from dart.broker.core.model import Standing
from dart.errors import ForbiddenError, InvalidRequestError
from dart.patterns import compile_pattern
from dart.rest import schemas
from dart.rest.call import Call
from dart.rest.policies import Policies
from dart.rest.submission import parameter_of


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
        given = {"parameter": wanted.parameter != schemas.ABSENT, "worker_regex": bool(wanted.worker_regex)}
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
    return Standing(await parameter_of(wanted.parameter, call), wanted.worker_regex, policy)
