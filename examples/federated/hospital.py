"""Lives on each worker, beside its data, which never leaves it: only sums, weights and counts do."""

import csv
from pathlib import Path

import dart_task
import numpy as np

SPECIES = ("setosa", "versicolor", "virginica")
HERE = Path(__file__).resolve().parent
local = {}
"""The share of this worker, once `prepare` has read it."""


def prepare(parameter):
    """Read the worker's own file; tell what is needed to scale all shares alike, and no row of it."""
    with (HERE / parameter["folder"] / f"{dart_task.worker}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measures = [[float(value) for name, value in row.items() if name != "species"] for row in rows]
    local["features"] = np.array(measures)
    local["labels"] = np.array([SPECIES.index(row["species"]) for row in rows])
    return {
        "count": len(rows),
        "sum": local["features"].sum(axis=0),
        "squares": (local["features"] ** 2).sum(axis=0),
    }


def train(parameter):
    """Some steps of softmax regression from the given weights on; the new weights, and how many rows made them."""
    features = scaled(parameter)
    weights = np.array(parameter["weights"])
    truth = np.eye(len(SPECIES))[local["labels"]]
    for step in range(parameter["steps"]):
        gradient = features.T @ (likelihoods(features, weights) - truth) / len(features)
        weights -= parameter["rate"] * gradient
        dart_task.progress((step + 1) / parameter["steps"])
    return {"weights": weights, "count": len(features)}


def judge(parameter):
    """How many rows the weights tell right."""
    features = scaled(parameter)
    guessed = likelihoods(features, np.array(parameter["weights"])).argmax(axis=1)
    return {"right": int((guessed == local["labels"]).sum()), "count": len(features)}


def scaled(parameter):
    """The local rows with mean 0 and deviation 1 over all workers, and a column of ones."""
    normal = (local["features"] - parameter["mean"]) / parameter["deviation"]
    return np.hstack([normal, np.ones((len(normal), 1))])


def likelihoods(features, weights):
    """Of each species, a row each."""
    scores = features @ weights
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
