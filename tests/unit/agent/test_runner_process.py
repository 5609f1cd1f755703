"""Small decisions about runner processes that need none."""

import signal

import pytest

from dart.agent.runner_process import end_text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-signal.SIGSEGV, "killed by SIGSEGV"),
        (-signal.SIGKILL, "killed by SIGKILL (by somebody, or by the system because memory was short)"),
        (-50, "killed by signal 50"),
    ],
)
def test_an_end_is_told_in_words(code, text):
    """Signals by name; a real-time signal has none."""
    assert end_text(code) == text
