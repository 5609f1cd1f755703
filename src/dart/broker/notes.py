"""Log lines of the core: what one agent can cause is bounded, the rest is written as it comes."""

import asyncio
import logging
from collections.abc import Callable

from dart.broker.core.commands import Note
from dart.complaints import Complaints

log = logging.getLogger("dart.broker.service")


class Notes:
    """Writes them, with the service's name."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.on_refusal: Callable[[str, str], None] = lambda _agent_id, _text: None
        """Called with the fingerprint of an agent that was turned away, and why."""
        self._complaints = Complaints(log, loop.time)
        self._complaints.later = loop.call_later

    def show(self, note: Note) -> None:
        """Log it, unless its agent had too much logged lately."""
        level = logging.WARNING if note.level == "warning" else logging.INFO
        if note.agent_id:
            self._complaints.say(level, note.text, note.agent_id)
            if note.refusal:
                self.on_refusal(note.agent_id, note.text)
        else:
            log.log(level, "%s", note.text)

    def close(self) -> None:
        """Say what was left out."""
        self._complaints.close()
