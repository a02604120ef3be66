"""Metrics over pairs of an output and one correct reference: all of a shard in one frame, the best reference counts."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from helmframe.metrics.row_functions import VALUE
from helmframe.metrics.shared import base_columns, with_shared

GOLD = "gold"
ROW = "pair_row"


def best_of_pairs(
    values: Mapping[str, pl.Expr], higher_is_better: Mapping[str, bool | None], columns: Sequence[str]
) -> pl.Expr:
    """Per row the best of each value over its correct references, as a struct with a field (`VALUE`) per name.

    What the values share, such as normalised texts, is computed once. A row without a correct reference has null.

    Args:
        values: name → an expression over `columns` and `gold` that gives `VALUE`.
        higher_is_better: of each name.
        columns: what the expressions read; those of `shared` are made here.
    """
    fields = pl.Struct(dict.fromkeys(values, VALUE))
    read = ["correct", *(name for name in base_columns(columns) if name not in (GOLD, "correct"))]

    def over(inputs: Any) -> pl.Series:
        frame = pl.DataFrame([series.alias(name) for name, series in zip(read, inputs, strict=True)])
        # what is made of the output, before each reference gets a row of its own
        rows = with_shared(frame.with_row_index(ROW).lazy(), columns)
        pairs = rows.rename({"correct": GOLD}).explode(GOLD, empty_as_null=True)
        scored = with_shared(pairs, columns).select(
            ROW, *(expression.alias(name) for name, expression in values.items())
        )
        if frame["correct"].list.len().max() not in (None, 0, 1):
            scored = scored.group_by(ROW, maintain_order=True).agg(
                _best(name, lowest=higher_is_better[name] is False) for name in values
            )
        return scored.drop(ROW).collect(engine="in-memory").to_struct("best").cast(fields)

    return pl.map_batches(read, over, return_dtype=fields)


def over_pairs(pairs: pl.DataFrame, values: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Each value over the texts `output` and `gold` of any frame, beside each other."""
    roots = [root for expression in values.values() for root in expression.meta.root_names()]
    return with_shared(pairs.lazy(), roots).select(**values).collect(engine="in-memory")


def _best(name: str, *, lowest: bool) -> pl.Expr:
    score, reason = pl.col(name).struct.field("score"), pl.col(name).struct.field("reason")
    return pl.struct(score=score.min() if lowest else score.max(), reason=reason.drop_nulls().first()).alias(name)
