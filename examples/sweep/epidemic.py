"""Lives on the workers: an epidemic in a town of 10,000, simulated day by day."""

import random

TOWN = 10_000
DAYS = 200


def spread(parameter):
    """How many were ill at the worst, on which day, and how many were ever ill.

    Args:
        parameter: `contagion`: whom an ill person infects a day while all others are healthy; `recovery`: the part of
            the ill that recover in a day; `seed`.
    """
    chance = random.Random(parameter["seed"])  # noqa: S311 - nothing secret
    healthy, ill = TOWN - 10, 10
    worst, worst_day = ill, 0
    for day in range(1, DAYS + 1):
        infected = min(healthy, rounded(parameter["contagion"] * ill * healthy / TOWN, chance))
        recovered = min(ill, rounded(parameter["recovery"] * ill, chance))
        healthy -= infected
        ill += infected - recovered
        if ill > worst:
            worst, worst_day = ill, day
    return {"worst": worst, "worst_day": worst_day, "ever_ill": TOWN - healthy}


def rounded(expected, chance):
    """A whole number near what is expected, by chance."""
    return max(0, round(chance.gauss(expected, expected**0.5)))
