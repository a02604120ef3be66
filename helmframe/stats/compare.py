"""Two sides on the same instances: the paired difference, its interval and its test."""

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.stats.error_bars import with_interval
from helmframe.stats.estimate import contributions, estimate, group_keys
from helmframe.stats.intervals import Floats, holm, mcnemar_midp, sign_flip_p
from helmframe.stats.nest import INSTANCE, merged, summed

PAIRED_ON = ("scenario", "instance_id", "perturbation", "perturbation_seed")
COMPARISON = {
    "a": pl.String(),
    "b": pl.String(),
    "value_a": pl.Float64(),
    "value_b": pl.Float64(),
    "difference": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "p": pl.Float64(),
    "p_holm": pl.Float64(),
    "test": pl.String(),
    "win": pl.Int64(),
    "tie": pl.Int64(),
    "loss": pl.Int64(),
    "n": pl.Int64(),
    "n_dropped": pl.Int64(),
    "n_clusters": pl.Int64(),
}


def compare(
    a: pl.LazyFrame | pl.DataFrame,
    b: pl.LazyFrame | pl.DataFrame,
    by: Sequence[str] = (),
    *,
    higher_is_better: Mapping[str, bool],
    on: Sequence[str] = PAIRED_ON,
    labels: tuple[str, str] = ("a", "b"),
    fractions: Collection[str] = (),
    ci: float = 0.95,
    mean: str = "macro",
) -> pl.DataFrame:
    """Per metric the difference a − b over the instances that both sides answered, with interval and test.

    What `on` leaves together (trials, outputs) is averaged on each side before pairing. The test flips the signs of
    whole clusters; with one 0/1 answer per instance, no clusters and equal weights that is McNemar's, given as mid-p.
    Neither the order of the rows nor swapping the sides changes p. It does not fold: both sides are read at once.

    Args:
        a: `SCORES` of the one side.
        b: `SCORES` of the other.
        by: columns whose values make a comparison of their own; one row per group and metric.
        higher_is_better: metric → direction, for every metric in the scores.
        on: what makes an answer the same on both sides; part and cluster are a's.
        labels: names of the sides, for the columns a and b.
        fractions: metrics whose scores lie in [0, 1]; their intervals stay within ±1, also where all pairs agree.
        ci: share of such intervals that should contain the true difference.
        mean: over parts, as in `aggregate`.

    Returns:
        `by`, metric, a, b, value_a, value_b (over the paired instances), difference, stderr, ci_low, ci_high, interval,
        p, p_holm (Holm over the rows of this table), test (its name), win, tie, loss (instances where a is better,
        equal, worse), n (instances with a pair), n_dropped (instances with an answer that lacks its counterpart: absent
        or failed), n_clusters. Sorted by `by` and metric.

    Raises:
        UnknownNameError: a column in `by` or `on` that the scores don't have.
        ArgumentError: a metric whose direction is not told; `on` without instance_id.

    Source: Fisher 1935; Phipson & Smyth 2010; Fagerland, Lydersen & Laake 2013; Holm 1979; interval as in `estimate`.
    """
    if "instance_id" not in on:
        raise ArgumentError(f"on={list(on)} should hold 'instance_id': the sides are paired by instance.")
    sides = a.lazy(), b.lazy()
    for side in sides:
        group_keys(side, on)
    keys = [*group_keys(sides[0], by), "metric"]
    group_keys(sides[1], keys)
    cells = _paired(_cells(sides[0], keys, on), _cells(sides[1], keys, on), merged(keys, on))
    both = cells.filter("both").lazy()
    differences = estimate(both, keys, "difference", mean=mean)
    table = with_interval(differences, pl.col("metric").is_in(list(fractions)), ci=ci, least=-1.0)
    for name in ("value_a", "value_b"):
        level = estimate(both, keys, name, mean=mean).select([*keys, pl.col("value").alias(name)])
        table = table.join(level, on=keys, how="left", nulls_equal=True)
    table = (
        _groups(cells, keys)
        .join(table, on=keys, how="left", nulls_equal=True)
        .join(_outcomes(both, keys, higher_is_better), on=keys, how="left", nulls_equal=True)
        .join(contributions(both, keys, "difference", mean=mean), on=keys, how="left", nulls_equal=True)
        .sort(keys)
    )
    counts = pl.col("n", "n_clusters", "win", "tie", "loss")
    return (
        _tested(table)
        .with_columns(
            counts.fill_null(0),
            pl.col("interval").fill_null("no interval: no instance was answered by both"),
            a=pl.lit(labels[0]),
            b=pl.lit(labels[1]),
            difference="value",
        )
        .select(*keys, *(pl.col(name).cast(dtype) for name, dtype in COMPARISON.items()))
    )


def _cells(scores: pl.LazyFrame, keys: Sequence[str], on: Sequence[str]) -> pl.LazyFrame:
    """One row per answer to be paired: score (mean over the rest; null where all of it failed), single."""
    cell = merged(keys, on)
    drawn = [name for name in INSTANCE if name not in cell]
    one = pl.col("score").is_in([0.0, 1.0]).all() & (pl.len() == 1)
    return (
        summed(
            scores.with_columns(pl.col("score").cast(pl.Float64), cluster=pl.coalesce("cluster", "instance_id")),
            cell,
            "score",
            answers=pl.col("score").count(),
            single=one,
            **{name: pl.col(name).min() for name in drawn},
        )
        .with_columns(score=pl.when(pl.col("answers") > 0).then(pl.col("total") / pl.col("answers")))
        .drop("total", "answers")
    )


def _paired(a: pl.LazyFrame, b: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
    drawn = [name for name in INSTANCE if name not in keys]
    return (
        a.join(b, on=keys, how="full", coalesce=True, nulls_equal=True, suffix="_b")
        .with_columns(
            *(pl.coalesce(name, f"{name}_b") for name in drawn),
            value_a="score",
            value_b="score_b",
            difference=pl.col("score") - pl.col("score_b"),
            single=pl.col("single") & pl.col("single_b"),
        )
        .with_columns(both=pl.col("difference").is_not_null())
        .collect()
    )


def _groups(cells: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    unpaired = pl.struct("scenario", "instance_id").filter(~pl.col("both"))
    return cells.group_by(keys).agg(n_dropped=unpaired.n_unique(), single=pl.col("single").filter("both").all())


def _outcomes(both: pl.LazyFrame, keys: Sequence[str], higher_is_better: Mapping[str, bool]) -> pl.DataFrame:
    for metric in both.select(pl.col("metric").unique().sort()).collect()["metric"]:
        if metric not in higher_is_better:
            raise ArgumentError(
                f"which way is {metric!r} better? Say higher_is_better={{{metric!r}: True}}, or False if lower is."
            )
    higher = pl.col("metric").replace_strict(dict(higher_is_better), return_dtype=pl.Boolean)
    # answers that differ by rounding alone are tied
    gain = pl.when(pl.col("total").abs() < 1e-12).then(0.0).when(higher).then("total").otherwise(-pl.col("total"))
    return (
        summed(both, merged(keys, INSTANCE), "difference")
        .with_columns(gain=gain)
        .group_by(keys)
        .agg(win=(pl.col("gain") > 0).sum(), tie=(pl.col("gain") == 0).sum(), loss=(pl.col("gain") < 0).sum())
        .collect()
    )


def _tested(table: pl.DataFrame) -> pl.DataFrame:
    """The table with p, test and p_holm; a few rows, each a test of its own."""
    tests = [
        _test(added.to_numpy(), bool(single) and rows == clusters) if added is not None else (None, None)
        for added, single, rows, clusters in zip(
            table["added"], table["single"], table["n_rows"], table["n_clusters"], strict=True
        )
    ]
    p = [each for each, _ in tests]
    family = iter(holm([each for each in p if each is not None]))
    return table.with_columns(
        p=pl.Series(p, dtype=pl.Float64),
        test=pl.Series([name for _, name in tests], dtype=pl.String),
        p_holm=pl.Series([None if each is None else next(family) for each in p], dtype=pl.Float64),
    )


def _test(added: Floats, single: bool) -> tuple[float, str]:
    import numpy as np

    differing = added[added != 0]
    if single and np.allclose(np.abs(differing), np.abs(differing[:1]), rtol=1e-9, atol=0.0):
        return mcnemar_midp(int(np.sum(differing > 0)), int(np.sum(differing < 0))), "McNemar mid-p"
    return sign_flip_p(added)
