"""The short form of `make chaos`: every kind of fault for twenty seconds, every task one result."""

from pathlib import Path

from chaos.run import storm
from chaos.stage import stage

SEED = 7


def test_everything_fails_again_and_again(tmp_path: Path):
    """Each accepted task has exactly one result, the right one, seen once by who follows them all the while."""
    with stage(tmp_path, agents=4, slots=2, seed=SEED) as on:
        figures = storm(on, seconds=20.0, tasks=700, seed=SEED, longest=4.0, pace=2.0)
        assert figures["results"] == 700
        assert figures["struck"]["server SIGKILL, started at once"] >= 2
        assert figures["struck"]["agent SIGKILL, started at once"] >= 4
        assert figures["struck"]["runner SIGKILL"] >= 1
        if on.network is not None:
            cuts = [count for kind, count in figures["struck"].items() if kind.startswith("link cut")]
            assert sum(cuts) >= 1, figures["struck"]
        assert figures["healed"], "what was hit went on"
