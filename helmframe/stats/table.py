"""Tables of scores: `aggregate` for explicit groups, and `table`, which also groups by the axes that vary."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import polars as pl

from helmframe._schema import ORIGINAL, STATS
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.encoded_rows import STRATUM, encode_rows, merge_names
from helmframe.stats.estimate import FLAGS, add_counts, count_completions, estimate_of, floats, group_keys
from helmframe.stats.failures import Range, resolve_ranges
from helmframe.stats.frames import (
    FoldContext,
    PartialAggregate,
    Rows,
    as_scores,
    chunks_of,
    fold,
    map_chunks,
    mark_stopped,
    protect_columns,
)
from helmframe.stats.intervals import with_interval
from helmframe.stats.sums import sums_of


@protect_columns("by")
def aggregate(
    scores: Rows,
    by: Sequence[str],
    *,
    ci: float = 0.95,
    mean: str = "macro",
    fractions: Collection[str] | None = (),
    interval: str = "confidence",
) -> pl.DataFrame:
    """Compute the mean score of each metric in each group, with its interval.

    Scores are averaged per instance first: over outputs, trials, seeds and all other columns that are not in `by`.
    Clusters are the sampling unit, and subsets are fixed strata (`estimate`). Failed requests (null scores) are
    excluded and counted. With one trial the interval is conditional on its few-shot examples. With several it also
    covers the choice of examples.

    >>> scores = pl.DataFrame({"instance_id": range(10), "score": [1, 1, 1, 0, 1, 1, 0, 1, 1, 1]})
    >>> result = aggregate(scores, by=[], fractions=["score"])
    >>> result.select("metric", "value", pl.col("ci_low", "ci_high").round(3), "interval", "n").row(0)
    ('score', 0.8, 0.49, 0.943, 'Wilson, n small', 10)

    Args:
        scores: A frame of `SCORES`, or a list of frames that each contain their instances whole. For a list, one or two
            frames are in memory at a time, and only sums are stored. Clusters of several instances need one row per
            group in these sums, and several trials one row per trial.
        by: The columns whose values make a group; "metric" is always one of them. Rows that differ in other columns,
            models and perturbations included, are averaged.
        ci: The share of intervals that should cover the true value.
        mean: "macro" weights subsets (scenario × subset) equally, "micro" by their number of instances.
        fractions: The metrics whose scores are in [0, 1]. They get Wilson's interval if all scores are 0 or 1 (modified
            for clusters and subsets; Clopper–Pearson if all are equal), else t, cut at 0 and 1. Other metrics get t.
            None: the metrics whose scores are all 0 or 1.
        interval: "confidence", or "bayes": posterior intervals, which suit small n. The prior of shares of 0 and 1 is
            Beta(½, ½) (Jeffreys); other scores have a flat prior, whose posterior is t. Clusters and subsets count by
            their effective sample size.

    Returns:
        `by`, metric and the columns of `STATS`, sorted by `by` and metric. `interval` names the method and marks few
        clusters (< 20), small n (< 30), few effective instances (< 5 successes or failures) and subsets without a
        score.

    Raises:
        UnknownNameError: If the scores lack a column of `by`.
        ArgumentError: If `ci` or `mean` is invalid.

    Source: Miller 2024 (arXiv 2411.00640); Korn & Graubard 1998; Pustejovsky & Tipton 2018.
    """
    scores = as_scores(scores)
    keys = [*group_keys(scores, by), "metric"]
    combined = fold(scores, partial(_aggregate_chunk, keys=keys))
    estimates = estimate_of(combined.sums["score"], keys, mean=mean)
    binary = pl.col("binary").all().over("metric")
    fraction = binary if fractions is None else pl.col("metric").is_in(list(fractions))
    intervals = with_interval(estimates, fraction, ci=ci, kind=interval)
    table = add_counts(combined.counts["answers"], intervals, keys)
    return table.select([*keys, *(name for name in STATS.schema if name not in keys)])


def _aggregate_chunk(scores: pl.LazyFrame, context: FoldContext, *, keys: Sequence[str]) -> PartialAggregate:
    rows = encode_rows(scores, merge_names(keys, (*STRATUM, "trial")), ["score", *FLAGS])
    sums = sums_of(rows, keys, *floats(rows.rows["score"]), named=context.named)
    return PartialAggregate({"score": sums}, {"answers": count_completions(rows, keys)})


# The columns that may identify the rows of a table, in order.
AXES = ("scenario", "split", "model", "setting", "perturbation")


@protect_columns("by", "pivot")
def table(
    scores: Rows,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    ci: float = 0.95,
    mean: str = "macro",
    pivot: str | None = None,
    pool: str | Sequence[str] | bool = (),
    fractions: Collection[str] | None = None,
    errors: str = "drop",
    ranges: Mapping[str, Range] | None = None,
    interval: str = "confidence",
) -> pl.DataFrame:
    """Aggregate scores, one row per group and metric, each with its interval.

    >>> scores = pl.DataFrame({"model": ["a", "b"] * 10, "instance_id": range(20), "score": [1, 0, 1, 1] * 5})
    >>> table(scores).select("model", "metric", "value", "n").rows()
    [('a', 'score', 1.0, 10), ('b', 'score', 0.5, 10)]

    Args:
        scores: A frame of the documented schema (`hf.schema("scores")`). It must have instance_id and score (null for a
            failed request); the other columns are optional. Or a list of lazy frames that each contain their instances
            whole.
        by: The columns whose values make a group. The axes scenario, split, model, setting and perturbation make groups
            too if they have several values, unless `pool` names them. All else is averaged: first over the outputs,
            seeds and trials of an instance.
        metrics: The metrics; default all.
        ci: The share of intervals that should cover the true value.
        mean: "macro" weights subsets (scenario × subset) equally, "micro" by their number of instances.
        pivot: One of the keys, whose values become columns that contain `value`.
        pool: The axes to average over, such as "model"; True: all that are not in `by`.
        fractions: The metrics whose scores are in [0, 1]; default those whose scores are all 0 or 1.
        errors: "drop" excludes failed requests from the value. "bounds" also adds the values that it could have had: a
            request may fail because its instance is hard, so the others don't represent it.
        ranges: A dict of metric → smallest and largest value, for "bounds"; default 0 and 1 for fractions.
        interval: "confidence" or "bayes", as in `aggregate`.

    Returns:
        `by`, the other axes, metric and the columns of `STATS`. `interval` names the method, or the reason for no
        interval. With errors="bounds": bound_low and bound_high, the value if every failed request had the metric's
        smallest or largest score (null without such a bound), and bound_ci_low and bound_ci_high, the lower end of the
        first one's interval and the upper end of the second one's. If axes are pooled, `pooled` lists them: "3 models,
        2 perturbations".

    Raises:
        ArgumentError: If the frame, `ci`, `mean` or `errors` is invalid, or `by` and `pool` share a column.
        UnknownNameError: If a column, metric or pivot is unknown.

    Source: As in `aggregate`; Manski 1990, American Economic Review 80:319 (bounds).
    """
    check_table_errors(errors)
    rows = as_scores(scores)
    if metrics is not None:
        names = [metrics] if isinstance(metrics, str) else list(metrics)
        metric_names = _values(rows, ["metric"])["metric"]
        for name in names:
            if name not in metric_names:
                raise UnknownNameError.among("metric of these scores", name, sorted(map(str, metric_names)))
        rows = [chunk.filter(pl.col("metric").is_in(names)) for chunk in chunks_of(rows)]
    varied = _varied(rows)
    columns = [by] if isinstance(by, str) else [key for key in by or () if key != "metric"]
    away = pooled_axes(pool, columns)
    keys, pooled = (
        [key for key in merge_names(columns, varied) if key not in away],
        [key for key in varied if key in away],
    )
    aggregated = aggregate(rows, keys, ci=ci, mean=mean, fractions=fractions, interval=interval)
    result = sort_table(mark_stopped(aggregated, rows), keys)
    if errors == "bounds":
        names = _binary_metrics(rows) if fractions is None else list(fractions)
        ends = resolve_ranges(ranges, names)
        result = add_bounds(result, rows, keys, ends, ci=ci, mean=mean, fractions=names, interval=interval)
    if pooled:
        label = [key for key in keys if key != pivot]
        groups = map_chunks(chunks_of(rows), lambda chunk: chunk.select(*label, *pooled).unique().collect())
        result = add_pooled(result, pl.concat(groups), label, pooled)
    return result if pivot is None else pivot_table(result, keys, pivot)


TABLE_ERRORS = ("drop", "bounds")
BOUNDS = ("bound_low", "bound_high", "bound_ci_low", "bound_ci_high")


def check_table_errors(errors: str) -> None:
    """Raise if `errors` is not one of `TABLE_ERRORS`."""
    if errors not in TABLE_ERRORS:
        raise ArgumentError.unknown_value(f"table(errors={errors!r})", errors, TABLE_ERRORS)


def add_bounds(
    table: pl.DataFrame,
    scores: Rows,
    keys: Sequence[str],
    ranges: Mapping[str, Range],
    *,
    ci: float,
    mean: str,
    fractions: Collection[str],
    interval: str,
) -> pl.DataFrame:
    """Return a table with the values that it would have if every failed request had the smallest or largest score.

    Args:
        table: The result of `aggregate`, of failures that don't count.
        scores: The scores that it aggregates, as a frame or in chunks.
        keys: The columns whose values make a group.
        ranges: A dict of metric → smallest and largest value, None without a bound.
        ci: As in `aggregate`; so are `mean`, `fractions` and `interval`.
        mean: As in `aggregate`.
        fractions: As in `aggregate`.
        interval: As in `aggregate`.
    """
    on = [*(key for key in keys if key != "metric"), "metric"]
    for index, side in enumerate(("low", "high")):
        bounds = {name: ends[index] for name, ends in ranges.items() if ends[index] is not None}
        bound = pl.col("metric").replace_strict(bounds, default=None, return_dtype=pl.Float64)
        filled = [
            chunk.with_columns(pl.coalesce(pl.col("score").cast(pl.Float64), bound)) for chunk in chunks_of(scores)
        ]
        bounded = aggregate(filled, keys, ci=ci, mean=mean, fractions=fractions, interval=interval)
        is_known = (pl.col("n_error") == 0) | pl.col("metric").is_in(list(bounds))
        columns = {f"bound_{side}": "value", f"bound_ci_{side}": f"ci_{side}"}
        ends = bounded.select(*on, **{name: pl.col(column) for name, column in columns.items()})
        table = table.join(ends, on=on, how="left", nulls_equal=True, maintain_order="left")
        table = table.with_columns(pl.when(is_known).then(name).alias(name) for name in columns)
    table_columns = [name for name in table.columns if name not in BOUNDS]
    return table.select(*table_columns, *BOUNDS)


def _binary_metrics(rows: Rows) -> list[str]:
    """Return the metrics whose scores are all 0 or 1."""
    is_binary = pl.col("score").drop_nulls().is_in([0.0, 1.0]).all()
    tables = map_chunks(chunks_of(rows), lambda chunk: chunk.group_by("metric").agg(is_binary).collect())
    return pl.concat(tables).group_by("metric").agg(pl.col("score").all()).filter("score")["metric"].to_list()


def pooled_axes(pool: str | Sequence[str] | bool, by: Sequence[str] = (), axes: Sequence[str] = AXES) -> list[str]:
    """Return the axes that `pool` names; True: all that are not in `by`.

    >>> pooled_axes(True, by=["model", "subject"])
    ['scenario', 'split', 'setting', 'perturbation']

    Raises:
        UnknownNameError: If `pool` names something else than an axis.
        ArgumentError: If `pool` names a column of `by`.
    """
    if isinstance(pool, bool):
        return [name for name in axes if pool and name not in by]
    names = [pool] if isinstance(pool, str) else list(pool)
    for name in names:
        if name not in axes:
            raise UnknownNameError.among("axis to pool", name, axes)
        if name in by:
            raise ArgumentError(f"pool={name!r}: by={list(by)!r} also names this axis. Name it in one of the two.")
    return names


def add_pooled(table: pl.DataFrame, groups: pl.DataFrame, keys: Sequence[str], pooled: Sequence[str]) -> pl.DataFrame:
    """Return the table with the column `pooled`: the number of values of each averaged axis, per group.

    Args:
        table: A table by `keys`, with any other columns.
        groups: The combinations of `keys` and `pooled` that occur.
        keys: The columns whose values make a group.
        pooled: The axes that are averaged over.
    """
    counts = [pl.col(name).n_unique().alias(name) for name in pooled]
    sizes = groups.group_by(keys).agg(counts) if keys else groups.select(counts)
    words = [
        pl.format("{} {}", name, pl.when(pl.col(name) == 1).then(pl.lit(name)).otherwise(pl.lit(f"{name}s")))
        for name in pooled
    ]
    labels = sizes.select(*keys, pooled=pl.concat_str(words, separator=", "))
    labelled = (
        table.join(labels, on=keys, how="left", nulls_equal=True, maintain_order="left")
        if keys
        else table.join(labels, how="cross", maintain_order="left")
    )
    first = table.columns[: table.columns.index("metric") + 1] if "metric" in table.columns else list(keys)
    return labelled.select(*first, "pooled", *(name for name in table.columns if name not in first))


def sort_table(table: pl.DataFrame, keys: Sequence[str], metrics: Sequence[str] = ()) -> pl.DataFrame:
    """Sort a table by its keys, the original before its perturbations, then by metric (in the order of `metrics`)."""
    sorts = [pl.col(key) != ORIGINAL if key == "perturbation" else pl.col(key) for key in keys]
    order = {name: position for position, name in enumerate(metrics)}
    last = pl.col("metric").replace_strict(order, default=None, return_dtype=pl.Int64) if metrics else pl.col("metric")
    return table.sort(*sorts, *keys, last, maintain_order=True)


def pivot_table(table: pl.DataFrame, keys: Sequence[str], pivot: str) -> pl.DataFrame:
    """Return the values of a table, with the values of one of its keys as columns.

    Raises:
        UnknownNameError: If the table has no such key.
    """
    if pivot not in keys:
        raise UnknownNameError.among("column of this table", pivot, keys)
    label = ["pooled"] if "pooled" in table.columns else []
    return table.pivot(pivot, index=[*(key for key in keys if key != pivot), "metric", *label], values="value")


def _varied(rows: Rows) -> list[str]:
    columns = chunks_of(rows)[0].collect_schema()
    values = _values(rows, [name for name in AXES if name in columns])
    return [name for name, distinct in values.items() if len(distinct) > 1]


def _values(rows: Rows, names: Sequence[str]) -> dict[str, set[object]]:
    """Return the distinct values of some columns."""
    tables = map_chunks(
        chunks_of(rows), lambda chunk: chunk.select(pl.col(name).unique().implode() for name in names).collect()
    )
    return {name: {value for table in tables for value in table[name].item()} for name in names}
