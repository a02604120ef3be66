"""What perturbations do to scores: the worst over the variants of an instance, and the paired drop."""

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from helmframe.columns import ORIGINAL, STATS
from helmframe.errors import ArgumentError
from helmframe.stats.estimate import (
    INSTANCE,
    coded,
    counted,
    decoded,
    estimate,
    group_keys,
    merged,
    summed,
    with_interval,
)

ALL = "all"
MADE = ("metric", "perturbation", "perturbation_seed")
ASKED = ("model", "setting", "trial")
ROBUSTNESS = {
    "perturbation": pl.String(),
    "original": pl.Float64(),
    "perturbed": pl.Float64(),
    "worst": pl.Float64(),
    "k": pl.Int64(),
    "right_to_wrong": pl.Int64(),
    "wrong_to_right": pl.Int64(),
    "changed": pl.Float64(),
    "drop": pl.Float64(),
    "drop_low": pl.Float64(),
    "drop_high": pl.Float64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_changed": pl.Int64(),
    "n_dropped": pl.Int64(),
}


def worst_case(
    scores: pl.LazyFrame | pl.DataFrame,
    by: Sequence[str],
    *,
    higher_is_better: Mapping[str, bool],
    ci: float = 0.95,
    mean: str = "macro",
    fractions: Collection[str] = (),
) -> pl.DataFrame:
    """The mean over instances of their worst score over the original and all variants: worst@k.

    It falls with k whatever the model, so two of them compare only at the same k and perturbations. The worst is taken
    per model, setting and trial, of the mean over outputs. An instance with a variant that failed has none: it is left
    out and counted in n_dropped.

    Args:
        scores: `SCORES`, originals among them.
        by: as in `aggregate`, without the perturbation.
        higher_is_better: metric → direction, for every metric in the scores.
        ci: as in `aggregate`.
        mean: as in `aggregate`.
        fractions: as in `aggregate`.

    Returns:
        `by`, metric, the columns of `STATS`, k (variants with the original; null, as the value, where scenarios
        differ in it) and n_dropped.

    Raises:
        ArgumentError: a metric whose direction is not told.

    Source: Liang et al. 2022 (HELM) §4.3.
    """
    scores = scores.lazy()
    keys = [*group_keys(scores, by, MADE), "metric"]
    asked = _asked(_pairs(scores, keys, higher_is_better).filter(pl.col("perturbation") == ALL), keys)
    worst = estimate(asked.filter("complete"), keys, "worst", mean=mean)
    differ = pl.col("k") != pl.col("k_most")
    intervals = with_interval(worst, pl.col("metric").is_in(list(fractions)), ci=ci)
    return (
        counted(intervals, scores, keys)
        .join(_sizes(scores, asked, keys), on=keys, how="left", nulls_equal=True)
        .with_columns(
            *(pl.when(~differ).then(name).alias(name) for name in ("value", "stderr", "ci_low", "ci_high")),
            k=pl.when(~differ).then("k"),
            n_dropped=pl.col("n_dropped").fill_null(0),
            interval=pl.when(pl.col("k").is_null())
            .then(pl.lit("no interval: nothing was perturbed"))
            .when(differ)
            .then(pl.lit("no interval: scenarios differ in k"))
            .otherwise("interval"),
        )
        .select([*keys, *(name for name in STATS.schema if name not in keys), "k", "n_dropped"])
    )


def robustness(
    scores: pl.LazyFrame | pl.DataFrame,
    by: Sequence[str],
    *,
    higher_is_better: Mapping[str, bool],
    fractions: Collection[str] = (),
    ci: float = 0.95,
    mean: str = "macro",
) -> pl.DataFrame:
    """What each perturbation, and all together ("all"), did to each metric: levels, flips and the paired drop.

    The headline is the drop: perturbed − original of the same instance, over the variants that were changed, with a
    cluster interval; it lies below 0 where a higher-is-better metric fell. `worst` falls with `k` even for a model that
    is merely noisy; read it as worst@k.

    Args:
        scores: `SCORES`, originals among them.
        by: as in `aggregate`; the perturbation is always one of them.
        higher_is_better: metric → direction, for every metric in the scores.
        fractions: metrics whose scores lie in [0, 1]; their drop stays within ±1, also where nothing flipped.
        ci: as in `aggregate`.
        mean: as in `aggregate`.

    Returns:
        `by`, metric, perturbation, then original, perturbed (mean over variants) and worst, all over the `n` instances
        whose original and variants were all scored (n_dropped were not); k (variants with the original; null, as worst,
        where scenarios differ in it); right_to_wrong, wrong_to_right (variants; null unless scores are 0 or 1); changed
        (share of variants whose input or references changed); drop, drop_low, drop_high, interval, n_changed
        (instances with a changed variant). Sorted; no rows where nothing was perturbed.

    Raises:
        ArgumentError: a metric whose direction is not told.

    Source: Liang et al. 2022 (HELM) §4.3; the interval as in `estimate`.
    """
    keys = [*group_keys(scores.lazy(), by, MADE), "metric", "perturbation"]
    scores = coded(scores)
    pairs = _pairs(scores, keys[:-1], higher_is_better)
    # Each is read several times below: collected once, not computed anew by every reader.
    asked = _asked(pairs, keys).collect().lazy()
    complete = asked.filter("complete").collect().lazy()
    grain = merged(keys, (*INSTANCE, *ASKED))
    paired = pairs.join(complete.select(grain), on=grain, how="semi", nulls_equal=True).collect().lazy()
    drops = with_interval(
        estimate(paired.filter("altered"), keys, "difference", mean=mean),
        pl.col("metric").is_in(list(fractions)),
        ci=ci,
        least=-1.0,
    )
    table = _sizes(scores, asked, keys)
    for name in ("original", "perturbed", "worst"):
        level = estimate(complete, keys, name, mean=mean).select([*keys, pl.col("value").alias(name), "n"])
        table = table.drop("n", strict=False).join(level, on=keys, how="left", nulls_equal=True)
    names = {"value": "drop", "ci_low": "drop_low", "ci_high": "drop_high", "interval": "interval", "n": "n_changed"}
    told = drops.select(*keys, *(pl.col(name).alias(ours) for name, ours in names.items()))
    return (
        table.join(_flips(paired, keys), on=keys, how="left", nulls_equal=True)
        .join(told, on=keys, how="left", nulls_equal=True)
        .with_columns(
            pl.col("n", "n_changed").fill_null(0),
            pl.when(pl.col("k") == pl.col("k_most")).then(pl.col("worst", "k")),
            pl.col("interval").fill_null("no interval: no input was changed"),
        )
        .select(*keys[:-1], *(pl.col(name).cast(dtype) for name, dtype in ROBUSTNESS.items()))
        .pipe(decoded)
        .sort(keys)
    )


def _pairs(scores: pl.LazyFrame, keys: Sequence[str], higher_is_better: Mapping[str, bool]) -> pl.LazyFrame:
    """One row per variant and perturbation it counts for (its own, and "all"): score, original, difference."""
    _check(scores, higher_is_better)
    asked = merged(keys, (*INSTANCE, *ASKED))
    variants = (
        summed(
            scores.with_columns(cluster=pl.coalesce("cluster", "instance_id")),
            [*asked, "perturbation", "perturbation_seed"],
            "score",
            outputs=pl.col("score").count(),
            altered=pl.col("changed").fill_null(value=True).any(),
        )
        .with_columns(score=pl.when(pl.col("outputs") > 0).then(pl.col("total") / pl.col("outputs")))
        .drop("total", "outputs")
    )
    originals = variants.filter(pl.col("perturbation") == ORIGINAL).select([*asked, pl.col("score").alias("original")])
    higher = pl.col("metric").replace_strict(dict(higher_is_better), return_dtype=pl.Boolean)
    own = (
        variants.filter(pl.col("perturbation") != ORIGINAL)
        .join(originals, on=asked, how="left", nulls_equal=True)
        .with_columns(
            difference=pl.col("score") - pl.col("original"),
            higher=higher,
            variant=pl.struct("perturbation", "perturbation_seed"),
        )
    )
    both = own.with_columns(perturbation=pl.lit(ALL).cast(own.collect_schema()["perturbation"]))
    return pl.concat([own, both]).collect().lazy()


def _asked(pairs: pl.LazyFrame, keys: Sequence[str]) -> pl.LazyFrame:
    """One row per instance, model, setting and trial: original, perturbed, worst, k, complete (all was scored)."""
    grain = merged(keys, (*INSTANCE, *ASKED))
    score, original = pl.col("score"), pl.col("original")
    low = pl.min_horizontal(score.min(), original.first())
    high = pl.max_horizontal(score.max(), original.first())
    return summed(
        pairs.with_columns(k=pl.col("variant").n_unique().over(merged(keys, ("scenario",))) + 1),
        grain,
        "score",
        original=original.first(),
        worst=pl.when(pl.col("higher").first()).then(low).otherwise(high),
        k=pl.col("k").first().cast(pl.Int64),
        scored=score.count(),
    ).with_columns(
        perturbed=pl.col("total") / pl.col("scored"),
        complete=pl.col("original").is_not_null() & (pl.col("scored") == pl.col("k") - 1),
    )


def _sizes(scores: pl.LazyFrame, asked: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Per group k (the fewest and the most variants of a scenario) and n_dropped."""
    base = merged([name for name in keys if name != "perturbation"], ("scenario",))
    instance = pl.col("instance_id")
    every = scores.group_by(base).agg(every=instance.n_unique())
    return (
        asked.group_by(merged(keys, ("scenario",)))
        .agg(pl.col("k").first(), present=instance.n_unique(), broken=instance.filter(~pl.col("complete")).n_unique())
        .join(every, on=base, how="left", nulls_equal=True)
        .group_by(keys)
        .agg(
            k=pl.col("k").min(),
            k_most=pl.col("k").max(),
            n_dropped=(pl.col("every").cast(pl.Int64) - pl.col("present") + pl.col("broken")).sum(),
        )
        .collect()
    )


def _flips(paired: pl.LazyFrame, keys: Sequence[str]) -> pl.DataFrame:
    gain = pl.when("higher").then("difference").otherwise(-pl.col("difference"))
    binary = pl.col("score").is_in([0.0, 1.0]).all() & pl.col("original").is_in([0.0, 1.0]).all()
    return (
        paired.group_by(keys)
        .agg(
            right_to_wrong=pl.when(binary).then((gain < 0).sum()),
            wrong_to_right=pl.when(binary).then((gain > 0).sum()),
            changed=pl.col("altered").mean(),
        )
        .collect()
    )


def _check(scores: pl.LazyFrame, higher_is_better: Mapping[str, bool]) -> None:
    for metric in scores.select(pl.col("metric").unique().sort()).collect()["metric"]:
        if metric not in higher_is_better:
            raise ArgumentError(
                f"which way is {metric!r} better? Say higher_is_better={{{metric!r}: True}}, or False if lower is."
            )
