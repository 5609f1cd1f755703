"""SECURITY.md claims nothing that no test tries: each row of its tables names tests, and those exist."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")


@cache
def names_in(file: str) -> frozenset[str]:
    """Names of the tests in a file, which is read and not run."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def rows() -> list[str]:
    """Claims: lines of tables, without heads and rules."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    return [line for line in lines if not line.startswith(("| ---", "| who cannot"))]


def test_each_claim_names_a_test():
    """A row without one is a promise that nobody keeps."""
    assert len(rows()) > 40
    assert [row for row in rows() if not NAMED.search(row)] == []


def test_each_named_test_exists():
    """Renamed and removed tests are noticed here."""
    named = {(file, name) for row in rows() for file, name in NAMED.findall(row)}
    assert [f"{file}::{name}" for file, name in sorted(named) if name not in names_in(file)] == []


def test_nothing_else_looks_like_a_test():
    """A misspelt reference would not be checked."""
    assert PAGE.count("::test_") == len(NAMED.findall(PAGE))


def test_the_rows_of_the_threat_model_are_there():
    """Whom it is about."""
    heads = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    wanted = ("A client", "A rogue agent", "A rogue server", "A rogue task", "The network", "Another user", "A stolen")
    assert [who for who in wanted if not any(head.startswith(who) for head in heads)] == []
    assert {"Defaults", "Out of scope"} <= set(heads)
