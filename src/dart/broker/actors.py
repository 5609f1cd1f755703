"""Who is at work: carried from a request to the events it causes, and from there into the audit."""

import json
import logging
from contextvars import ContextVar

from dart.broker.core.access import SERVER, Actor, AuditEntry
from dart.broker.core.events import Event, Signed

ACTOR: ContextVar[Actor] = ContextVar("dart_actor", default=SERVER)
"""Who caused what is being done; tasks that it starts have it too."""

log = logging.getLogger("dart.audit")


def signed(event: Event) -> Event:
    """The event with who causes it."""
    return Signed(event, ACTOR.get())


def show(entry: AuditEntry) -> None:
    """The log line of an entry: JSON, in which every sign that could break it or command a terminal is escaped."""
    log.info("%s", json.dumps(entry._asdict()))
