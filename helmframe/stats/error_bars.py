"""Estimates → error bars: which interval fits, its ends, and its name."""

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.stats.intervals import modified_wilson, t_interval, unanimous, wilson

FEW_CLUSTERS = 20
SMALL_N = 30


def with_interval(estimates: pl.DataFrame, fraction: pl.Expr, *, ci: float = 0.95, least: float = 0.0) -> pl.DataFrame:
    """The estimates with stderr, ci_low, ci_high and interval (its method, or why there is none).

    Args:
        estimates: as `estimate` gives them.
        fraction: whether the value lies in [least, 1]; such intervals never leave it. Where all rows are 0 or 1 (and
            `least` is 0) the interval is Wilson's, or modified Wilson at the clustered and stratified variance.
        ci: share of such intervals that should contain the true value.
        least: −1 for differences of fractions.

    Raises:
        ArgumentError: ci not between 0 and 1.
    """
    import numpy as np

    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r} should lie between 0 and 1, such as 0.95.")
    value, variance, df, worth, clusters, n = (
        estimates[name].cast(pl.Float64).to_numpy()
        for name in ("value", "variance", "df", "worth", "worth_clusters", "n")
    )
    with np.errstate(invalid="ignore"):
        low, high = {}, {}
        low["t"], high["t"] = t_interval(value, variance, df, ci)
        low["wilson"], high["wilson"] = wilson(value * n, n, ci)
        low["modified"], high["modified"] = modified_wilson(value, variance, worth, df, ci)
        low["alike"], high["alike"] = unanimous(value, clusters, ci, least=least)
    frame = estimates.with_columns(
        *(pl.Series(f"low_{name}", ends) for name, ends in low.items()),
        *(pl.Series(f"high_{name}", ends) for name, ends in high.items()),
        fraction=fraction,
    ).with_columns(method=_method(least))
    ends = [
        pl.coalesce(pl.when(pl.col("method") == name).then(pl.col(f"{end}_{name}")) for name in low).fill_nan(None)
        for end in ("low", "high")
    ]
    bounds = {"lower_bound": least, "upper_bound": 1.0}
    return frame.with_columns(
        stderr=pl.col("variance").sqrt(),
        ci_low=pl.when("fraction").then(ends[0].clip(**bounds)).otherwise(ends[0]),
        ci_high=pl.when("fraction").then(ends[1].clip(**bounds)).otherwise(ends[1]),
        interval=_named(),
    ).drop([*(f"low_{name}" for name in low), *(f"high_{name}" for name in high), "fraction", "method"])


def mark(condition: pl.Expr, text: str) -> pl.Expr:
    """The text where the condition holds, else nothing."""
    return pl.when(condition.fill_null(value=False)).then(pl.lit(text)).otherwise(pl.lit(""))


def _method(least: float) -> pl.Expr:
    alone = (pl.col("n_rows") == pl.col("n_clusters")) & (pl.col("n_subsets") == 1)
    # not == 0: equal fractions leave rounding in their variance
    alike = pl.col("variance") <= 1e-20 * pl.col("value") ** 2
    return (
        pl.when(pl.col("variance").is_null())
        .then(None)
        .when(alike)
        .then(pl.when("fraction").then(pl.lit("alike")))
        .when(pl.col("fraction") & pl.col("binary") & (least == 0) & alone)
        .then(pl.lit("wilson"))
        .when(pl.col("fraction") & pl.col("binary") & (least == 0))
        .then(pl.lit("modified"))
        .otherwise(pl.lit("t"))
    )


def _named() -> pl.Expr:
    clustered = pl.col("n_clusters") < pl.col("n")
    names = {"alike": "Clopper–Pearson", "wilson": "Wilson", "modified": "modified Wilson", "t": "t"}
    name = pl.col("method").replace_strict(names, default=None, return_dtype=pl.String)
    over = pl.when(~clustered).then(pl.lit("")).when(pl.col("method") == "t").then(pl.lit(" (CR2, clusters)"))
    marked = pl.concat_str(
        name,
        over.otherwise(pl.lit(" (clusters)")),
        mark(pl.col("crossed"), ", crossed trials"),
        mark(~pl.col("crossed"), ", given these trials"),
        mark(clustered & (pl.col("n_clusters") < FEW_CLUSTERS), ", few clusters"),
        mark(pl.col("n") < SMALL_N, ", n small"),
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
