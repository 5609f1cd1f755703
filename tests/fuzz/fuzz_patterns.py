"""Patterns over names: matched within their time, or refused."""

import time

from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.rest.patterns import Patterns

LIMITS = Limits()
NAMES = ("alice", "bob-1", "a" * 200, "", "über", "a\u2028b", "1.2.3.4")
SECONDS_MAX = 1.0
"""Fifty times the limit: a busy machine is no fault."""


def seeds() -> list[bytes]:
    return [
        text.encode()
        for text in (
            "alice",
            ".*",
            "a{2,5}",
            "(a|b)+?",
            "[^a-z]{1,3}$",
            r"\d+\.\w",
            "(?<name>a)\\k<name>",
            "(?:a(?=b))",
            "^$",
            "(a+)+",
            "(a|a)*",
            "a{1000}",
            "[[a]&&[b]]",
            "\\p{L}",
            "(?i)a",
            "\\u0041",
            "(?<=a)b",
            "a*a*a*a*b",
            "(((((a)))))",
            "[a-\\d]",
        )
    ]


def check(data: bytes) -> None:
    pattern = data.decode("utf-8", "surrogateescape")
    began = time.perf_counter()
    try:
        found = Patterns(LIMITS).match(pattern, NAMES, scope=1)
    except InvalidRequestError as error:
        assert error.message
    else:
        assert set(found) <= set(NAMES)
    assert time.perf_counter() - began < SECONDS_MAX
