"""Federated averaging: three workers train on data that stays where it is, this program averages what they learnt.

python average.py              # starts a server and the three workers for itself
python average.py --url ...    # or uses those that run, found as the SDK finds them
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from dart_client import Client
from dart_client.testing import installation

HERE = Path(__file__).resolve().parent
HOSPITALS = ("north", "south", "west")
FEATURES, SPECIES = 4, 3
ROUNDS = 12
LEAST = 2
"""So many answers make a round; who is late is left out of it and joins the next one."""
DEADLINE_SECONDS = 60.0


def federate(client: Client, rounds: int = ROUNDS) -> tuple[np.ndarray, float]:
    """Weights after some rounds, and the part of all rows that they tell right."""
    # Standing: runs once on each hospital, now or whenever it joins, and before anything of the other jobs does.
    prepare = client.job(
        "prepare", "hospital", "prepare", standing=True, parameter={"folder": "data"}, worker_regex="|".join(HOSPITALS)
    )
    train = client.job("train", "hospital", "train", after=["prepare"])
    judge = client.job("judge", "hospital", "judge", after=["prepare"])

    told = {}
    for result in prepare.results(follow=True):
        told[result.worker] = result.value()
        print(f"{result.worker} has {told[result.worker]['count']} rows")
        if len(told) == len(HOSPITALS):
            break
    count = sum(share["count"] for share in told.values())
    mean = sum(share["sum"] for share in told.values()) / count
    deviation = np.sqrt(sum(share["squares"] for share in told.values()) / count - mean**2)

    model = {"weights": np.zeros((FEATURES + 1, SPECIES)), "mean": mean, "deviation": deviation}
    for number in range(1, rounds + 1):
        # Everyone gets the same model here; it could be another for each.
        sent = {name: {**model, "steps": 20, "rate": 0.5} for name in HOSPITALS}
        done = train.round(sent, deadline=DEADLINE_SECONDS)
        if len(done.values) < LEAST:
            raise SystemExit(f"round {number}: too few answers; late: {done.stragglers}, failed: {done.errors}")
        rows = sum(answer["count"] for answer in done.values.values())
        model["weights"] = sum(answer["weights"] * answer["count"] for answer in done.values.values()) / rows
        late = f", without {', '.join(done.stragglers)}" if done.stragglers else ""
        print(f"round {number}: {len(done.values)} answers{late}")
    verdicts = judge.round(dict.fromkeys(HOSPITALS, model)).values
    return model["weights"], sum(answer["right"] for answer in verdicts.values()) / count


def main() -> int:
    """Run it here, or on an installation that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="a server that runs; the workers north, south and west belong to it")
    parser.add_argument("--fingerprint")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    if arguments.url:
        with Client(arguments.url, arguments.key, fingerprint=arguments.fingerprint) as client:
            _, right = federate(client)
    else:
        with installation(HERE, workers=HOSPITALS) as dart:
            _, right = federate(dart.client)
    print(f"{right:.1%} of all flowers are told right")
    return 0 if right > 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
