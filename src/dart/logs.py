"""Logging: one line an event, `key=value` members, never a secret, never a line break from outside."""

import logging
import re
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
MESSAGE_CHARS_MAX = 8192
"""A message that a stranger had a part in is not longer than this in the log."""
_UNSAFE = re.compile(r"[^\x20-\x7e\xa1-\U0010ffff]|[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")
"""What moves the cursor, breaks a line, turns the direction of writing or cannot be seen."""


def one_line(text: str) -> str:
    """Text from outside as it may stand in a line of a log or terminal: nothing in it acts, and it has an end."""
    if len(text) > MESSAGE_CHARS_MAX:
        text = f"{text[:MESSAGE_CHARS_MAX]}... ({len(text)} characters)"
    return _UNSAFE.sub(_escaped, text)


def _escaped(found: "re.Match[str]") -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class _OneLine(logging.Formatter):
    """Control characters of messages are escaped; tracebacks span lines, none of which looks like an event."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - the library's name
        # The last line of a traceback is the text of an error, and that may quote what came from outside.
        text = super().formatException(ei)  # type: ignore[arg-type]  # as the library hands it in
        return "\n".join(f"  | {one_line(line)}" for line in text.split("\n"))


def log_to_stderr(level: str = "info") -> None:
    """Send all `dart.*` logging to stderr from `level` on (`debug`, `info`, `warning`, `error`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(_FORMAT))
    root = logging.getLogger("dart")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
