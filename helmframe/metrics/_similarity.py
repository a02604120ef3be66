"""The metric `similarity`: similarity of meaning, by any function that embeds texts."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import Metric


def similarity(embed: Callable[[list[str]], Any], *, name: str = "similarity") -> Metric:
    """Return a metric: the cosine similarity between the embeddings of output and reference.

    The best of several correct references counts. A plan with this metric has no YAML form, because the metric
    contains a function.

    Args:
        embed: A function from a list of texts to a list of vectors: an array, a tensor on the CPU, or lists. It is
            called once per shard, with distinct texts.
        name: The name of the metric in tables.

    Raises:
        ArgumentError: `embed` is not a function. When scored: it returns another number of vectors than texts.

    >>> metric = similarity(lambda texts: [[len(text), 1.0] for text in texts])
    >>> metric.name, metric.unit, metric.low, metric.high
    ('similarity', 'cosine', -1.0, 1.0)

    Source: Reimers & Gurevych 2019 (Sentence-BERT).
    """
    if not callable(embed):
        raise ArgumentError(
            f"similarity({embed!r}): embed must be a function from a list of texts to a list of vectors."
        )

    def cosine() -> pl.Expr:
        """Return the cosine of the embeddings of output and reference."""
        return pl.map_batches(["output", "gold"], lambda columns: _cosines(embed, *columns), return_dtype=pl.Float64)

    return Metric(name, cosine, unit="cosine", higher_is_better=True, low=-1.0, high=1.0, registered=False)


def _cosines(embed: Callable[[list[str]], Any], outputs: pl.Series, golds: pl.Series) -> pl.Series:
    texts = pl.concat([outputs, golds]).drop_nulls().unique(maintain_order=True).to_list()
    if not texts:
        return pl.Series([None] * len(outputs), dtype=pl.Float64)
    vectors = np.asarray(embed(texts), dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ArgumentError(
            f"similarity(): embed returned an array of shape {vectors.shape} for {len(texts)} texts. It must return "
            "one row of numbers per text."
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1.0)
    row = {text: index for index, text in enumerate(texts)}
    pairs: Sequence[tuple[str | None, str | None]] = list(zip(outputs, golds, strict=True))
    return pl.Series(
        [
            None if output is None or gold is None else float(units[row[output]] @ units[row[gold]])
            for output, gold in pairs
        ],
        dtype=pl.Float64,
    )
