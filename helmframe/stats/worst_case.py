"""The worst score of an instance over its variants: over all of them, or expected over k seeds (worst@k)."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from math import comb

import numpy as np
import polars as pl

from helmframe._core.checks import is_integer
from helmframe._schema import ORIGINAL, STATS
from helmframe.errors import ArgumentError
from helmframe.stats.encoded_rows import (
    EncodedRows,
    Flags,
    Floats,
    Numbers,
    distinct,
    lengths,
    merge_names,
    starts_of,
    sums,
)
from helmframe.stats.estimate import FLAGS, add_counts, count_completions, estimate_of, group_keys
from helmframe.stats.frames import FoldContext, PartialAggregate, Rows, as_scores, fold, protect_columns
from helmframe.stats.intervals import with_interval
from helmframe.stats.robustness import ALL, BY_PERTURBATION, MADE, count_complete, count_instances, sizes
from helmframe.stats.sums import sums_of
from helmframe.stats.variants import (
    Variants,
    cells_of,
    counts_of,
    describe_variants,
    group_names,
    group_variants,
    variants_of,
)


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
    """Compute the mean over instances of their worst score over the original and all variants.

    The value gets worse with the number of variants, for any model. Compare values only at the same k and
    perturbations, which the table names. The worst is per model, setting and trial, of the mean over outputs. An
    instance with a failed variant is excluded and counted in n_dropped.

    >>> scores = pl.DataFrame({"instance_id": list("abcd") * 2, "perturbation": ["original"] * 4 + ["typos"] * 4,
    ...                        "score": [1, 1, 1, 0, 1, 0, 0, 0]})
    >>> worst_case(scores, by=[], higher_is_better={"score": True}).select("value", "k", "variants").row(0)
    (0.25, 1, 'original, typos')

    Args:
        scores: `SCORES`, including originals; a frame or chunks, as in `aggregate`.
        by: As in `aggregate`, without the perturbation.
        higher_is_better: A dict of metric → direction, for every metric in the scores; worst is the lowest or the
            highest.
        ci: As in `aggregate`.
        mean: As in `aggregate`.
        fractions: As in `aggregate`.

    Returns:
        `by`, metric, the columns of `STATS`, k (the number of variants without the original; null, as the value, if
        scenarios differ in it), variants (their names: "original, typos × 2"), n_dropped.

    Raises:
        ArgumentError: If a metric has no direction.

    Source: Liang et al. 2022 (HELM) §4.3.
    """
    scores = as_scores(scores)
    keys = [*group_keys(scores, by, MADE), "metric"]
    combined = fold(scores, partial(_worst_case_chunk, keys=keys, higher_is_better=higher_is_better))
    assert combined.variants is not None  # set by every chunk
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
    variants = variants_of(scores, keys, higher_is_better, coverage=context.variants, more=FLAGS)
    part = group_variants(variants, keys, pl.lit(ALL))
    return PartialAggregate(
        {"worst": sums_of(part.rows, keys, part.worst, part.complete, named=context.named)},
        {
            "answers": count_completions(variants.answers, keys),
            "every": count_instances(variants, keys),
            "whole": count_complete(part, keys),
        },
        variants.coverage,
    )


@protect_columns("by")
def worst_at_k(
    scores: Rows,
    by: Sequence[str],
    k: int,
    *,
    higher_is_better: Mapping[str, bool],
    ci: float = 0.95,
    mean: str = "macro",
    fractions: Collection[str] = (),
) -> pl.DataFrame:
    """Compute the mean over instances of the expected worst score of k seeds of one perturbation.

    The original isn't a seed. The worst score is averaged over all subsets of k among the K seeds. For scores of 0 and
    1, c of them 1, that is C(c,k)/C(K,k) (pass^k, the complement of pass@k). In general it is Σ C(K−i,k−1)/C(K,k)·s_(i)
    over the scores sorted from the worst. At k = 1 it is the mean over seeds. Runs with different numbers of seeds are
    comparable at the same k.

    >>> scores = pl.DataFrame({"instance_id": list("ab") * 4, "perturbation": ["typos"] * 8,
    ...                        "perturbation_seed": [0, 0, 1, 1, 2, 2, 3, 3], "score": [1, 1, 1, 0, 1, 1, 0, 0]})
    >>> table = worst_at_k(scores, by=[], k=2, higher_is_better={"score": True})
    >>> table.select(pl.col("value").round(3), "variants").row(0)  # (3/6 + 1/6) / 2
    (0.333, '2 of 4 seeds of typos')

    Args:
        scores: `SCORES`; a frame or chunks, as in `aggregate`.
        by: As in `aggregate`; the perturbation is always a key.
        k: The number of seeds.
        higher_is_better: A dict of metric → direction, for every metric in the scores; worst is the lowest or the
            highest.
        ci: As in `aggregate`.
        mean: As in `aggregate`.
        fractions: As in `aggregate`.

    Returns:
        `by`, metric, perturbation, the columns of `STATS`, k, variants ("4 of 8 seeds of typos"), n_dropped (instances
        with a failed seed). Perturbations with fewer than k seeds are skipped.

    Raises:
        ArgumentError: If no perturbation has k seeds, or a metric has no direction.

    Source: Chen et al. 2021 (arXiv 2107.03374) eq. 1; Yao et al. 2024 (τ-bench, arXiv 2406.12045) pass^k.
    """
    scores = as_scores(scores)
    keys = [*group_keys(scores, by, MADE), "metric"]
    if not is_integer(k) or k < 1:
        raise ArgumentError(f"worst_at_k(k={k!r}): k must be an integer ≥ 1.")
    combined = fold(scores, partial(_worst_at_k_chunk, keys=keys, k=k, higher_is_better=higher_is_better))
    keys = [*keys, "perturbation"]
    pools = _pools(combined.counts["draws"], keys, k)
    worst = estimate_of(combined.sums["worst"], keys, mean=mean)
    intervals = with_interval(worst, pl.col("metric").is_in(list(fractions)), ci=ci)
    dropped = combined.counts["dropped"].group_by(keys).agg(pl.col("n_dropped").sum())
    return (
        add_counts(combined.counts["answers"], intervals, keys)
        .join(pools, on=keys, how="inner", nulls_equal=True)
        .join(dropped, on=keys, how="left", nulls_equal=True)
        .with_columns(
            k=pl.lit(k, dtype=pl.Int64),
            variants=pl.format("{} of {} seeds of {}", pl.lit(k), "draws", "perturbation"),
        )
        .select([*keys, *(name for name in STATS.schema if name not in keys), "k", "variants", "n_dropped"])
        .sort(keys)
    )


def _worst_at_k_chunk(
    scores: pl.LazyFrame, context: FoldContext, *, keys: Sequence[str], k: int, higher_is_better: Mapping[str, bool]
) -> PartialAggregate:
    variants = variants_of(scores, keys, higher_is_better, coverage=context.variants, more=FLAGS)
    rows, worst, draws = expected_worst(variants, keys, k)
    by, mask = [*keys, "perturbation"], ~np.isnan(worst)
    return PartialAggregate(
        {"worst": sums_of(rows, by, worst, mask, named=context.named)},
        {
            "answers": count_completions(variants.answers, by),
            "draws": rows.cells.select(by).with_columns(draws=pl.Series(draws, dtype=pl.Int64)),
            "dropped": _dropped(rows, by, mask),
        },
        variants.coverage,
    )


def expected_worst(variants: Variants, keys: Sequence[str], k: int) -> tuple[EncodedRows, Floats, Numbers]:
    """Return per instance, run and perturbation the expected worst of k (NaN if a seed failed), and seeds per cell."""
    names, group = group_names(variants, BY_PERTURBATION)
    units, many = variants.rows.units, max(len(names), 1)
    inside = np.flatnonzero(variants.variant > 0)
    instance = variants.rows.cell[inside] * units + variants.rows.unit[inside]
    key = instance * many + group[variants.variant[inside]]
    sign = np.where(variants.higher, 1.0, -1.0)[variants.rows.cell[inside]]
    order = np.lexsort((sign * variants.score[inside], key))
    key, inside = key[order], inside[order]
    starts = starts_of(key)
    size = lengths(starts, len(key))
    cells, cell = cells_of(variants.rows.cells, key[starts] // many // units, key[starts] % many, names)
    draws = counts_of(variants, keys, cells, BY_PERTURBATION)
    rank_in_draws = np.arange(len(key)) - np.repeat(starts, size)
    weights = _weights(int(size.max(initial=0)), k)[np.repeat(size, size), rank_in_draws]
    # a NaN among the scores makes the sum NaN
    worst = np.where(size == draws[cell], sums(weights * variants.score[inside], starts), np.nan)
    return variants.rows.with_cells(cells, cell, key[starts] // many % units), worst, draws


def _weights(most: int, k: int) -> Floats:
    """Return row K, column i: the share of k-subsets of K seeds whose worst is the i-th from below; NaN if K < k."""
    weights = np.full((most + 1, max(most, 1)), np.nan)
    for total in range(k, most + 1):
        weights[total, :total] = [comb(total - 1 - i, k - 1) / comb(total, k) for i in range(total)]
    return weights


def _pools(cells: pl.DataFrame, keys: Sequence[str], k: int) -> pl.DataFrame:
    """Return the groups with at least k seeds in all their scenarios, and their smallest number of seeds."""
    pools = cells.group_by(keys).agg(pl.col("draws").min())
    enough = pools.filter(pl.col("draws") >= k)
    if enough.is_empty():
        most = ", ".join(
            f"{name!r} has {n}"
            for name, n in pools.group_by("perturbation").agg(pl.col("draws").max()).sort("perturbation").iter_rows()
        )
        raise ArgumentError(
            f"worst@{k}: no perturbation has {k} seeds ({most or 'there are no perturbations'}). Run the plan with "
            f".perturb(…, seeds={k})."
        )
    return enough


def _dropped(rows: EncodedRows, keys: Sequence[str], mask: Flags) -> pl.DataFrame:
    groups, group = rows.index_by(merge_names(keys, ("scenario",)))
    units = rows.units
    broken = np.bincount(distinct((group * units + rows.unit)[~mask]) // units, minlength=groups.height)
    return groups.with_columns(n_dropped=pl.Series(broken, dtype=pl.Int64))


WORST = "worst"


def worst_scores(
    scores: pl.LazyFrame | pl.DataFrame, *, higher_is_better: Mapping[str, bool], k: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the worst score per instance, model, setting and trial, and the variants that it is taken from.

    >>> from helmframe.stats.frames import as_scores
    >>> scores = pl.DataFrame({"instance_id": ["a", "b"] * 2, "perturbation": ["original"] * 2 + ["typos"] * 2,
    ...                        "score": [1, 1, 0, 1]})
    >>> worst, variants = worst_scores(as_scores(scores), higher_is_better={"score": True})
    >>> worst.select("instance_id", "perturbation", "score").rows()
    [('a', 'worst', 0.0), ('b', 'worst', 1.0)]

    Args:
        scores: `SCORES`.
        higher_is_better: A dict of metric → direction.
        k: The expected worst of k seeds of each perturbation, as in `worst_at_k`; None: the worst over the original and
            all variants, as in `worst_case`.

    Returns:
        Scores with perturbation "worst" (with k: the perturbation's name), null if a variant failed; and a table of
        scenario and variants: "original, typos × 2", with k the perturbations.
    """
    keys = ["metric", "model", "setting", "trial"]
    variants = variants_of(scores, keys, higher_is_better)
    if k is None:
        part = group_variants(variants, keys, pl.lit(ALL))
        rows, worst = part.rows, np.where(part.complete, part.worst, np.nan)
        pools = describe_variants(variants.coverage, ["scenario"])
    else:
        rows, worst, draws = expected_worst(variants, keys, k)
        enough = draws[rows.cell] >= k
        rows, worst = rows.with_cells(rows.cells, rows.cell[enough], rows.unit[enough]), worst[enough]
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
