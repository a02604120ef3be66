"""Tests and joint levels, each with its reference: sign flips, McNemar, Holm, and the max-|t| bootstrap."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from helmframe.stats.encoded_rows import Floats, Numbers

EXACT_FLIPS = 20
FLIPS = 9_999
# The power of `detectable`.
POWER = 0.8
# With more distinct sizes than this, the largest are flipped, and the sum of the others is normal.
MOST_FLIPPED = 500
# Signs sampled at once.
_CHUNK = 512


def sign_flip_p(differences: Floats) -> tuple[float, str]:
    """Return the two-sided p of differences (one per cluster, weighted) that are symmetric about 0, and the method.

    It is exact for up to 20 differences other than 0. Beyond, it uses `FLIPS` random sign vectors and p =
    (1+b)/(1+FLIPS). The random numbers are keyed by the sizes of the differences, so neither their order nor swapping
    the sides changes p.

    >>> import numpy as np
    >>> sign_flip_p(np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0]))
    (0.21875, 'sign-flip (exact)')

    Source: Fisher 1935, The Design of Experiments §21; Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39.
    """
    # rounded to 12 digits, so that the order of sums does not matter
    scale = float(np.max(np.abs(differences), initial=0.0))
    units = np.round(np.asarray(differences, dtype=np.float64) / scale, 12) if scale else np.zeros(0)
    units = np.sort(units[units != 0.0])
    if not units.size:
        return 1.0, "sign-flip (no difference)"
    observed = abs(float(units.sum())) - 1e-9 * units.size
    if units.size <= EXACT_FLIPS:
        return float(np.mean(np.abs(_all_flips(np.abs(units))) >= observed)), "sign-flip (exact)"
    sizes, counts = np.unique(np.abs(units), return_counts=True)
    extreme = int(np.sum(np.abs(_random_flips(sizes, counts)) >= observed))
    return (1 + extreme) / (1 + FLIPS), f"sign-flip ({FLIPS:,} flips)"


def mcnemar_midp(only_a: int, only_b: int) -> float:
    """Return the two-sided mid-p of McNemar's test, from the numbers of instances that only a, or only b, has right.

    Airway hyper-responsiveness before and after stem cell transplantation, 1 against 7 discordant children:

    >>> round(mcnemar_midp(1, 7), 3)
    0.039

    Source: Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91.
    """
    from scipy.special import bdtr, gammaln

    n, least = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    if only_a == only_b:
        # the two tails share the middle, whose half counts once
        return float(1 - 0.5 * np.exp(gammaln(n + 1) - 2 * gammaln(least + 1) - n * np.log(2)))
    at = np.exp(gammaln(n + 1) - gammaln(least + 1) - gammaln(n - least + 1) - n * np.log(2))
    return float(2 * bdtr(least, n, 0.5) - at)


def holm(p: Sequence[float]) -> list[float]:
    """Return the p values adjusted for multiple tests, by Holm's step-down.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(value) for value in adjusted]


def detectable(stderr: Floats, df: Floats, ci: float = 0.95) -> Floats:
    """Return the minimum detectable effect at power 80 % of a two-sided test at level 1 − ci, from its standard error.

    >>> import numpy as np
    >>> detectable(np.array([0.01]), np.array([np.inf])).round(4)  # (1.96 + 0.84) · 0.01
    array([0.028])

    Source: Bloom 1995, Evaluation Review 19:547: (t₁₋α/2 + t_power) standard errors.
    """
    from scipy.special import stdtrit

    return np.asarray((stdtrit(df, (1 + ci) / 2) + stdtrit(df, POWER)) * stderr, dtype=np.float64)


def _all_flips(sizes: Floats) -> Floats:
    # the first sign is fixed; the other half is its mirror image
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _random_flips(sizes: Floats, counts: Numbers) -> Floats:
    key = hashlib.sha256(sizes.tobytes() + counts.astype("<i8").tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
    rest, rest_counts = sizes[:-MOST_FLIPPED], counts[:-MOST_FLIPPED]
    sizes, counts = sizes[-MOST_FLIPPED:], counts[-MOST_FLIPPED:]
    sums: Floats = generator.normal(size=FLIPS) * np.sqrt(np.sum(rest**2 * rest_counts))
    # the signs of equal sizes sum to a binomial number
    for size, count in zip(sizes[counts > 1], counts[counts > 1], strict=True):
        sums += size * (2.0 * generator.binomial(int(count), 0.5, size=FLIPS) - count)
    single = sizes[counts == 1]
    for start in range(0, len(single), _CHUNK):
        batch = single[start : start + _CHUNK]
        samples = generator.integers(0, 256, size=(FLIPS, -(-len(batch) // 8)), dtype=np.uint8)
        heads = np.unpackbits(samples, axis=1)[:, : len(batch)].astype(np.float64)
        sums += 2.0 * (heads @ batch) - batch.sum()
    return sums


JOINT_DRAWS = 4_000
# Numbers in memory at once.
_JOINT_CHUNK = 4_000_000


def joint_level(covariances: Sequence[Floats], ci: float) -> float:
    """Return the level at which the intervals of `covariances` jointly cover in `ci`.

    The max-|t| multiplier bootstrap: the residuals of each cluster are multiplied by a normal number, and the interval
    must reach the largest |estimate / standard error|. The sums of such products are normal with the covariance of the
    estimates, so they are sampled from it. Each interval keeps its own degrees of freedom: the level is common, not the
    quantile. The level is raised by two Monte Carlo errors of its samples, which errs on the safe side.

    Args:
        covariances: One matrix per set of estimates that share clusters; sets are independent.
        ci: The share of families of intervals that should cover all true values.

    >>> import numpy as np
    >>> 0.95**0.1 < joint_level([np.eye(10)], 0.95) < 0.96**0.1 + 0.001  # ten independent estimates
    True
    >>> 0.94 < joint_level([np.ones((10, 10))], 0.95) < 0.97  # ten times the same estimate
    True

    Source: Chernozhukov, Chetverikov & Kato 2013, Annals of Statistics 41:2786; Romano & Wolf 2005, Econometrica
        73:1237; Beran 1988, JASA 83:679 (one level for unlike estimates).
    """
    correlations = [_correlation(matrix) for matrix in covariances]
    correlations = [matrix for matrix in correlations if len(matrix)]
    if sum(map(len, correlations)) < 2:
        return ci
    largest = np.zeros(JOINT_DRAWS)
    for index, matrix in enumerate(correlations):
        for start, samples in normals(matrix, index):
            several = slice(start, start + len(samples))
            largest[several] = np.maximum(largest[several], np.abs(samples).max(axis=1))
    return _level(largest, ci)


def pairwise_level(covariances: Sequence[Floats], ci: float) -> float:
    """Return the `joint_level` of the differences of all pairs of the estimates of each set."""
    largest = np.zeros(JOINT_DRAWS)
    pairs = 0
    for index, covariance in enumerate(covariances):
        variance = variances_of_pairs(covariance)
        pairs += int(np.count_nonzero(variance)) // 2
        scale = float(np.sqrt(np.max(np.diag(covariance), initial=0.0)))
        error = np.sqrt(np.where(variance > 0, variance, np.inf))
        if scale == 0:
            continue
        for start, samples in normals(covariance / scale**2, index):
            several = largest[start : start + len(samples)]
            for row in range(len(covariance) - 1):
                difference = np.abs(samples[:, row + 1 :] - samples[:, row : row + 1]) * (scale / error[row, row + 1 :])
                np.maximum(several, difference.max(axis=1), out=several)
    return ci if pairs < 2 else _level(largest, ci)


def variances_of_pairs(covariance: Floats) -> Floats:
    """Return the variance of the difference of each pair of estimates."""
    variance = np.diag(covariance)
    both = variance[:, None] + variance[None, :]
    difference: Floats = both - 2 * covariance
    # the difference of equal columns is only rounding
    return np.where(difference > 1e-12 * both, difference, 0.0)


def _level(largest: Floats, ci: float) -> float:
    """Return the two-sided level of the quantile, raised by two Monte Carlo errors of the samples."""
    from scipy.special import ndtr

    share = min(ci + 2 * np.sqrt(ci * (1 - ci) / len(largest)), 1.0)
    return float(2 * ndtr(np.quantile(largest, share)) - 1)


def _correlation(covariance: Floats) -> Floats:
    variance = np.diag(covariance)
    positive = variance > 0
    error = np.sqrt(variance[positive])
    correlation: Floats = covariance[np.ix_(positive, positive)] / np.outer(error, error)
    return correlation


def normals(covariance: Floats, index: int) -> Iterator[tuple[int, Floats]]:
    """Yield samples with this covariance, which may be singular; equal numbers give equal samples."""
    # rounded, so that the order of sums does not matter
    rounded = np.round(covariance, 9) + 0.0
    key = hashlib.sha256(f"{index} {JOINT_DRAWS}".encode() + rounded.tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
    values, vectors = np.linalg.eigh(rounded)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    at_once = max(1, _JOINT_CHUNK // len(root))
    for start in range(0, JOINT_DRAWS, at_once):
        count = min(at_once, JOINT_DRAWS - start)
        yield start, generator.standard_normal((count, len(root))) @ root.T
