"""Scores → a table: `aggregate` for fixed groups, and `table`, grouped by what varies in the scores."""

from collections.abc import Collection, Sequence
from functools import partial

import polars as pl

from helmframe._schema import ORIGINAL, STATS
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.encoded_rows import STRATUM, encode_rows, merge_names
from helmframe.stats.estimate import add_counts, count_completions, estimate_of, floats, group_keys
from helmframe.stats.frames import (
    FoldContext,
    PartialAggregate,
    Rows,
    as_scores,
    chunks_of,
    fold,
    map_chunks,
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
) -> pl.DataFrame:
    """Compute the mean score of each metric in each group, over subsets, with its interval.

    Outputs, trials, seeds and whatever else `by` leaves together are averaged per instance first; clusters are what was
    drawn, subsets are fixed (`estimate`). Failed requests (score null) are left out of the value and counted. With one
    trial the interval is given these in-context examples; with several it is over draws of examples too.

    Args:
        scores: `SCORES`; or a list of frames of them, each with its instances whole: one or two are read at a time, and
            sums are kept. Clusters of several instances need a row per group, several trials one per trial.
        by: columns whose values make a group; "metric" is always one of them. Rows that differ in anything else, models
            and perturbations too, are averaged.
        ci: share of such intervals that should contain the true value.
        mean: "macro", subsets (scenario × subset) weigh alike; "micro", by their instances.
        fractions: metrics whose scores lie in [0, 1]: Wilson's interval where all scores are 0 or 1 (modified for
            clusters and subsets; Clopper–Pearson where all agree), else t, cut at 0 and 1. Of other metrics t. None:
            those whose scores are all 0 or 1.

    Returns:
        `by`, metric and the columns of `STATS`, sorted by `by` and metric. `interval` names the method and marks few
        clusters (< 20), small n (< 30) and subsets without any score.

    Raises:
        UnknownNameError: a column in `by` that the scores don't have.
        ArgumentError: ci or mean can't be.

    Source: Miller 2024 (arXiv 2411.00640); Korn & Graubard 1998; Pustejovsky & Tipton 2018.
    """
    scores = as_scores(scores)
    keys = [*group_keys(scores, by), "metric"]
    combined = fold(scores, partial(_aggregate_chunk, keys=keys))
    estimates = estimate_of(combined.sums["score"], keys, mean=mean)
    binary = pl.col("binary").all().over("metric")
    fraction = binary if fractions is None else pl.col("metric").is_in(list(fractions))
    intervals = with_interval(estimates, fraction, ci=ci)
    table = add_counts(combined.counts["answers"], intervals, keys)
    return table.select([*keys, *(name for name in STATS.schema if name not in keys)])


def _aggregate_chunk(scores: pl.LazyFrame, context: FoldContext, *, keys: Sequence[str]) -> PartialAggregate:
    rows = encode_rows(scores, merge_names(keys, (*STRATUM, "trial")), ["score", "parsed", "truncated"])
    sums = sums_of(rows, keys, *floats(rows.rows["score"]), named=context.named)
    return PartialAggregate({"score": sums}, {"answers": count_completions(rows, keys)})


# What may tell the rows of a table apart, in this order.
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
) -> pl.DataFrame:
    """Aggregate scores, one row per group and metric, each with its interval.

    Args:
        scores: any frame of the documented schema (`hf.schema("scores")`): instance_id and score, and of the rest what
            there is; a score of null is a request that failed. Or a list of lazy ones, each with its instances whole.
        by: Columns whose values make a group. The axes scenario, split, model, setting and perturbation make groups
            too, where they have several values, unless `pool` names them. Everything else is averaged: first over the
            outputs, seeds and trials of an instance.
        metrics: which; default all.
        ci: share of intervals that should contain the true value.
        mean: over subsets (scenario × subset) alike ("macro") or by their instances ("micro").
        pivot: One of the keys: its values become columns that hold `value`.
        pool: The axes to average over, such as "model"; True: all that are not in `by`.
        fractions: metrics whose scores lie in [0, 1]; default those whose scores are all 0 or 1.

    Returns:
        `by`, the other axes, metric and the columns of `STATS`; `interval` names the method, or says why there is no
        interval. Where an axis is pooled, `pooled` says what: "3 models, 2 perturbations".

    Raises:
        ArgumentError: no such frame; ci or mean can't be; a column in both `by` and `pool`.
        UnknownNameError: a column, metric or pivot that is not there.

    Source: as in `aggregate`.
    """
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
    result = sort_table(aggregate(rows, keys, ci=ci, mean=mean, fractions=fractions), keys)
    if pooled:
        label = [key for key in keys if key != pivot]
        groups = map_chunks(chunks_of(rows), lambda chunk: chunk.select(*label, *pooled).unique().collect())
        result = add_pooled(result, pl.concat(groups), label, pooled)
    return result if pivot is None else pivot_table(result, keys, pivot)


def pooled_axes(pool: str | Sequence[str] | bool, by: Sequence[str] = (), axes: Sequence[str] = AXES) -> list[str]:
    """Return the axes that `pool` names; True: all that are not in `by`.

    >>> pooled_axes(True, by=["model", "subject"])
    ['scenario', 'split', 'setting', 'perturbation']

    Raises:
        UnknownNameError: If it names something else.
        ArgumentError: If it names a column of `by`.
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
    """Return the table with `pooled`, which says per group how many values of each axis are averaged.

    Args:
        table: A table by `keys`, and perhaps other columns.
        groups: The values of `keys` and `pooled` that occur together.
        keys: Columns whose values make a group.
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
    """Sort a table by its keys, the original first among its perturbations, and metrics in their order if any."""
    sorts = [pl.col(key) != ORIGINAL if key == "perturbation" else pl.col(key) for key in keys]
    order = {name: position for position, name in enumerate(metrics)}
    last = pl.col("metric").replace_strict(order, default=None, return_dtype=pl.Int64) if metrics else pl.col("metric")
    return table.sort(*sorts, *keys, last, maintain_order=True)


def pivot_table(table: pl.DataFrame, keys: Sequence[str], pivot: str) -> pl.DataFrame:
    """Return the values of a table, with those of one of its keys as columns.

    Raises:
        UnknownNameError: no such key.
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
