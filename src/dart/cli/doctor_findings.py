"""What `dart doctor` says of one thing it looked at."""

from typing import NamedTuple

FINE, WARNING, FAULT, SKIPPED = "fine", "warning", "fault", "skipped"


class Finding(NamedTuple):
    """One thing and how it is."""

    check: str
    """Which: a word that stays as it is, for scripts."""
    state: str
    """`fine`; `warning`: it works, but; `fault`; `skipped`: it could not be looked at."""
    said: str
    """What was found, in one sentence."""
    remedy: str = ""
    """What to do, where something is wrong."""


def fine(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check, FINE, said)


def warning(check: str, said: str, remedy: str) -> Finding:
    """It works, but not for everybody, or not for long."""
    return Finding(check, WARNING, said, remedy)


def fault(check: str, said: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, FAULT, said, remedy)


def skipped(check: str, said: str, remedy: str = "") -> Finding:
    """Nobody knows."""
    return Finding(check, SKIPPED, said, remedy)
