"""Intervals on plain numbers: each with its reference and a worked example.

Every function takes floats or NumPy arrays of one shape; those that give an interval give (low, high).
"""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


Floats: TypeAlias = "npt.NDArray[np.float64]"
Numbers: TypeAlias = "float | Floats"
Interval: TypeAlias = "tuple[Floats, Floats]"


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


def unanimous(value: Numbers, n: Numbers, ci: float = 0.95, *, least: float = 0.0) -> Interval:
    """The interval of a mean in [least, 1] when all `n` independent clusters have the same `value`.

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
    return value - share * (value - least), value + share * (1.0 - value)


def t_interval(mean: Numbers, variance: Numbers, df: Numbers, ci: float = 0.95) -> Interval:
    """The mean ± t_df · √variance.

    >>> low, high = t_interval(10.0, 4.0, 9)
    >>> print(f"{low:.3f} {high:.3f}")
    5.476 14.524
    """
    import numpy as np

    half = _student(df, ci) * np.sqrt(np.asarray(variance, dtype=np.float64))
    return np.asarray(mean) - half, np.asarray(mean) + half


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


def _student(df: Numbers, ci: float) -> Floats:
    import numpy as np
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.asarray(df, dtype=np.float64), (1 + ci) / 2), dtype=np.float64)
