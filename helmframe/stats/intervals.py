"""Intervals and tests on plain numbers: each with its reference and a worked example.

Every function takes floats or NumPy arrays of one shape; those that give an interval give (low, high).
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


Floats: TypeAlias = "npt.NDArray[np.float64]"
Numbers: TypeAlias = "float | Floats"
Interval: TypeAlias = "tuple[Floats, Floats]"

EXACT_FLIPS = 20
LARGE_SAMPLE = 10_000


def wilson(successes: Numbers, n: Numbers, ci: float = 0.95) -> Interval:
    """Wilson's score interval for `successes` of `n` independent answers; either may be fractional.

    >>> low, high = wilson(8, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.490 0.943

    Source: Wilson 1927, JASA 22:209; Brown, Cai & DasGupta 2001, Statistical Science 16:101.
    """
    import numpy as np

    return _score_interval(np.asarray(successes) / np.asarray(n), np.asarray(n, dtype=np.float64), ci)


def modified_wilson(p: Numbers, variance: Numbers, n: Numbers, df: Numbers, ci: float = 0.95) -> Interval:
    """Wilson's interval at the effective sample size that a clustered or stratified `variance` of `p` stands for.

    n* = min(n, p(1−p)/variance) · (z/t_df)². A hundred answers whose variance is twice the binomial one are worth
    fifty, and a few less because the variance itself is estimated from 40 clusters:

    >>> low, high = modified_wilson(0.5, 0.005, 100, 39)
    >>> print(f"{low:.3f} {high:.3f}")
    0.362 0.638

    Source: Korn & Graubard 1998, Survey Methodology 24:193; Franco, Little, Louis & Slud 2019, J. Survey Statistics and
    Methodology 7:334; Kott 2017, Survey Methodology 43.
    """
    import numpy as np

    p = np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.minimum(np.asarray(n), p * (1 - p) / np.asarray(variance))
        return _score_interval(p, worth * (_normal(ci) / _student(df, ci)) ** 2, ci)


def clopper_pearson(successes: Numbers, n: Numbers, ci: float = 0.95) -> Interval:
    """The exact binomial interval, from the quantiles of the beta distribution.

    >>> low, high = clopper_pearson(0, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.000 0.308

    Source: Clopper & Pearson 1934, Biometrika 26:404.
    """
    import numpy as np
    from scipy.special import betaincinv

    successes, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    failures = n - successes
    tail = (1 - ci) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(successes > 0, betaincinv(np.maximum(successes, 1e-300), failures + 1, tail), 0.0)
        high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1e-300), 1 - tail), 1.0)
    return low, high


def unanimous(value: Numbers, n: Numbers, ci: float = 0.95, *, least: float = 0.0, most: float = 1.0) -> Interval:
    """The interval of a mean in [least, most] when all `n` independent clusters have the same `value`.

    The share of clusters that would differ is at most the upper end of `clopper_pearson(0, n)`, and those that do can
    be anything: for a fraction of 0 or 1 this is Clopper–Pearson itself.

    >>> low, high = unanimous(1.0, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.692 1.000
    >>> low, high = unanimous(0.0, 10, least=-1.0)
    >>> print(f"{low:.3f} {high:.3f}")
    -0.308 0.308
    """
    import numpy as np

    share = clopper_pearson(0.0, n, ci)[1]
    value = np.asarray(value, dtype=np.float64)
    return value - share * (value - least), value + share * (most - value)


def t_interval(mean: Numbers, variance: Numbers, df: Numbers, ci: float = 0.95) -> Interval:
    """The mean ± t_df · √variance.

    >>> low, high = t_interval(10.0, 4.0, 9)
    >>> print(f"{low:.3f} {high:.3f}")
    5.476 14.524
    """
    import numpy as np

    half = _student(df, ci) * np.sqrt(np.asarray(variance, dtype=np.float64))
    return np.asarray(mean) - half, np.asarray(mean) + half


def sign_flip_p(differences: Floats, flips: int = 9_999) -> tuple[float, str]:
    """Two-sided p that the differences (one per cluster, weighted) are symmetric about 0, and how it was had.

    Exact for up to 20 differences that are not 0; beyond, `flips` random sign vectors and p = (1+b)/(1+flips). The
    random numbers are keyed by the sizes of the differences: neither their order nor swapping the sides changes p.
    From 10,000 sizes on, the normal limit with the flips' own variance Σd².

    >>> import numpy as np
    >>> sign_flip_p(np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0]))
    (0.21875, 'sign-flip (exact)')

    Source: Fisher 1935, The Design of Experiments §21; Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9:39.
    """
    import numpy as np

    # rounded to 12 digits, so that sums taken in another order are the same differences
    scale = float(np.max(np.abs(differences), initial=0.0))
    units = np.round(np.asarray(differences, dtype=np.float64) / scale, 12) if scale else np.zeros(0)
    units = np.sort(units[units != 0.0])
    if not units.size:
        return 1.0, "sign-flip (no difference)"
    observed = abs(float(units.sum())) - 1e-9 * units.size
    sizes, counts = np.unique(np.abs(units), return_counts=True)
    if units.size <= EXACT_FLIPS:
        return float(np.mean(np.abs(_all_flips(np.abs(units))) >= observed)), "sign-flip (exact)"
    if sizes.size > LARGE_SAMPLE:
        return _normal_p(float(units.sum() / np.sqrt(np.sum(units**2)))), "sign-flip (normal limit)"
    extreme = int(np.sum(np.abs(_random_flips(sizes, counts, flips)) >= observed))
    return (1 + extreme) / (1 + flips), f"sign-flip ({flips:,} flips)"


def mcnemar_midp(only_a: int, only_b: int) -> float:
    """Two-sided mid-p of McNemar's test: answers that only a has right against those that only b has right.

    Airway hyper-responsiveness before and after stem cell transplantation, 1 against 7 discordant children:

    >>> round(mcnemar_midp(1, 7), 3)
    0.039

    Source: Fagerland, Lydersen & Laake 2013, BMC Medical Research Methodology 13:91.
    """
    import numpy as np
    from scipy.special import bdtr, gammaln

    n, least = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    if only_a == only_b:
        # the two tails meet in the middle, whose half is taken once
        return float(1 - 0.5 * np.exp(gammaln(n + 1) - 2 * gammaln(least + 1) - n * np.log(2)))
    at = np.exp(gammaln(n + 1) - gammaln(least + 1) - gammaln(n - least + 1) - n * np.log(2))
    return float(2 * bdtr(least, n, 0.5) - at)


def holm(p: Sequence[float]) -> list[float]:
    """The p values adjusted for being a family, by Holm's step-down.

    >>> [round(each, 3) for each in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    import numpy as np

    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(each) for each in adjusted]


def _score_interval(p: Floats, n: Floats, ci: float) -> Interval:
    import numpy as np

    z = _normal(ci)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _normal(ci: float) -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + ci) / 2))


def _normal_p(z: float) -> float:
    from scipy.special import ndtr

    return float(2 * ndtr(-abs(z)))


def _student(df: Numbers, ci: float) -> Floats:
    import numpy as np
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.asarray(df, dtype=np.float64), (1 + ci) / 2), dtype=np.float64)


def _all_flips(sizes: Floats) -> Floats:
    import numpy as np

    # the first sign is fixed: the other half mirrors it
    sums = sizes[:1]
    for size in sizes[1:]:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _random_flips(sizes: Floats, counts: "npt.NDArray[np.int64]", flips: int) -> Floats:
    import numpy as np

    key = hashlib.sha256(sizes.tobytes() + counts.astype("<i8").tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
    sums = np.zeros(flips)
    # equal sizes are flipped together: their signs add up to a binomial
    for size, count in zip(sizes, counts, strict=True):
        sums += size * (2.0 * generator.binomial(int(count), 0.5, size=flips) - count)
    return sums
