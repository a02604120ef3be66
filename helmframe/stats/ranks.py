"""Significant differences between competitors, and the ranks that these allow; several columns at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from helmframe.stats.encoded_rows import Floats, Numbers
from helmframe.stats.significance import pairwise_level, variances_of_pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Signs: TypeAlias = "NDArray[np.int8]"


@dataclass(frozen=True)
class Estimates:
    """The estimates of competitors in one column, higher being better.

    `index` says which of all competitors each is; `covariance` is that of the values over what was drawn, None where it
    is not known; `df` and `clusters` (independent draws) of each; `score`, whether to test by the variance that a
    difference has if it is none in truth (uncentred, as sign flips do), which small samples need.
    """

    index: Numbers
    value: Floats
    covariance: "Floats | None"
    df: Floats
    clusters: Floats
    score: bool = True


def significant_signs(columns: Sequence[Estimates], competitors: int, ci: float) -> list[Signs]:
    """Return per column a matrix: 1 if the row's competitor is significantly better than the column's, −1 if worse.

    Surely: by intervals of all pairs in all columns, of which all hold together in `ci` (max-|t| bootstrap over what
    was drawn, paired). 0 is undecided, or not there.
    """
    import numpy as np
    from scipy.special import stdtrit

    level = pairwise_level([column.covariance for column in columns if column.covariance is not None], ci)
    matrices = []
    for column in columns:
        signs = np.zeros((competitors, competitors), dtype=np.int8)
        if column.covariance is not None:
            apart = column.value[:, None] - column.value[None, :]
            variance = variances_of_pairs(column.covariance)
            clusters = np.minimum(column.clusters[:, None], column.clusters[None, :])
            # where all clusters differ by the same, their number alone says how sure that is
            variance += np.where(column.score | (variance == 0), apart**2 / clusters, 0.0)
            quantile = stdtrit(np.minimum(column.df[:, None], column.df[None, :]), (1 + level) / 2)
            sure = (np.abs(apart) > 1e-12) & (apart**2 > quantile**2 * variance)
            signs[np.ix_(column.index, column.index)] = np.where(sure, np.sign(apart), 0)
        matrices.append(signs)
    return matrices


def rank_interval(signs: Signs, index: Numbers) -> tuple[Numbers, Numbers]:
    """Return the lowest and highest possible rank of the competitors in `index`, 1 being the best.

    One more than who is surely better, to all less who is surely worse. All of them hold together if `signs` do.

    >>> import numpy as np
    >>> signs = np.array([[0, 0, 1], [0, 0, 1], [-1, -1, 0]], dtype=np.int8)
    >>> [each.tolist() for each in rank_interval(signs, np.arange(3))]
    [[1, 1, 3], [2, 2, 3]]

    Source: Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91:476.
    """
    import numpy as np

    among = signs[np.ix_(index, index)]
    return 1 + np.sum(among < 0, axis=1), len(index) - np.sum(among > 0, axis=1)


def tie_groups(signs: Signs) -> list[str]:
    """Return the letters of the tie groups of each competitor, from best to worst.

    No two of a group are surely one better than the other. Groups overlap: b may tie with a and with c, and a not with
    c. A run of letters is shown by its ends.

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
    for one in range(len(signs)):
        letters = [_letter(number) for number, group in enumerate(groups) if one in group]
        labels.append(letters[0] if len(letters) == 1 else f"{letters[0]}–{letters[-1]}")
    return labels


def ranks(values: Floats) -> Numbers:
    """Return the rank of each value, the highest first; equal values share their best rank.

    >>> import numpy as np
    >>> ranks(np.array([0.5, 0.9, 0.5, 0.1])).tolist()
    [2, 1, 2, 4]
    """
    import numpy as np

    better: Numbers = np.sum(above(values), axis=0)
    return 1 + better


def win_rates(values: Floats) -> Floats:
    """Return the share of the others that each value exceeds; a tie counts half, as in HELM.

    >>> import numpy as np
    >>> win_rates(np.array([0.5, 0.9, 0.5, 0.1])).round(3).tolist()
    [0.5, 1.0, 0.5, 0.0]

    Source: helm/benchmark/presentation/summarize.py (compute_aggregate_row_win_rates).
    """
    import numpy as np

    better = above(values)
    equal = len(values) - better.sum(axis=0) - better.sum(axis=1) - 1
    rates: Floats = (better.sum(axis=1) + equal / 2) / np.float64(len(values) - 1)
    return rates


def above(values: Floats) -> "NDArray[np.bool_]":
    """Return whether a row's value is higher than a column's, by more than rounding."""
    import numpy as np

    close = np.isclose(values[:, None], values[None, :], rtol=1e-12, atol=1e-12)
    return (values[:, None] > values[None, :]) & ~close


def _letter(number: int) -> str:
    """Return the letters of a number, such as a, z, aa and ab."""
    rest, last = divmod(number, 26)
    return (_letter(rest - 1) if rest else "") + "abcdefghijklmnopqrstuvwxyz"[last]
