"""The short form of fuzzing: each target over its corpus, and a few thousand mutations of it, the same each time."""

import importlib
import time
from pathlib import Path

import pytest

from fuzz.mutation import Mutations
from fuzz.one import CORPUS, inputs

TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))
SECONDS = 0.4
CORPUS_BYTES_MAX = 1 << 20


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds(target):
    """Whatever once was interesting, findings of earlier runs among them, keeps the target's property."""
    module = importlib.import_module(f"fuzz.{target}")
    for data in inputs(target, module):
        module.check(data)


@pytest.mark.parametrize("target", TARGETS)
def test_mutations_hold(target):
    """So do inputs near it, as many as there is time for, in the same order each time."""
    module = importlib.import_module(f"fuzz.{target}")
    mutations = Mutations(inputs(target, module), seed=20_261_126)
    ends_at = time.monotonic() + SECONDS
    while time.monotonic() < ends_at:
        data = mutations.next()
        try:
            module.check(data)
        except Exception as error:
            error.add_note(f"the input: {data!r}")
            raise


def test_the_corpus_is_small():
    """It is kept in the repository; `make fuzz` minimises it."""
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} <= set(TARGETS)
    assert sum(path.stat().st_size for path in files) < CORPUS_BYTES_MAX
    assert len(files) < 1000
