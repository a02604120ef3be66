"""Intervals of means and shares, each with its reference, and the choice of the interval for each row of estimates.

The functions on plain numbers take floats or NumPy arrays of one shape and return (low, high).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import polars as pl

from helmframe.errors import ArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt


Floats: TypeAlias = "npt.NDArray[np.float64]"
Numbers: TypeAlias = "float | Floats"
Interval: TypeAlias = "tuple[Floats, Floats]"


def wilson(successes: Numbers, n: Numbers, ci: Numbers = 0.95) -> Interval:
    """Return Wilson's score interval for `successes` of `n` independent completions; either may be fractional.

    >>> low, high = wilson(8, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.490 0.943

    Source: Wilson 1927, JASA 22:209; Brown, Cai & DasGupta 2001, Statistical Science 16:101.
    """
    return _score_interval(np.asarray(successes) / np.asarray(n), np.asarray(n, dtype=np.float64), ci)


def modified_wilson(p: Numbers, variance: Numbers, n: Numbers, df: Numbers, ci: Numbers = 0.95) -> Interval:
    """Return Wilson's interval at the effective sample size of a clustered or stratified `variance` of `p`.

    n* = min(n, p(1−p)/variance) · (z/t_df)². If the variance of 100 completions is twice the binomial variance, their
    effective sample size is 50. It is a little smaller because the variance is itself estimated, here from 40 clusters:

    >>> low, high = modified_wilson(0.5, 0.005, 100, 39)
    >>> print(f"{low:.3f} {high:.3f}")
    0.362 0.638

    Source: Korn & Graubard 1998, Survey Methodology 24:193; Franco, Little, Louis & Slud 2019, J. Survey Statistics and
        Methodology 7:334; Kott 2017, Survey Methodology 43.
    """
    p = np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.minimum(np.asarray(n), p * (1 - p) / np.asarray(variance))
        return _score_interval(p, worth * (_normal(ci) / _student(df, ci)) ** 2, ci)


def clopper_pearson(successes: Numbers, n: Numbers, ci: Numbers = 0.95) -> Interval:
    """Return the exact binomial interval, from the quantiles of the beta distribution.

    >>> low, high = clopper_pearson(0, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.000 0.308

    Source: Clopper & Pearson 1934, Biometrika 26:404.
    """
    from scipy.special import betaincinv

    successes, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    failures = n - successes
    tail = (1 - ci) / 2
    with np.errstate(invalid="ignore"):
        low = np.where(successes > 0, betaincinv(np.maximum(successes, 1e-300), failures + 1, tail), 0.0)
        high = np.where(failures > 0, betaincinv(successes + 1, np.maximum(failures, 1e-300), 1 - tail), 1.0)
    return low, high


def unanimous(value: Numbers, n: Numbers, ci: Numbers = 0.95, *, least: float = 0.0) -> Interval:
    """Return the interval of a mean in [least, 1] if all `n` independent clusters have the same `value`.

    The share of clusters that would differ is at most the upper end of `clopper_pearson(0, n)`, and those could have
    any value. For a fraction of 0 or 1 this is the Clopper–Pearson interval itself.

    >>> low, high = unanimous(1.0, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.692 1.000
    >>> low, high = unanimous(0.0, 10, least=-1.0)
    >>> print(f"{low:.3f} {high:.3f}")
    -0.308 0.308
    """
    share = clopper_pearson(0.0, n, ci)[1]
    value = np.asarray(value, dtype=np.float64)
    return value - share * (value - least), value + share * (1.0 - value)


def paired_score(difference: Numbers, discordance: Numbers, n: Numbers, quantile: Numbers) -> Interval:
    """Return Tango's score interval of a paired difference of fractions: the differences that its test does not reject.

    Of 100 pairs, 8 favour one side and 2 the other. The variance under a difference δ is that of the likeliest table of
    pairs with this δ. At δ = 0 the test is McNemar's.

    >>> low, high = paired_score(0.06, 0.10, 100, 1.96)
    >>> print(f"{low:.3f} {high:.3f}")
    -0.002 0.134

    Args:
        difference: The mean difference.
        discordance: The mean squared difference; for pairs of 0 and 1, the share of pairs that differ.
        n: The number of independent pairs, or the effective number.
        quantile: The largest number of standard errors that is not rejected.

    Source: Tango 1998, Statistics in Medicine 17:891.
    """
    difference, discordance, n, quantile = (
        np.asarray(value, dtype=np.float64)
        for value in np.broadcast_arrays(difference, discordance, n, quantile)
    )  # fmt: skip
    worse = (discordance - difference) / 2

    def rejected(delta: Floats) -> "npt.NDArray[np.bool_]":
        linear = -discordance + (2 - difference) * delta
        root = np.sqrt(np.maximum(linear**2 + 8 * worse * delta * (1 - delta), 0.0))
        variance = np.maximum((root - linear) / 2 + delta * (1 - delta), 0.0)
        return n * (difference - delta) ** 2 > quantile**2 * variance

    ends = []
    with np.errstate(invalid="ignore"):
        for limit in (-1.0, 1.0):
            inner, outer = difference.copy(), np.full_like(difference, limit)
            inner = np.where(rejected(outer), inner, outer)
            for _ in range(50):
                middle = (inner + outer) / 2
                out = rejected(middle)
                inner, outer = np.where(out, inner, middle), np.where(out, middle, outer)
            ends.append(np.where(np.isnan(difference + discordance + n + quantile), np.nan, inner))
    return ends[0], ends[1]


def beta_posterior(successes: Numbers, n: Numbers, ci: Numbers = 0.95) -> Interval:
    """Return the equal-tailed interval of a share after `successes` of `n`, with Jeffreys' prior Beta(½, ½).

    With no success the interval starts at 0, and with no failure it ends at 1. Either number may be fractional.

    >>> low, high = beta_posterior(8, 10)
    >>> print(f"{low:.3f} {high:.3f}")
    0.497 0.956

    Source: Jeffreys 1946; Brown, Cai & DasGupta 2001, Statistical Science 16:101 (§3.1.3, §4.3.2 for the ends).
    """
    from scipy.special import betaincinv

    successes, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    failures = np.maximum(n - successes, 0.0)
    tail = (1 - np.asarray(ci)) / 2
    low = np.where(successes > _NOTHING, betaincinv(successes + 0.5, failures + 0.5, tail), 0.0)
    high = np.where(failures > _NOTHING, betaincinv(successes + 0.5, failures + 0.5, 1 - tail), 1.0)
    return low, high


def dirichlet_posterior(difference: Numbers, discordance: Numbers, n: Numbers, ci: Numbers = 0.95) -> Interval:
    """Return the equal-tailed interval of a paired difference of fractions, with the prior Dirichlet(½, ½, ½).

    The three shares are those of pairs where one side, the other, or neither is better. Of 20 pairs, 5 favour one side
    and 1 the other:

    >>> low, high = dirichlet_posterior(0.2, 0.3, 20)
    >>> print(f"{low:.2f} {high:.2f}")
    -0.04 0.41

    Args:
        difference: The mean difference.
        discordance: The mean squared difference; for pairs of 0 and 1, the share of pairs that differ.
        n: The number of independent pairs, or the effective number.
        ci: The probability of the interval.

    Source: Gelman et al. 2013, Bayesian Data Analysis §3.4 (Dirichlet posterior of three shares).
    """
    from scipy.special import betainc, betaincinv

    difference, discordance, n = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (difference, discordance, n))
    )
    wins, losses = (np.maximum(n * (discordance + sign * difference) / 2, 0.0) + 0.5 for sign in (1, -1))
    ties = np.maximum(n * (1 - discordance), 0.0) + 0.5
    # the share of ties and the share of wins among the others are independent
    middles = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    untied = 1 - betaincinv(ties[..., None], (wins + losses)[..., None], middles)
    ends = []
    for tail in ((1 - np.asarray(ci)) / 2, (1 + np.asarray(ci)) / 2):
        low, high = np.full_like(difference, -1.0), np.full_like(difference, 1.0)
        for _ in range(40):
            middle = (low + high) / 2
            share = np.clip((1 + middle[..., None] / np.maximum(untied, 1e-300)) / 2, 0.0, 1.0)
            below = betainc(wins[..., None], losses[..., None], share).mean(axis=-1) < tail
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        ends.append(np.where(np.isnan(difference + discordance + n), np.nan, (low + high) / 2))
    return ends[0], ends[1]


def t_interval(mean: Numbers, variance: Numbers, df: Numbers, ci: Numbers = 0.95) -> Interval:
    """Return the mean ± t_df · √variance.

    >>> low, high = t_interval(10.0, 4.0, 9)
    >>> print(f"{low:.3f} {high:.3f}")
    5.476 14.524
    """
    half = _student(df, ci) * np.sqrt(np.asarray(variance, dtype=np.float64))
    return np.asarray(mean) - half, np.asarray(mean) + half


def _score_interval(p: Floats, n: Floats, ci: Numbers) -> Interval:
    z = _normal(ci)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _normal(ci: Numbers) -> Floats:
    from scipy.special import ndtri

    return np.asarray(ndtri((1 + np.asarray(ci)) / 2), dtype=np.float64)


def _student(df: Numbers, ci: Numbers) -> Floats:
    from scipy.special import stdtrit

    return np.asarray(stdtrit(np.asarray(df, dtype=np.float64), (1 + ci) / 2), dtype=np.float64)


# "confidence" intervals cover in `ci` of the samples; "bayes" intervals contain `ci` of the posterior.
INTERVALS = ("confidence", "bayes")
_NOTHING = 1e-9  # successes
_QUANTILES = 200  # of the share of ties
FEW_CLUSTERS = 20
SMALL_N = 30
# With fewer effective successes or failures, the modified Wilson interval may cover less than 94 %.
FEW_MINORITY = 5


def with_interval(
    estimates: pl.DataFrame, fraction: pl.Expr, *, ci: Numbers = 0.95, least: float = 0.0, kind: str = "confidence"
) -> pl.DataFrame:
    """Return the estimates with stderr, ci_low, ci_high and interval (its method, or the reason for none).

    Args:
        estimates: The result of `estimate`; for paired differences also `discordance`, their mean square.
        fraction: Whether the value is in [least, 1]; such intervals never leave it. If all rows are 0 or 1 (and
            `least` is 0), the interval is Wilson's, or modified Wilson at the clustered and stratified variance. Paired
            differences get Tango's score interval, at the effective number of pairs.
        ci: The share of intervals that should cover the true value; or one for each row.
        least: The smallest possible value; −1 for differences of fractions.
        kind: "confidence", or "bayes": posteriors with the prior Beta(½, ½) for shares, and Dirichlet(½, ½, ½) for
            paired differences of fractions, at the effective sample size of clusters and subsets. Other values have t,
            which is the posterior with a flat prior of the mean and of the logarithm of the variance.

    Raises:
        ArgumentError: If `ci` isn't between 0 and 1, or `kind` is unknown.
    """
    if not np.all((np.asarray(ci) > 0) & (np.asarray(ci) < 1)):
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    if kind not in INTERVALS:
        raise ArgumentError.unknown_value(f"interval={kind!r}", kind, INTERVALS)
    value, variance, df, worth, clusters, n = (
        estimates[name].cast(pl.Float64).to_numpy()
        for name in ("value", "variance", "df", "worth", "worth_clusters", "n")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = {}, {}
        low["t"], high["t"] = t_interval(value, variance, df, ci)
        low["wilson"], high["wilson"] = wilson(value * n, n, ci)
        least_variance, most_df = _limits(estimates)
        variance_of_fraction = np.maximum(variance, least_variance)
        low["modified"], high["modified"] = modified_wilson(
            value, variance_of_fraction, worth, np.minimum(df, most_df), ci
        )
        effective = np.minimum(worth, value * (1 - value) / variance_of_fraction)
        low["alike"], high["alike"] = unanimous(value, clusters, ci, least=least)
        if "discordance" in estimates.columns:
            low["paired"], high["paired"] = _paired_ends(estimates, ci)
        if kind == "bayes":
            size = _effective_size(estimates, effective, np.minimum(df, most_df), ci)
            if least == 0:
                for name in ("wilson", "modified", "alike"):
                    low[name], high[name] = beta_posterior(value * size, size, ci)
            elif "discordance" in estimates.columns:
                discordance = estimates["discordance"].cast(pl.Float64).to_numpy()
                pairs = _effective_size(estimates, np.minimum(worth, (discordance - value**2) / variance), df, ci)
                low["paired"], high["paired"] = dirichlet_posterior(value, discordance, pairs, ci)
                low["alike"], high["alike"] = low["paired"], high["paired"]
    frame = estimates.with_columns(
        *(pl.Series(f"low_{name}", ends) for name, ends in low.items()),
        *(pl.Series(f"high_{name}", ends) for name, ends in high.items()),
        fraction=fraction,
        minority=pl.Series(effective * np.minimum(value, 1 - value)),
    ).with_columns(method=_method(least, paired="paired" in low))
    ends = [
        pl.coalesce(pl.when(pl.col("method") == name).then(pl.col(f"{end}_{name}")) for name in low).fill_nan(None)
        for end in ("low", "high")
    ]
    bounds = {"lower_bound": least, "upper_bound": 1.0}
    return frame.with_columns(
        stderr=pl.col("variance").sqrt(),
        ci_low=pl.when("fraction").then(ends[0].clip(**bounds)).otherwise(ends[0]),
        ci_high=pl.when("fraction").then(ends[1].clip(**bounds)).otherwise(ends[1]),
        interval=_interval_label(least, kind),
    ).drop([*(f"low_{name}" for name in low), *(f"high_{name}" for name in high), "fraction", "method", "minority"])


def probability_better(table: pl.DataFrame, fraction: pl.Expr, higher_is_better: Mapping[str, bool]) -> pl.Series:
    """Return the posterior probability that a paired difference is better than 0, with the priors of `with_interval`.

    Args:
        table: Paired differences: metric, value, variance, df, discordance and the counts of `estimate`.
        fraction: Whether a row's scores are fractions.
        higher_is_better: A dict of metric → direction.
    """
    from scipy.special import betainc, stdtr

    value, variance, df, worth, discordance = (
        table[name].cast(pl.Float64).to_numpy() for name in ("value", "variance", "df", "worth", "discordance")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        size = _effective_size(table, np.minimum(worth, (discordance - value**2) / variance), df, 0.95)
        wins, losses = (np.maximum(size * (discordance + sign * value) / 2, 0.0) + 0.5 for sign in (1, -1))
        shares = table.select(fraction).to_series().to_numpy()
        above = np.where(shares, 1 - betainc(wins, losses, 0.5), stdtr(df, value / np.sqrt(variance)))
    directions = table["metric"].replace_strict(dict(higher_is_better), default=None, return_dtype=pl.Boolean)
    better = pl.Series(above).fill_nan(None)
    return better.zip_with(directions.fill_null(value=True), 1 - better)


def mark(condition: pl.Expr, text: str) -> pl.Expr:
    """Return the text if the condition is true, else an empty text."""
    return pl.when(condition.fill_null(value=False)).then(pl.lit(text)).otherwise(pl.lit(""))


def _effective_size(estimates: pl.DataFrame, effective: Floats, df: Floats, ci: Numbers) -> Floats:
    """Return the number of independent rows that are as informative as each estimate's; if equal, that of clusters."""
    n, clusters, value, variance = (
        estimates[name].cast(pl.Float64).to_numpy() for name in ("n", "worth_clusters", "value", "variance")
    )
    alone = estimates.select(_alone()).to_series().to_numpy()
    clustered = np.where(variance <= 1e-20 * value**2, clusters, effective * (_normal(ci) / _student(df, ci)) ** 2)
    return np.where(alone, n, clustered)


def _limits(estimates: pl.DataFrame) -> tuple[Floats, Floats]:
    """Return the least variance and the most degrees of freedom of fractions; 0 and infinity without clusters.

    With few clusters of unequal size, the variance of a fraction near 0 or 1 is often too small.
    """
    defaults = {"floor": 0.0, "df_most": np.inf}
    least, most = (
        estimates[name].fill_null(value).to_numpy() if name in estimates.columns else np.full(estimates.height, value)
        for name, value in defaults.items()
    )
    return least, most


def _paired_ends(estimates: pl.DataFrame, ci: Numbers) -> Interval:
    """Return the score interval of paired differences: at their number, or at the number with their variance."""
    value, variance, df, worth, n, discordance = (
        estimates[name].cast(pl.Float64).to_numpy()
        for name in ("value", "variance", "df", "worth", "n", "discordance")
    )  # fmt: skip
    alone = estimates.select(_alone() & pl.col("single").fill_null(value=False)).to_series().to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.minimum(worth, (discordance - value**2) / variance)
    number, quantile = np.where(alone, n, effective), np.where(alone, _normal(ci), _student(df, ci))
    return paired_score(value, discordance, number, quantile)


def _alone() -> pl.Expr:
    """Return whether every row is a sampling unit of its own, in one subset."""
    return ((pl.col("n_rows") == pl.col("n_clusters")) & (pl.col("n_subsets") == 1)).fill_null(value=False)


def _method(least: float, *, paired: bool) -> pl.Expr:
    # not == 0: equal fractions leave rounding in their variance
    alike = pl.col("variance") <= 1e-20 * pl.col("value") ** 2
    return (
        pl.when(pl.col("variance").is_null())
        .then(None)
        .when(alike)
        .then(pl.when("fraction").then(pl.lit("alike")))
        .when(pl.col("fraction") & paired)
        .then(pl.lit("paired"))
        .when(pl.col("fraction") & pl.col("binary") & (least == 0) & _alone())
        .then(pl.lit("wilson"))
        .when(pl.col("fraction") & pl.col("binary") & (least == 0))
        .then(pl.lit("modified"))
        .otherwise(pl.lit("t"))
    )


def _interval_label(least: float, kind: str) -> pl.Expr:
    clustered = pl.col("n_clusters") < pl.col("n")
    share = "Bayes, prior Beta(½, ½)"
    bayes = {
        "alike": share if least == 0 else "Bayes, prior Dirichlet(½, ½, ½)",
        "wilson": share,
        "modified": share,
        "t": "Bayes, flat prior (t)",
        "paired": "Bayes, prior Dirichlet(½, ½, ½)",
    }
    names = (
        bayes
        if kind == "bayes"
        else {
            "alike": "Clopper–Pearson" if least == 0 else "exact (all differences are equal)",
            "wilson": "Wilson",
            "modified": "modified Wilson",
            "t": "t",
            "paired": "Tango score",
        }
    )
    name = pl.col("method").replace_strict(names, default=None, return_dtype=pl.String)
    over = pl.when(~clustered).then(pl.lit("")).when(pl.col("method") == "t").then(pl.lit(" (CR2, clusters)"))
    marked = pl.concat_str(
        name,
        over.otherwise(pl.lit(" (clusters)")),
        mark(pl.col("crossed"), ", crossed trials"),
        mark(~pl.col("crossed"), ", given these trials"),
        mark(clustered & (pl.col("n_clusters") < FEW_CLUSTERS), ", few clusters"),
        mark(pl.col("n") < SMALL_N, ", n small"),
        mark((pl.col("method") == "modified") & (pl.col("minority") < FEW_MINORITY), ", few effective instances"),
    )
    return (
        pl.when(pl.col("n").fill_null(0) == 0)
        .then(pl.lit("no interval: nothing was scored"))
        .when(pl.col("n_clusters") < 2)
        .then(pl.lit("no interval: fewer than 2 clusters"))
        .when(pl.col("n_lonely") > 0)
        .then(pl.format("no interval: {} of {} subsets have fewer than 2 clusters", "n_lonely", "n_subsets"))
        .when(pl.col("method").is_null())
        .then(pl.lit("no interval: all values are equal"))
        .otherwise(marked)
    )
