"""Breaks the cores on purpose, one small fault at a time, and says which ones the tests did not notice.

Works in a copy, so that a run that is broken off leaves nothing behind. A fault is a single changed operator, constant
or condition in a file of the two cores; without arguments a spread-out sample is tried.
"""

import argparse
import ast
import copy
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CORES = {
    "src/dart/broker/core": ["tests/unit/broker/core", "tests/property"],
    "src/dart/agent/core": ["tests/unit/agent", "tests/property"],
}
SECONDS_MAX = 120
"""A fault that makes the tests run longer counts as noticed."""
OPPOSITE = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Fault(NamedTuple):
    """A place where one thing can be wrong."""

    file: Path
    position: int
    """Of the node, as `ast.walk` gives them."""
    line: int
    what: str

    def source(self) -> str:
        """The file with this fault."""
        tree = ast.parse((ROOT / self.file).read_text(encoding="utf-8"))
        spoil(next(itertools.islice(ast.walk(tree), self.position, None)))
        return ast.unparse(tree)


def faults_of(file: Path) -> Iterator[Fault]:
    """All faults that this tool can make in a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for position, node in enumerate(ast.walk(tree)):
        if what := spoil(copy.deepcopy(node)):
            yield Fault(file, position, getattr(node, "lineno", 0), what)


def spoil(node: ast.AST) -> str:
    """Make one thing wrong in this node; says what, or nothing if there is nothing to spoil."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITE:
        old = type(node.ops[0])
        node.ops[0] = OPPOSITE[old]()
        return f"{old.__name__} became {OPPOSITE[old].__name__}"
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in OPPOSITE:
        old = type(node.op)
        node.op = OPPOSITE[old]()
        return f"{old.__name__} became {OPPOSITE[old].__name__}"
    if isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1
        return f"{node.value - 1} became {node.value}"
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        node.value = not node.value
        return f"{not node.value} became {node.value}"
    if isinstance(node, ast.If):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "a condition was turned round"
    return ""


def tests_pass(folder: Path, tests: list[str]) -> bool:
    """Whether these tests pass in the copy."""
    environment = {**os.environ, "PYTHONPATH": f"{folder / 'src'}:{folder / 'clients/python'}"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, check=False, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode > 1:
        sys.exit(f"the tests could not be run:\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.returncode == 0


def is_noticed(fault: Fault, folder: Path, tests: list[str]) -> bool:
    """Whether the tests fail with it."""
    target = folder / fault.file
    whole = target.read_text(encoding="utf-8")
    target.write_text(fault.source(), encoding="utf-8")
    try:
        return not tests_pass(folder, tests)
    finally:
        target.write_text(whole, encoding="utf-8")


def main() -> int:
    """Try faults; exit code 1 if one was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amount", type=int, default=20, help="faults to try")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("files", nargs="*", type=Path, help="of the cores; all without them")
    options = parser.parse_args()
    chosen = [file.resolve().relative_to(ROOT) for file in options.files] or [
        path.relative_to(ROOT) for core in CORES for path in sorted((ROOT / core).glob("*.py"))
    ]
    faults = [fault for file in chosen for fault in faults_of(file)]
    sample = random.Random(options.seed).sample(faults, min(options.amount, len(faults)))  # noqa: S311 - no secret
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="dart-mutations-") as name:
        folder = Path(name)
        for part in ("src", "clients", "tests", "docs"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        for core in sorted({str(fault.file.parent) for fault in sample}):
            if not tests_pass(folder, CORES[core]):
                sys.exit(f"the tests of {core} fail without any fault; mend that first")
        for fault in sample:
            noticed = is_noticed(fault, folder, CORES[str(fault.file.parent)])
            unnoticed += not noticed
            print(f"{'noticed  ' if noticed else 'UNNOTICED'} {fault.file}:{fault.line} {fault.what}", flush=True)
    print(f"{len(sample) - unnoticed} of {len(sample)} faults noticed ({len(faults)} are possible)")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
