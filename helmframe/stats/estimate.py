"""The mean of a value over instances with its variance: rows → instances → clusters → parts → groups.

Shared by `aggregate`, `worst_case`, `robustness` and `compare`.
"""

from collections.abc import Iterable, Sequence

import polars as pl

from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.intervals import modified_wilson, t_interval, unanimous, wilson

STRATUM = ("scenario", "part")
INSTANCE = ("scenario", "part", "cluster", "instance_id")
FEW_CLUSTERS = 20
SMALL_N = 30


def estimate(rows: pl.LazyFrame, by: Sequence[str], value: str, *, mean: str = "macro") -> pl.DataFrame:
    """The stratified, clustered mean of a column, one row per group.

    Rows of one instance are averaged first; instances weigh alike within a part (stratum: scenario × part); parts weigh
    alike (macro) or by their instances (micro). The variance is CR2 over clusters within each part: with one instance
    per cluster it is s²/n. Its degrees of freedom are Bell & McCaffrey's: clusters − parts when all are of one size,
    fewer otherwise. Several trials are crossed with instances, because one draw of examples serves a whole part: their
    component is added from two-way mean squares. With one trial nothing can be known about other draws of examples.

    Args:
        rows: any number of rows per instance, with `scenario, part, cluster, instance_id`, `by` and `value`; null
            values are left out, a null cluster is the instance itself.
        by: columns whose values make a group; at least one.
        value: the column averaged.
        mean: "macro" or "micro".

    Returns:
        `by`, value, variance (null where a part has fewer than 2 clusters), df, n (instances), n_rows, n_clusters,
        n_parts, n_lonely (parts with 1 cluster), worth (independent rows, and `worth_clusters` clusters, that the
        unequally weighted ones stand for: Kish), binary (all values 0 or 1), crossed (null with one trial).

    Source: Cochran 1977 ch. 5; Bell & McCaffrey 2002; Pustejovsky & Tipton 2018; Brennan 2001 (trials); Kish 1965.
    """
    if mean not in ("macro", "micro"):
        raise ArgumentError(f"mean={mean!r} is neither 'macro' (parts alike) nor 'micro' (by size).")
    strata = strata_of(clusters_of(rows, by, value), by, mean)
    across = _trials(rows, by, value)
    if across is None:
        none = pl.lit(None, dtype=pl.Float64)
        strata = strata.with_columns(v_trial=none, v_rest=none, df_trial=none, df_rest=none)
    else:
        strata = strata.join(across, on=merged(by, STRATUM), how="left", nulls_equal=True)
    square = pl.col("weight") ** 2
    both = strata.group_by(by).agg(
        value=stable_sum(pl.col("weight") * pl.col("mean")),
        within=stable_sum(square * pl.col("variance")),
        df_within=stable_sum(square / pl.col("size")) ** 2 / stable_sum(square**2 * pl.col("spread")),
        n=pl.col("size").sum().cast(pl.Int64),
        n_rows=pl.col("rows").sum().cast(pl.Int64),
        n_clusters=pl.col("clusters").sum().cast(pl.Int64),
        n_parts=pl.len().cast(pl.Int64),
        n_lonely=(pl.col("clusters") < 2).sum().cast(pl.Int64),
        worth=1 / stable_sum(square / pl.col("rows")),
        worth_clusters=1 / stable_sum(square / pl.col("clusters")),
        binary=pl.col("binary").all(),
        crossed=pl.lit(None, dtype=pl.Boolean) if across is None else pl.col("v_trial").is_not_null().any(),
        across=stable_sum(square * (pl.col("v_trial") - pl.col("v_rest"))),
        doubt=stable_sum(
            square**2 * (pl.col("v_trial") ** 2 / pl.col("df_trial") + pl.col("v_rest") ** 2 / pl.col("df_rest"))
        ),
    )
    # a part with one cluster has no variance, and then neither has the group; a negative component counts as none
    known = pl.when(pl.col("n_lonely") == 0)
    added = pl.col("across").fill_null(0.0).clip(lower_bound=0.0)
    satterthwaite = (pl.col("within") + added) ** 2 / (pl.col("within") ** 2 / pl.col("df_within") + pl.col("doubt"))
    return (
        both.with_columns(
            variance=known.then(pl.col("within") + added),
            df=known.then(pl.when(added > 0).then(satterthwaite).otherwise(pl.col("df_within"))),
        )
        .drop("within", "df_within", "across", "doubt")
        .sort(by)
        .collect()
    )


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


def counted(estimates: pl.DataFrame, scores: pl.LazyFrame, by: Sequence[str]) -> pl.DataFrame:
    """The estimates of every group in the scores, also those without any, with n_error, n_unparsed and n_truncated."""
    counts = scores.group_by(by).agg(
        n_error=pl.col("score").is_null().sum().cast(pl.Int64),
        n_unparsed=(~pl.col("parsed")).sum().cast(pl.Int64),
        n_truncated=pl.col("truncated").sum().cast(pl.Int64),
        parts=pl.struct(STRATUM).n_unique(),
    )
    silent = pl.col("parts") - pl.col("n_parts")
    interval = (
        pl.when(pl.col("n").is_null())
        .then(pl.lit("no interval: nothing was scored"))
        .when(silent > 0)
        .then(pl.format("{}, {} of {} parts without a score", "interval", silent, "parts"))
        .otherwise("interval")
    )
    return (
        counts.join(estimates.lazy(), on=by, how="left", nulls_equal=True)
        .with_columns(n=pl.col("n").fill_null(0), interval=interval)
        .sort(by)
        .collect()
    )


def clusters_of(rows: pl.LazyFrame, by: Sequence[str], value: str) -> pl.LazyFrame:
    """Per group, part and cluster: total (sum over instances of their mean), size (instances), rows, binary."""
    one = (pl.col(value) == 0) | (pl.col(value) == 1)
    instances = summed(answered(rows, value), merged(by, INSTANCE), value, rows=pl.len(), binary=one.all())
    return summed(
        instances.with_columns(y=pl.col("total") / pl.col("rows")),
        merged(by, INSTANCE[:3]),
        "y",
        size=pl.len().cast(pl.Float64),
        rows=pl.col("rows").sum().cast(pl.Float64),
        binary=pl.col("binary").all(),
    )


def strata_of(clusters: pl.LazyFrame, by: Sequence[str], mean: str) -> pl.LazyFrame:
    """Per group and part: mean, size, clusters, rows, binary, weight, variance (CR2), spread (for its df)."""
    total, size, all_of_it = pl.col("total"), pl.col("size"), pl.col("size").sum()
    # CR2 of a mean: the residual sum of a cluster, over the root of 1 − its share
    shrink = 1 - size / all_of_it
    residual = (total - stable_sum(total) / all_of_it * size) ** 2 / shrink
    pull = size**2 / shrink
    enough = pl.when(pl.len() > 1)
    return (
        clusters.group_by(merged(by, STRATUM))
        .agg(
            mean=stable_sum(total) / all_of_it,
            variance=enough.then(stable_sum(residual) / all_of_it**2),
            # trace of the squared quadratic form whose trace is 1/size (Bell & McCaffrey, independent rows)
            spread=enough.then(
                stable_sum(size**2) / all_of_it**4 + (stable_sum(pull) ** 2 - stable_sum(pull**2)) / all_of_it**6,
            ),
            clusters=pl.len().cast(pl.Float64),
            rows=pl.col("rows").sum(),
            binary=pl.col("binary").all(),
            size=all_of_it,
        )
        .with_columns(
            weight=1 / pl.len().over(by) if mean == "macro" else pl.col("size") / pl.col("size").sum().over(by),
        )
    )


def summed(frame: pl.LazyFrame, keys: Sequence[str], value: str, **more: pl.Expr) -> pl.LazyFrame:
    """Per group the total of a column, to the last digit the same in whatever order the rows come, and more."""
    # a million groups of one or two rows need no sorting, nor do whole numbers
    groups = frame.group_by(keys)
    whole = (pl.col(value) == pl.col(value).round()).all()
    plain = groups.agg(total=pl.col(value).sum(), count=pl.len(), whole=whole, **more).collect()
    if plain.filter((pl.col("count") > 2) & ~pl.col("whole")).is_empty():
        return plain.lazy().drop("count", "whole")
    return groups.agg(total=stable_sum(pl.col(value)), **more).collect().lazy()


def stable_sum(terms: pl.Expr) -> pl.Expr:
    """The sum, to the last digit the same in whatever order the rows come."""
    # not .sort().sum(): Polars takes the sort for superfluous and drops it
    return terms.sort().cum_sum().last()


def answered(rows: pl.LazyFrame, value: str) -> pl.LazyFrame:
    """The rows with a value; a null cluster is the instance itself."""
    return rows.filter(pl.col(value).is_not_null()).with_columns(
        pl.col(value).cast(pl.Float64), cluster=pl.coalesce("cluster", "instance_id")
    )


def merged(by: Sequence[str], more: Iterable[str]) -> list[str]:
    """The names of both, each once."""
    return list(dict.fromkeys([*by, *more]))


def mark(condition: pl.Expr, text: str) -> pl.Expr:
    """The text where the condition holds, else nothing."""
    return pl.when(condition.fill_null(value=False)).then(pl.lit(text)).otherwise(pl.lit(""))


def coded(rows: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
    """The rows in memory, texts as categories: read several times, grouped by many of them, several times faster."""
    return rows.lazy().with_columns(pl.selectors.string().cast(pl.Categorical)).collect().lazy()


def decoded(table: pl.DataFrame) -> pl.DataFrame:
    """Categories as texts again."""
    return table.with_columns(pl.selectors.categorical().cast(pl.String))


def group_keys(rows: pl.LazyFrame, by: Sequence[str], made: Sequence[str] = ("metric",)) -> list[str]:
    """`by` without the columns that the result makes itself, checked against the rows.

    Raises:
        UnknownNameError: a column that the rows don't have.
    """
    known = rows.collect_schema().names()
    for name in by:
        if name not in known:
            raise UnknownNameError.among("column", name, known)
    return [name for name in merged(by, ()) if name not in made]


def _trials(rows: pl.LazyFrame, by: Sequence[str], value: str) -> pl.LazyFrame | None:
    """Per group and part the variance of the mean over trials, and the share of it that mere residuals would give."""
    if "trial" in by or "trial" not in rows.collect_schema():
        return None
    if rows.select(pl.col("trial").n_unique()).collect().item() < 2:
        return None
    stratum, instance = merged(by, STRATUM), merged(by, INSTANCE)
    trials = pl.col("trial").n_unique().over(stratum)
    cells = summed(answered(rows, value), [*instance, "trial"], value, rows=pl.len())
    # mean squares need whole rows: an instance that failed in one trial says nothing about the trials
    whole = cells.with_columns(y=pl.col("total") / pl.col("rows")).filter(pl.len().over(instance) == trials)
    sums = summed(whole, [*merged(by, INSTANCE[:3]), "trial"], "y", size=pl.len().cast(pl.Float64))
    size = pl.col("size").sum().over([*stratum, "trial"])
    trial_mean = stable_sum(pl.col("total")).over([*stratum, "trial"]) / size
    shifted = (pl.col("total") - trial_mean * pl.col("size")) / size
    count, clusters = pl.col("trial").n_unique(), pl.col("cluster").n_unique()
    known, average = pl.when((count > 1) & (clusters > 1)), stable_sum(pl.col("trial_mean")) / pl.len()
    return (
        sums.with_columns(trial_mean=trial_mean, shifted=shifted)
        .with_columns(
            rest=pl.col("shifted") - (stable_sum(pl.col("shifted")) / pl.len()).over(merged(by, INSTANCE[:3]))
        )
        .group_by(stratum)
        .agg(
            # each trial's mean stands once per cluster
            v_trial=known.then(stable_sum((pl.col("trial_mean") - average) ** 2) / (clusters * (count - 1.0) * count)),
            v_rest=known.then(
                stable_sum(pl.col("rest") ** 2) * clusters / ((clusters - 1.0) * (count - 1.0) * count),
            ),
            df_trial=known.then(count - 1.0),
            df_rest=known.then((count - 1.0) * (clusters - 1.0)),
        )
    )


def _method(least: float) -> pl.Expr:
    alone = (pl.col("n_rows") == pl.col("n_clusters")) & (pl.col("n_parts") == 1)
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
        .then(pl.format("no interval: {} of {} parts have fewer than 2 clusters", "n_lonely", "n_parts"))
        .when(pl.col("method").is_null())
        .then(pl.lit("no interval: all values are equal"))
        .otherwise(marked)
    )
