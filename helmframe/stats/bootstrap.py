"""Bootstrap over clusters: intervals of statistics of sums, and the variance of a metric of a whole set."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from helmframe._core.expressions import key_of
from helmframe.stats.encoded_rows import INSTANCE, Floats, Numbers, lengths, merge_names, starts_of
from helmframe.stats.intervals import FEW_CLUSTERS

REPLICATES = 2_000
# More clusters than this are summed in this number of groups, and groups are sampled, which bounds the cost.
MOST_GROUPS = 2_000
# Samples in memory at once.
_CHUNK = 1_000_000


def percentile_interval(
    sums: Floats, value: Callable[[Floats], Floats], whole: float, ci: float
) -> tuple[float | None, float | None, str]:
    """Return the percentile interval of `value` over samples of clusters with replacement: low, high, method or reason.

    The random numbers are keyed by the sums, so the same table gives the same interval in any row order.

    >>> import numpy as np
    >>> sums = np.column_stack([np.arange(40) % 2, np.ones(40)])
    >>> low, high, how = percentile_interval(sums, lambda s: s[..., 0] / s[..., 1], 0.5, 0.95)
    >>> print(f"{low:.2f} {high:.2f} {how}")
    0.35 0.65 bootstrap over items (2,000)

    Args:
        sums: One row per cluster: what it adds to each sum.
        value: The statistic as a function of the sums, over their last axis; NaN if it is undefined.
        whole: The statistic of all clusters.
        ci: The level of the interval.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 13.
    """
    clusters = len(sums)
    if clusters < 2:
        return None, None, "no interval: fewer than 2 clusters"
    if np.isnan(whole):
        return None, None, "no interval: undefined because all ratings are equal"
    resampled = replicates(sums, value)
    defined = resampled[~np.isnan(resampled)]
    if len(defined) < 0.95 * REPLICATES:
        return None, None, "no interval: undefined for some resamples"
    low, high = np.quantile(defined, [(1 - ci) / 2, (1 + ci) / 2])
    return float(low), float(high), f"bootstrap over items ({REPLICATES:,}){few_clusters(clusters)}"


def replicates(sums: Floats, value: Callable[[Floats], Floats]) -> Floats:
    """Return the statistic of each of 2,000 samples of clusters with replacement; arguments as above."""
    # equal up to rounding, relative to the largest value of each column
    scale = np.abs(sums).max(axis=0)
    rounded = np.round(sums / np.where(scale > 0, scale, 1.0), 12) + 0.0
    kinds, first, counts = np.unique(rounded, axis=0, return_index=True, return_counts=True)
    key = hashlib.sha256(kinds.tobytes() + counts.astype("<i8").tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
    few_kinds = 4 * len(counts) <= len(sums)
    draw = (_sums_by_kind if few_kinds else _sums_by_row)(sums[first], counts, generator)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.concatenate([np.asarray(value(batch), dtype=np.float64) for batch in draw])


def few_clusters(clusters: int) -> str:
    """Return the note on an interval over few clusters, or an empty string."""
    return ", few clusters" if clusters < FEW_CLUSTERS else ""


def _sums_by_kind(kinds: Floats, counts: Numbers, generator: "np.random.Generator") -> Iterator[Floats]:
    """Yield the sums of all replicates, by counts per kind of cluster."""
    yield generator.multinomial(int(counts.sum()), counts / counts.sum(), size=REPLICATES).astype(np.float64) @ kinds


def _sums_by_row(kinds: Floats, counts: Numbers, generator: "np.random.Generator") -> Iterator[Floats]:
    """Yield the sums of the replicates in batches, by rows."""
    rows = np.repeat(kinds, counts, axis=0)
    if len(rows) > MOST_GROUPS:
        # in random order, so that groups do not sum similar clusters
        starts = np.linspace(0, len(rows), MOST_GROUPS, endpoint=False).astype(np.int64)
        rows = np.add.reduceat(rows[generator.permutation(len(rows))], starts)
    count = len(rows)
    at_once = max(1, _CHUNK // count)
    for start in range(0, REPLICATES, at_once):
        size = min(at_once, REPLICATES - start)
        picked = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(picked.ravel(), minlength=size * count).reshape(size, count).astype(np.float64) @ rows


DRAWS = 200


def compute_values(
    answered: pl.LazyFrame, value: pl.Expr, cells: Sequence[str], trials: Sequence[str] = ()
) -> pl.DataFrame:
    """Return `cells` and replicate: the value of each cell, or with `trials` the mean over the trials' values."""
    grouped = answered.group_by([*cells, *trials]).agg(replicate=value.cast(pl.Float64))
    if trials:
        # sorted by trial, so that the mean is equal to the last digit
        grouped = grouped.sort(*cells, *trials).group_by(cells, maintain_order=True).agg(pl.col("replicate").mean())
    return grouped.collect(engine="in-memory")


def bootstrap_variance(
    answered: pl.LazyFrame, value: pl.Expr, cells: Sequence[str], trials: Sequence[str] = ()
) -> pl.LazyFrame:
    """Return the variance of the value per cell over 200 samples of clusters, with replacement, within subsets.

    The random numbers are keyed by the names of the clusters, so the same table gives the same variance.

    Args:
        answered: Rows with scenario, subset, cluster and the columns of `cells`, in any order.
        value: An expression that returns one number per group.
        cells: The columns whose values make a group.
        trials: The columns whose values make a trial: the value is the mean over trials.

    Returns:
        `cells`, variance (null with one cluster), df, undefined (a sample has no value), lonely (a subset has 1
        cluster).

    Source: Efron 1979, Annals of Statistics 7:1.
    """
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
    counts = lengths(of_subset, len(start))
    replicates = []
    for _ in range(DRAWS if len(start) else 0):
        low = np.repeat(of_subset, counts)
        picked = low + (generator.random(len(start)) * np.repeat(counts, counts)).astype(np.int64)
        count = size[picked]
        ends = np.cumsum(count)
        # the rows of the sampled clusters, cluster by cluster
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
    # lists are summed in a fixed order
    spread = pl.concat(replicates).lazy().group_by(cells, maintain_order=True).agg(
        "replicate", undefined=(~one.is_finite().fill_null(value=False)).any()
    ).with_columns(variance=one.list.var()).drop("replicate")  # fmt: skip
    return sizes.join(spread, on=cells, how="left", nulls_equal=True).with_columns(
        variance=pl.when(pl.col("df") > 0).then("variance"), undefined=pl.col("undefined") & (pl.col("df") > 0)
    )
