"""Significant differences between models, and the ranks that they allow, for several columns at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from helmframe.stats.encoded_rows import Floats, Numbers
from helmframe.stats.significance import pairwise_level, variances_of_pairs

Signs: TypeAlias = "NDArray[np.int8]"


@dataclass(frozen=True)
class Estimates:
    """The estimates of models in one column, with higher being better.

    `index` identifies the models among all. `covariance` is that of the values over the sampling units, None if it is
    unknown. `df` and `clusters` (independent units) are per model. `score` is whether to test with the variance under
    no difference (uncentred, as sign flips do), which small samples need.
    """

    index: Numbers
    value: Floats
    covariance: "Floats | None"
    df: Floats
    clusters: Floats
    score: bool = True


def significant_signs(columns: Sequence[Estimates], competitors: int, ci: float) -> list[Signs]:
    """Return a matrix per column: 1 if the row's model is significantly better than the column's, −1 if worse.

    The intervals of all pairs in all columns are simultaneous at level `ci` (max-|t| bootstrap over the sampling units,
    paired). 0 means undecided, or absent.
    """
    from scipy.special import stdtrit

    level = pairwise_level([column.covariance for column in columns if column.covariance is not None], ci)
    matrices = []
    for column in columns:
        signs = np.zeros((competitors, competitors), dtype=np.int8)
        if column.covariance is not None:
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
