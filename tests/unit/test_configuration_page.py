"""The page of configuration tells the defaults that the code has."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dart.agent.isolation import Isolation
from dart.agent.policy import Policy
from dart.broker.config import ServerConfig, SshDefaults

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def told(section):
    """Members and their second column."""
    rows = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `([\w.]+)` \| ([^|]*?) ?\|", rows, re.MULTILINE))


def defaults(kind, before=""):
    """Those that can be written down: numbers, words, yes and no."""
    for member in fields(kind):
        value = member.default
        if isinstance(value, bool):
            yield before + member.name, str(value).lower()
        elif isinstance(value, int | str) and value:
            yield before + member.name, str(value)


@pytest.mark.parametrize(
    ("section", "kind", "before", "least"),
    [
        ("The server", ServerConfig, "", 8),
        ("The server", SshDefaults, "ssh_", 2),
        ("The owner's policy", Policy, "", 4),
        ("The owner's policy", Isolation, "isolation.", 3),
    ],
)
def test_defaults_are_those_of_the_code(section, kind, before, least):
    """A changed default changes the page."""
    known = dict(defaults(kind, before))
    assert len(known) >= least
    shown = told(section)
    assert {name: shown[name].strip("`") for name in known} == known
