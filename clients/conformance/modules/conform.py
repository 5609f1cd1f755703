"""What workers run for the conformance suite."""

import hashlib
import time


def echo(value: object) -> object:
    """The parameter."""
    return value


def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


def nap(seconds: float) -> float:
    """Sleeps and says for how long."""
    time.sleep(seconds)
    return seconds


def digest(value: dict[str, bytes]) -> str:
    """SHA-256 of its part."""
    return hashlib.sha256(value["part"]).hexdigest()


def fail(text: str) -> None:
    """Raises."""
    raise ValueError(text)
