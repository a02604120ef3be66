"""Sums of a value over the instances of each cluster: enough for its mean and variance, and additive over chunks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from helmframe.stats.encoded_rows import (
    STRATUM,
    ClusterIndex,
    EncodedRows,
    Flags,
    Floats,
    Numbers,
    build_cluster_index,
    cluster_sums,
    lengths,
    merge_names,
    stable_sum,
    sum_by,
    sums,
)

# With several outputs of at most this number of instances in a stratum, the sums of each instance are stored.
FEW_REPEATED = 500


@dataclass(frozen=True)
class Sums:
    """The sums of a value's rows.

    `strata` has one row per stratum: by, scenario, subset, stratum (its number), rows, binary (all values are 0 or 1).
    `clusters` has one row per stratum and cluster: stratum, cluster (its name), clusters (1), size (instances), total
    (sum over instances of their means), square (0). If every instance is a cluster of its own, the clusters of a
    stratum are pooled in one row: cluster is null, clusters and size are their number, square the sum of squares about
    their mean. `cells` has the sums per trial, if there are several (`trial_cells`). `trials` lists the trials by
    scenario.
    """

    strata: pl.DataFrame
    clusters: pl.DataFrame
    cells: pl.DataFrame | None
    trials: frozenset[tuple[str, int]]

    @property
    def scenarios(self) -> set[str]:
        """Return the scenarios that have strata."""
        return set(self.strata["scenario"])

    @property
    def named(self) -> bool:
        """Return whether each cluster has its own row."""
        return self.clusters["cluster"].null_count() < self.clusters.height


def sums_of(
    rows: EncodedRows,
    by: Sequence[str],
    value: Floats,
    mask: Flags,
    *,
    count: "Numbers | None" = None,
    named: bool = False,
) -> Sums:
    """Return the sums of a value.

    Args:
        rows: Rows with `by`, scenario, subset and, for several trials, trial in their cells.
        by: The columns whose values make a group.
        value: The value of each row, in the row order.
        mask: The rows that have a value.
        count: The number of scores in each row, if `value` is their sum; such rows count as not binary.
        named: Whether to keep the names of clusters, and the cells of trials, in any case.
    """
    nest = build_cluster_index(rows, by, mask, None if count is None else count[mask])
    value = value[mask]
    fractional = (nest.many is not None) | ((value != 0) & (value != 1))[nest.order]
    strata = nest.table.select(merge_names(by, STRATUM)).with_columns(
        stratum=pl.int_range(pl.len(), dtype=pl.Int64),
        rows=nest.table["rows"],
        binary=pl.Series(sums(fractional.astype(np.int64), nest.of_instance[nest.of_cluster][nest.of_stratum]) == 0),
    )
    totals = cluster_sums(nest, value)
    trials = _trials(rows, by)
    crossed = len(trials) > len({scenario for scenario, _ in trials}) or (named and bool(trials))
    # the fourth moment of few instances with several outputs limits the degrees of freedom
    few = len(totals) <= FEW_REPEATED * len(nest.of_stratum)
    repeated = few and len(nest.of_instance) < len(nest.order)
    if rows.alone and not named and not crossed and not repeated:
        return Sums(strata, _pooled_clusters(nest, totals), None, trials)
    names = rows.names["cluster"][nest.unit]
    clusters = _clusters(nest.stratum_of_cluster, names, np.ones(len(totals)), nest.cluster_size, totals)
    return Sums(strata, clusters, trial_cells(rows, nest, mask, value) if crossed else None, trials)


def add_sums(parts: Sequence[Sums]) -> Sums:
    """Add the sums of all parts."""
    if len(parts) == 1:
        return parts[0]
    strata = _concat([part.strata for part in parts])
    names = [name for name in parts[0].strata.columns if name not in ("stratum", "rows", "binary")]
    whole = (
        strata.group_by(names, maintain_order=True)
        .agg(pl.col("rows").sum(), pl.col("binary").all())
        .with_columns(number=pl.int_range(pl.len(), dtype=pl.Int64))
    )
    numbers = strata.join(whole, on=names, nulls_equal=True).select("chunk", "stratum", "number")

    def renumbered(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
        stacked = _concat(tables).join(numbers, on=["chunk", "stratum"], maintain_order="left")
        return stacked.with_columns(stratum="number").drop("number", "chunk")

    cells = [part.cells for part in parts if part.cells is not None]
    return Sums(
        strata=whole.rename({"number": "stratum"}),
        clusters=_merge_clusters(renumbered([part.clusters for part in parts])),
        cells=renumbered(cells) if cells else None,
        trials=frozenset().union(*(part.trials for part in parts)),
    )


def strata_of(value_sums: Sums) -> pl.DataFrame:
    """Return the strata with size (instances), clusters, mean, variance (CR2; null with one cluster) and spread.

    For pooled clusters the sums have closed forms: Σ(s − m)² is the sum of squares about their own mean, plus the
    squared distance of that mean from m.
    """
    clusters = value_sums.clusters.join(value_sums.strata.select("stratum"), on="stratum", how="semi")
    size, total = pl.col("size").sum().over("stratum"), stable_sum(pl.col("total")).over("stratum")
    count, mean_size = pl.col("clusters"), pl.col("size") / pl.col("clusters")
    rest = 1 - mean_size / pl.col("all")
    squares = pl.col("square") + count * (pl.col("total") / count - pl.col("mean") * mean_size) ** 2
    pull = mean_size**2 / rest
    table = (
        clusters.with_columns(all=size, mean=total / size)
        .group_by("stratum", maintain_order=True)
        .agg(
            size=pl.col("all").first(),
            clusters=count.sum(),
            mean=pl.col("mean").first(),
            variance=stable_sum(squares / rest) / pl.col("all").first() ** 2,
            # trace of the squared quadratic form whose trace is 1/size (Bell & McCaffrey, independent rows)
            spread=stable_sum(count * mean_size**2) / pl.col("all").first() ** 4
            + (stable_sum(count * pull) ** 2 - stable_sum(count * pull**2)) / pl.col("all").first() ** 6,
        )
    )
    enough = pl.when(pl.col("clusters") > 1)
    return value_sums.strata.join(table, on="stratum", maintain_order="left").with_columns(
        variance=enough.then("variance"), spread=enough.then("spread")
    )


def _trials(rows: EncodedRows, by: Sequence[str]) -> frozenset[tuple[str, int]]:
    if "trial" in by or "trial" not in rows.cells.columns:
        return frozenset()
    return frozenset(rows.cells.select("scenario", "trial").unique().iter_rows())


def _pooled_clusters(nest: ClusterIndex, totals: Floats) -> pl.DataFrame:
    """Return one row per stratum, for all its clusters."""
    starts = nest.of_stratum
    count = lengths(starts, len(totals)).astype(np.float64)
    total = sums(totals, starts)
    square = sums((totals - np.repeat(total / count, count.astype(np.int64))) ** 2, starts)
    nameless = pl.repeat(None, len(total), dtype=pl.String, eager=True)
    return _clusters(np.arange(len(total)), nameless, count, count, total, square)


def _clusters(
    stratum: Numbers, names: pl.Series, count: Floats, size: Floats, total: Floats, square: "Floats | None" = None
) -> pl.DataFrame:
    squares = pl.lit(0.0) if square is None else pl.Series(square, dtype=pl.Float64)
    columns = {"clusters": count, "size": size, "total": total}
    return pl.DataFrame(
        {"stratum": pl.Series(stratum, dtype=pl.Int64), "cluster": names}
        | {name: pl.Series(column, dtype=pl.Float64) for name, column in columns.items()}
    ).with_columns(square=squares)


def _concat(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Concatenate the tables, with the index of each row's table."""
    return pl.concat([table.with_columns(chunk=pl.lit(index, dtype=pl.Int64)) for index, table in enumerate(tables)])


def _merge_clusters(clusters: pl.DataFrame) -> pl.DataFrame:
    """Return one row per stratum and cluster, or per stratum where clusters are pooled."""
    nameless = pl.col("cluster").is_null()
    average = pl.col("total") / pl.col("clusters")
    squared_distance = (average - pl.col("total").sum() / pl.col("clusters").sum()) ** 2
    return (
        clusters.group_by("stratum", "cluster", maintain_order=True)
        .agg(
            clusters=pl.when(nameless.first()).then(pl.col("clusters").sum()).otherwise(1.0),
            size=pl.col("size").sum(),
            total=pl.col("total").sum(),
            square=pl.when(nameless.first())
            .then((pl.col("square") + pl.col("clusters") * squared_distance).sum())
            .otherwise(0.0),
        )
        .sort("stratum", "cluster")
    )


def trial_cells(rows: EncodedRows, nest: ClusterIndex, mask: Flags, value: Floats) -> pl.DataFrame:
    """Sum the instances' means per stratum, cluster and trial, by the number of trials of the instances.

    It does not fold: it has one row per cluster and trial, or per instance and trial if each instance is a cluster.

    Args:
        rows: Rows with trial in their cells.
        nest: The cluster index of the rows in `mask`.
        mask: The rows that have a value.
        value: The values of those rows.

    Returns:
        stratum, cluster (its name), trial, trials (their number), total and size (instances).
    """
    instance = np.repeat(np.arange(len(nest.of_instance)), lengths(nest.of_instance, len(nest.order)))
    of_cluster = np.repeat(np.arange(len(nest.of_cluster)), lengths(nest.of_cluster, len(nest.of_instance)))
    answers = pl.LazyFrame(
        {
            "instance": instance,
            "trial": rows.cells["trial"][rows.cell[mask][nest.order]],
            "value": value[nest.order],
            "many": np.ones(len(nest.order), dtype=np.int64) if nest.many is None else nest.many[nest.order],
        }
    )
    cells = sum_by(answers, ["instance", "trial"], "value", many=pl.col("many").sum()).with_columns(
        mean=pl.col("total") / pl.col("many"),
        place=pl.lit(pl.Series(of_cluster)).gather("instance"),
        trials=pl.len().over("instance").cast(pl.Int64),
    )
    by_trial = sum_by(cells, ["place", "trial", "trials"], "mean", size=pl.len().cast(pl.Float64)).collect()
    cluster = by_trial["place"].to_numpy()
    return by_trial.select(
        pl.Series("stratum", nest.stratum_of_cluster[cluster], dtype=pl.Int64),
        rows.names["cluster"][nest.unit[cluster]].alias("cluster"),
        "trial", "trials", "total", "size",
    )  # fmt: skip


def trial_components(cells: pl.DataFrame) -> pl.DataFrame:
    """Return per stratum the variance of the mean over trials, and the part of it due to residuals.

    Args:
        cells: The `trial_cells` of all chunks.
    """
    n_trials = pl.col("trial").n_unique().over("stratum")
    size = pl.col("size").sum().over("stratum", "trial")
    trial_mean = stable_sum(pl.col("total")).over("stratum", "trial") / size
    shifted = (pl.col("total") - trial_mean * pl.col("size")) / size
    number, clusters = pl.col("trial").n_unique(), pl.col("cluster").n_unique()
    enough, average = pl.when((number > 1) & (clusters > 1)), stable_sum(pl.col("trial_mean")) / pl.len()
    return (
        # mean squares need complete rows, so instances that failed in a trial are excluded
        cells.lazy()
        .filter(pl.col("trials") == n_trials)
        .group_by("stratum", "cluster", "trial")
        .agg(stable_sum(pl.col("total")), pl.col("size").sum())
        .with_columns(trial_mean=trial_mean, shifted=shifted)
        .with_columns(rest=pl.col("shifted") - (stable_sum(pl.col("shifted")) / pl.len()).over("stratum", "cluster"))
        .group_by("stratum")
        .agg(
            # each trial's mean is repeated once per cluster
            v_trial=enough.then(
                stable_sum((pl.col("trial_mean") - average) ** 2) / (clusters * (number - 1.0) * number)
            ),
            v_rest=enough.then(
                stable_sum(pl.col("rest") ** 2) * clusters / ((clusters - 1.0) * (number - 1.0) * number),
            ),
            df_trial=enough.then(number - 1.0),
            df_rest=enough.then((number - 1.0) * (clusters - 1.0)),
        )
        .collect()
    )
