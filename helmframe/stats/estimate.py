"""The mean of a value over instances, with its variance: rows → instances → clusters → subsets → groups.

Shared by `aggregate`, `worst_case`, `robustness` and `compare`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.encoded_rows import (
    STRATUM,
    EncodedRows,
    Flags,
    Floats,
    build_cluster_index,
    cluster_sums,
    encode_rows,
    merge_names,
    residuals,
    stable_sum,
)
from helmframe.stats.frames import Rows, chunks_of
from helmframe.stats.sums import Sums, strata_of, sums_of, trial_components

# The Boolean columns of scores that `count_completions` counts.
FLAGS = ("parsed", "truncated", "starved")


def estimate(rows: pl.LazyFrame | pl.DataFrame, by: Sequence[str], value: str, *, mean: str = "macro") -> pl.DataFrame:
    """Return the stratified, clustered mean of a column, one row per group.

    Rows of one instance are averaged first. Instances have equal weights in a subset (scenario × subset). Subsets have
    equal weights (macro) or are weighted by their instances (micro). The variance is CR2 over clusters within each
    subset; with one instance per cluster it is s²/n. Its degrees of freedom are Bell & McCaffrey's: clusters − subsets
    if all clusters have the same size, fewer otherwise. Several trials are crossed with instances, because one sample
    of few-shot examples serves a whole subset. Their component is added from two-way mean squares. A single trial
    contains no information about other samples of examples. A cluster in several subsets of a scenario is one cluster:
    its residuals are added over the subsets before they are squared.

    Args:
        rows: Any number of rows per instance, with `scenario, subset, cluster, instance_id`, `by` and `value`. Null
            values are excluded; a null cluster means that the instance is its own cluster.
        by: The columns whose values make a group; at least one.
        value: The column to average.
        mean: "macro" or "micro".

    Returns:
        `by`, value, variance (null if a subset has fewer than 2 clusters), df, n (instances), n_rows, n_clusters
        (distinct ones),
        n_subsets, n_lonely (subsets with 1 cluster), worth and worth_clusters (Kish's effective number of rows and of
        clusters, given the unequal weights), binary (all values are 0 or 1), crossed (null with one trial), floor and
        df_most (for clusters and scores of 0 and 1, the least variance and the most degrees of freedom of a fraction).

    Source: Cochran 1977 ch. 5; Bell & McCaffrey 2002; Pustejovsky & Tipton 2018; Brennan 2001 (trials); Kish 1965.
    """
    trials = [name for name in ("trial",) if name in rows.lazy().collect_schema()]
    numbers = encode_rows(rows, merge_names(by, (*STRATUM, *trials)), [value])
    return estimate_of(sums_of(numbers, by, *floats(numbers.rows[value])), by, mean=mean)


def estimate_of(sums: Sums, by: Sequence[str], *, mean: str = "macro") -> pl.DataFrame:
    """Return `estimate` from the sums of a value's rows."""
    if mean not in ("macro", "micro"):
        raise ArgumentError(
            f"mean={mean!r}: mean must be 'macro' (equal weight per subset) or 'micro' (weight by size)."
        )
    table = weigh_strata(strata_of(sums), by, mean)
    if sums.cells is None:
        none = pl.lit(None, dtype=pl.Float64)
        table = table.with_columns(v_trial=none, v_rest=none, df_trial=none, df_rest=none)
    else:
        table = table.join(trial_components(sums.cells), on="stratum", how="left")
    crossed = len({trial for _, trial in sums.trials}) > 1
    clustered = _clustered(sums, table, by)
    square = pl.col("weight") ** 2
    both = (
        table.lazy()
        .group_by(by)
        .agg(
            value=stable_sum(pl.col("weight") * pl.col("mean")),
            within=stable_sum(square * pl.col("variance")),
            df_within=stable_sum(square / pl.col("size")) ** 2 / stable_sum(square**2 * pl.col("spread")),
            n=pl.col("size").sum().cast(pl.Int64),
            n_rows=pl.col("rows").sum().cast(pl.Int64),
            n_clusters=pl.col("clusters").sum().cast(pl.Int64),
            n_subsets=pl.len().cast(pl.Int64),
            n_lonely=(pl.col("clusters") < 2).sum().cast(pl.Int64),
            worth=1 / stable_sum(square / pl.col("rows")),
            worth_clusters=1 / stable_sum(square / pl.col("clusters")),
            binary=pl.col("binary").all(),
            crossed=pl.col("v_trial").is_not_null().any() if crossed else pl.lit(None, dtype=pl.Boolean),
            across=stable_sum(square * (pl.col("v_trial") - pl.col("v_rest"))),
            doubt=stable_sum(
                square**2 * (pl.col("v_trial") ** 2 / pl.col("df_trial") + pl.col("v_rest") ** 2 / pl.col("df_rest"))
            ),
        )
    )
    if clustered is None:
        both = both.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in ("floor", "df_most"))
    else:
        spans = pl.col("spans").fill_null(value=False)
        both = both.join(clustered.lazy(), on=by, how="left", nulls_equal=True).with_columns(
            within=pl.when(spans).then("spanning").otherwise("within"),
            df_within=pl.min_horizontal("df_within", pl.when(spans).then("df_spanning")),
            n_clusters=pl.when(spans).then("distinct").otherwise("n_clusters"),
            worth_clusters=pl.when(spans)
            .then(pl.min_horizontal("worth_clusters", "distinct"))
            .otherwise("worth_clusters"),
        )
        both = both.drop("spanning", "df_spanning", "distinct", "spans")
    # without the variance of a subset (one cluster) the group has none; a negative component counts as 0
    has_variance = pl.when(pl.col("n_lonely") == 0)
    added = pl.col("across").fill_null(0.0).clip(lower_bound=0.0)
    satterthwaite = (pl.col("within") + added) ** 2 / (pl.col("within") ** 2 / pl.col("df_within") + pl.col("doubt"))
    return (
        both.with_columns(
            variance=has_variance.then(pl.col("within") + added),
            df=has_variance.then(pl.when(added > 0).then(satterthwaite).otherwise(pl.col("df_within"))),
        )
        .drop("within", "df_within", "across", "doubt")
        .sort(by)
        .collect()
    )


def _clustered(sums: Sums, strata: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame | None:
    """Return what named clusters change in each group; None without named clusters.

    Args:
        sums: The sums of a value's rows.
        strata: Its strata with mean, size and weight.
        by: The columns whose values make a group.

    Returns:
        `by`; spans (whether a cluster is in several subsets of a scenario), spanning (the variance over whole clusters)
        and df_spanning; distinct (the number of distinct clusters); floor (for scores of 0 and 1, the variance that the
        intraclass correlation implies) and df_most (twice the degrees of freedom that the fourth moment of the clusters
        implies; the factor is from simulations).

    Source: Donner & Klar 2000 (design effect of clusters of unequal size; ANOVA estimate of the correlation).
    """
    if not sums.named:
        return None
    size, total, mean, every = pl.col("size"), pl.col("total"), pl.col("mean"), pl.col("all")
    share = pl.col("weight") / every
    keys = merge_names(by, ("scenario",))
    clusters = (
        # pooled clusters are in one subset each
        sums.clusters.filter(pl.col("cluster").is_not_null())
        .join(strata.select("stratum", *keys, "weight", "mean", "rows", all="size"), on="stratum")
        .with_columns(
            influence=share * (total - mean * size) / (1 - size / every).sqrt(),
            expected=share**2 * size,
        )
    )
    per_stratum = clusters.group_by("stratum", *by).agg(
        between=stable_sum((total / size - mean) ** 2 * size),
        inside=stable_sum(total * (1 - total / size)),
        squares=stable_sum(size**2),
        count=pl.len().cast(pl.Int64),
        # the binomial variance of the stratum's share of the mean; means of several outputs vary less
        binomial=pl.when((pl.col("rows") == every).first())
        .then((pl.col("weight") ** 2 * mean * (1 - mean) / every).first())
        .otherwise(0.0),
        every=every.first(),
    )
    ms_between = pl.col("between").sum() / (pl.col("count") - 1).sum()
    ms_inside = pl.col("inside").sum() / (pl.col("every") - pl.col("count")).sum()
    usual = (pl.col("every") - pl.col("squares") / pl.col("every")).sum() / (pl.col("count") - 1).sum()
    correlation = (ms_between - ms_inside) / (ms_between + (usual - 1) * ms_inside)
    correlation = correlation.fill_nan(0.0).fill_null(0.0).clip(0.0, 1.0)
    design = 1 + (pl.col("squares") / pl.col("every") - 1) * correlation
    floor = per_stratum.sort("stratum").group_by(by, maintain_order=True).agg(floor=(pl.col("binomial") * design).sum())
    whole = clusters.group_by(*keys, "cluster").agg(
        stable_sum(pl.col("influence")), stable_sum(pl.col("expected")), parts=pl.len()
    )
    second, fourth = (stable_sum(pl.col("influence") ** power) for power in (2, 4))
    return (
        whole.group_by(by)
        .agg(
            spanning=second,
            df_spanning=stable_sum(pl.col("expected")) ** 2 / stable_sum(pl.col("expected") ** 2) - 1,
            distinct=pl.len().cast(pl.Int64),
            spans=(pl.col("parts") > 1).any(),
            df_most=4 * second**2 / (fourth - second**2 / pl.len()).clip(lower_bound=1e-300),
        )
        .join(floor, on=by, how="left", nulls_equal=True)
    )


def influences(
    rows: EncodedRows, by: Sequence[str], value: Floats, mask: Flags, *, mean: str = "macro"
) -> pl.DataFrame:
    """Return `by`, scenario, subset, cluster number, and what each cluster contributes.

    Returns:
        `by`, scenario, subset, cluster (its number), influence (residuals whose squares, summed over a cluster's
        subsets, sum to the variance), added (its part of the mean).
    """
    nest = build_cluster_index(rows, by, mask, None)
    share = weigh_strata(nest.table, by, mean).select(
        *merge_names(by, STRATUM), share=pl.col("weight") / pl.col("size")
    )
    clusters = cluster_sums(nest, value[mask])
    residual = residuals(nest, clusters)
    return share[nest.stratum_of_cluster].with_columns(
        cluster=pl.Series(rows.cluster[nest.unit]),
        influence=pl.col("share") * pl.Series(residual),
        added=pl.col("share") * pl.Series(clusters),
    )


def floats(values: pl.Series) -> tuple[Floats, Flags]:
    """Return a column as numbers, 0 where it is null, and the mask of values that are not null.

    Raises:
        ArgumentError: If the column contains NaN or an infinity.
    """
    numbers = values.cast(pl.Float64).fill_null(0.0)
    if not numbers.is_finite().all():
        raise ArgumentError(f"Column {values.name!r} contains NaN or an infinity. Use null for a missing value.")
    return numbers.to_numpy(), values.is_not_null().to_numpy()


def count_completions(rows: EncodedRows, by: Sequence[str]) -> pl.DataFrame:
    """Return per group and stratum the number of rows, and of failed, unparsed, truncated and starved rows.

    Args:
        rows: Rows with `score`, `parsed`, `truncated` and `starved`.
        by: As in `estimate`.
    """
    flags = {
        "n_completions": pl.repeat(True, rows.rows.height, eager=True),  # noqa: FBT003 - a value, not a switch
        "n_error": rows.rows["score"].is_null(),
        "n_unparsed": ~rows.rows["parsed"],
        "n_truncated": rows.rows["truncated"],
        "n_starved": rows.rows["starved"],
    }
    per_cell = {
        name: np.bincount(rows.cell[flag.fill_null(value=False).to_numpy()], minlength=rows.cells.height)
        for name, flag in flags.items()
    }
    return (
        rows.cells.with_columns(**{name: pl.Series(number, dtype=pl.Int64) for name, number in per_cell.items()})
        .group_by(merge_names(by, STRATUM))
        .agg(pl.col(*flags).sum())
    )


def add_counts(answers: pl.DataFrame, estimates: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the estimates of all groups, including empty groups, with the counts of completions and failures.

    Args:
        answers: The counts of `count_completions`, of one chunk or several.
        estimates: The result of `estimate`.
        by: As in `estimate`.
    """
    counts = answers.group_by(by).agg(
        pl.col("n_completions", "n_error", "n_unparsed", "n_truncated", "n_starved").sum(),
        subsets=pl.struct(STRATUM).n_unique(),
    )
    silent = pl.col("subsets") - pl.col("n_subsets")
    interval = (
        pl.when(pl.col("n").is_null())
        .then(pl.lit("no interval: nothing was scored"))
        .when(silent > 0)
        .then(pl.format("{}, {} of {} subsets without a score", "interval", silent, "subsets"))
        .otherwise("interval")
    )
    return (
        counts.join(estimates, on=by, how="left", nulls_equal=True)
        .with_columns(pl.col("n", "n_clusters").fill_null(0), interval=interval)
        .sort(by)
    )


def group_keys(rows: Rows, by: Sequence[str], made: Sequence[str] = ("metric",)) -> list[str]:
    """Return `by` without the columns that the result adds itself, checked against the rows.

    Raises:
        UnknownNameError: If the rows lack a column of `by`.
    """
    columns = chunks_of(rows)[0].collect_schema().names()
    for name in by:
        if name not in columns:
            raise UnknownNameError.among("column", name, columns)
    return [name for name in merge_names(by, ()) if name not in made]


def weigh_strata(strata: pl.DataFrame, by: Sequence[str], mean: str) -> pl.DataFrame:
    """Return the strata with their weight in the group: equal, or by their column size if `mean` is "micro"."""
    size = pl.col("size")
    return strata.with_columns(weight=1 / pl.len().over(by) if mean == "macro" else size / size.sum().over(by))
