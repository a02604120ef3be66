"""Values of metrics of whole sets (macro-F1, perplexity), each with its jackknife interval."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from helmframe._core.expressions import key_of
from helmframe._schema import STATS
from helmframe.errors import ArgumentError
from helmframe.stats.bootstrap import DRAWS, bootstrap_variance, compute_values
from helmframe.stats.encoded_rows import INSTANCE, STRATUM, merge_names, stable_sum
from helmframe.stats.estimate import group_keys
from helmframe.stats.intervals import FEW_CLUSTERS, SMALL_N, mark, t_interval

MOST_BLOCKS = 200
REPEATS = ("perturbation", "perturbation_seed", "setting", "trial", "model", "output_index")


def aggregate_set(
    rows: pl.LazyFrame | pl.DataFrame,
    value: pl.Expr,
    by: Sequence[str],
    *,
    metric: str,
    ci: float = 0.95,
    mean: str = "macro",
    fraction: bool = False,
    smooth: bool = True,
    by_trial: bool = False,
    reason: pl.Expr | None = None,
) -> pl.DataFrame:
    """Compute a metric of a whole set per group, averaged over subsets, with a jackknife interval over clusters.

    The expression is evaluated again without each cluster of a subset (micro: of the group). More than 200 clusters are
    split into 200 blocks by a key of their names, and whole blocks are omitted, so the cost is at most 201 passes. A
    value that isn't smooth gets 200 bootstrap samples of clusters instead. All rows are read at once.

    >>> rows = pl.DataFrame({"instance_id": list("abcde"), "score": [0.0, 2.0, 1.0, 3.0, 4.0]})
    >>> rows = rows.with_columns(scenario=pl.lit("s"), subset=pl.lit(""), cluster=pl.col("instance_id"))
    >>> rms = (pl.col("score") ** 2).mean().sqrt()
    >>> result = aggregate_set(rows, rms, by=[], metric="root_mean_square")
    >>> result.select("metric", pl.col("value", "ci_low", "ci_high").round(3), "interval").row(0)
    ('root_mean_square', 2.449, 0.675, 4.224, 'jackknife, n small')

    Args:
        rows: Completions or scores with `scenario`, `subset`, `cluster`, `instance_id`, the columns of `by` and those
            that `value` reads. Failed rows (a non-null `error`; without that column, a null `score`) are excluded and
            counted. `parsed`, `truncated` and `starved` are counted if they exist.
        value: An expression that returns one number per group.
        by: The columns whose values make a group.
        metric: The name for the column metric.
        ci: The share of intervals that should cover the true value.
        mean: "macro" evaluates the expression per subset (scenario × subset) and averages; "micro" evaluates it over
            all rows at once.
        fraction: Whether the value is in [0, 1]. If so, its interval is cut there.
        smooth: Whether the value changes smoothly with the rows. Set False if removing one row moves others (bins of
            equal mass, quantiles): the jackknife variance is then erratic, and the bootstrap is used.
        by_trial: Whether to compute the value in each trial and average over trials, as HELM does. By default the rows
            of all trials form one set. A value that depends on the size of the set (a calibration error, a rare class's
            F1) then has the bias of the whole set, not that of a single trial.
        reason: An expression that returns one text per group, the reason for a missing value.

    Returns:
        `by`, metric and the columns of `STATS`, sorted by `by`. There is no interval if a subset has fewer than 2
        clusters, or if the value is undefined without some cluster.

    Raises:
        UnknownNameError: If the rows lack a column of `by`.
        ArgumentError: If `ci` or `mean` is invalid.

    Source: Efron & Stein 1981, Annals of Statistics 9:586; Kott 2001, J. Official Statistics 17:521 (delete-a-group);
        Rust & Rao 1996 (stratified).
    """
    if mean not in ("macro", "micro"):
        raise ArgumentError(
            f"mean={mean!r}: mean must be 'macro' (equal weight per subset) or 'micro' (weight by size)."
        )
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    keys = [*group_keys(rows.lazy(), by), "metric"]
    frame = _prepare(rows.lazy(), metric)
    cells = merge_names(keys, STRATUM) if mean == "macro" else keys
    answered = _with_blocks(frame.filter(~pl.col("failed")), keys, cells)
    trials = ["trial"] if by_trial and "trial" not in cells else []
    wholes = compute_values(answered, value, cells, trials).rename({"replicate": "value"}).lazy()
    within = (
        _jackknife_variances(_replicates(answered, value, cells, trials), cells)
        if smooth
        else bootstrap_variance(answered, value, cells, trials)
    )
    table = (
        _counts(frame, keys)
        .join(_sizes(answered, keys), on=keys, how="left", nulls_equal=True)
        .join(_values(wholes, within, keys, cells), on=keys, how="left", nulls_equal=True)
        .sort(keys)
        .collect()
    )
    reasons = answered.group_by(keys).agg(why=pl.lit("") if reason is None else reason).collect(engine="in-memory")
    table = table.join(reasons, on=keys, how="left", nulls_equal=True, maintain_order="left")
    low, high = t_interval(table["value"].to_numpy(), table["variance"].to_numpy(), table["df"].to_numpy(), ci)
    return table.with_columns(
        pl.col("n", "n_clusters").fill_null(0),
        stderr=pl.col("variance").sqrt(),
        ci_low=pl.Series(np.maximum(low, 0.0) if fraction else low).fill_nan(None),
        ci_high=pl.Series(np.minimum(high, 1.0) if fraction else high).fill_nan(None),
        interval=_interval_label(smooth=smooth),
    ).select([*keys, *(name for name in STATS.schema if name not in keys)])


def _prepare(rows: pl.LazyFrame, metric: str) -> pl.LazyFrame:
    """Return the rows in a fixed order, with the columns metric and failed, and null flags for absent columns."""
    columns = rows.collect_schema().names()
    absent = [name for name in ("parsed", "truncated", "starved") if name not in columns]
    failed = pl.col("score").is_null() if "score" in columns else pl.lit(value=False)
    order = [name for name in (*INSTANCE, *REPEATS) if name in columns]
    return (
        rows.with_columns(
            *(pl.lit(None, dtype=pl.Boolean).alias(name) for name in absent),
            metric=pl.lit(metric),
            cluster=pl.coalesce("cluster", "instance_id"),
            failed=pl.col("error").is_not_null() if "error" in columns else failed,
        )
        .sort(order)
        .collect()
        .lazy()
    )


def _with_blocks(answered: pl.LazyFrame, keys: Sequence[str], cells: Sequence[str]) -> pl.LazyFrame:
    """Return the rows with their block (its number in the cell) and pool (blocks whose values vary around one mean).

    A pool is a subset. A group that pools subsets and has more than 200 clusters is one pool, and each of its blocks
    contains clusters of every subset.
    """
    names = [pl.col(name).fill_null("") for name in INSTANCE[:3]]
    is_large = pl.len().over(cells) > MOST_BLOCKS
    blocks = (
        answered.select(merge_names(keys, INSTANCE[:3]))
        .unique()
        .with_columns(key=key_of("jackknife", *names))
        .sort(*STRATUM, "key", "cluster")
        .with_columns(place=pl.int_range(pl.len()).over(cells))
        .with_columns(
            jackknife_block=pl.col("place") % MOST_BLOCKS,
            jackknife_blocks=pl.min_horizontal(pl.len().over(cells), MOST_BLOCKS).cast(pl.Int64),
            jackknife_pool=pl.when(is_large).then(pl.lit("")).otherwise(pl.concat_str(names[:2], separator="\x1f")),
            dealt=is_large,
        )
        .drop("key", "place")
        .collect()
    )
    joined = answered.join(
        blocks.lazy(), on=merge_names(keys, INSTANCE[:3]), how="left", nulls_equal=True, maintain_order="left"
    )
    # one chunk, because the last digit of a sum depends on the boundaries of chunks
    return joined.collect().rechunk().lazy()


def _replicates(answered: pl.LazyFrame, value: pl.Expr, cells: Sequence[str], trials: Sequence[str]) -> pl.LazyFrame:
    """Return one row per cell and block: the value without that block."""
    blocks = (
        answered.select([*cells, "jackknife_block", "jackknife_blocks", "jackknife_pool"]).unique().collect().lazy()
    )
    n_blocks = blocks.select(pl.col("jackknife_blocks").max()).collect().item() or 0
    replicates = [
        compute_values(
            answered.filter((pl.col("jackknife_block") != block) & (pl.col("jackknife_blocks") > block)),
            value,
            cells,
            trials,
        ).with_columns(jackknife_block=pl.lit(block, dtype=pl.Int64))
        for block in range(n_blocks)
    ]
    if not replicates:
        return blocks.with_columns(replicate=pl.lit(None, dtype=pl.Float64))
    return blocks.join(pl.concat(replicates).lazy(), on=[*cells, "jackknife_block"], how="left", nulls_equal=True)


def _jackknife_variances(replicates: pl.LazyFrame, cells: Sequence[str]) -> pl.LazyFrame:
    """Return the jackknife variance per cell: (R−1)/R times the squared deviations, summed over its pools."""
    left_out, count = pl.col("replicate"), pl.len().cast(pl.Int64)
    squares, enough = stable_sum((left_out - stable_sum(left_out) / count) ** 2), pl.when(count > 1)
    return (
        replicates.sort(*cells, "jackknife_pool", "jackknife_block")
        .group_by([*cells, "jackknife_pool"], maintain_order=True)
        .agg(
            # (R−1)/R for one pool; for a pool of R_h of the R blocks, without reweighting
            variance=enough.then(count / (count - 1.0) * (1 - 1 / pl.col("jackknife_blocks").first()) ** 2 * squares),
            df=count - 1,
            undefined=(~left_out.is_finite().fill_null(value=False)).any() & (count > 1),
        )
        .group_by(cells, maintain_order=True)
        .agg(
            variance=stable_sum(pl.col("variance")),
            df=pl.col("df").sum(),
            undefined=pl.col("undefined").any(),
            lonely=(pl.col("df") < 1).any(),
        )
    )


def _values(wholes: pl.LazyFrame, within: pl.LazyFrame, keys: Sequence[str], cells: Sequence[str]) -> pl.LazyFrame:
    """Return per group the mean over its cells, its variance (null without an interval) and the reason."""
    table = (
        wholes.sort(cells)
        .join(within, on=cells, how="left", nulls_equal=True, maintain_order="left")
        .group_by(keys, maintain_order=True)
        .agg(
            value=stable_sum(pl.col("value")) / pl.col("value").count(),
            variance=stable_sum(pl.col("variance")) / pl.len().cast(pl.Int64) ** 2,
            df=pl.col("df").sum().cast(pl.Float64),
            lonely=pl.col("lonely").sum(),
            undefined=pl.col("undefined").any() | pl.col("value").is_null().any(),
        )
        .with_columns(alike=pl.col("variance") <= 1e-20 * pl.col("value") ** 2)
    )
    none = (pl.col("lonely") > 0) | pl.col("undefined") | pl.col("alike")
    return table.with_columns(variance=pl.when(~none).then("variance"))


def _counts(frame: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    return frame.group_by(keys).agg(
        n_completions=pl.len().cast(pl.Int64),
        n_error=pl.col("failed").sum().cast(pl.Int64),
        n_unparsed=(~pl.col("parsed")).sum().cast(pl.Int64),
        n_truncated=pl.col("truncated").sum().cast(pl.Int64),
        n_starved=pl.col("starved").sum().cast(pl.Int64),
    )


def _sizes(answered: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    return answered.group_by(keys).agg(
        n=pl.struct(INSTANCE).n_unique().cast(pl.Int64),
        n_clusters=pl.struct(INSTANCE[:3]).n_unique().cast(pl.Int64),
        dealt=pl.col("dealt").any(),
    )


def _interval_label(*, smooth: bool) -> pl.Expr:
    clustered = pl.col("n_clusters") < pl.col("n")
    return (
        pl.when(pl.col("n").is_null())
        .then(pl.lit("no interval: nothing was scored"))
        .when(pl.col("value").is_null() & (pl.col("why") != ""))
        .then(pl.format("no value: {}", "why"))
        .when(pl.col("n_clusters") < 2)
        .then(pl.lit("no interval: fewer than 2 clusters"))
        .when(pl.col("lonely") > 0)
        .then(pl.lit("no interval: a subset has fewer than 2 clusters"))
        .when(pl.col("undefined"))
        .then(pl.lit("no interval: undefined if some cluster is omitted"))
        .when(pl.col("alike"))
        .then(pl.lit("no interval: the same whichever cluster is omitted"))
        .otherwise(
            pl.concat_str(
                pl.lit("jackknife" if smooth else f"bootstrap ({DRAWS})"),
                mark(pl.col("dealt") & smooth, f" ({MOST_BLOCKS} blocks)"),
                mark(clustered & (pl.col("n_clusters") < FEW_CLUSTERS), ", few clusters"),
                mark(pl.col("n") < SMALL_N, ", n small"),
            )
        )
    )
