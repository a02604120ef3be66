"""The table of scores of any frame: `aggregate`, grouped by what varies in it."""

from collections.abc import Collection, Sequence

import polars as pl

from helmframe.columns import ORIGINAL
from helmframe.errors import UnknownNameError
from helmframe.stats.aggregate import aggregate
from helmframe.stats.fold import Rows, chunks_of, each_chunk
from helmframe.stats.frames import as_scores

# What may tell the rows of a table apart, in this order.
AXES = ("scenario", "split", "model", "setting", "perturbation")


def table(
    scores: Rows,
    by: str | Sequence[str] | None = None,
    *,
    metrics: str | Sequence[str] | None = None,
    ci: float = 0.95,
    mean: str = "macro",
    pivot: str | None = None,
    fractions: Collection[str] | None = None,
) -> pl.DataFrame:
    """Aggregated scores, one row per group and metric, each with its interval.

    Args:
        scores: any frame of the documented schema (`hf.columns("scores")`): instance_id and score, and of the rest what
            there is; a score of null is a request that failed. Or a list of lazy ones, each with its instances whole.
        by: columns whose values make a group; default those of scenario, split, model, setting and perturbation that
            have several. Everything else is averaged: first over the outputs, seeds and trials of an instance.
        metrics: which; default all.
        ci: share of intervals that should contain the true value.
        mean: over parts (scenario × part) alike ("macro") or by their instances ("micro").
        pivot: one of `by`: its values become columns that hold `value`.
        fractions: metrics whose scores lie in [0, 1]; default those whose scores are all 0 or 1.

    Returns:
        `by`, metric and the columns of `STATS`; `interval` names the method, or says why there is no interval.

    Raises:
        ArgumentError: no such frame; ci or mean can't be.
        UnknownNameError: a column, metric or pivot that is not there.

    Source: as in `aggregate`.
    """
    rows = as_scores(scores)
    if metrics is not None:
        names = [metrics] if isinstance(metrics, str) else list(metrics)
        known = _values(rows, ["metric"])["metric"]
        for name in names:
            if name not in known:
                raise UnknownNameError.among("metric of these scores", name, sorted(map(str, known)))
        rows = [chunk.filter(pl.col("metric").is_in(names)) for chunk in chunks_of(rows)]
    keys = _varied(rows) if by is None else [by] if isinstance(by, str) else list(by)
    keys = [key for key in keys if key != "metric"]
    found = in_order(aggregate(rows, keys, ci=ci, mean=mean, fractions=fractions), keys)
    return found if pivot is None else pivoted(found, keys, pivot)


def in_order(found: pl.DataFrame, keys: Sequence[str], metrics: Sequence[str] = ()) -> pl.DataFrame:
    """The table sorted by its keys, the original first among its perturbations, and metrics in their order if any."""
    sorts = [pl.col(key) != ORIGINAL if key == "perturbation" else pl.col(key) for key in keys]
    order = {name: place for place, name in enumerate(metrics)}
    last = pl.col("metric").replace_strict(order, default=None, return_dtype=pl.Int64) if metrics else pl.col("metric")
    return found.sort(*sorts, *keys, last, maintain_order=True)


def pivoted(found: pl.DataFrame, keys: Sequence[str], pivot: str) -> pl.DataFrame:
    """The values of a table, with those of one of its keys as columns.

    Raises:
        UnknownNameError: no such key.
    """
    if pivot not in keys:
        raise UnknownNameError.among("column of this table", pivot, keys)
    return found.pivot(pivot, index=[*(key for key in keys if key != pivot), "metric"], values="value")


def _varied(rows: Rows) -> list[str]:
    there = chunks_of(rows)[0].collect_schema()
    values = _values(rows, [name for name in AXES if name in there])
    return [name for name, found in values.items() if len(found) > 1]


def _values(rows: Rows, names: Sequence[str]) -> dict[str, set[object]]:
    """The distinct values of some columns."""
    found = each_chunk(
        chunks_of(rows), lambda chunk: chunk.select(pl.col(name).unique().implode() for name in names).collect()
    )
    return {name: {value for each in found for value in each[name].item()} for name in names}
