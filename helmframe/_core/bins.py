"""Confidences and correctness of completions, both sorted by confidence, in bins."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEW = 30  # the fewest completions of a bin


def plain_error(sure: Floats, right: Floats, edges: Floats) -> float:
    """Return the mean distance of confidence and accuracy over bins with these upper edges, weighted by size."""
    sizes, claimed, accuracy = binned(sure, right, edges)
    return float(np.dot(sizes, np.abs(claimed - accuracy)) / len(sure))


def binned(sure: Floats, right: Floats, edges: Floats) -> tuple[Floats, Floats, Floats]:
    """Return size, mean confidence and accuracy of the nonempty bins; a value on an edge is in the lower bin."""
    groups = np.searchsorted(edges, sure)
    sizes = np.bincount(groups).astype(float)
    held = sizes > 0
    sums = np.bincount(groups, sure)[held], np.bincount(groups, right)[held]
    return sizes[held], sums[0] / sizes[held], sums[1] / sizes[held]


def debiased_error(sizes: Floats, claimed: Floats, accuracy: Floats) -> Floats:
    """Return the mean square of (confidence - accuracy) over bins, less the variance of each accuracy.

    The variance of n independent completions is a(1 - a)/(n - 1). The bins are the last axis; bins of one completion
    are skipped; the result is NaN without any other.
    """
    several = sizes > 1
    weight = np.where(several, sizes, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = (claimed - accuracy) ** 2 - accuracy * (1 - accuracy) / (sizes - 1)
        value: Floats = (weight * np.where(several, squares, 0.0)).sum(axis=-1) / weight.sum(axis=-1)
    return value


def enough(answers: int, bins: int) -> int:
    """Return how many bins, at most `bins`, leave 30 completions in each; at least one."""
    return min(bins, max(1, answers // FEW))


def equal_masses(sure: Floats, bins: int) -> Floats:
    """Return the upper edges of bins of equal size, halfway between neighbours; `sure` is sorted."""
    parts = np.array_split(sure, min(bins, len(sure)))
    between = [(before[-1] + after[0]) / 2 for before, after in pairwise(parts)]
    return np.unique([*between, 1.0])


def equally_sure(sure: Floats, right: Floats) -> tuple[Floats, Floats, Floats]:
    """Return size, confidence and accuracy of each group of equal confidence."""
    claimed, groups, sizes = np.unique(sure, return_inverse=True, return_counts=True)
    return sizes.astype(float), claimed, np.bincount(groups, right) / sizes


def accuracies(sure: Floats, right: Floats) -> Floats:
    """Return the accuracy of the k most confident, for k from 1; groups of equal confidence have their mean."""
    _, groups, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    means = np.bincount(groups, right) / sizes
    return np.cumsum(np.repeat(means, sizes)) / np.arange(1, len(sure) + 1)
