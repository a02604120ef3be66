"""The worst score of each instance as scores of their own, so that two sides' can be paired."""

from collections.abc import Mapping

import polars as pl

from helmframe.stats.robustness import ALL
from helmframe.stats.variants import describe_variants, group_variants, variants_of
from helmframe.stats.worst_at_k import expected_worst

WORST = "worst"


def worst_scores(
    scores: pl.LazyFrame | pl.DataFrame, *, higher_is_better: Mapping[str, bool], k: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The worst score per instance, model, setting and trial, and what it is the worst of.

    Args:
        scores: `SCORES`.
        higher_is_better: metric → direction.
        k: the expected worst of k draws of each perturbation, as in `worst_at_k`; None: the worst over the original
            and all variants, as in `worst_case`.

    Returns:
        Scores with perturbation "worst" (or the perturbation's name, with k), null where a variant failed; and
        scenario and variants: "original, typos × 2", with k the perturbations drawn from.
    """
    import numpy as np

    keys = ["metric", "model", "setting", "trial"]
    variants = variants_of(scores, keys, higher_is_better)
    if k is None:
        part = group_variants(variants, keys, pl.lit(ALL))
        rows, worst = part.rows, np.where(part.complete, part.worst, np.nan)
        pools = describe_variants(variants.coverage, ["scenario"])
    else:
        rows, worst, draws = expected_worst(variants, keys, k)
        enough = draws[rows.cell] >= k
        rows, worst = rows.others(rows.cells, rows.cell[enough], rows.unit[enough]), worst[enough]
        names = (
            rows.cells.filter(pl.Series(draws) >= k).select("scenario", "perturbation").unique().sort("perturbation")
        )
        pools = names.group_by("scenario").agg(variants=pl.col("perturbation").str.join(", "))
    named = rows.cells[rows.cell].hstack(rows.names[rows.unit])
    perturbation = pl.lit(WORST) if k is None else pl.col("perturbation")
    return (
        named.with_columns(
            perturbation=perturbation,
            perturbation_seed=pl.lit(0, dtype=pl.Int64),
            score=pl.Series(worst).fill_nan(None),
        ),
        pools.sort("scenario"),
    )
