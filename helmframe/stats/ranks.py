"""Significant differences between models, and the ranks that they allow, for several columns at once."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from helmframe.stats.encoded_rows import Floats, Numbers
from helmframe.stats.significance import pairwise_level, variances_of_pairs

Signs: TypeAlias = "NDArray[np.int8]"
# Columns with at most this number of sampling units use sign flips: all flips up to EXACT_UNITS, else random ones.
FLIPPED_UNITS = 60
EXACT_UNITS = 13
RANDOM_FLIPS = 8_192
_NUMBERS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Estimates:
    """The estimates of models in one column, with higher being better.

    `index` identifies the models among all. `covariance` is that of the values over the sampling units, None if it is
    unknown. `df` and `clusters` (independent units) are per model. `score` is whether to test with the variance under
    no difference (uncentred, as sign flips do), which small samples need. `units` has the values of each sampling unit
    (rows) for each model (columns), which sum to the models' values; None if they are unknown or many.
    """

    index: Numbers
    value: Floats
    covariance: "Floats | None"
    df: Floats
    clusters: Floats
    score: bool = True
    units: "Floats | None" = None


def significant_signs(columns: Sequence[Estimates], competitors: int, ci: float) -> list[Signs]:
    """Return a matrix per column: 1 if the row's model is significantly better than the column's, −1 if worse.

    All signs in all columns are simultaneous at level `ci`. A column with many sampling units uses the intervals of all
    pairs (max-|t| bootstrap over the units, paired). A column with few units uses sign flips (`flip_signs`) at its
    share of the level. 0 means undecided, or absent.
    """
    from scipy.special import stdtrit

    alpha = (1 - ci) / max(len(columns), 1)
    flipped = [_is_flipped(column) for column in columns]
    covariances = [
        column.covariance
        for column, few in zip(columns, flipped, strict=True)
        if column.covariance is not None and not few
    ]
    level = pairwise_level(covariances, 1 - alpha * (len(columns) - sum(flipped)))
    matrices = []
    for column, few in zip(columns, flipped, strict=True):
        signs = np.zeros((competitors, competitors), dtype=np.int8)
        if column.covariance is None:
            pass
        elif few and column.units is not None:
            signs[np.ix_(column.index, column.index)] = flip_signs(column.units, alpha)
        else:
            difference = column.value[:, None] - column.value[None, :]
            variance = variances_of_pairs(column.covariance)
            clusters = np.minimum(column.clusters[:, None], column.clusters[None, :])
            # if all clusters differ equally, only their number determines the significance
            variance += np.where(column.score | (variance == 0), difference**2 / clusters, 0.0)
            quantile = stdtrit(np.minimum(column.df[:, None], column.df[None, :]), (1 + level) / 2)
            sure = (np.abs(difference) > 1e-12) & (difference**2 > quantile**2 * variance)
            signs[np.ix_(column.index, column.index)] = np.where(sure, np.sign(difference), 0)
        matrices.append(signs)
    return matrices


def flip_signs(units: Floats, alpha: float) -> Signs:
    """Return the signs of the significant differences of all pairs of models, by sign flips of whole sampling units.

    Under no difference, the differences in a unit (a cluster, or a column of a published leaderboard) are symmetric
    about 0. So flipping the signs of a unit's differences, of all pairs at once, changes nothing. The largest
    difference of all pairs is compared with the largest under each flip. Significant pairs are then excluded from the
    maximum of the others (step-down). This needs neither a variance nor a distribution, and few units suffice.

    >>> import numpy as np
    >>> flip_signs(np.array([[0.9, 0.5, 0.5], [0.8, 0.5, 0.4], [0.9, 0.4, 0.5]] * 2), 0.05).tolist()
    [[0, 1, 1], [-1, 0, 0], [-1, 0, 0]]

    Args:
        units: One row per sampling unit, and one column per model; NaN where a model has no value. A pair is compared
            over the units with a value of both.
        alpha: The probability of any wrong sign.

    Source: Fisher 1935; Romano & Wolf 2005, JASA 100:94 (step-down max); Westfall & Young 1993.
    """
    n_models = units.shape[1]
    first, second = np.triu_indices(n_models, 1)
    differences = units[:, first] - units[:, second]
    shared = np.maximum((~np.isnan(differences)).sum(axis=0), 1)
    differences = np.round(np.where(np.isnan(differences), 0.0, differences) / shared, 12)
    total = differences.sum(axis=0)
    # ascending, so that the running maximum is that of the pair itself and of the pairs with smaller differences
    order = np.argsort(np.abs(total), kind="stable")
    observed = np.abs(total[order])
    least = observed - 1e-9 * max(float(observed.max(initial=0.0)), 1e-300)
    extreme, count = np.zeros(len(order)), 0
    by_pair = np.ascontiguousarray(differences[:, order].T)
    for signs in _flips(units):
        largest = np.maximum.accumulate(np.abs(by_pair @ signs.T), axis=0)
        extreme += (largest >= least[:, None]).sum(axis=1)
        count += len(signs)
    p = np.maximum.accumulate((extreme / max(count, 1))[::-1])[::-1]
    matrix = np.zeros((n_models, n_models), dtype=np.int8)
    significant = order[(p <= alpha) & (observed > 1e-12)]
    matrix[first[significant], second[significant]] = np.sign(total[significant])
    return np.asarray(matrix - matrix.T, dtype=np.int8)


def units_needed(alpha: float) -> int:
    """Return the smallest number of sampling units whose sign flips can distinguish two models at level `alpha`.

    >>> units_needed(0.05), units_needed(0.005)
    (6, 9)
    """
    return ceil(log2(1 / alpha) - 1e-9) + 1


def _is_flipped(column: Estimates) -> bool:
    return column.units is not None and len(column.units) <= FLIPPED_UNITS


def _flips(units: Floats) -> Iterator[Floats]:
    """Yield matrices of signs, one row per flip: all of them, or the identity and random ones keyed by the values."""
    count, pairs = units.shape[0], units.shape[1] * (units.shape[1] - 1) // 2
    at_once = max(1, _NUMBERS_AT_ONCE // max(pairs, count, 1))
    if count <= EXACT_UNITS:
        number = np.arange(2 ** max(count - 1, 0))[:, None]
        signs = np.where(number >> np.arange(count) & 1, -1.0, 1.0)
    else:
        key = hashlib.sha256(np.round(np.nan_to_num(units, nan=-9.0), 9).tobytes()).digest()
        generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
        signs = np.where(generator.random((RANDOM_FLIPS, count)) < 0.5, -1.0, 1.0)
        signs[0] = 1.0
    for start in range(0, len(signs), at_once):
        yield signs[start : start + at_once]


def rank_interval(signs: Signs, index: Numbers) -> tuple[Numbers, Numbers]:
    """Return the lowest and highest possible rank of the models in `index`, 1 being the best.

    The lowest is 1 + the number of significantly better models. The highest is the number of all models − the number of
    significantly worse ones. They are simultaneous for all models if `signs` are.

    >>> import numpy as np
    >>> signs = np.array([[0, 0, 1], [0, 0, 1], [-1, -1, 0]], dtype=np.int8)
    >>> [ranks.tolist() for ranks in rank_interval(signs, np.arange(3))]
    [[1, 1, 3], [2, 2, 3]]

    Source: Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91:476.
    """
    matrix = signs[np.ix_(index, index)]
    return 1 + np.sum(matrix < 0, axis=1), len(index) - np.sum(matrix > 0, axis=1)


def tie_groups(signs: Signs) -> list[str]:
    """Return the letters of the tie groups of each model, from best to worst.

    No two models of a group differ significantly. Groups overlap: b may tie with a and with c, while a does not tie
    with c. A run of letters is abbreviated by its ends.

    >>> import numpy as np
    >>> tie_groups(np.array([[0, 0, 1], [0, 0, 0], [-1, 0, 0]], dtype=np.int8))
    ['a', 'a–b', 'b']
    >>> tie_groups(np.zeros((3, 3), dtype=np.int8))
    ['a', 'a', 'a']
    """
    groups: list[range] = []
    for first in range(len(signs)):
        end = first + 1
        while end < len(signs) and not signs[end, first:end].any():
            end += 1
        if not groups or end > groups[-1].stop:
            groups.append(range(first, end))
    labels = []
    for index in range(len(signs)):
        letters = [_letter(number) for number, group in enumerate(groups) if index in group]
        labels.append(letters[0] if len(letters) == 1 else f"{letters[0]}–{letters[-1]}")
    return labels


def ranks(values: Floats) -> Numbers:
    """Return the rank of each value, the highest first; equal values share their best rank.

    >>> import numpy as np
    >>> ranks(np.array([0.5, 0.9, 0.5, 0.1])).tolist()
    [2, 1, 2, 4]
    """
    better: Numbers = np.sum(above(values), axis=0)
    return 1 + better


def rank_probabilities(samples: Floats) -> Floats:
    """Return the share of samples (rows) in which each model (row of the result) has each rank; higher is better.

    >>> import numpy as np
    >>> rank_probabilities(np.array([[0.9, 0.5], [0.8, 0.6], [0.7, 0.9], [0.8, 0.7]])).tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    from scipy.stats import rankdata

    n_models = samples.shape[1]
    # equal values share their best rank, as in `ranks`
    every = rankdata(-np.round(samples, 12), method="min", axis=1).astype(np.int64) - 1
    counts = np.stack([np.bincount(column, minlength=n_models) for column in every.T])
    return np.asarray(counts / len(samples), dtype=np.float64)


def win_rates(values: Floats) -> Floats:
    """Return the share of the other values that each value exceeds; a tie counts half, as in HELM.

    >>> import numpy as np
    >>> win_rates(np.array([0.5, 0.9, 0.5, 0.1])).round(3).tolist()
    [0.5, 1.0, 0.5, 0.0]

    Source: helm/benchmark/presentation/summarize.py (compute_aggregate_row_win_rates).
    """
    better = above(values)
    equal = len(values) - better.sum(axis=0) - better.sum(axis=1) - 1
    rates: Floats = (better.sum(axis=1) + equal / 2) / np.float64(len(values) - 1)
    return rates


def above(values: Floats) -> "NDArray[np.bool_]":
    """Return whether a row's value is higher than a column's, by more than rounding."""
    close = np.isclose(values[:, None], values[None, :], rtol=1e-12, atol=1e-12)
    return (values[:, None] > values[None, :]) & ~close


def _letter(number: int) -> str:
    """Return the letters of a number, such as a, z, aa and ab."""
    rest, last = divmod(number, 26)
    return (_letter(rest - 1) if rest else "") + "abcdefghijklmnopqrstuvwxyz"[last]
