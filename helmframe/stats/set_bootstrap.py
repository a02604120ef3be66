"""The bootstrap of a metric of a whole set: clusters drawn again, and the expression taken anew."""

import hashlib
from collections.abc import Sequence

import polars as pl

from helmframe._core.expressions import key_of
from helmframe.stats.cluster_index import INSTANCE, merge_names
from helmframe.stats.encoded_rows import lengths, starts_of

DRAWS = 200


def compute_values(
    answered: pl.LazyFrame, value: pl.Expr, cells: Sequence[str], trials: Sequence[str] = ()
) -> pl.DataFrame:
    """Return `cells` and replicate: the value of each cell, or with `trials` the mean over each trial's value."""
    grouped = answered.group_by([*cells, *trials]).agg(replicate=value.cast(pl.Float64))
    if trials:
        # in the order of the trials, so that the mean is the same to the last digit
        grouped = grouped.sort(*cells, *trials).group_by(cells, maintain_order=True).agg(pl.col("replicate").mean())
    return grouped.collect(engine="in-memory")


def bootstrap_variance(
    answered: pl.LazyFrame, value: pl.Expr, cells: Sequence[str], trials: Sequence[str] = ()
) -> pl.LazyFrame:
    """Per cell the variance of the value over 200 draws of clusters, with replacement, within each subset.

    The random numbers are keyed by the names of the clusters: the same table gives the same variance.

    Args:
        answered: rows with scenario, subset, cluster and `cells`, in an order of their own.
        value: gives one number per group.
        cells: columns whose values make a group.
        trials: Columns whose values make a trial: the value is the mean over trials.

    Returns:
        `cells`, variance (null with one cluster), df, undefined (no value in some draw), lonely (subset of 1 cluster).

    Source: Efron 1979, Annals of Statistics 7:1.
    """
    import numpy as np

    names = merge_names(cells, INSTANCE[:3])
    rows = answered.sort(names).collect()
    keys = rows.select(key=key_of("bootstrap", *(pl.col(name).fill_null("") for name in INSTANCE[:3])))["key"]
    seed = hashlib.sha256(keys.cast(pl.UInt64).to_numpy().astype("<u8").tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "little")))
    cluster = rows.select(pl.struct(names).rle_id()).to_series().to_numpy().astype(np.int64)
    subset = rows.select(pl.struct(merge_names(cells, INSTANCE[:2])).rle_id()).to_series().to_numpy().astype(np.int64)
    start = starts_of(cluster)
    size = lengths(start, len(cluster))
    of_subset = starts_of(subset[start])
    many = lengths(of_subset, len(start))
    replicates = []
    for _ in range(DRAWS if len(start) else 0):
        low = np.repeat(of_subset, many)
        picked = low + (generator.random(len(start)) * np.repeat(many, many)).astype(np.int64)
        count = size[picked]
        ends = np.cumsum(count)
        # the rows of each cluster drawn, one cluster after the other
        row_index = np.arange(ends[-1]) - np.repeat(ends - count, count) + np.repeat(start[picked], count)
        replicates.append(compute_values(rows[row_index].lazy(), value, cells, trials))
    sizes = (
        rows.lazy()
        .group_by(merge_names(cells, INSTANCE[:2]))
        .agg(clusters=pl.col("cluster").n_unique().cast(pl.Int64))
        .group_by(cells)
        .agg(df=(pl.col("clusters") - 1).sum(), lonely=(pl.col("clusters") < 2).any())
    )
    if not replicates:
        return sizes.with_columns(variance=pl.lit(None, dtype=pl.Float64), undefined=pl.lit(value=False))
    one = pl.col("replicate")
    # as a list: its numbers are added one after the other, always in the same order
    spread = pl.concat(replicates).lazy().group_by(cells, maintain_order=True).agg(
        "replicate", undefined=(~one.is_finite().fill_null(value=False)).any()
    ).with_columns(variance=one.list.var()).drop("replicate")  # fmt: skip
    return sizes.join(spread, on=cells, how="left", nulls_equal=True).with_columns(
        variance=pl.when(pl.col("df") > 0).then("variance"), undefined=pl.col("undefined") & (pl.col("df") > 0)
    )
