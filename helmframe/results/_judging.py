"""Results scored anew: by other metrics, by judges, and as people would have scored them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import polars as pl

from helmframe._schema import VERDICTS
from helmframe.early_stopping.monitor import bounded_metrics
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.judging.judge import judges_of, with_judges
from helmframe.metrics.protocol import manifest_entry, resolve_metrics
from helmframe.metrics.score import check_units, score
from helmframe.models.budget import Budget, Prices
from helmframe.results import _verdicts as verdicts_of
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._verdicts import Judged, judged

Data = TypeVar("Data", bound=ResultsData)


def rescore(results: Data, *metrics: Any) -> Data:
    """The same completions under other metrics, said as in `Plan.metrics`; asks no model but the judges said."""
    asked = resolve_metrics(with_judges(metrics) or tuple(results.metric_names))
    for each in asked:
        each.check_usable()
    manifest = {**results.manifest, "metrics": {each.name: manifest_entry(each) for each in asked}}
    if "until" in manifest:
        manifest["until"] = {**manifest["until"], "metrics": bounded_metrics(asked)}
    if judges_of(asked):
        rows = results.completions.collect()
        scores, verdicts = judged(rows, asked, None, fresh=False, budget=Budget())
        return _rescored(results, scores, verdicts.lazy(), manifest)
    scores = score(results.completions, asked).collect()
    check_units(scores, asked)
    return _rescored(results, scores, results.verdicts.clear(), manifest)


def judge(
    results: Data,
    *judges: Any,
    against: str | ResultsData | None = None,
    fresh: bool = False,
    max_requests: int | None = None,
    max_cost: float | None = None,
    prices: Prices | None = None,
) -> Data:
    """These results with what judges say of the same completions; only judges are asked.

    `results.judge(hf.judge(model, "safety"))`; `results.verdicts` has each verdict, with the judge's reasons.

    Args:
        results: Results of a run.
        *judges: as `hf.judge` makes them, or as text.
        against: for judges of pairs: the model, or the results of one, whose completions the others are compared
            with. Each pair is judged in both orders, and the mean counts.
        fresh: whether judges are asked again what the store has.
        max_requests: ask at most so many; the same call goes on from there.
        max_cost: stop once the replies cost so much, by `prices`.
        prices: judge → price of a million prompt tokens and of a million output tokens.

    Raises:
        NotComparableError: nothing to compare with.
    """
    asked = resolve_metrics(with_judges(judges))
    if not asked or len(judges_of(asked)) < len(asked):
        raise ArgumentError("results.judge() takes judges: hf.judge(model, 'safety'); other metrics: rescore().")
    rows, others = results.completions.collect(), None
    if against is not None:
        rows, others = _sides(rows, against)
    budget = Budget(max_requests, max_cost, prices)
    scores, verdicts = judged(rows, asked, others, fresh=fresh, budget=budget)
    said = {each.name: manifest_entry(each) for each in asked}
    other = ~pl.col("metric").is_in(list(said))
    return replace(
        results,
        scores=pl.concat([results.scores.filter(other), scores.lazy()], how="diagonal_relaxed"),
        verdicts=pl.concat([results.verdicts.filter(other), verdicts.lazy()], how="diagonal_relaxed"),
        manifest={**results.manifest, "metrics": {**results.manifest["metrics"], **said}},
        path=None,
    )


def agreement(
    results: ResultsData,
    metric: str | None = None,
    by: str | Sequence[str] = (),
    *,
    labels: pl.DataFrame | None = None,
    level: str | None = None,
    ci: float = 0.95,
) -> pl.DataFrame:
    """How far judges agree with each other, and with people: Krippendorff's α, κ, shares, differences.

    Args:
        results: Results of a run.
        metric: a judged metric; default the only one. Other metrics of the same template count with it.
        by: columns whose values make a group.
        labels: what people say: as for `corrected`; they are the rater "human".
        level: "nominal", "ordinal" or "interval"; default "nominal" for scales of two values, else "interval".
        ci: level of the intervals, by a bootstrap over clusters of instances.

    Returns:
        As `helmframe.stats.agreement`: a row per statistic and raters.
    """
    keys = reader_of(results).columns(by, VERDICTS)
    return reader_of(results).as_written(
        verdicts_of.agreements(_judged(results, keys), metric, keys, labels, level, ci), by
    )


def corrected(
    results: ResultsData,
    labels: pl.DataFrame,
    metric: str | None = None,
    by: str | Sequence[str] | None = None,
    *,
    tuned: bool = True,
    pool: str | Sequence[str] | bool = (),
    ci: float = 0.95,
) -> pl.DataFrame:
    """A judged score as people would have given it: prediction-powered, from labels of some of the completions.

    Without labels an interval says nothing of the judge's own errors; with them it does.

    Args:
        results: Results of a run.
        labels: a Polars frame with instance_id, label (on the judge's scale), and what else tells completions apart
            (scenario, model, perturbation, …): `results.to_label(100)`, filled in. A random draw, or it misleads.
        metric: default the judged one.
        by: as in `table`.
        tuned: whether the judge is trusted as far as makes the interval narrowest, or wholly.
        pool: The axes to average over, as in `table`.
        ci: level of the intervals.

    Returns:
        As `helmframe.stats.prediction_powered`: value and interval, the judge's own mean, the labels' own, the
        judge's bias.
    """
    keys, pooled = reader_of(results).group_keys(by, pool)
    said = _judged(results, [])
    name = said.judge_of(None)[0] if metric is None else reader_of(results).metric_list(metric)[0]
    scores = reader_of(results).with_source_of(results.scores.filter(pl.col("metric") == name), keys).collect()
    about = results.manifest["metrics"][name]
    fraction = about["unit"] == "fraction"
    how = {"mean": reader_of(results).mean(), "tuned": tuned, "fraction": fraction, "ci": ci}
    table = verdicts_of.corrected(scores, labels, keys, about.get("judge", {}), **how)
    return reader_of(results).as_written(reader_of(results).labelled(table, keys, pooled), by)


def position_bias(
    results: ResultsData, metric: str | None = None, by: str | Sequence[str] = (), *, ci: float = 0.95
) -> pl.DataFrame:
    """Of each judge of pairs how much it favours what stands first (−½ to ½), and how often its verdict turns."""
    keys = reader_of(results).columns(by, VERDICTS)
    return reader_of(results).as_written(verdicts_of.position_bias(_judged(results, keys), metric, keys, ci), by)


def to_label(results: ResultsData, n: int, seed: int = 0) -> pl.DataFrame:
    """A random n of the completions for people to score, with an empty column `label`; no scores in sight."""
    return verdicts_of.to_label(results.completions, n, seed)


def _rescored(results: Data, scores: pl.DataFrame, verdicts: pl.LazyFrame, manifest: Mapping[str, Any]) -> Data:
    # HELM's statistics are of the scores that these replace
    none = results.helm_stats.clear()
    return replace(results, scores=scores.lazy(), verdicts=verdicts, helm_stats=none, manifest=manifest, path=None)


def _judged(results: ResultsData, keys: Sequence[str]) -> Judged:
    return Judged(reader_of(results).with_source_of(results.verdicts, keys), results.manifest["metrics"])


def _sides(rows: pl.DataFrame, against: str | ResultsData) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The completions that are judged, and those they are compared with."""
    if isinstance(against, ResultsData):
        return rows, against.completions.collect()
    names = rows["model"].unique().sort().to_list()
    if against not in names:
        raise UnknownNameError.among("model of these results", against, names)
    return rows.filter(pl.col("model") != against), rows.filter(pl.col("model") == against)
