"""HELM's own robustness and fairness, with its two denominators."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.stats.encoded_rows import STRATUM, Flags, Floats, lengths, merge_names, starts_of, sums
from helmframe.stats.estimate import group_keys
from helmframe.stats.frames import protect_columns
from helmframe.stats.robustness import MADE
from helmframe.stats.variants import Variants, variants_of

FAMILIES = ("robustness", "fairness")
ALL_INSTANCES = "all instances"
CHANGED = "instances it changed"
HELM = {
    "original": pl.Float64(),
    "perturbed": pl.Float64(),
    "worst": pl.Float64(),
    "denominator": pl.String(),
    "n": pl.Int64(),
}


@protect_columns("by")
def helm_definition(
    scores: pl.LazyFrame | pl.DataFrame, by: Sequence[str], *, families: Mapping[str, Collection[str]]
) -> pl.DataFrame:
    """Compute robustness as HELM does: the lowest score over each instance's original and variants, then means.

    A copy that its perturbation left unchanged does not exist in HELM. Hence there are two denominators. The worst of a
    family is over all instances; instances without a changed variant count with their original score. The numbers of a
    single perturbation are over the instances that it changed. The lowest score is used for every metric, including
    those where lower is better. Means are over instances, then over trials, then over runs (scenario, subset, model,
    setting), each unweighted. There are no intervals. Instances with a failed request are excluded from the worst.

    >>> from helmframe.stats.frames import as_scores
    >>> scores = pl.DataFrame({"instance_id": list("abcd") * 2, "perturbation": ["original"] * 4 + ["typos"] * 4,
    ...                        "score": [1, 1, 1, 0, 1, 0, 0, 0]})
    >>> table = helm_definition(as_scores(scores), by=[], families={"typos": ["robustness"]})
    >>> table.select("perturbation", "original", "perturbed", "worst", "n").rows()[1::2]
    [('robustness', 0.75, None, 0.25, 4), ('typos', 0.75, 0.25, 0.25, 4)]

    Args:
        scores: `SCORES`, with `changed` as in HELM: whether the input changed.
        by: As in `aggregate`; HELM also separates split and sub_split.
        families: A dict of perturbation → the families that it belongs to, "robustness" and "fairness".

    Returns:
        `by`, metric, perturbation, perturbation_seed, original, perturbed, worst, denominator and n (instances in it).
        The rows are "original" (all instances), "robustness" and "fairness" (no perturbed value, no seed), and each
        perturbation and seed (original: of the instances that it changed).

    Source: crfm-helm helm/benchmark/metrics/metric.py, compute_worst_case_metrics.
    """
    keys = [*group_keys(scores, by, MADE), "metric"]
    included = (pl.col("perturbation") == ORIGINAL) | pl.col("changed").fill_null(value=True)
    lazy = scores.lazy()
    metrics = lazy.select(pl.col("metric").unique()).collect()["metric"]
    variants = variants_of(lazy.filter(included), keys, dict.fromkeys(metrics, True))
    is_original = variants.variant == 0
    originals = _originals(variants)

    tables = [_row(variants, keys, (ORIGINAL, None), ALL_INSTANCES, original=(originals, is_original))]
    for family in FAMILIES:
        members = [True] + [family in families.get(name, ()) for name in variants.kinds["perturbation"][1:]]
        inside = np.array(members)[variants.variant]
        worst, first = _lowest(variants, inside)
        values = {"original": (originals, is_original), "worst": (worst, first)}
        tables.append(_row(variants, keys, (family, None), ALL_INSTANCES, **values))
    for number, (name, seed) in enumerate(variants.kinds.rows()):
        if number:
            inside = variants.variant == number
            worst = np.where(np.isnan(originals), variants.score, np.minimum(originals, variants.score))
            levels = {"original": originals, "perturbed": variants.score, "worst": worst}
            values = {level: (value, inside) for level, value in levels.items()}
            tables.append(_row(variants, keys, (name, seed), CHANGED, **values))
    order = {name: position for position, name in enumerate([ORIGINAL, *FAMILIES])}
    position = pl.col("perturbation").replace_strict(order, default=len(order))
    return pl.concat(tables).sort(*keys, position, "perturbation", "perturbation_seed")


def _originals(variants: Variants) -> Floats:
    """Return the original's score for every variant; NaN if it has none."""
    instance = variants.rows.cell * variants.rows.units + variants.rows.unit
    starts = starts_of(instance)
    first = np.where(variants.variant[starts] == 0, variants.score[starts], np.nan)
    return np.repeat(first, lengths(starts, len(instance)))


def _lowest(variants: Variants, inside: "Flags") -> "tuple[Floats, Flags]":
    """Return an instance's lowest score over the rows of the mask, and its first row."""
    instance = variants.rows.cell * variants.rows.units + variants.rows.unit
    rows = np.flatnonzero(inside)
    starts = starts_of(instance[rows])
    lowest = np.minimum.reduceat(variants.score[rows], starts) if len(starts) else variants.score[:0]
    first = np.zeros(len(instance), dtype=np.bool_)
    first[rows[starts]] = True
    worst = np.full(len(instance), np.nan)
    worst[rows[starts]] = lowest
    return worst, first


def _row(
    variants: Variants,
    keys: Sequence[str],
    name: tuple[str, int | None],
    denominator: str,
    **values: "tuple[Floats, Flags]",
) -> pl.DataFrame:
    """Return the means of these values, each over its own rows."""
    height = variants.rows.cells.height
    columns: dict[str, pl.Series] = {}
    for level, (value, inside) in values.items():
        rows = inside & ~np.isnan(value)
        cell, number = variants.rows.cell[rows], value[rows]
        starts = starts_of(cell)
        mean = np.full(height, np.nan)
        mean[cell[starts]] = sums(number, starts) / lengths(starts, len(cell))
        columns[level] = pl.Series(mean).fill_nan(None)
        columns["n"] = pl.Series(np.bincount(cell, minlength=height), dtype=pl.Int64)
    run = merge_names(keys, (*STRATUM, "model", "setting"))
    levels = [level for level in columns if level != "n"]
    table = (
        variants.rows.cells.with_columns(**columns)
        .group_by(run)
        .agg(pl.col(levels).mean(), n=pl.col("n").max())
        .group_by(keys)
        .agg(pl.col(levels).mean(), n=pl.col("n").sum())
        .filter(pl.col("n") > 0)
        .with_columns(denominator=pl.lit(denominator))
    )
    absent = [pl.lit(None, dtype=dtype).alias(level) for level, dtype in HELM.items() if level not in table.columns]
    return table.with_columns(absent).select(
        *keys,
        pl.lit(name[0]).alias("perturbation"),
        pl.lit(name[1], dtype=pl.Int64).alias("perturbation_seed"),
        *(pl.col(level).cast(dtype) for level, dtype in HELM.items()),
    )
