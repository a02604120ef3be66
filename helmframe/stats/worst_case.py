"""The worst score of an instance over its variants: of the original and all of them, or of k draws (worst@k)."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import polars as pl

from helmframe._schema import ORIGINAL, STATS
from helmframe.stats.error_bars import with_interval
from helmframe.stats.estimate import add_counts, count_completions, estimate_of, group_keys
from helmframe.stats.fold import FoldContext, PartialAggregate, Rows, fold
from helmframe.stats.frames import as_scores, protect_columns
from helmframe.stats.robustness import ALL, MADE, instances_of, sizes, whole_in
from helmframe.stats.sums import sums_of
from helmframe.stats.variants import describe_variants, group_variants, variants_of


@protect_columns("by")
def worst_case(
    scores: Rows,
    by: Sequence[str],
    *,
    higher_is_better: Mapping[str, bool],
    ci: float = 0.95,
    mean: str = "macro",
    fractions: Collection[str] = (),
) -> pl.DataFrame:
    """The mean over instances of their worst score over the original and all variants.

    It falls with the number of variants whatever the model, so two of them compare only at the same k and
    perturbations, which the table names. The worst is taken per model, setting and trial, of the mean over outputs. An
    instance with a variant that failed has none: it is left out and counted in n_dropped.

    Args:
        scores: `SCORES`, originals among them; as in `aggregate`, also in chunks.
        by: as in `aggregate`, without the perturbation.
        higher_is_better: metric → direction, for every metric in the scores; worst is the lowest or the highest.
        ci: as in `aggregate`.
        mean: as in `aggregate`.
        fractions: as in `aggregate`.

    Returns:
        `by`, metric, the columns of `STATS`, k (variants, without the original; null, as the value, where scenarios
        differ in it), variants (which: "original, typos × 2"), n_dropped.

    Raises:
        ArgumentError: a metric whose direction is not told.

    Source: Liang et al. 2022 (HELM) §4.3.
    """
    scores = as_scores(scores)
    keys = [*group_keys(scores, by, MADE), "metric"]
    combined = fold(scores, partial(_worst_case_chunk, keys=keys, higher_is_better=higher_is_better))
    assert combined.variants is not None  # every chunk leaves them
    worst = estimate_of(combined.sums["worst"], keys, mean=mean)
    intervals = with_interval(worst, pl.col("metric").is_in(list(fractions)), ci=ci)
    variant_counts = sizes(combined, keys).drop("perturbation")
    same_k = pl.when(pl.col("k").is_not_null())
    return (
        add_counts(combined.counts["answers"], intervals, keys)
        .join(variant_counts, on=keys, how="left", nulls_equal=True)
        .join(describe_variants(combined.variants, keys), on=keys, how="left", nulls_equal=True)
        .with_columns(
            *(same_k.then(name).alias(name) for name in ("value", "stderr", "ci_low", "ci_high")),
            n_dropped=pl.col("n_dropped").fill_null(0),
            interval=pl.when(pl.col("k").is_not_null())
            .then("interval")
            .when(pl.col("variants") == ORIGINAL)
            .then(pl.lit("no interval: nothing was perturbed"))
            .otherwise(pl.lit("no interval: scenarios differ in k")),
        )
        .select([*keys, *(name for name in STATS.schema if name not in keys), "k", "variants", "n_dropped"])
        .sort(keys)
    )


def _worst_case_chunk(
    scores: pl.LazyFrame, context: FoldContext, *, keys: Sequence[str], higher_is_better: Mapping[str, bool]
) -> PartialAggregate:
    variants = variants_of(scores, keys, higher_is_better, coverage=context.variants, more=("parsed", "truncated"))
    part = group_variants(variants, keys, pl.lit(ALL))
    return PartialAggregate(
        {"worst": sums_of(part.rows, keys, part.worst, part.complete, named=context.named)},
        {
            "answers": count_completions(variants.answers, keys),
            "every": instances_of(variants, keys),
            "whole": whole_in(part, keys),
        },
        variants.coverage,
    )
