"""A parameter sweep: every combination on whatever worker is free, a table and a plot of what came.

python sweep.py               # starts a server and two workers for itself
python sweep.py --running     # uses the server of this machine, or of DART_URL, DART_KEY and DART_FINGERPRINT
"""

import argparse
import csv
import itertools
import sys
from pathlib import Path

from dart_client import Client, progress
from dart_client.testing import installation

HERE = Path(__file__).resolve().parent
CONTAGIONS = [step / 20 for step in range(2, 14)]
RECOVERIES = [step / 50 for step in range(2, 14)]
SEEDS = range(3)


def sweep(client: Client) -> list[dict]:
    """One row for each combination; begun again after an interruption, it asks only for what is missing."""
    job = client.job("epidemic-sweep", "epidemic", "spread", retries=1)
    rows = {}
    for contagion, recovery, seed in itertools.product(CONTAGIONS, RECOVERIES, SEEDS):
        tag = f"{contagion} {recovery} {seed}"
        rows[tag] = {"contagion": contagion, "recovery": recovery, "seed": seed}
    there = {future.tag: future for future in job.futures()}
    missing = [tag for tag in rows if tag not in there]
    there |= {tag: job.submit(rows[tag], tag=tag) for tag in missing}
    for _ in progress(there.values(), label="sweep"):
        pass
    return [row | there[tag].result() for tag, row in rows.items()]


def write_table(rows: list[dict], file: Path) -> None:
    """All rows, as CSV."""
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def plot(rows: list[dict], file: Path) -> None:
    """The part of the town that was ill at the worst, for each pair of parameters; the mean of all seeds."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - the table can be had without it

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    shares = [
        [
            sum(row["worst"] for row in rows if (row["contagion"], row["recovery"]) == (contagion, recovery)) / 1e4
            for contagion in CONTAGIONS
        ]
        for recovery in RECOVERIES
    ]
    drawn = axes.pcolormesh(CONTAGIONS, RECOVERIES, [[share / len(SEEDS) for share in line] for line in shares])
    axes.set(xlim=(CONTAGIONS[0], CONTAGIONS[-1]), ylim=(RECOVERIES[0], RECOVERIES[-1]))
    axes.axline((0.1, 0.1), slope=1, color="white", linestyle="--")
    axes.text(0.105, 0.215, "left of the line\none infects\nless than one", color="white", fontsize="small")
    axes.set(xlabel="contagion a day", ylabel="recovery a day", title="Ill at the worst, part of the town")
    figure.colorbar(drawn)
    figure.savefig(file)


def main() -> int:
    """Run it here, or on an installation that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--running", action="store_true", help="use workers that run already")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for sweep.csv and sweep.png")
    arguments = parser.parse_args()
    if arguments.running:
        with Client() as client:
            rows = sweep(client)
    else:
        with installation(HERE, workers=("one", "two")) as dart:
            rows = sweep(dart.client)
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_table(rows, arguments.output / "sweep.csv")
    print(f"{len(rows)} runs in {arguments.output / 'sweep.csv'}")
    try:
        plot(rows, arguments.output / "sweep.png")
    except ImportError as error:
        print(f"No plot: {error.name} is missing; pip install -r {HERE / 'requirements.txt'}")
        return 1
    print(f"plot in {arguments.output / 'sweep.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
