"""One server over HTTP: pinned connections, MessagePack both ways, retries that change nothing twice."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode

import urllib3

from dart.wire import values
from dart_client.discovery import Server
from dart_client.errors import (
    ClosedError,
    DartError,
    LimitError,
    MalformedError,
    ServerUnreachableError,
    UnavailableError,
    UntrustedServerError,
    error_from_answer,
)
from dart_client.sockets import CONNECT_SECONDS, Live, make_pool

MSGPACK = "application/msgpack"
BACK_OFF_SECONDS = (0.05, 2.0)
"""First and longest wait between two attempts; doubles, with jitter."""
PIECE_BYTES = 1024 * 1024
"""Of a download, held in memory at a time."""
ENVELOPE_DEPTH = 108
"""Nesting of an answer: a value's 100 and what stands around it."""


def path(*parts: str) -> str:
    """A path of the REST interface; each part is one segment, whatever characters a name has."""
    return "/" + "".join(quote(part, safe="") + "/" for part in parts)


class Connection:
    """Calls to one server from any thread, each with a deadline.

    A call that changes something carries an `Idempotency-Key`, so it may be sent again after a broken connection
    or a 503 and is still done once.
    """

    def __init__(self, server: Server, *, timeout: float) -> None:
        self.server = server
        self.timeout = timeout
        self.first_seconds = timeout
        """How long to try when no answer has ever come; programs wait for a server that starts, people do not."""
        self._was_reached = False
        self._process = os.getpid()
        self._live = Live()
        self._closed = self._live.broken
        self._pool = make_pool(server, self._live, timeout=timeout)
        self._headers = {
            "Authorization": f"Bearer {server.key}",
            "User-Agent": "dart_client",
        }

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        wait: float = 0.0,
        seconds: float | None = None,
        retry: bool = True,
        accept: str = MSGPACK,
        traceparent: str = "",
    ) -> Any:
        """Call and give the members of the answer.

        Args:
            method: The HTTP method.
            target: A path made by `path`.
            body: Members of the request, or bytes that are MessagePack already.
            query: Arguments of a GET or DELETE.
            wait: How long the server was asked to wait before it answers.
            seconds: For all attempts together, beyond `wait`; the client's timeout unless given.
            retry: Whether to try again after a broken connection or an answer that asks for it.
            accept: The form of the answer; JSON loses some types.
            traceparent: What the request belongs to, for those who trace; empty: nothing.

        Raises:
            DartError: The server's refusal, typed; or `ServerUnreachableError`.
        """
        headers = {**self._headers, "Accept": accept}
        if traceparent:
            headers["traceparent"] = traceparent
        if body is not None and not isinstance(body, bytes):
            body = values.encode(body, where="request")
        if body is not None:
            headers["Content-Type"] = MSGPACK
        if method in {"POST", "PUT", "DELETE"}:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        if query:
            target += "?" + urlencode({name: value for name, value in query.items() if value is not None})
        allowed = self.timeout if seconds is None else seconds
        began = time.monotonic()
        deadline = began + allowed + wait
        pause = BACK_OFF_SECONDS[0]
        while True:
            try:
                return self._attempt(method, target, body, headers, deadline - time.monotonic())
            except UntrustedServerError:
                raise
            except (ServerUnreachableError, UnavailableError, LimitError) as error:
                self._refuse_if_closed()
                wanted = error.details.get("retry_after")
                pause_now = float(wanted) if isinstance(wanted, (int, float)) else pause * random.uniform(0.5, 1.0)  # noqa: S311
                last = deadline if self._was_reached else min(deadline, began + self.first_seconds)
                if not retry or time.monotonic() + pause_now >= last:
                    raise
            self._closed.wait(pause_now)
            self._refuse_if_closed()
            pause = min(pause * 2, BACK_OFF_SECONDS[1])

    def download(self, target: str, sink: BinaryIO, *, seconds: float) -> int:
        """GET into a file; how many bytes came.

        Args:
            target: A path made by `path`.
            sink: Takes the bytes; after an error it has a part of them.
            seconds: To the first byte, and between any two pieces.

        Raises:
            DartError: The server's refusal, typed; or `ServerUnreachableError`, also when the answer was cut short.
        """
        answer = self._request("GET", target, None, {**self._headers, "Accept": "*/*"}, seconds, preload=False)
        try:
            if answer.status != 200:
                raise error_from_answer(
                    answer.status, _decoded(answer.read(), answer.headers.get("Content-Type", ""), answer.status)
                )
            return sum(sink.write(piece) for piece in answer.stream(PIECE_BYTES))
        except urllib3.exceptions.HTTPError as error:
            raise self.unreachable(error) from error
        finally:
            answer.release_conn()

    def stream(self, target: str, query: Mapping[str, Any], *, accept: str, seconds: float) -> Iterator[bytes]:
        """GET something that goes on, piece by piece as it comes.

        Args:
            target: A path made by `path`.
            query: Its arguments; those that are None are left out.
            accept: The form that is wanted.
            seconds: To the first byte, and between any two pieces.

        Raises:
            DartError: The server's refusal, typed; or `ServerUnreachableError`, also when it breaks off.
        """
        target += "?" + urlencode({name: value for name, value in query.items() if value is not None})
        answer = self._request("GET", target, None, {**self._headers, "Accept": accept}, seconds, preload=False)
        try:
            found = answer.headers.get("Content-Type", "")
            if answer.status != 200 or not found.startswith(accept):
                members = _decoded(answer.read(), found, answer.status)
                raise error_from_answer(answer.status, members, answer.headers.get("Retry-After", ""))
            yield from answer.stream(PIECE_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.unreachable(error) from error
        finally:
            # Whoever reads no further leaves the rest unread: this connection serves nobody else.
            answer.close()
            answer.release_conn()

    def exchange(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """One request and its answer, as it came; tried once.

        Args:
            method: The HTTP method.
            target: A path made by `path`.
            body: Bytes, or what has `read`; then `headers` have its `Content-Length`.
            headers: Further ones.
            preload: Whether to read the answer to its end; else the caller does.

        Raises:
            DartError: The server's refusal, typed, except of HEAD; or `ServerUnreachableError`.
        """
        wanted = {**self._headers, "Accept": MSGPACK, **(headers or {})}
        answer = self._request(method, target, body, wanted, self.timeout, preload=preload)
        if answer.status >= 400 and method != "HEAD":
            members = _decoded(
                answer.read() if not preload else answer.data, answer.headers.get("Content-Type", ""), answer.status
            )
            answer.release_conn()
            raise error_from_answer(answer.status, members, answer.headers.get("Retry-After", ""))
        return answer

    def _attempt(self, method: str, target: str, body: bytes | None, headers: dict[str, str], seconds: float) -> Any:
        """One request and its answer."""
        answer = self._request(method, target, body, headers, seconds)
        self._was_reached = True
        members = _decoded(answer.data, answer.headers.get("Content-Type", ""), answer.status)
        if answer.status != 200:
            raise error_from_answer(answer.status, members, answer.headers.get("Retry-After", ""))
        return members

    def _request(
        self,
        method: str,
        target: str,
        body: Any,
        headers: dict[str, str],
        seconds: float,
        *,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """One request; its answer, read to the end unless `preload` is False."""
        self._refuse_if_closed()
        most = max(seconds, 0.001)
        try:
            return self._pool.urlopen(
                method,
                target,
                body=body,
                headers=headers,
                redirect=False,
                assert_same_host=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, most), read=most),
                preload_content=preload,
            )
        except urllib3.exceptions.SSLError as error:
            if "ingerprint" in str(error) or "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise UntrustedServerError(
                    f"{self.server.url} has another certificate than the one expected. Compare the fingerprint with "
                    "`dart server info` on the server's machine; somebody may be in between."
                ) from error
            raise self.unreachable(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: Exception) -> DartError:
        """The error for a broken or missing connection."""
        if self._closed.is_set():
            return ClosedError("The client was closed while it waited for the server.")
        reason = str(error).rpartition(": ")[2] or type(error).__name__
        return ServerUnreachableError(
            f"No answer from {self.server.url} ({reason}). Is the server running, and may this machine reach it?"
        )

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed.is_set()

    def wait_closed(self, seconds: float) -> bool:
        """Sleep so long, or until the client is closed."""
        return self._closed.wait(seconds)

    def _refuse_if_closed(self) -> None:
        if self._closed.is_set():
            raise ClosedError("The client is closed; make a new one.")
        if os.getpid() != self._process:
            raise ClosedError("This client was made before a fork and belongs to the parent; make one in the child.")

    def close(self) -> None:
        """Break what waits and close all connections; any thread, any number of times."""
        if os.getpid() == self._process:
            self._live.break_all()
        self._closed.set()
        self._pool.close()


class Encoded:
    """Whether a part of a value ever came as a blob in this process: else no value has to be looked through."""

    seen = False


def _note(reference: values.BlobReference) -> values.BlobReference:
    Encoded.seen = Encoded.seen or reference.encoded
    return reference


def _decoded(data: bytes, content_type: str, status: int) -> Any:
    """The members of an answer; what cannot be read of a refusal is None."""
    try:
        if content_type.startswith(MSGPACK):
            return values.decode(data, depth_max=ENVELOPE_DEPTH, blobs=_note)
        if content_type.startswith("application/json"):
            import json  # noqa: PLC0415 - answers are MessagePack but for those of a proxy in between

            return json.loads(data)
    except ValueError as error:
        if status == 200:
            raise MalformedError(f"The server's answer cannot be read: {error}.", status=status) from error
    if status == 200:
        raise MalformedError(
            f"The answer has the type {content_type!r}, which no DART server sends; is the URL right?", status=status
        )
    return None
