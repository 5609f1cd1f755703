"""One request on its way through its handler: what it may use, what it asked, what it answers."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import msgspec
from aiohttp import web

from dart.broker.core.model import Idempotency
from dart.broker.gateway import Gateway
from dart.errors import DartError, InvalidRequestError, UnavailableError, UnknownTaskError
from dart.ids import TaskId
from dart.limits import Limits
from dart.rest import schemas
from dart.rest.auth import KeyRing, Scope
from dart.rest.bodies import Body, decode_as
from dart.rest.caller import Caller
from dart.rest.dashboard.history import History
from dart.rest.idempotency import Answers, idempotency_of
from dart.rest.meters import Meters
from dart.rest.patterns import Patterns
from dart.rest.schemas import M
from dart.rest.signal import Signal
from dart.traces import Traces
from dart.undisturbed import Undisturbed

T = TypeVar("T")
REQUEST_ID: ContextVar[str] = ContextVar("dart_request_id", default="")
"""Names the request that is being handled, in its answer and in the log."""

Answer = dict[str, Any] | web.StreamResponse


class Tools(NamedTuple):
    """What all calls share."""

    gateway: Gateway
    keys: KeyRing
    limits: Limits
    patterns: Patterns
    answers: Answers
    closing: Signal
    """Set when the server ends: who waits answers what there is."""
    undisturbed: Undisturbed
    """What `answers` will remember."""
    history: History
    routes: "tuple[Route, ...]" = ()
    """All calls, for the document that describes them."""
    meters: Meters = Meters()
    traces: Traces = Traces()


class Call:
    """A request whose caller is known and may do what it asks."""

    def __init__(
        self, request: web.Request, tools: Tools, route: "Route", body: Body, caller: Caller, *, messagepack: bool
    ) -> None:
        self.request = request
        self.tools = tools
        self.gateway = tools.gateway
        self.limits = tools.limits
        self.route = route
        self.body = body
        self.caller = caller
        self.messagepack = messagepack
        """Whether it wants its answer so."""
        self.warnings: list[str] = []

    def part(self, name: str) -> str:
        """A segment of the path, as text."""
        return self.request.match_info[name]

    def task_id(self) -> TaskId:
        """The task or result that the path names; an id that cannot be is as unknown as any other."""
        text = self.part("id")
        if not text.isascii() or not text.isdigit() or not 0 < int(text[:20]) < 1 << 63 or len(text) > 19:
            raise UnknownTaskError(f"Job {self.part('job')!r} has no task {text[:40]!r}.", job=self.part("job"))
        return TaskId(int(text))

    async def members(self, kind: type[M]) -> M:
        """What the request says, as this type: the body, and for GET and DELETE the query, which wins.

        Members that the type does not have are warned of on the historic calls and refused on the others.
        """
        body = await self.body.read()
        found: dict[str, Any] = {}
        if self.request.method in {"GET", "DELETE"}:
            query = self.request.query
            for name in query:
                several = query.getall(name)
                found[name] = several if name in {"hosts", "state"} else several[-1]
        if not body:
            made, unknown = schemas.read_members(found, kind)
        else:
            strict = not self.route.historic
            made, unknown = decode_as(body, kind, messagepack=self.body.is_messagepack, is_strict=strict)
            if found:
                asked, others = schemas.read_members(found, kind)
                given = {name: getattr(asked, name) for name in found if name not in others}
                made = msgspec.structs.replace(made, **given)
                unknown += others
        self.note_unknown(unknown)
        return made

    def note_unknown(self, names: list[str]) -> None:
        """Warn of members that are ignored, or refuse them."""
        if not names:
            return
        if not self.route.historic:
            raise InvalidRequestError(f"There is no member `{names[0]:.300}` here.", field=names[0][:300])
        self.warnings += [f"The member `{name:.300}` is not known and was ignored." for name in names[:20]]

    async def idempotency(self) -> Idempotency | None:
        """What the request and its repetitions are known by."""
        found = await idempotency_of(self.request, await self.body.read(), self.limits, caller_id=self.caller.id)
        if found is not None:
            self.tools.answers.check(found)
        return found

    async def once(self, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Do it, or give the answer that the same `Idempotency-Key` had before."""
        idempotency = await self.idempotency()
        if idempotency is not None:
            # Raises if a definition or submission had this key.
            await self.gateway.recall_answer(idempotency)
        return await self.finish(idempotency, self.tools.answers.once(idempotency, make))

    async def finish(self, idempotency: Idempotency | None, doing: Awaitable[T]) -> T:
        """Do what `answers` remembers. With an `Idempotency-Key` it goes on when the caller goes away.

        What the store remembers needs none of this: the gateway sees to that by itself.
        """
        return await (doing if idempotency is None else self.tools.undisturbed.finish(doing))

    async def waiting(self, wait: Awaitable[T]) -> T | None:
        """Wait, but not beyond the end of the server (None: it ends) nor of the caller's key (`UnauthorizedError`)."""
        keys, closing = self.tools.keys, self.tools.closing
        task = asyncio.ensure_future(wait)
        try:
            while True:
                ends = (task, closing.future(), keys.changed.future())
                left = keys.seconds_left(self.caller)
                await asyncio.wait(ends, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                self.refuse_if_gone()
                if task.done():
                    return task.result()
                if closing.is_set():
                    return None
        except UnavailableError:
            if closing.is_set():
                return None
            raise
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def refuse_if_gone(self) -> None:
        """Raise `UnauthorizedError` if the caller's key counts no more: between the pieces of a long answer."""
        reason = self.tools.keys.gone(self.caller)
        if reason is not None:
            raise reason

    def answer(self, **members: Any) -> dict[str, Any]:
        """The members of the answer, with the warnings there are."""
        return {**members, "warnings": self.warnings} if self.warnings else members


class Route(NamedTuple):
    """One call of the interface."""

    method: str
    path: str
    """As documents write it; it answers with and without a trailing slash."""
    handler: Callable[[Call], Awaitable[Answer]]
    """The first line of its docstring, after the call's name, is what the OpenAPI document says of it."""
    scope: Scope
    historic: bool = False
    """One of the twelve that old programs know."""
    takes: type[schemas.Members] | None = None
    """The members that a request may have. No call goes without: a test sees to it."""
    body: str = ""
    """The media type of a body that has no members."""
    answers: Any = None
    """The type of its answer, a TypedDict; or the media type of one that is neither JSON nor MessagePack."""
    errors: tuple[type[DartError], ...] = ()
    """What it may answer besides what all calls of its kind may (`openapi.errors_of`)."""
    in_query: tuple[str, ...] = ()
    """Members that a call with a body also takes from the query."""
    takes_token: bool = False
    """Whether it is open to strangers with a join token; its handler sees to that."""
    in_session: bool = False
    """Whether a session may do it that changes something or needs more than `read`; others take the key itself."""

    @property
    def is_open_to_sessions(self) -> bool:
        """Whether a session may do it: no more than the page at `/` needs."""
        return self.in_session or (self.method in {"GET", "HEAD"} and self.scope <= Scope.READ)
