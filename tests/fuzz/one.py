"""Fuzzes one target: `python -m fuzz.one TARGET SECONDS WORK`, guided by coverage (atheris) or blindly without it.

The corpus is read, new inputs go to WORK/TARGET/, and the input that broke a property to WORK/crash-TARGET.
"""

import importlib
import sys
import time
from pathlib import Path

from fuzz.mutation import Mutations

CORPUS = Path(__file__).with_name("corpus")
INPUT_BYTES_MAX = 8192


def inputs(target: str, module) -> list[bytes]:
    """What is known already: seeds and the kept corpus."""
    kept = sorted((CORPUS / target).glob("*")) if (CORPUS / target).is_dir() else []
    return [*module.seeds(), *(path.read_bytes() for path in kept)]


def guided(target: str, seconds: int, work: Path) -> None:
    """With atheris; does not return."""
    import atheris

    with atheris.instrument_imports(include=["dart", "msgpack"], enable_loader_override=False):
        module = importlib.import_module(f"fuzz.{target}")
    new = work / target
    start = work / f"{target}-start"
    for folder in (new, start):
        folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(inputs(target, module)):
        (start / f"{number:04}").write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        "-timeout=10",
        "-rss_limit_mb=1024",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={work}/crash-{target}-",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([target, *options, str(new), str(start)], module.check)
    atheris.Fuzz()


def blind(target: str, seconds: float, work: Path) -> int:
    """Without; how many inputs were tried."""
    module = importlib.import_module(f"fuzz.{target}")
    mutations = Mutations(inputs(target, module), seed=int(time.time()))
    ends_at = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < ends_at:
        data = mutations.next()
        tried += 1
        try:
            module.check(data)
        except Exception:
            work.mkdir(parents=True, exist_ok=True)
            (work / f"crash-{target}-blind").write_bytes(data)
            raise
    return tried


def main() -> int:
    target, seconds, work = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(f"stat::number_of_executed_units: {blind(target, seconds, work)} (blind)")
        return 0
    guided(target, seconds, work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
