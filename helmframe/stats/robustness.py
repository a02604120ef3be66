"""Effects of perturbations: levels, flips, the paired change, consistency, and the definition of HELM."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import UnknownNameError
from helmframe.stats.encoded_rows import (
    INSTANCE,
    STRATUM,
    VARIANT,
    Flags,
    Floats,
    Numbers,
    build_cluster_index,
    distinct,
    lengths,
    merge_names,
    stable_sum,
    starts_of,
    sums,
    totals,
)
from helmframe.stats.estimate import estimate, estimate_of, group_keys, weigh_strata
from helmframe.stats.frames import FoldContext, PartialAggregate, Rows, as_scores, fold, protect_columns
from helmframe.stats.intervals import with_interval
from helmframe.stats.sums import Sums, sums_of
from helmframe.stats.variants import RUN_KEYS, VariantGroups, Variants, combine_groups, group_variants, variants_of

ALL = "all"
# Groups of variants: one per perturbation.
BY_PERTURBATION = pl.col("perturbation")
MADE = ("metric", *VARIANT)
ROBUSTNESS = {
    "original": pl.Float64(),
    "perturbed": pl.Float64(),
    "worst": pl.Float64(),
    "k": pl.Int64(),
    "right_to_wrong": pl.Int64(),
    "wrong_to_right": pl.Int64(),
    "changed": pl.Float64(),
    "change": pl.Float64(),
    "change_low": pl.Float64(),
    "change_high": pl.Float64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_changed": pl.Int64(),
    "n_dropped": pl.Int64(),
}


@protect_columns("by")
def robustness(
    scores: Rows,
    by: Sequence[str],
    *,
    higher_is_better: Mapping[str, bool | None],
    fractions: Collection[str] = (),
    ci: float = 0.95,
    mean: str = "macro",
    placebo: str | None = None,
) -> pl.DataFrame:
    """Measure the effect of each perturbation, and of all together ("all"), on each metric.

    The headline is the change: perturbed − original of the same instance, over the variants that were changed, with a
    cluster interval. Negative is worse for a higher-is-better metric. `worst` gets worse with `k`, even for a model
    that is only noisy, so compare it only at the same k and perturbations.

    >>> scores = pl.DataFrame({"instance_id": list("abcd") * 2, "perturbation": ["original"] * 4 + ["typos"] * 4,
    ...                        "score": [1, 1, 1, 0, 1, 0, 0, 0]})
    >>> table = robustness(scores, by=[], higher_is_better={"score": True})
    >>> table.select("perturbation", "original", "perturbed", "worst", "change", "right_to_wrong").row(-1)
    ('typos', 0.75, 0.25, 0.25, -0.5, 2)

    Args:
        scores: `SCORES`, including originals; a frame or chunks, as in `aggregate`.
        by: As in `aggregate`; the perturbation is always a key.
        higher_is_better: A dict of metric → direction, for every metric in the scores. With None the metric has no
            direction, and worst, right_to_wrong and wrong_to_right are null.
        fractions: The metrics whose scores are in [0, 1]. Their change stays within ±1, also if nothing flipped.
        ci: As in `aggregate`.
        mean: As in `aggregate`.
        placebo: A perturbation that changes nothing ("rerun") and measures noise. It does not count in "all", and its
            change is over all its completions. The table adds the change beyond the placebo's on the same instances.

    Returns:
        `by`, metric, perturbation, then original, perturbed (mean over variants) and worst (of the original and the
        variants), all over the `n` instances whose original and variants were all scored (n_dropped were not); k
        (variants; null, as worst, if scenarios differ in it); right_to_wrong, wrong_to_right (variants; null unless
        scores are 0 or 1); changed (share of variants whose input or references changed); change, change_low,
        change_high, interval, n_changed (instances with a changed variant). With a placebo also excess (change − the
        placebo's change, paired), excess_low, excess_high, n_placebo (instances with both). The rows are sorted; there
        are none without perturbations.

    Raises:
        ArgumentError: If a metric is missing in `higher_is_better`.
        UnknownNameError: If a column of `by`, or the placebo, is unknown.

    Source: Liang et al. 2022 (HELM) §4.3; the interval as in `estimate`.
    """
    scores = as_scores(scores)
    keys = [*group_keys(scores, by, MADE), "metric"]
    undirected = [metric for metric, higher in higher_is_better.items() if higher is None]
    directions = {metric: bool(higher) for metric, higher in higher_is_better.items()}
    combined = fold(scores, partial(_robustness_chunk, keys=keys, higher_is_better=directions, placebo=placebo))
    by = [*keys, "perturbation"]
    if placebo is not None and combined.variants is not None:
        perturbations = combined.variants["perturbation"].unique().sort()
        if placebo not in perturbations:
            hint = "Add it with .perturb('rerun')."
            raise UnknownNameError.among("perturbation of these scores", placebo, perturbations, hint=hint)

    def differences(name: str) -> pl.DataFrame:
        tables = [estimate_of(combined.sums[f"{name} {group}"], by, mean=mean) for group in _GROUPS]
        estimates = pl.concat(tables)
        return with_interval(estimates, pl.col("metric").is_in(list(fractions)), ci=ci, least=-1.0)

    directed = ~pl.col("metric").is_in(undirected)
    change = differences("change")
    table = (
        sizes(combined, keys)
        .join(_levels(combined.counts["levels"], by, mean), on=by, how="left", nulls_equal=True)
        .join(_flips(combined.counts["flips"], by), on=by, how="left", nulls_equal=True)
        .join(
            _rename_interval(change, by, "change", "n_changed").with_columns(change["interval"]),
            on=by,
            how="left",
            nulls_equal=True,
        )
        .with_columns(
            pl.col("n", "n_changed").fill_null(0),
            pl.when(pl.col("k").is_not_null() & directed).then("worst"),
            pl.when(directed).then("right_to_wrong").alias("right_to_wrong"),
            pl.when(directed).then("wrong_to_right").alias("wrong_to_right"),
            pl.col("interval").fill_null("no interval: no input was changed"),
        )
        .sort(by)
    )
    names = [pl.col(name).cast(dtype) for name, dtype in ROBUSTNESS.items()]
    if placebo is None:
        return table.select(*by, *names)
    excess = _rename_interval(differences("excess"), by, "excess", "n_placebo")
    return (
        table.select(*by, *names)
        .join(excess, on=by, how="left", nulls_equal=True, maintain_order="left")
        .with_columns(pl.col("n_placebo").fill_null(0))
    )


def count_instances(variants: Variants, keys: Sequence[str]) -> pl.DataFrame:
    """Return per group and scenario the number of instances, perturbed or not: `keys`, scenario, every."""
    groups, group = variants.rows.index_by(merge_names(keys, ("scenario",)))
    units = variants.rows.units
    count = np.bincount(distinct(group * units + variants.rows.unit) // units, minlength=groups.height)
    return groups.with_columns(every=pl.Series(count, dtype=pl.Int64))


def count_complete(part: VariantGroups, keys: Sequence[str]) -> pl.DataFrame:
    """Return per group, perturbation and scenario k and the number of instances complete in all runs (whole)."""
    units = part.rows.units
    groups, group = part.rows.index_by(merge_names([*keys, "perturbation"], ("scenario",)))
    key = group * units + part.rows.unit
    order = np.argsort(key, kind="stable")
    starts = starts_of(key[order])
    whole = sums((~part.complete[order]).astype(np.int64), starts) == 0
    count = np.bincount(key[order][starts][whole] // units, minlength=groups.height)
    k = np.zeros(groups.height, dtype=np.int64)
    k[group] = part.k[part.rows.cell]
    return groups.with_columns(k=pl.Series(k), whole=pl.Series(count, dtype=pl.Int64))


def sizes(combined: PartialAggregate, keys: Sequence[str]) -> pl.DataFrame:
    """Return per group and perturbation k (null if scenarios differ in it) and n_dropped, from all chunks."""
    on = merge_names(keys, ("scenario",))
    every = combined.counts["every"].group_by(on).agg(pl.col("every").sum())
    whole = (
        combined.counts["whole"]
        .group_by(merge_names([*keys, "perturbation"], ("scenario",)))
        .agg(pl.col("k").first(), pl.col("whole").sum())
    )
    most, least = pl.col("k").max(), pl.col("k").min()
    return (
        whole.join(every, on=on, how="left", nulls_equal=True)
        .group_by([*keys, "perturbation"])
        .agg(k=pl.when(most == least).then(least), n_dropped=(pl.col("every") - pl.col("whole")).sum())
    )


# All perturbations together, and single perturbations.
_GROUPS = (ALL, "each")


def _robustness_chunk(
    scores: pl.LazyFrame,
    context: FoldContext,
    *,
    keys: Sequence[str],
    higher_is_better: Mapping[str, bool],
    placebo: str | None,
) -> PartialAggregate:
    variants = variants_of(scores, keys, higher_is_better, coverage=context.variants)
    all_but = pl.when(pl.lit(placebo is None) | (pl.col("perturbation") != pl.lit(placebo))).then(pl.lit(ALL))
    singles = group_variants(variants, keys, BY_PERTURBATION)
    parts = dict(zip(_GROUPS, (combine_groups(singles, variants, keys, all_but), singles), strict=True))
    by = [*keys, "perturbation"]
    value_sums: dict[str, Sums] = {}
    for name, part in parts.items():
        changed = part.complete & (part.altered > 0)
        values = {"change": (part.change, changed, part.altered)}
        if placebo is not None:
            # a placebo changes no input, so its change is over all its completions
            is_placebo = (part.rows.cells["perturbation"] == placebo).to_numpy()[part.rows.cell]
            change = np.where(is_placebo, part.total - part.scored * part.original, part.change)
            values["change"] = (
                change,
                changed | (is_placebo & part.complete),
                np.where(is_placebo, part.scored, part.altered),
            )
            beyond = _excess_changes(part, *_placebo_changes(parts["each"], placebo))
            values["excess"] = (beyond, changed & ~np.isnan(beyond), part.altered)
        for value, (column, mask, count) in values.items():
            value_sums[f"{value} {name}"] = sums_of(part.rows, by, column, mask, count=count, named=context.named)
    tables = parts.values()
    counts = {
        "every": count_instances(variants, keys),
        "whole": pl.concat([count_complete(part, keys) for part in tables]),
        "levels": pl.concat([_levels_in(part, by) for part in tables]),
        "flips": pl.concat([_flips_in(part, by) for part in tables]),
    }
    return PartialAggregate(value_sums, counts, variants.coverage)


def _levels_in(part: VariantGroups, by: Sequence[str]) -> pl.DataFrame:
    """Return per stratum the complete instances (size), and their sums of original, perturbed and worst."""
    with np.errstate(invalid="ignore", divide="ignore"):
        perturbed = part.total / part.scored
    nest = build_cluster_index(part.rows, by, part.complete, None)
    values = {"original": part.original, "perturbed": perturbed, "worst": part.worst}
    return nest.table.with_columns(
        **{name: pl.Series(totals(nest, value[part.complete])) for name, value in values.items()}
    )


def _levels(strata: pl.DataFrame, by: Sequence[str], mean: str) -> pl.DataFrame:
    names = ("original", "perturbed", "worst")
    whole = strata.group_by(merge_names(by, STRATUM)).agg(pl.col("size", *names).sum())
    means = [stable_sum(pl.col("weight") * pl.col(name) / pl.col("size")).alias(name) for name in names]
    return weigh_strata(whole, by, mean).group_by(by).agg(*means, n=pl.col("size").sum().cast(pl.Int64))


def _flips_in(part: VariantGroups, by: Sequence[str]) -> pl.DataFrame:
    """Count the variants of complete instances: worse, better, altered, scored; and fractional scores."""
    cell, height = part.rows.cell[part.complete], part.rows.cells.height
    counts = {
        "worse": part.worse, "better": part.better, "altered": part.altered, "scored": part.scored,
        "fractional": ~part.binary,
    }  # fmt: skip
    summed = {
        name: pl.Series(np.bincount(cell, weights=count[part.complete], minlength=height), dtype=pl.Int64)
        for name, count in counts.items()
    }
    return part.rows.cells.with_columns(**summed).group_by(by).agg(pl.col(*counts).sum())


def _flips(counts: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return flips (null unless all scores are 0 or 1) and the share changed."""
    names = [name for name in counts.columns if name not in by]
    binary = pl.when(pl.col("fractional") == 0)
    return (
        counts.group_by(by)
        .agg(pl.col(names).sum())
        .filter(pl.col("scored") > 0)
        .select(
            *by,
            right_to_wrong=binary.then("worse"),
            wrong_to_right=binary.then("better"),
            changed=pl.col("altered") / pl.col("scored"),
        )
    )


def _rename_interval(estimates: pl.DataFrame, by: Sequence[str], name: str, n: str) -> pl.DataFrame:
    ends = {"value": name, "ci_low": f"{name}_low", "ci_high": f"{name}_high", "n": n}
    return estimates.select(*by, *(pl.col(column).alias(renamed) for column, renamed in ends.items()))


def _placebo_changes(singles: VariantGroups, placebo: str) -> "tuple[Numbers, Floats]":
    """Return the instances with a placebo, sorted, and the placebo's mean − the original."""
    of_placebo = (singles.rows.cells["perturbation"] == placebo).to_numpy()[singles.rows.cell] & singles.complete
    instance = singles.instance[of_placebo]
    change = singles.total[of_placebo] / singles.scored[of_placebo] - singles.original[of_placebo]
    order = np.argsort(instance)
    return instance[order], change[order]


def _excess_changes(part: VariantGroups, instances: Numbers, changes: Floats) -> Floats:
    """Return per row the sum over altered variants of change − the placebo's change; NaN without a placebo."""
    if not len(instances):
        return part.change * np.nan
    index = np.minimum(np.searchsorted(instances, part.instance), len(instances) - 1)
    matches = instances[index] == part.instance
    return np.where(matches, part.change - part.altered * changes[index], np.nan)


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
    """Measure the share of instances whose output is the same under each perturbation, and under all ("all").

    A model can be consistent and wrong, so read the consistency together with the score. Two unparsed outputs are
    equal. If one of the two requests failed, the pair is dropped. All outputs are read at once.

    >>> outputs = pl.DataFrame({"instance_id": list("ab") * 2, "perturbation": ["original"] * 2 + ["typos"] * 2,
    ...                         "answer": ["A", "B", "A", "C"], "failed": False})
    >>> texts = {name: pl.lit("") for name in ("scenario", "subset", "cluster", "model", "setting")}
    >>> outputs = outputs.with_columns(**texts, perturbation_seed=0, trial=0, output_index=0)
    >>> consistency(outputs, by=[]).select("perturbation", "consistency", "k", "n").row(-1)
    ('typos', 0.5, 1, 2)

    Args:
        answers: One row per completion: scenario, subset, cluster, instance_id, perturbation, perturbation_seed, model,
            setting, trial, output_index, `answer` (null: unparsed) and `failed`. Exclude variants that were not
            changed, unless they are intended reruns.
        by: As in `aggregate`; the perturbation is always a key.
        ci: As in `aggregate`.
        mean: As in `aggregate`.

    Returns:
        `by`, perturbation, consistency (mean over variants), ci_low, ci_high, interval, always (share of the instances
        with the same output in all variants), k (most variants of an instance), n, n_dropped (instances with a pair
        that failed).

    Raises:
        UnknownNameError: If a column of `by` is unknown.
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
    per_instance = _always(pairs, keys)
    share = with_interval(estimate(pairs, keys, "same", mean=mean), pl.lit(value=True), ci=ci)
    always = estimate(per_instance, keys, "always", mean=mean).select(*keys, always="value")
    counts = per_instance.group_by(keys).agg(
        k=pl.col("k").max(),
        n_dropped=pl.struct("scenario", "instance_id").filter(pl.col("always").is_null()).n_unique(),
    )
    return (
        counts.join(share, on=keys, how="left", nulls_equal=True)
        .join(always, on=keys, how="left", nulls_equal=True)
        .with_columns(
            pl.col("n").fill_null(0),
            pl.col("interval").fill_null("no interval: no completions"),
            consistency="value",
        )
        .select(*keys, *(pl.col(name).cast(dtype) for name, dtype in CONSISTENCY.items()))
        .sort(keys)
    )


def _always(pairs: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Return per instance and run whether all its variants have the output of the original."""
    grain = merge_names(keys, (*INSTANCE, *RUN_KEYS))
    whole = pl.when(pl.col("same").is_not_null().all()).then(pl.col("same").min())
    return pairs.group_by(grain).agg(always=whole, k=pl.col("variant").n_unique())


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
