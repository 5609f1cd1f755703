"""What happens at the server, as it happens: Server-Sent Events, read and resumed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dart_client.connection import BACK_OFF_SECONDS, Connection, path
from dart_client.errors import LimitError, MalformedError, ServerUnreachableError, UnavailableError

QUIET_SECONDS = 45.0
"""The server says something every ten seconds; after so long without it the connection is made anew."""
EVENT_BYTES_MAX = 64 * 1024 * 1024
"""Of one event; no server sends one as large."""
STREAM = "text/event-stream"


class Event(NamedTuple):
    """Something that happened."""

    id: str
    """Where in the stream it stands: `after` of a later call goes on behind it."""
    kind: str
    """`job`, `queued`, `task`, `result`, `progress`, `log`, `worker`; or `missed`: some could not be had any more."""
    data: dict[str, Any]
    """Its members, as the REST interface has them."""


class EventParser:
    """Takes a stream apart, as its bytes come."""

    def __init__(self, after: str = "") -> None:
        self.last_id = after
        """Of what was read to its end; of an event that was cut in the middle only the id may have come."""
        self._begun = b""
        self._id = after
        self._kind = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with these bytes.

        Raises:
            MalformedError: This is no stream of a DART server.
        """
        *lines, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > EVENT_BYTES_MAX:
            raise MalformedError("The server sends an event without end; is the URL right?")
        return [event for line in lines for event in self._line(line.rstrip(b"\r"))]

    def _line(self, line: bytes) -> list[Event]:
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"id":
            self._id = value.decode("utf-8", "replace")
        elif name == b"event":
            self._kind = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
        elif not line:
            kind, text = self._kind, b"\n".join(self._data)
            self._kind, self._data, self.last_id = "", [], self._id
            if text:
                return [Event(self.last_id, kind, _members(text))]
        return []


def _members(text: bytes) -> dict[str, Any]:
    try:
        members = json.loads(text)
    except ValueError as error:
        raise MalformedError(f"An event of the server cannot be read: {error}.") from error
    if not isinstance(members, dict):
        raise MalformedError("An event of the server is no object; is the URL right?")
    return members


def read_events(
    connection: Connection, job: str | None, *, after: str, kinds: Sequence[str], worker: str, follow: bool
) -> Iterator[Event]:
    """Events from a place on; returns when the server has told where that is, so nothing is lost from then on."""
    found = _read(connection, job, after=after, kinds=kinds, worker=worker, follow=follow)
    next(found)
    return (event for event in found if event is not None)


def _read(
    connection: Connection, job: str | None, *, after: str, kinds: Sequence[str], worker: str, follow: bool
) -> Iterator[Event | None]:
    """None when the first connection stands, then events; a broken one is made anew, and goes on where it was."""
    target = path("events") if job is None else path("job", job, "events")
    query = {"events": ",".join(kinds) or None, "worker": worker or None, "follow": None if follow else "false"}
    place = after
    pause = BACK_OFF_SECONDS[0]
    heard_at = time.monotonic()
    begun = False
    while True:
        parser = EventParser(place)
        try:
            for piece in connection.stream(target, {**query, "after": place}, accept=STREAM, seconds=QUIET_SECONDS):
                pause, heard_at = BACK_OFF_SECONDS[0], time.monotonic()
                if not begun:
                    begun = True
                    yield None
                yield from parser.feed(piece)
                place = parser.last_id
            if not follow:
                return
        except (ServerUnreachableError, UnavailableError, LimitError):
            place = parser.last_id
            if not follow or connection.closed or time.monotonic() - heard_at > connection.timeout:
                raise
        connection.wait_closed(pause * random.uniform(0.5, 1.0))  # noqa: S311
        pause = min(pause * 2, BACK_OFF_SECONDS[1])
