"""Several intervals at once: at which level each has to be taken so that all hold together."""

import hashlib
from collections.abc import Iterator, Sequence

from helmframe.stats.encoded_rows import Floats

DRAWS = 4_000
# Draws held at once, in numbers.
_CHUNK = 4_000_000


def joint_level(covariances: Sequence[Floats], ci: float) -> float:
    """The level at which intervals of `covariances` have to be taken for all of them to hold together in `ci`.

    The max-|t| multiplier bootstrap: each cluster's residuals are multiplied by a normal number, and the largest of all
    |estimate / standard error| is what the interval has to reach. The sums of such products are normal with just the
    covariance of the estimates, which are therefore drawn from it. Each interval keeps its own degrees of freedom: the
    level, not the quantile, is common. It errs on the safe side by two Monte Carlo errors of its draws.

    Args:
        covariances: one matrix per set of estimates that share clusters; sets are independent.
        ci: share of families of intervals that should contain all true values.

    >>> import numpy as np
    >>> 0.95**0.1 < joint_level([np.eye(10)], 0.95) < 0.96**0.1 + 0.001  # ten independent ones
    True
    >>> 0.94 < joint_level([np.ones((10, 10))], 0.95) < 0.97  # ten times the same
    True

    Source: Chernozhukov, Chetverikov & Kato 2013, Annals of Statistics 41:2786; Romano & Wolf 2005, Econometrica
    73:1237; Beran 1988, JASA 83:679 (one level for unlike estimates).
    """
    import numpy as np

    correlations = [_correlation(matrix) for matrix in covariances]
    correlations = [matrix for matrix in correlations if len(matrix)]
    if sum(map(len, correlations)) < 2:
        return ci
    largest = np.zeros(DRAWS)
    for index, matrix in enumerate(correlations):
        for start, drawn in _normals(matrix, index):
            several = slice(start, start + len(drawn))
            largest[several] = np.maximum(largest[several], np.abs(drawn).max(axis=1))
    return _level(largest, ci)


def pairwise_level(covariances: Sequence[Floats], ci: float) -> float:
    """As `joint_level`, for the differences of all pairs of the estimates of each set."""
    import numpy as np

    largest = np.zeros(DRAWS)
    pairs = 0
    for index, covariance in enumerate(covariances):
        variance = variances_of_pairs(covariance)
        pairs += int(np.count_nonzero(variance)) // 2
        scale = float(np.sqrt(np.max(np.diag(covariance), initial=0.0)))
        error = np.sqrt(np.where(variance > 0, variance, np.inf))
        if scale == 0:
            continue
        for start, drawn in _normals(covariance / scale**2, index):
            several = largest[start : start + len(drawn)]
            for one in range(len(covariance) - 1):
                apart = np.abs(drawn[:, one + 1 :] - drawn[:, one : one + 1]) * (scale / error[one, one + 1 :])
                np.maximum(several, apart.max(axis=1), out=several)
    return ci if pairs < 2 else _level(largest, ci)


def variances_of_pairs(covariance: Floats) -> Floats:
    """Of each pair of estimates the variance of their difference."""
    import numpy as np

    variance = np.diag(covariance)
    both = variance[:, None] + variance[None, :]
    apart: Floats = both - 2 * covariance
    # what is left of equal columns is rounding
    return np.where(apart > 1e-12 * both, apart, 0.0)


def _level(largest: Floats, ci: float) -> float:
    """The two-sided level of the quantile, which two Monte Carlo errors of the draws are added to."""
    import numpy as np
    from scipy.special import ndtr

    share = min(ci + 2 * np.sqrt(ci * (1 - ci) / len(largest)), 1.0)
    return float(2 * ndtr(np.quantile(largest, share)) - 1)


def _correlation(covariance: Floats) -> Floats:
    import numpy as np

    variance = np.diag(covariance)
    positive = variance > 0
    error = np.sqrt(variance[positive])
    correlation: Floats = covariance[np.ix_(positive, positive)] / np.outer(error, error)
    return correlation


def _normals(covariance: Floats, index: int) -> Iterator[tuple[int, Floats]]:
    """Draws with this covariance, which may be singular, some at a time; the same for the same numbers."""
    import numpy as np

    # rounded, so that sums taken in another order are the same covariance
    rounded = np.round(covariance, 9) + 0.0
    key = hashlib.sha256(f"{index} {DRAWS}".encode() + rounded.tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
    values, vectors = np.linalg.eigh(rounded)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    at_once = max(1, _CHUNK // len(root))
    for start in range(0, DRAWS, at_once):
        count = min(at_once, DRAWS - start)
        yield start, generator.standard_normal((count, len(root))) @ root.T
