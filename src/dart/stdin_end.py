"""The end of stdin as the end of whoever started this process, however that one ended."""

import os
import signal
import threading

_PIECE_BYTES = 4096


def end_with_stdin() -> None:
    """From now on the end of stdin is a SIGTERM to this process; what comes in before it is read and dropped."""
    threading.Thread(target=_watch, name="end-with-stdin", daemon=True).start()


def _watch() -> None:
    try:
        while os.read(0, _PIECE_BYTES):
            pass
    except OSError:
        pass  # there is no stdin (any more)
    os.kill(os.getpid(), signal.SIGTERM)
