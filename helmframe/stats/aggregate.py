"""Stage: scores → stats, each value with its interval."""

from collections.abc import Collection, Sequence
from functools import partial

import polars as pl

from helmframe._schema import STATS
from helmframe.stats.cluster_index import STRATUM, merge_names
from helmframe.stats.encoded_rows import encode_rows
from helmframe.stats.error_bars import with_interval
from helmframe.stats.estimate import add_counts, count_completions, estimate_of, floats, group_keys
from helmframe.stats.fold import FoldContext, PartialAggregate, Rows, fold
from helmframe.stats.frames import as_scores, protect_columns
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
    """The mean score of each metric in each group, over subsets, with its interval.

    Outputs, trials, seeds and whatever else `by` leaves together are averaged per instance first; clusters are what was
    drawn, subsets are fixed (`estimate`). Failed requests (score null) are left out of the value and counted. With one
    trial the interval is given these in-context examples; with several it is over draws of examples too.

    Args:
        scores: `SCORES`; or a list of frames of them, each with its instances whole: one or two are read at a time, and
            sums are kept. Clusters of several instances keep a row per group, several trials one per trial.
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
