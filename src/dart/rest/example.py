"""What an example of a call is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple


class Example(NamedTuple):
    """What a call may be asked, and what it answers."""

    answer: Any = None
    """None: bytes that JSON cannot show, or nothing."""
    body: Any = None
    """Where the call has one."""
    names: Mapping[str, str] = MappingProxyType({})
    """In the path, where `NAMES` has another."""
    query: Mapping[str, Any] = MappingProxyType({})
    """All arguments that may stand there."""
