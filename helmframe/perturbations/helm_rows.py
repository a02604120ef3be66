"""HELM's own streams over a frame, row by row: `random.Random(id)`, references drawn before the input."""

from collections.abc import Sequence
from random import Random
from typing import Any

import polars as pl

from helmframe._schema import REFERENCE
from helmframe.perturbations.registry import Stream

_BOTH = pl.Struct({"perturbed_input": pl.String, "perturbed_references": pl.List(REFERENCE)})


def by_row(frame: pl.LazyFrame, stream: Stream, fields: str, seed: int) -> pl.LazyFrame:
    """The frame with perturbed_input and perturbed_references as HELM's perturbation leaves them.

    Args:
        frame: `INSTANCES` with both columns; the random stream hangs on what follows the slash of `instance_id`.
        stream: the perturbation.
        fields: what it changes: "input", "references" or "both".
        seed: 0 is HELM's unseeded draw.
    """

    def over_batch(columns: list[pl.Series] | Any) -> pl.Series:
        rows = []
        for name, text, references in zip(*(each.to_list() for each in columns), strict=True):
            known = [each["text"] for each in references or ()] if fields != "input" else []
            texts = [*known, text] if fields != "references" else known
            changed = _drawn(stream, texts, stream_of(name, seed))
            new = changed.pop() if fields != "references" else text
            lifted = [each | {"text": own} for each, own in zip(references or (), changed, strict=False)]
            rows.append({"perturbed_input": new, "perturbed_references": lifted or references})
        return pl.Series(rows, dtype=_BOTH)

    columns = [pl.col("instance_id"), pl.col("perturbed_input"), pl.col("perturbed_references")]
    both = pl.map_batches(columns, over_batch, return_dtype=_BOTH, is_elementwise=True).alias("_both")
    return (
        frame.with_columns(both)
        .with_columns(
            perturbed_input=pl.col("_both").struct.field("perturbed_input"),
            perturbed_references=pl.col("_both").struct.field("perturbed_references"),
        )
        .drop("_both")
    )


def text_by_row(stream: Stream, text: pl.Expr, ids: pl.Expr, seed: int) -> pl.Expr:
    """One text column as HELM's perturbation leaves it, without references."""

    def over_batch(columns: list[pl.Series] | Any) -> pl.Series:
        texts, keys = columns
        each = keys if len(keys) == len(texts) else keys.new_from_index(0, len(texts))
        rows = zip(texts, each.cast(pl.String), strict=True)
        changed = [_drawn(stream, [text], stream_of(name, seed))[0] for text, name in rows]
        return pl.Series(texts.name, changed, dtype=pl.String)

    return pl.map_batches([text, ids], over_batch, return_dtype=pl.String, is_elementwise=True)


def stream_of(id: str | None, seed: int = 0) -> Random:
    """HELM's random numbers for an instance; 0 is its unseeded draw."""
    own = (id or "").rpartition("/")[2]
    return Random(f"{seed}{own}" if seed else own)  # noqa: S311 - text is perturbed with it, nothing kept secret


def _drawn(stream: Stream, texts: Sequence[str | None], random: Random) -> list[str | None]:
    """The texts changed; nulls stay and draw nothing."""
    changed = iter(stream([text for text in texts if text is not None], random))
    return [None if text is None else next(changed) for text in texts]
