"""Logging: one line an event, `key=value` members, never a secret, never a line break from outside."""

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


class _OneLine(logging.Formatter):
    """Control characters of messages are escaped; only tracebacks of our own faults span lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        record.message = record.message.translate(_ESCAPES)
        return super().formatMessage(record)


def log_to_stderr(level: str = "info") -> None:
    """Send all `dart.*` logging to stderr from `level` on (`debug`, `info`, `warning`, `error`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(_FORMAT))
    root = logging.getLogger("dart")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
