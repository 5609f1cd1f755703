"""The REST application: what is the same for each call of the table."""

import itertools
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web

from dart import traces
from dart.broker.actors import ACTOR
from dart.broker.core.access import Actor
from dart.broker.gateway import Gateway
from dart.errors import DartError, ForbiddenError, MethodNotAllowedError, NotFoundError, UnauthorizedError
from dart.limits import Limits
from dart.rest import docs, sessions
from dart.rest.answers import SERVER_NAME, answer_of, error_answer, wants_messagepack
from dart.rest.auth import KeyRing, Scope, bearer_key
from dart.rest.bodies import Body, Budget
from dart.rest.call import REQUEST_ID, Call, Route, Tools
from dart.rest.caller import NOBODY, Caller
from dart.rest.dashboard import page
from dart.rest.dashboard.history import History
from dart.rest.errors import from_http, status_of
from dart.rest.idempotency import Answers, idempotency_key
from dart.rest.key_scan import Scan, key_in_json, key_in_messagepack
from dart.rest.meters import Meters
from dart.rest.patterns import Patterns
from dart.rest.routes import ROUTES
from dart.rest.signal import Signal
from dart.undisturbed import Undisturbed

_log = logging.getLogger("dart.rest")
_TOLD: Final = {401: "no key that counts", 403: "not allowed to this key", 429: "over a limit"}
"""Refusals that the audit tells of."""
REMEMBERED_ANSWERS_MAX: Final = 20_000


def create(gateway: Gateway, ring: KeyRing, limits: Limits) -> web.Application:
    """The application, to be served by an `AppRunner`.

    When it is shut down, calls that wait for results answer what there is.
    """
    tools = Tools(
        gateway,
        ring,
        limits,
        Patterns(limits),
        Answers(REMEMBERED_ANSWERS_MAX),
        Signal(),
        Undisturbed(),
        History(gateway),
        ROUTES,
        Meters(),
        traces.from_environment("dart-server"),
    )
    desk = _Desk(ring, limits, tools)

    @web.middleware
    async def guard(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        return await desk.guard(request, handler)

    app = web.Application(middlewares=[guard])
    for route in ROUTES:
        handler = desk.handler(route)
        # A name may have brackets, which aiohttp's own pattern for a segment leaves out.
        bare = re.sub(r"{(\w+)}", r"{\1:[^/]+}", route.path.removesuffix("/"))
        for path in (bare, bare + "/"):
            app.router.add_route(route.method, path, handler, expect_handler=desk.expect(route))
    docs.add_to(app.router)
    page.add_to(app.router)
    app.on_response_prepare.append(_add_headers)
    app.on_response_prepare.append(tools.meters.count)
    tools.meters.start()
    tools.history.start()

    async def close(_: web.Application) -> None:
        tools.meters.close()
        tools.history.close()
        tools.closing.set()

    app.on_shutdown.append(close)
    return app


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Request-Id"] = REQUEST_ID.get()
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers[hdrs.SERVER] = SERVER_NAME


class _Desk:
    """Takes requests in: their id, key and body; and turns whatever happens into an answer."""

    def __init__(self, ring: KeyRing, limits: Limits, tools: Tools) -> None:
        self._ring = ring
        self._limits = limits
        self._tools = tools
        self._budget = Budget(limits.bodies_in_flight_bytes_max)
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Every error becomes the one shape, those of routing included."""
        request_id = f"{self._run}-{next(self._numbers)}"
        REQUEST_ID.set(request_id)
        ACTOR.set(Actor("nobody", request.remote or "", request_id))
        try:
            return await handler(request)
        except DartError as error:
            self._tell(request, error)
            return self._refusal(request, error)
        except web.HTTPException as error:
            return self._routing_error(request, error)
        except Exception:  # noqa: BLE001 - our fault, whatever it is: logged, and nothing of it shown
            _log.exception("request %s failed: %s %s", REQUEST_ID.get(), request.method, request.path)
            return self._refusal(request, DartError(""))

    def _tell(self, request: web.Request, error: DartError) -> None:
        """Into the audit with it, if somebody may not do what he asked for."""
        status = status_of(error)
        if status in _TOLD:
            target = f"{request.method} {request.path}"
            self._tools.gateway.audit.refuse("request", target, f"{status} {_TOLD[status]}")

    def _refusal(self, request: web.Request, error: DartError) -> web.Response:
        if request.writer.output_size > 0:
            # Part of an answer is out: all that can be said now is that it breaks off.
            _log.warning("the answer to request %s broke off: %s", REQUEST_ID.get(), error.message)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError("the answer broke off")
        if status_of(error) >= 500:
            _log.warning("request %s: %s: %s", REQUEST_ID.get(), type(error).__name__, error.message)
        response = error_answer(error, messagepack=wants_messagepack(request))
        if isinstance(error, UnauthorizedError) and request.can_read_body:
            # What a stranger still sends is not read.
            response.force_close()
        return response

    def _routing_error(self, request: web.Request, error: web.HTTPException) -> web.Response:
        if error.status == 404:
            return self._refusal(request, NotFoundError(f"There is no path {request.path[:300]!r}."))
        if isinstance(error, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(error.allowed_methods))
            response = self._refusal(
                request, MethodNotAllowedError(f"{request.path[:300]!r} does not know {request.method}; use {allowed}.")
            )
            response.headers[hdrs.ALLOW] = allowed
            return response
        return self._refusal(request, from_http(error.status, error.reason))

    def _body(self, request: web.Request, route: Route) -> Body:
        bytes_max = self._limits.historic_body_bytes_max if route.historic else self._limits.body_bytes_max
        if route.body:
            bytes_max = self._limits.blob_bytes_max
        if route.takes_token:
            bytes_max = min(bytes_max, self._limits.enrolment_body_bytes_max)
        return Body(request, bytes_max=bytes_max, limits=self._limits, budget=self._budget)

    def handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """What aiohttp calls for a route."""

        async def handle(request: web.Request) -> web.StreamResponse:
            body = self._body(request, route)
            try:
                caller = await self._let_in(request, route, body)
                body.still_allowed = partial(self._refuse_if_gone, caller)
                if route.method not in {"GET", "HEAD"}:
                    # Also where repeating does no harm: a key that is none is a mistake that the caller should see.
                    idempotency_key(request)
                messagepack = wants_messagepack(request)
                answer = await route.handler(Call(request, self._tools, route, body, caller, messagepack=messagepack))
                if isinstance(answer, web.StreamResponse):
                    return answer
                return answer_of(answer, messagepack=messagepack)
            finally:
                body.release()

        return handle

    def expect(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
        """Answers `Expect: 100-continue`: what can be refused by its head is, before the body is sent."""

        async def check(request: web.Request) -> web.StreamResponse | None:
            try:
                text = bearer_key(request.headers.get(hdrs.AUTHORIZATION))
                if text is not None:
                    self._ring.caller(text, route.scope, request.remote or "")
                    self._body(request, route).check_head()
            except DartError as error:
                self._tell(request, error)
                response = self._refusal(request, error)
                response.force_close()
                return response
            if request.version >= (1, 1) and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                # What was written is no part of the answer.
                request.writer.output_size = 0
            return None

        return check

    async def _let_in(self, request: web.Request, route: Route, body: Body) -> Caller:
        """Find the key and check it, reading no more of a stranger's body than its beginning; whose it is.

        A job or worker that the path names is one that the key may touch.
        """
        if route.scope is Scope.OPEN:
            return NOBODY
        if "key" in request.query:
            raise UnauthorizedError(
                "A key in the query ends up in logs and is not accepted, not even a right one. Send"
                " `Authorization: Bearer KEY`, or member `key` of the body; and change that key."
            )
        text = bearer_key(request.headers.get(hdrs.AUTHORIZATION))
        shown = sessions.secrets_of(request, self._tools.gateway.server().store_id) if text is None else None
        if shown is not None:
            caller = self._ring.caller_in_session(shown)
        else:
            if text is None:
                connection: Any = request.protocol
                with connection.of_a_stranger():
                    text = await self._key_in_body(body)
                    if text is None and route.takes_token:
                        body.check_head()
                        await body.read()
                        return NOBODY
            caller = self._ring.caller(text, Scope.OPEN, request.remote or "")
        ACTOR.set(ACTOR.get()._replace(who=f"key {caller.name} ({caller.id})"))
        caller.check_scope(route.scope)
        if caller.session and not route.is_open_to_sessions:
            raise ForbiddenError(
                "A session does not do this; send the key itself, with `dart`, curl or the page /docs."
            )
        if "job" in request.match_info:
            caller.check_job(request.match_info["job"])
        if route.path.startswith("/worker/{name}/"):
            caller.check_worker(request.match_info["name"])
        body.check_head()
        return caller

    def _refuse_if_gone(self, caller: Caller) -> None:
        if (reason := self._ring.gone(caller)) is not None:
            raise reason

    async def _key_in_body(self, body: Body) -> str | None:
        scan = key_in_messagepack if body.is_messagepack else key_in_json
        while True:
            start = body.bytes[: self._limits.key_scan_bytes_max]
            found = scan(start) if start else Scan.MORE
            if isinstance(found, str):
                return found if len(found) <= self._limits.key_chars_max else None
            if found is Scan.ABSENT or body.complete or len(start) >= self._limits.key_scan_bytes_max:
                return None
            await body.read_piece()
