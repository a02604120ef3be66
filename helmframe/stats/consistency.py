"""Whether the answer stays the same under a perturbation, right or wrong."""

from collections.abc import Sequence

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.stats.cluster_index import INSTANCE, VARIANT, merge_names
from helmframe.stats.error_bars import with_interval
from helmframe.stats.estimate import estimate, group_keys
from helmframe.stats.frames import protect_columns
from helmframe.stats.robustness import ALL
from helmframe.stats.variants import RUN_KEYS

CONSISTENCY = {
    "consistency": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "always": pl.Float64(),
    "k": pl.Int64(),
    "n": pl.Int64(),
    "n_dropped": pl.Int64(),
}


@protect_columns("by")
def consistency(
    answers: pl.LazyFrame | pl.DataFrame, by: Sequence[str], *, ci: float = 0.95, mean: str = "macro"
) -> pl.DataFrame:
    """The share of instances whose answer stays the same under each perturbation, and under all together ("all").

    A model can be consistent and wrong: read it beside the score. Two answers that can't be read are the same; where
    one of the two failed there is no pair. It does not fold: all answers are read at once.

    Args:
        answers: one row per completion: scenario, subset, cluster, instance_id, perturbation, perturbation_seed, model,
            setting, trial, output_index, `answer` (null: unreadable) and `failed`; variants that were not changed are
            none of them, unless they were asked again on purpose.
        by: as in `aggregate`; the perturbation is always one of them.
        ci: as in `aggregate`.
        mean: as in `aggregate`.

    Returns:
        `by`, perturbation, consistency (mean over variants), ci_low, ci_high, interval, always (share of the instances
        that keep their answer in all of them), k (most variants of an instance), n, n_dropped (instances with a pair
        that failed).

    Raises:
        UnknownNameError: a column in `by` that the answers don't have.
    """
    keys = [*group_keys(answers, by, VARIANT), "perturbation"]
    on = ["scenario", "instance_id", *RUN_KEYS, "output_index"]
    rows = answers.lazy().with_columns(cluster=pl.coalesce("cluster", "instance_id"))
    originals = rows.filter(pl.col("perturbation") == ORIGINAL).select(*on, original="answer", original_failed="failed")
    perturbed = (
        rows.filter(pl.col("perturbation") != ORIGINAL)
        .join(originals, on=on, how="inner", nulls_equal=True)
        .with_columns(
            same=pl.when(~pl.col("failed") & ~pl.col("original_failed")).then(
                pl.col("answer").eq_missing(pl.col("original")).cast(pl.Float64)
            ),
            variant=pl.struct(VARIANT),
        )
    )
    pairs = pl.concat([perturbed, perturbed.with_columns(perturbation=pl.lit(ALL))]).collect()
    every = _always(pairs, keys)
    share = with_interval(estimate(pairs, keys, "same", mean=mean), pl.lit(value=True), ci=ci)
    always = estimate(every, keys, "always", mean=mean).select(*keys, always="value")
    counts = every.group_by(keys).agg(
        k=pl.col("k").max(),
        n_dropped=pl.struct("scenario", "instance_id").filter(pl.col("always").is_null()).n_unique(),
    )
    return (
        counts.join(share, on=keys, how="left", nulls_equal=True)
        .join(always, on=keys, how="left", nulls_equal=True)
        .with_columns(
            pl.col("n").fill_null(0),
            pl.col("interval").fill_null("no interval: nothing was answered"),
            consistency="value",
        )
        .select(*keys, *(pl.col(name).cast(dtype) for name, dtype in CONSISTENCY.items()))
        .sort(keys)
    )


def _always(pairs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """One row per instance as it was asked: whether all its variants have the answer of the original."""
    grain = merge_names(keys, (*INSTANCE, *RUN_KEYS))
    whole = pl.when(pl.col("same").is_not_null().all()).then(pl.col("same").min())
    return pairs.group_by(grain).agg(always=whole, k=pl.col("variant").n_unique())
