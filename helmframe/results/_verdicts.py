"""What can be asked of judged results: more verdicts, how far judges agree, and what people would have said."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import polars as pl

from helmframe._core.expressions import key_of
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.judging.judge import judges_of, paired, verdicts_on
from helmframe.metrics.judge import KEY, with_verdicts
from helmframe.metrics.protocol import Metric
from helmframe.metrics.score import check_units, score
from helmframe.models.budget import Budget
from helmframe.models.generate import Report
from helmframe.stats.agreement import agreement
from helmframe.stats.estimate import estimate
from helmframe.stats.intervals import with_interval
from helmframe.stats.prediction_powered import prediction_powered

HUMAN = "human"
LABEL = "label"
_ON = ("subset", "cluster")

logger = logging.getLogger("helmframe.judge")


@dataclass(frozen=True)
class Judged:
    """The verdicts of some results, with what the manifest says of their metrics."""

    verdicts: pl.LazyFrame
    metrics: Mapping[str, Mapping[str, Any]]

    def judge_of(self, metric: str | None) -> tuple[str, Mapping[str, Any]]:
        """A judged metric, and what the manifest says of its judge; by default the only one.

        Raises:
            NotComparableError: there are several, or none.
            UnknownNameError: no judged metric of that name.
        """
        known = {name: each["judge"] for name, each in self.metrics.items() if "judge" in each}
        if metric is None and len(known) == 1:
            return next(iter(known.items()))
        if metric is None:
            there = ", ".join(known) or "none; judge first: results.judge(hf.judge(model, 'safety'))"
            raise NotComparableError(f"which judged metric? There is: {there}.")
        if metric not in known:
            raise UnknownNameError.among("judged metric of these results", metric, known)
        return metric, known[metric]


def judged(
    completions: pl.DataFrame,
    metrics: Sequence[Metric],
    others: pl.DataFrame | None,
    *,
    fresh: bool,
    budget: Budget,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`SCORES` and `VERDICTS` of judged and other metrics.

    Args:
        completions: `COMPLETIONS`.
        metrics: as `chosen` gives them.
        others: for judges of pairs: the completions that these are compared with.
        fresh: whether judges are asked again what the store has.
        budget: how much they may be asked.
    """
    judges = judges_of(metrics)
    of_pairs = [each.name for each in judges if each.template.of_pairs]
    if of_pairs and others is None:
        raise ArgumentError(f"judge(): {of_pairs[0]!r} judges pairs; say who is compared: against='the other model'.")
    if others is not None and len(of_pairs) < len(metrics):
        raise ArgumentError("judge(against=…) is for judges of pairs: templates with {first} and {second}.")
    rows = completions if others is None else paired(completions, others)
    if rows.is_empty():
        raise NotComparableError("judge(against=…): no instance was answered by both.")
    budget.check(list(dict.fromkeys(model.name for each in judges for model in each.models)))
    with _Bar() as bar:
        verdicts = verdicts_on(rows, judges, fresh=fresh, budget=budget, report=bar.reporter)
    failed = verdicts.filter(pl.col("error").is_not_null())
    if failed.height:
        counts = failed.height, verdicts.height
        logger.warning("%d of %d verdicts failed, the first with: %s", *counts, failed["error"][0])
    joined = with_verdicts(rows, verdicts, judges)
    scores = score(joined.lazy(), metrics).collect()
    check_units(scores, metrics)
    return scores, verdicts


def agreements(
    said: Judged, metric: str | None, by: Sequence[str], labels: pl.DataFrame | None, level: str | None, ci: float
) -> pl.DataFrame:
    """How far the judges of a metric agree, with each other and with people's labels."""
    metric, about = said.judge_of(metric)
    # several metrics of one template: their judges rate the same
    alike = {name: each["judge"] for name, each in said.metrics.items() if "judge" in each and about["version"]}
    same = [name for name, each in alike.items() if all(each[key] == about[key] for key in ("template", "version"))]
    item = pl.concat_str(pl.col(KEY).exclude("scenario", "instance_id").cast(pl.String).fill_null(""), separator="\x1f")
    ratings = (
        said.verdicts.filter(pl.col("metric").is_in([metric, *same]))
        .sort("metric")
        .unique([*KEY, "judge", "order"], keep="first", maintain_order=True)
        .group_by(*dict.fromkeys([*KEY, *_ON, *by]), pl.col("judge").alias("rater"))
        .agg(value=pl.when(pl.col("error").is_null().all()).then(pl.col("value").mean()))
        .with_columns(item=item)
        .collect()
    )
    columns = list(dict.fromkeys(["scenario", "instance_id", *_ON, "item", "rater", "value", *by]))
    rated = [ratings.select(columns)]
    if labels is not None:
        items = ratings.unique([*KEY])
        own = _labelled(items, labels, about).filter(pl.col(LABEL).is_not_null())
        rated.append(own.with_columns(rater=pl.lit(HUMAN), value=LABEL).select(columns))
    return agreement(pl.concat(rated), by, level=level or str(about["level"]), ci=ci)


def corrected(
    scores: pl.DataFrame,
    labels: pl.DataFrame,
    by: Sequence[str],
    about: Mapping[str, Any],
    *,
    mean: str,
    tuned: bool,
    fraction: bool,
    ci: float,
) -> pl.DataFrame:
    """The metric's mean as people would have scored it.

    Args:
        scores: `SCORES` of one metric, with `by`.
        labels: what people say of some completions, on the judge's scale.
        by: columns whose values make a group.
        about: what the manifest says of the judge; empty for other metrics.
        mean: over subsets.
        tuned: as in `prediction_powered`.
        fraction: whether scores lie in [0, 1].
        ci: level of the intervals.
    """
    rows = _labelled(scores, labels, about)
    if about.get("rescale"):
        rows = rows.with_columns((pl.col(LABEL) - about["low"]) / (about["high"] - about["low"]))
    rows = rows.with_columns(judged="score")
    return prediction_powered(rows, by, ci=ci, mean=mean, tuned=tuned, fraction=fraction)


def position_bias(said: Judged, metric: str | None, by: Sequence[str], ci: float) -> pl.DataFrame:
    """How much a judge of pairs favours what stands first, and how often its verdict turns with the order."""
    metric, about = said.judge_of(metric)
    if not about["pairs"]:
        raise ArgumentError(f"position_bias({metric!r}): its judge is asked about single completions.")
    low, high = about["low"], about["high"]
    first, second = (pl.col("value").filter(pl.col("order") == order).first() for order in (0, 1))
    pairs = (
        said.verdicts.filter((pl.col("metric") == metric) & pl.col("value").is_not_null())
        .group_by(*dict.fromkeys([*KEY, *_ON, *by]), "judge")
        .agg(bias=(first - second) / 2 / (high - low), turned=(first != second).cast(pl.Float64))
        .drop_nulls("bias")
        .collect()
    )
    keys = list(dict.fromkeys(["judge", *by]))
    favour = with_interval(estimate(pairs, keys, "bias"), pl.lit(value=True), ci=ci, least=-1.0)
    turned = estimate(pairs, keys, "turned").select(*keys, turned="value")
    table = favour.join(turned, on=keys, how="left", nulls_equal=True)
    return table.select(*keys, pl.col("value").alias("first_favoured"), "ci_low", "ci_high", "interval", "turned", "n")


def to_label(completions: pl.LazyFrame, n: int, seed: int) -> pl.DataFrame:
    """A random n of the answered completions, without any score, with an empty column `label`."""
    answered = completions.filter(pl.col("completion").is_not_null()).with_columns(
        draw=key_of(f"label\x1f{seed}", *map(pl.col, KEY))
    )
    names = [name for name in KEY if name not in ("reference_index", "request_mode")]
    drawn = answered.sort("draw", *names).head(n)
    return drawn.select(*names, "perturbed_input", "completion", pl.lit(None, dtype=pl.Float64).alias(LABEL)).collect()


def _labelled(rows: pl.DataFrame, labels: pl.DataFrame, about: Mapping[str, Any]) -> pl.DataFrame:
    """The rows with their label, null where there is none."""
    if not isinstance(labels, pl.DataFrame) or not {LABEL, "instance_id"} <= set(labels.columns):
        raise ArgumentError(
            "labels should be a Polars frame with instance_id, label (a number on the judge's scale), and what else "
            "tells completions apart (model, perturbation, …): results.to_label(100) gives one to fill in."
        )
    on = [name for name in labels.columns if name in KEY and name in rows.columns]
    own = labels.filter(pl.col(LABEL).is_not_null()).select(*on, pl.col(LABEL).cast(pl.Float64))
    if own.select(on).is_duplicated().any():
        raise ArgumentError(f"labels: two rows are about one completion ({', '.join(on)}); take their mean first.")
    low, high = about.get("low"), about.get("high")
    if low is not None and not own[LABEL].is_between(low, high).all():
        raise ArgumentError(f"labels: a label is outside of the judge's scale, {low:g} to {high:g}.")
    own = own.cast({name: rows.schema[name] for name in on})
    joined = rows.drop(LABEL, strict=False).join(own, on=on, how="left", nulls_equal=True, maintain_order="left")
    several = joined.filter(pl.col(LABEL).is_not_null()).select(on).is_duplicated().any()
    if several:
        apart = [name for name in KEY if name in rows.columns and name not in on and rows[name].n_unique() > 1]
        raise ArgumentError(f"labels: a label fits several completions; add the column {' or '.join(apart)}.")
    return joined


class _Bar:
    """A bar in a terminal while judges are asked."""

    def __enter__(self) -> Self:
        from tqdm import tqdm

        self._bar: Any = tqdm(total=0, unit="verdict", desc="judging", leave=False, disable=_hidden(), file=sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def reporter(self, judge: str) -> Report:
        return partial(self._report, judge)

    def _report(self, judge: str, what: str, count: int) -> None:
        if what == "planned":
            self._bar.total += count
        elif what in ("cached", "shared", "refused", "generated"):
            self._bar.set_postfix_str(judge, refresh=False)
            self._bar.update(count)


def _hidden() -> bool:
    return os.environ.get("HELMFRAME_PROGRESS", "1") == "0" or not sys.stderr.isatty()
