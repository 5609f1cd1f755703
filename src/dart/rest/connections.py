"""REST's listening socket and its connections: bounded in number, none may dawdle.

aiohttp limits neither how many connections there are nor how long a request head may take, and a TLS handshake
counts for nothing there. So connections are accepted here: when all places are taken, the one that has waited
longest without a request gives way.
"""

import asyncio
import errno
import logging
import os
import secrets
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web

from dart.limits import Limits
from dart.rest.answers import SERVER_NAME, error_answer
from dart.rest.errors import from_http
from dart.rest.places import LINGER_SECONDS, Place

HANDSHAKE_SECONDS = 10.0
ACCEPTS_A_TURN = 10
"""Each costs a fifth of a millisecond with TLS, and who is served already waits for it."""
NO_DESCRIPTORS_SECONDS = 0.5
"""Pause when the process has no descriptor left."""
BACKLOG = 1024
NOT_HTTP = (
    "The request is not HTTP as this server understands it: its first line, a header or the framing of its body is"
    " broken, or longer than 8 KiB."
)

log = logging.getLogger("dart.rest.connections")


class Connection(web.RequestHandler):
    """aiohttp's connection, which keeps its place up to date."""

    __slots__ = ("_listener", "_place")

    def __init__(self, listener: "Listener", place: Place, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._listener = listener
        self._place = place
        place.connection = self

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._place.waiting_since is not None and self._place.head_since is None:
            self._place.head_since = self._listener.now
        super().data_received(data)

    def begin(self) -> None:
        """A request head is complete."""
        self._place.waiting_since = self._place.head_since = None

    @contextmanager
    def of_a_stranger(self) -> Iterator[None]:
        """While this lasts nobody knows who asks: if places are short, this one is the first to go."""
        self._place.stranger_since = self._listener.now
        try:
            yield
        finally:
            self._place.stranger_since = None

    async def finish_response(self, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        """Answer, and wait for the next request."""
        try:
            return await super().finish_response(*arguments)
        finally:
            self._place.waiting_since = self._listener.now

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is no HTTP is refused in the shape of all errors, with nothing of the parser's inside."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is out already") from exc
        request_id = f"early-{secrets.token_hex(4)}"
        if status >= 500:
            log.error("request %s failed before its handler: %s", request_id, message, exc_info=exc)
        elif exc is not None:
            # Its frames hold aiohttp's record of it, which holds it: a cycle for every request that is no HTTP.
            exc.__traceback__ = None
        refusal = from_http(status, NOT_HTTP)
        response = error_answer(refusal, messagepack=False)
        response.force_close()
        response.headers.update({hdrs.SERVER: SERVER_NAME, "X-Request-Id": request_id, "Cache-Control": "no-store"})
        return response

    def pause_writing(self) -> None:
        """The peer does not read fast enough."""
        self._place.stall(self._listener.now)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._place.stalled_since = None
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over."""
        self._listener.leave(self._place)
        super().connection_lost(exc)
        # Neither holds the other from here on: cycles would stay until the next collection of all generations.
        self._place.connection = None


class Listener:
    """Listens for an application.

    Args:
        runner: Set up already.
        limits: How many connections, how slow they may be.
        tls: None: plain HTTP.
        take: Told how many connections there are, or are about to be.
        relieve: Called when the process has no descriptor for a connection; tells whether to try again at once.
    """

    def __init__(
        self,
        runner: web.AppRunner,
        *,
        limits: Limits,
        tls: ssl.SSLContext | None,
        take: Callable[[int], None] = lambda _connections: None,
        relieve: Callable[[], bool] = lambda: False,
    ) -> None:
        server = runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")
        self._server = server
        self._make_request = server.request_factory
        server.request_factory = self._begin  # type: ignore[assignment]  # the same signature, spelled with Any
        self._limits = limits
        self._tls = tls
        self._take = take
        self._relieve = relieve
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._file: tuple[Path, os.stat_result] | None = None
        self._places: set[Place] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._places)

    @property
    def now(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def bind(self, host: str, port: int) -> int:
        """Listen; port 0 lets the system choose. Tells the port. Raises `OSError`."""
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        return int(sock.getsockname()[1])

    def bind_path(self, path: Path) -> None:
        """Listen on a unix socket that this user alone may open. Raises `OSError`.

        The file of a server that is gone gives way; one where somebody answers, or that is no socket, does not.
        """
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Linux gives the file the mode of the socket, so that it is never open to others, not even for a moment.
            os.fchmod(sock.fileno(), 0o600)
            sock.setblocking(False)
            sock.bind(str(path))
            self._file = (path, path.lstat())
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            self._remove_file()
            raise
        self._socket = sock

    def start(self) -> None:
        """Accept from now on."""
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._accept)
            self._sweep()

    def stop_accepting(self) -> None:
        """Take no further connections; harmless when repeated."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._remove_file()
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Cut what is left."""
        self.stop_accepting()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for place in list(self._places):
            place.abort()

    def leave(self, place: Place) -> None:
        """A connection is over."""
        self._places.discard(place)
        self._take(len(self._places))

    def _remove_file(self) -> None:
        """Take the unix socket's file away, unless somebody put another one in its place."""
        if self._file is not None:
            path, made = self._file
            with suppress(OSError):
                if os.path.samestat(path.lstat(), made):
                    path.unlink()
            self._file = None

    def _begin(self, message: Any, payload: Any, connection: Connection, writer: Any, task: Any) -> Any:
        connection.begin()
        return self._make_request(message, payload, connection, writer, task)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if self._socket is None:
                return
            self._take(len(self._places) + 1)
            try:
                sock, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno == errno.EMFILE and self._relieve():
                    continue
                log.warning("No connection can be accepted: %s.", error.strerror)
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(NO_DESCRIPTORS_SECONDS, self._accept_again)
                return
            full = len(self._places) >= self._limits.connections_max
            if full and not self._make_room():
                sock.close()
                continue
            self._admit(sock)
            if full:
                return  # the one that gave way lets go of its descriptor in the loop's next turn

    def _accept_again(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _make_room(self) -> bool:
        """Cut the connection that has been longest without a request of a known caller, if there is one."""
        idle = [place for place in self._places if place.gives_way_since is not None]
        if not idle:
            log.warning("All %d connections (limit connections_max) are at work; one was refused.", len(self._places))
            return False
        longest = min(idle, key=lambda place: place.gives_way_since or 0.0)
        longest.abort()
        self._places.discard(longest)
        return True

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        place = Place(sock, self.now)
        self._places.add(place)
        place.task = self._loop.create_task(self._shake_hands(place))

    async def _shake_hands(self, place: Place) -> None:
        def connection() -> Connection:
            return Connection(
                self,
                place,
                self._server,
                loop=self._loop,
                # Nothing compressed is understood, so nothing is unpacked: 1 MiB could hold the loop for a second.
                auto_decompress=False,
                keepalive_timeout=self._limits.keepalive_seconds,
                lingering_time=LINGER_SECONDS,
                access_log=None,
                logger=log,
            )

        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {
                "ssl": self._tls,
                "ssl_handshake_timeout": HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": LINGER_SECONDS,
            }
        try:
            await self._loop.connect_accepted_socket(connection, place.sock, **options)
        except (OSError, TimeoutError) as error:
            log.debug("A connection ended in its handshake: %s.", error)
        finally:
            place.task = None
            if place.connection is None or place.connection.transport is None:
                self.leave(place)

    def _sweep(self) -> None:
        """Cut those that dawdle."""
        now = self.now
        for place in list(self._places):
            if place.too_long(now, self._limits):
                place.abort()
        self._sweep_timer = self._loop.call_later(min(1.0, self._limits.request_seconds_max / 10), self._sweep)


def _remove_stale(path: Path) -> None:
    """Remove the file of a socket on which nobody answers; raises `OSError` if somebody does."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "a server answers there")
