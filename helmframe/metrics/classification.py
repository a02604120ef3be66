"""Metrics of a whole set of classified instances."""

from typing import TYPE_CHECKING, Any

import polars as pl

from helmframe.expressions import normalised
from helmframe.metrics.score import metric

if TYPE_CHECKING:
    from collections.abc import Sequence


@metric("classification_macro_f1", level="set", source="HELM, classification_metrics.py; sklearn.metrics.f1_score")
def classification_macro_f1() -> pl.Expr:
    """The unweighted mean, over the classes among the correct references, of each class's F1; texts normalised.

    Outputs outside these classes count as misses of their true class. Golds a a b, outputs a b b: F1 of a is 2/3, of b
    2/3, so 2/3.
    """

    def macro_f1(columns: "Sequence[pl.Series] | Any") -> float | None:
        frame = pl.DataFrame({"gold": columns[0], "output": columns[1]})
        if frame.is_empty():
            return None
        classes = frame["gold"].unique()
        gold = frame.group_by(label="gold").agg(gold=pl.len())
        said = frame.filter(pl.col("output").is_in(classes.to_list())).group_by(label="output").agg(said=pl.len())
        hits = frame.filter(pl.col("gold") == pl.col("output")).group_by(label="gold").agg(hits=pl.len())
        joined = gold.join(said, on="label", how="left").join(hits, on="label", how="left").fill_null(0)
        f1 = joined.select((2 * pl.col("hits") / (pl.col("gold") + pl.col("said"))).mean())
        return float(f1.item())

    answered = pl.col("completion").is_not_null()
    gold = normalised(pl.col("correct").list.first()).filter(answered & (pl.col("correct").list.len() > 0))
    output = normalised(pl.col("output").fill_null("")).filter(answered & (pl.col("correct").list.len() > 0))
    return pl.map_batches([gold, output], macro_f1, return_dtype=pl.Float64, returns_scalar=True)
