"""The table of scores of any frame: `aggregate`, grouped by what varies in it."""

from collections.abc import Collection, Sequence

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.aggregate import aggregate
from helmframe.stats.cluster_index import merge_names
from helmframe.stats.fold import Rows, chunks_of, map_chunks
from helmframe.stats.frames import as_scores, protect_columns

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
    """Aggregated scores, one row per group and metric, each with its interval.

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
            raise ArgumentError(f"pool={name!r}: by={list(by)!r} makes groups of this axis. Name it in one of them.")
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
    """The table sorted by its keys, the original first among its perturbations, and metrics in their order if any."""
    sorts = [pl.col(key) != ORIGINAL if key == "perturbation" else pl.col(key) for key in keys]
    order = {name: position for position, name in enumerate(metrics)}
    last = pl.col("metric").replace_strict(order, default=None, return_dtype=pl.Int64) if metrics else pl.col("metric")
    return table.sort(*sorts, *keys, last, maintain_order=True)


def pivot_table(table: pl.DataFrame, keys: Sequence[str], pivot: str) -> pl.DataFrame:
    """The values of a table, with those of one of its keys as columns.

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
    """The distinct values of some columns."""
    tables = map_chunks(
        chunks_of(rows), lambda chunk: chunk.select(pl.col(name).unique().implode() for name in names).collect()
    )
    return {name: {value for table in tables for value in table[name].item()} for name in names}
