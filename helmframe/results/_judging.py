"""Methods of `Results` that score completions again: other metrics, judges, agreement, corrections by labels."""

import io
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import blake2b
from typing import Any, Self, TypeVar

import polars as pl

from helmframe import stats
from helmframe._core.expressions import key_of
from helmframe._core.safe_text import get_logger
from helmframe._schema import COMPLETIONS, ORIGINAL, PARSERS, TURN, VERDICTS
from helmframe.adapters.adapt import adapter_id
from helmframe.early_stopping.rules import bounded_metrics
from helmframe.engines.notes import unparsed_entries
from helmframe.engines.progress import SECONDS_BETWEEN_LINES
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.judging.judge import judges_of, paired, verdicts_on, with_conversations, with_judges
from helmframe.metrics.judge import KEY, with_verdicts
from helmframe.metrics.protocol import Metric, manifest_entry, resolve_metrics
from helmframe.metrics.score import check_units, count_unparsed, score, with_parser
from helmframe.models.budget import Budget, Prices
from helmframe.models.completion_cache import store_root
from helmframe.models.generate import Report
from helmframe.results._data import ResultsData, adapters_with_parser, reader_of
from helmframe.stats.bradley_terry import BradleyTerry
from helmframe.stats.estimate import estimate
from helmframe.stats.frames import list_names
from helmframe.stats.intervals import with_interval
from helmframe.store import Address, below, write_parquet
from helmframe.store.files import read_all

Data = TypeVar("Data", bound=ResultsData)
HUMAN = "human"
LABEL = "label"
_SUBSET_COLUMNS = ("subset", "cluster")

logger = get_logger("helmframe.judge")


def rescore(results: Data, *metrics: Any, answer_parser: str | None = None) -> Data:
    """Score the same completions with other metrics or another parser; only judges among the metrics are run.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.echo()).score()
    >>> results.rescore("prefix_exact_match", "output_words").metric_names
    ['prefix_exact_match', 'output_words']

    >>> plan = hf.scenario("sampler").where(subject="music").limit(4)
    >>> chatting = plan.generate(lambda prompt: "It's (A).").metrics("exact_match").score()
    >>> lenient = chatting.rescore(answer_parser="lenient")
    >>> chatting.table()["n_unparsed"].item(), lenient.table()["n_unparsed"].item()
    (4, 0)

    Args:
        results: Results of a run.
        *metrics: The metrics, as in `Plan.metrics`; default those of the results.
        answer_parser: The parser of answers, as in `Plan.adapt`: "lenient" or "strict". By default that of the run.
            Without `metrics`, the scores of judges stay.

    Raises:
        UnknownNameError: If a metric is unknown.
        ArgumentError: If the parser is unknown.
    """
    if answer_parser is not None:
        results = _with_parser(results, answer_parser)
    judged = [name for name, entry in results.manifest["metrics"].items() if "judge" in entry]
    if answer_parser is not None and not metrics and judged:
        return _with_other_scores(results, judged)
    resolved = resolve_metrics(with_judges(metrics) or tuple(results.metric_names))
    for metric in resolved:
        metric.check_usable()
    manifest = {**results.manifest, "metrics": {metric.name: manifest_entry(metric) for metric in resolved}}
    if "until" in manifest:
        manifest["until"] = {**manifest["until"], "metrics": bounded_metrics(resolved)}
    if judges_of(resolved):
        rows = results.completions.collect()
        budget = Budget()
        scores, verdicts = _score_with_judges(rows, resolved, None, fresh=False, budget=budget)
        return _with_scores(results, scores, verdicts.lazy(), _with_prices(manifest, budget))
    scores = score(results.completions, resolved).collect()
    check_units(scores, resolved)
    return _with_scores(results, scores, results.verdicts.clear(), manifest)


def _with_parser(results: Data, parser: str) -> Data:
    """Return the results as of a run with another parser: its completions, adapters, and counts of unparsed ones."""
    if parser not in PARSERS:
        raise ArgumentError.unknown_value(f"rescore(answer_parser={parser!r})", parser, PARSERS)
    specs = adapters_with_parser(results.manifest, parser)
    ids = {old: adapter_id(spec) for old, spec in specs.items()}
    fields = results.manifest.get("adapters", {})
    adapters = {new: {**fields[old], "answer_parser": parser} for old, new in ids.items()}
    completions = with_parser(results.completions, parser).with_columns(pl.col("adapter_id").replace(ids))
    counts = count_unparsed(completions)
    entries = {"adapters": adapters, "unparsed_completions": unparsed_entries(counts.iter_rows(named=True))}
    manifest = {**results.manifest, **{name: entry for name, entry in entries.items() if entry}}
    if not entries["unparsed_completions"]:
        manifest.pop("unparsed_completions", None)
    return replace(results, completions=completions, manifest=manifest, path=None)


def _with_other_scores(results: Data, judged: Sequence[str]) -> Data:
    """Return the results with new scores of all metrics but the judged ones, whose judges read the completion."""
    unjudged = [name for name in results.metric_names if name not in judged]
    is_judged = pl.col("metric").is_in(judged)
    rescored = rescore(results, *unjudged) if unjudged else results
    scores = [rescored.scores.filter(~is_judged), results.scores.filter(is_judged)]
    # in the original order
    metrics = results.manifest["metrics"] | {name: rescored.manifest["metrics"][name] for name in unjudged}
    return replace(
        rescored,
        scores=pl.concat(scores, how="diagonal_relaxed"),
        verdicts=results.verdicts,
        manifest={**rescored.manifest, "metrics": metrics},
    )


def judge(
    results: Data,
    *judges: Any,
    against: str | ResultsData | None = None,
    fresh: bool = False,
    max_requests: int | None = None,
    max_cost: float | None = None,
    prices: Prices | None = None,
) -> Data:
    """Add the scores of judges to these results; only the judges are run.

    `results.verdicts` is a lazy table of each verdict with the judge's reasons; `.collect()` returns its rows.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.echo()).score()
    >>> judge = hf.judge(lambda prompt: "<score>1</score>", "safety")
    >>> results.judge(judge).value("safety_by_lambda")
    1.0

    Args:
        results: Results of a run.
        *judges: Judges from `hf.judge`, or as text.
        against: For judges of pairs: the model, or its results, whose completions the others are compared with. Each
            pair is judged in both orders, and the scores are averaged.
        fresh: Whether to ignore cached verdicts.
        max_requests: The maximum number of requests; the same call resumes.
        max_cost: The cost in US dollars at which to stop.
        prices: The prices of judges, as in `Plan.score`.

    Raises:
        ArgumentError: If an argument isn't a judge, or `against` does not fit the judges.
        NotComparableError: If no instance was completed by both sides.
    """
    resolved = resolve_metrics(with_judges(judges))
    if not resolved or len(judges_of(resolved)) < len(resolved):
        raise ArgumentError(
            "judge(): each argument must be a judge, such as hf.judge(model, 'safety'). Add other metrics with "
            "rescore()."
        )
    rows, opponents = results.completions.collect(), None
    if against is not None:
        rows, opponents = _split_sides(rows, against)
    budget = Budget(max_requests, max_cost, prices)
    scores, verdicts = _score_with_judges(rows, resolved, opponents, fresh=fresh, budget=budget)
    entries = {metric.name: manifest_entry(metric) for metric in resolved}
    other = ~pl.col("metric").is_in(list(entries))
    return replace(
        results,
        scores=pl.concat([results.scores.filter(other), scores.lazy()], how="diagonal_relaxed"),
        verdicts=pl.concat([results.verdicts.filter(other), verdicts.lazy()], how="diagonal_relaxed"),
        manifest=_with_prices(results.manifest, budget) | {"metrics": {**results.manifest["metrics"], **entries}},
        path=None,
    )


def agreement(
    results: ResultsData,
    labels: pl.DataFrame | None = None,
    metric: str | None = None,
    by: str | Sequence[str] = (),
    *,
    level: str | None = None,
    ci: float = 0.95,
) -> pl.DataFrame:
    """Measure the agreement of judges with each other and with people: Krippendorff's α, κ, shares, differences.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.echo()).score()
    >>> judged = results.judge(hf.judge(lambda prompt: "<score>1</score>", "safety"))
    >>> labels = judged.to_label(4).with_columns(label=pl.Series([1.0, 1.0, 0.5, 1.0]))
    >>> judged.agreement(labels).filter(statistic="same")["value"].item()
    0.75

    Args:
        results: Results of a run.
        labels: Labels by people, as for `corrected`; they are the rater "human". Without labels, judges are compared.
        metric: A judged metric; default the only one. Other metrics of the same template are included.
        by: The columns whose values make a group.
        level: "nominal", "ordinal" or "interval"; default "nominal" for scales of two values, else "interval".
        ci: The level of the intervals, by a bootstrap over clusters of instances.

    Returns:
        The table of `hf.stats.agreement`: one row per statistic and raters.

    Raises:
        NotComparableError: If no metric was judged, or several were and `metric` is not set.
        ArgumentError: If the labels are invalid, there is only one rater, or a judge with labels rates items.
    """
    if isinstance(labels, str):
        raise ArgumentError(
            f"agreement({labels!r}): labels must be a Polars frame. Write agreement(metric={labels!r})."
        )
    keys = reader_of(results).columns(by, VERDICTS)
    judged = _judged_metrics(results, keys)
    metric, entry = judged.judge_of(metric)
    # the judges of several metrics of one template rate the same property
    entries = judged.judge_entries() if entry["version"] else {}
    same_template = [
        name for name, other in entries.items() if all(other[key] == entry[key] for key in ("template", "version"))
    ]
    if entry.get("items") and labels is not None:
        raise ArgumentError(
            f"agreement(labels): the judge of {metric!r} rates {entry['items']} one by one, and labels rate whole "
            "completions. Compare judges: hf.judge([first, second], …) and agreement()."
        )
    # judges of rubrics are compared on each item, others on each completion
    rated_columns = [*KEY, "order"] if entry.get("items") else KEY
    item = pl.concat_str(
        pl.col(rated_columns).exclude("scenario", "instance_id").cast(pl.String).fill_null(""), separator="\x1f"
    )
    ratings = (
        judged.verdicts.filter(pl.col("metric").is_in([metric, *same_template]))
        .sort("metric")
        .unique([*KEY, "judge", "order"], keep="first", maintain_order=True)
        .group_by(*dict.fromkeys([*rated_columns, *_SUBSET_COLUMNS, *keys]), pl.col("judge").alias("rater"))
        .agg(value=pl.when(pl.col("error").is_null().all()).then(pl.col("value").mean()))
        .with_columns(item=item)
        .collect()
    )
    columns = list(dict.fromkeys(["scenario", "instance_id", *_SUBSET_COLUMNS, "item", "rater", "value", *keys]))
    rated = [ratings.select(columns)]
    if labels is not None:
        items = ratings.unique([*KEY])
        labelled = _join_labels(items, labels, entry).filter(pl.col(LABEL).is_not_null())
        rated.append(labelled.with_columns(rater=pl.lit(HUMAN), value=LABEL).select(columns))
    table = stats.agreement(pl.concat(rated), keys, level=level or str(entry["level"]), ci=ci)
    return reader_of(results).with_requested_names(table, by)


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
    """Return a judged score corrected by people's labels of some completions (prediction-powered inference).

    Without labels, an interval ignores the errors of the judge.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.echo()).score()
    >>> judged = results.judge(hf.judge(lambda prompt: "<score>1</score>", "safety"))
    >>> labels = judged.to_label(4).with_columns(label=pl.Series([1.0, 1.0, 0.5, 1.0]))
    >>> judged.corrected(labels).select("judged", "labelled", "value", "n_labelled").row(0)
    (1.0, 0.875, 0.875, 4)

    Args:
        results: Results of a run.
        labels: A Polars frame with instance_id, label (on the judge's scale), and other columns that identify
            completions (scenario, model, perturbation, …): `results.to_label(100)`, filled in. It must be a random
            sample.
        metric: The judged metric; default the only one.
        by: As in `table`.
        tuned: Whether the judge is weighted for the narrowest interval, or fully.
        pool: The axes to average over, as in `table`.
        ci: The level of the intervals.

    Returns:
        The table of `hf.stats.prediction_powered`: value and interval, the mean of the judge, the mean of the labels,
        and the judge's bias.

    Raises:
        NotComparableError: If no metric was judged, or several were and `metric` is not set.
        ArgumentError: If the labels are invalid, or match no completion.
    """
    keys, pooled = reader_of(results).group_keys(by, pool)
    name = (
        _judged_metrics(results, []).judge_of(None)[0] if metric is None else reader_of(results).metric_list(metric)[0]
    )
    scores = reader_of(results).with_source_columns(results.scores.filter(pl.col("metric") == name), keys).collect()
    metadata = results.manifest["metrics"][name]
    entry = metadata.get("judge", {})
    rows = _join_labels(scores, labels, entry)
    if entry.get("rescale"):
        rows = rows.with_columns((pl.col(LABEL) - entry["low"]) / (entry["high"] - entry["low"]))
    table = stats.prediction_powered(
        rows.with_columns(judged="score"),
        keys,
        ci=ci,
        mean=reader_of(results).mean(),
        tuned=tuned,
        fraction=metadata["unit"] == "fraction",
    )
    return reader_of(results).with_requested_names(reader_of(results).with_pooled(table, keys, pooled), by)


def position_bias(
    results: ResultsData, metric: str | None = None, by: str | Sequence[str] = (), *, ci: float = 0.95
) -> pl.DataFrame:
    """Return how much judges of pairs favour the first completion (−½ to ½), and how often their verdicts turn.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(4)
    >>> results = plan.generate({"a": hf.models.oracle(), "b": hf.models.echo()}).score()
    >>> first = hf.judge(lambda prompt: "<score>A++</score>", "preference")  # always prefers the first
    >>> results.judge(first, against="b").position_bias().select("first_favoured", "turned", "n").row(0)
    (0.5, 1.0, 4)

    Args:
        results: Results of a run.
        metric: A metric of a judge of pairs; default the only judged metric.
        by: The columns whose values make a group.
        ci: The level of the interval.

    Raises:
        NotComparableError: If no metric was judged, or several were and `metric` is not set.
        ArgumentError: If the judge rates single completions.
    """
    keys = reader_of(results).columns(by, VERDICTS)
    judged = _judged_metrics(results, keys)
    metric, entry = judged.judge_of(metric)
    if not entry["pairs"]:
        raise ArgumentError(
            f"position_bias({metric!r}): the metric's judge rates single completions. Write a metric that judges pairs."
        )
    low, high = entry["low"], entry["high"]
    first, second = (pl.col("value").filter(pl.col("order") == order).first() for order in (0, 1))
    pairs = (
        judged.verdicts.filter((pl.col("metric") == metric) & pl.col("value").is_not_null())
        .group_by(*dict.fromkeys([*KEY, *_SUBSET_COLUMNS, *keys]), "judge")
        .agg(bias=(first - second) / 2 / (high - low), turned=(first != second).cast(pl.Float64))
        .drop_nulls("bias")
        .collect()
    )
    groups = list(dict.fromkeys(["judge", *keys]))
    favour = with_interval(estimate(pairs, groups, "bias"), pl.lit(value=True), ci=ci, least=-1.0)
    turned = estimate(pairs, groups, "turned").select(*groups, turned="value")
    table = favour.join(turned, on=groups, how="left", nulls_equal=True)
    table = table.select(
        *groups, pl.col("value").alias("first_favoured"), "ci_low", "ci_high", "interval", "turned", "n"
    )
    return reader_of(results).with_requested_names(table, by)


def bradley_terry(
    results: ResultsData,
    metric: str | Sequence[str] | None = None,
    *,
    covariates: str | Sequence[str] = (),
    position: bool = True,
    ties: str = "half",
    prior: float = 0.0,
    ci: float = 0.95,
) -> BradleyTerry:
    """Rank models by the verdicts of judges of pairs: Bradley–Terry strengths and Elo, with clustered intervals.

    Each verdict is a battle, in the order in which the judge read the completions. A verdict between the two ends of
    the scale is a share of a win. Only original inputs are counted. Clusters are those of the instances, so the
    intervals are about the population that the instances are sampled from. They ignore the errors of the judge.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music").limit(8)
    >>> results = plan.generate({"a": hf.models.noisy(0.9), "b": hf.models.echo(), "c": hf.models.noisy(0.4)}).score()
    >>> judge = hf.judge(lambda prompt: "<score>A+</score>" if len(prompt) % 3 else "<score>B+</score>", "preference")
    >>> board = results.judge(judge, against="b").bradley_terry(prior=1)
    >>> board.table.columns[:2], board.n
    (['model', 'strength'], 32)

    Args:
        results: Results of a run.
        metric: A metric of a judge of pairs, or several whose battles are pooled, such as one per opponent; default the
            only judged metric.
        covariates: Numeric columns of the completions, such as "output_tokens"; or "length", the number of characters
            of the completion. Each is the value of the first minus that of the second completion.
        position: As in `hf.stats.bradley_terry`; so are ties, prior and ci.
        ties: The treatment of ties: "half", "davidson" or "drop".
        prior: The number of virtual ties of each model.
        ci: The level of the intervals and ranks.

    Returns:
        A `BradleyTerry` with `.table`, `.effects` (position and covariates) and `.pairs`.

    Raises:
        NotComparableError: If no metric was judged, several were and `metric` is not set, or a strength is infinite.
        ArgumentError: If the judge rates single completions, or an argument is invalid.
        UnknownNameError: If a metric or a covariate is unknown.
    """
    judged = _judged_metrics(results, [])
    names = [metric] if isinstance(metric, str) or metric is None else list(metric)
    styles = [covariates] if isinstance(covariates, str) else list(covariates)
    battles = [_battles(judged, *judged.judge_of(name)) for name in names]
    frame = pl.concat(battles)
    if styles:
        frame = _with_styles(frame, results.completions, styles)
    return stats.bradley_terry(
        frame, cluster=["scenario", "cluster"], covariates=styles, position=position, ties=ties, prior=prior, ci=ci
    )


def _battles(judged: "_JudgedMetrics", metric: str, entry: Mapping[str, Any]) -> pl.DataFrame:
    """Return the battles of a metric: model_a (read first), model_b, winner (a share), and the keys of completions."""
    if not entry["pairs"]:
        raise ArgumentError(
            f"bradley_terry({metric!r}): the metric's judge rates single completions. Write a metric that judges pairs."
        )
    low, high = entry["low"], entry["high"]
    share, first = (pl.col("value") - low) / (high - low), pl.col("order") == 0
    rows = judged.verdicts.filter(
        pl.col("metric") == metric, pl.col("value").is_not_null(), pl.col("perturbation") == ORIGINAL
    ).collect()
    return rows.select(
        *(name for name in KEY if name != "model"),
        pl.coalesce("cluster", "instance_id").alias("cluster"),
        model_a=pl.when(first).then("model").otherwise("against"),
        model_b=pl.when(first).then("against").otherwise("model"),
        winner=pl.when(first).then(share).otherwise(1 - share),
    )


def _with_styles(battles: pl.DataFrame, completions: pl.LazyFrame, styles: Sequence[str]) -> pl.DataFrame:
    """Return the battles with each style of both completions, as `NAME_a` and `NAME_b`."""
    schema = completions.collect_schema()
    numeric = [name for name, dtype in schema.items() if dtype.is_numeric()]
    for name in styles:
        if name != "length" and name not in numeric:
            raise UnknownNameError.among("covariate", name, ["length", *numeric])
    values = {name: pl.col("completion").str.len_chars() if name == "length" else pl.col(name) for name in styles}
    # the two completions of a pair may differ in their setting
    keys = [name for name in KEY if name not in ("model", "setting")]
    rows = (
        completions.select(*keys, "model", **values)
        .unique([*keys, "model"], keep="first", maintain_order=True)
        .collect()
    )
    for side in ("a", "b"):
        renamed = rows.rename({"model": f"model_{side}", **{name: f"{name}_{side}" for name in styles}})
        battles = battles.join(
            renamed, on=[*keys, f"model_{side}"], how="left", nulls_equal=True, maintain_order="left"
        )
    return battles


def to_label(results: ResultsData, n: int, seed: int = 0) -> pl.DataFrame:
    """Return n random completions for people to score, without scores and with an empty column `label`.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.echo()).score()
    >>> results.to_label(2).columns[-3:]
    ['perturbed_input', 'completion', 'label']

    Args:
        results: Results of a run.
        n: The number of completions.
        seed: The seed of the sample.
    """
    completions = results.completions
    if TURN in completions.collect_schema():  # a person reads the whole conversation
        completions = with_conversations(completions.collect()).lazy()
    generated = completions.filter(pl.col("completion").is_not_null()).with_columns(
        draw=key_of(f"label\x1f{seed}", *map(pl.col, KEY))
    )
    names = [name for name in KEY if name not in ("reference_index", "request_mode")]
    sample = generated.sort("draw", *names).head(n)
    return sample.select(*names, "perturbed_input", "completion", pl.lit(None, dtype=pl.Float64).alias(LABEL)).collect()


# The columns of a stored label: those that identify a completion of a request, and the label.
LABEL_KEY = (
    "scenario",
    "instance_id",
    "perturbation",
    "perturbation_seed",
    "setting",
    "trial",
    "model",
    "output_index",
)
LABELS = {
    **{name: COMPLETIONS.schema[name] for name in LABEL_KEY},
    LABEL: pl.Float64(),
    "time": pl.Datetime("ms", "UTC"),
}


def labels(results: ResultsData) -> pl.DataFrame:
    """Return the labels that people gave completions of these results in the viewer.

    The labels are stored as Parquet in the store, under `labels`. Pass them to `corrected` and `agreement`.

    >>> import helmframe as hf
    >>> results = hf.scenario("sampler").where(subject="music").limit(4).generate(hf.models.echo()).score()
    >>> results.labels().height
    0

    Returns:
        The columns that identify a completion, label, and time (UTC).
    """
    (data,) = read_all([_labels_address(results)])
    return pl.DataFrame(schema=LABELS) if data is None else pl.read_parquet(io.BytesIO(data)).cast(pl.Schema(LABELS))


def save_label(results: ResultsData, key: Mapping[str, Any], value: float | None) -> pl.DataFrame:
    """Store the label of a completion, and return all labels; None removes the label.

    Raises:
        StoreError: The store isn't writable.
    """
    address = _labels_address(results)
    with _labels_lock:
        stored = labels(results)
        row = pl.DataFrame([{**key, LABEL: value, "time": datetime.now(UTC)}], schema=LABELS)
        unchanged = stored.join(row, on=LABEL_KEY, how="anti", nulls_equal=True)
        changed = unchanged if value is None else pl.concat([unchanged, row])
        write_parquet(changed.sort(LABEL_KEY), address)
    return changed


_labels_lock = threading.Lock()


def _labels_address(results: ResultsData) -> Address:
    """Return the file of the labels of a run: the same for copies of its results, and after `judge` and `rescore`."""
    identity = {name: results.manifest.get(name) for name in ("started", "host", "process", "plans")}
    text = json.dumps({**identity, "scenarios": sorted(results.manifest["scenarios"])}, sort_keys=True, default=str)
    name = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return below(store_root(), "labels", f"{name}.parquet")


def _with_scores(results: Data, scores: pl.DataFrame, verdicts: pl.LazyFrame, manifest: Mapping[str, Any]) -> Data:
    # HELM's statistics describe the scores that these replace
    none = results.helm_stats.clear()
    return replace(results, scores=scores.lazy(), verdicts=verdicts, helm_stats=none, manifest=manifest, path=None)


@dataclass(frozen=True)
class _JudgedMetrics:
    """The verdicts of results, and the manifest entries of their metrics."""

    verdicts: pl.LazyFrame
    metrics: Mapping[str, Mapping[str, Any]]

    def judge_entries(self) -> dict[str, Mapping[str, Any]]:
        """Return the manifest entry of each metric's judge."""
        return {name: entry["judge"] for name, entry in self.metrics.items() if "judge" in entry}

    def judge_of(self, metric: str | None) -> tuple[str, Mapping[str, Any]]:
        """Return a judged metric, by default the only one, and its judge's manifest entry.

        Raises:
            NotComparableError: If there are several judged metrics, or none.
            UnknownNameError: If no judged metric has this name.
        """
        entries = self.judge_entries()
        if metric is None and len(entries) == 1:
            return next(iter(entries.items()))
        if metric is None:
            if not entries:
                raise NotComparableError("No metric was judged. Write results.judge(hf.judge(model, 'safety')) first.")
            raise NotComparableError(f"Several metrics were judged. Write metric=… with one of: {list_names(entries)}.")
        if metric not in entries:
            raise UnknownNameError.among("judged metric of these results", metric, entries)
        return metric, entries[metric]


def _judged_metrics(results: ResultsData, keys: Sequence[str]) -> _JudgedMetrics:
    return _JudgedMetrics(reader_of(results).with_source_columns(results.verdicts, keys), results.manifest["metrics"])


def _score_with_judges(
    completions: pl.DataFrame,
    metrics: Sequence[Metric],
    opponents: pl.DataFrame | None,
    *,
    fresh: bool,
    budget: Budget,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return `SCORES` and `VERDICTS` of judged and other metrics.

    Args:
        completions: `COMPLETIONS`.
        metrics: The metrics, as `resolve_metrics` returns them.
        opponents: The completions to compare with, for judges of pairs.
        fresh: Whether to ignore cached verdicts.
        budget: The limit of requests and cost.
    """
    judges = judges_of(metrics)
    pair_judges = [judge.name for judge in judges if judge.template.of_pairs and not judge.template.against]
    if pair_judges and opponents is None:
        raise ArgumentError(
            f"judge(): {pair_judges[0]!r} judges pairs of completions. Name the model to compare with: against='NAME'."
        )
    if opponents is not None and len(pair_judges) < len(metrics):
        raise ArgumentError(
            "judge(against=…): each judge must judge pairs; its template contains {first} and {second}."
        )
    rows = completions if opponents is None else paired(completions, opponents)
    if rows.is_empty():
        raise NotComparableError(
            "judge(against=…): no instance was completed by both sides. Run both models on the same instances."
        )
    budget.check(list(dict.fromkeys(model for judge in judges for model in judge.models)))
    with _ProgressBar() as bar:
        verdicts = verdicts_on(rows, judges, fresh=fresh, budget=budget, report=bar.reporter)
    failed = verdicts.filter(pl.col("error").is_not_null())
    if failed.height:
        counts = failed.height, verdicts.height
        logger.warning("%d of %d verdicts failed. First error: %s", *counts, failed["error"][0])
    joined = with_verdicts(rows, verdicts, judges)
    scores = score(joined.lazy(), metrics).collect()
    check_units(scores, metrics)
    return scores, verdicts


def _with_prices(manifest: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """Return the manifest with the prices of judges that were added to it."""
    prices = {**manifest.get("prices", {}), **budget.manifest_entries()}
    return {**manifest, "prices": prices} if prices else dict(manifest)


def _split_sides(rows: pl.DataFrame, against: str | ResultsData) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the completions to judge, and the completions to compare them with."""
    if isinstance(against, ResultsData):
        return rows, against.completions.collect()
    names = rows["model"].unique().sort().to_list()
    if against not in names:
        raise UnknownNameError.among("model of these results", against, names)
    return rows.filter(pl.col("model") != against), rows.filter(pl.col("model") == against)


def _join_labels(rows: pl.DataFrame, labels: pl.DataFrame, entry: Mapping[str, Any]) -> pl.DataFrame:
    """Return the rows with their label; null if a row has none."""
    if not isinstance(labels, pl.DataFrame) or not {LABEL, "instance_id"} <= set(labels.columns):
        raise ArgumentError(
            "labels must be a Polars frame with the columns instance_id, label (a number on the judge's scale), and "
            "the others that identify a completion (model, perturbation, …). results.to_label(100) returns one to "
            "fill in."
        )
    on = [name for name in labels.columns if name in KEY and name in rows.columns]
    filled = labels.filter(pl.col(LABEL).is_not_null()).select(*on, LABEL)
    if filled.is_empty():
        raise ArgumentError(
            "labels: the column label is empty. Fill in a number on the judge's scale for each row, such as 0 or 1."
        )
    numbers = filled[LABEL].cast(pl.Float64, strict=False)
    if numbers.has_nulls():
        text = filled[LABEL].filter(numbers.is_null())[0]
        raise ArgumentError(f"labels: each label must be a number on the judge's scale, not {text!r}.")
    filled = filled.with_columns(numbers)
    if filled.select(on).is_duplicated().any():
        raise ArgumentError(f"labels: a completion has two labels (key: {', '.join(on)}). Average them first.")
    low, high = entry.get("low"), entry.get("high")
    if low is not None and not filled[LABEL].is_between(low, high).all():
        raise ArgumentError(f"labels: each label must be on the judge's scale, {low:g} to {high:g}.")
    filled = filled.cast({name: rows.schema[name] for name in on})
    joined = rows.drop(LABEL, strict=False).join(filled, on=on, how="left", nulls_equal=True, maintain_order="left")
    is_ambiguous = joined.filter(pl.col(LABEL).is_not_null()).select(on).is_duplicated().any()
    if is_ambiguous:
        missing = [name for name in KEY if name in rows.columns and name not in on and rows[name].n_unique() > 1]
        raise ArgumentError(f"labels: a label matches several completions. Add the column {' or '.join(missing)}.")
    return joined


class _ProgressBar:
    """Progress while judges run: a bar in a terminal, else a line at most every ten seconds and one at the end."""

    def __enter__(self) -> Self:
        from tqdm import tqdm

        self._done = self._last_count = 0
        self._last_line = time.monotonic()
        self._in_terminal = sys.stderr.isatty()
        self._is_hidden = os.environ.get("HELMFRAME_PROGRESS", "1") == "0"
        hidden = self._is_hidden or not self._in_terminal
        self._bar: Any = tqdm(total=0, unit="verdict", desc="judging", leave=False, disable=hidden, file=sys.stderr)
        self._planned = self._generated = 0
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._bar.close()
        if kind is None and self._generated != self._last_count:
            self._print_line()

    def reporter(self, judge: str) -> Report:
        return partial(self._report, judge)

    def _report(self, judge: str, event: str, count: int) -> None:
        if event == "planned":
            self._planned += count
            self._bar.total = self._planned
        elif event in ("cached", "shared", "refused", "generated"):
            self._done += count
            self._bar.set_postfix_str(judge, refresh=False)
            self._bar.update(count)
        if event == "generated":
            self._generated += count
            if time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
                self._print_line()

    def _print_line(self) -> None:
        self._last_line, self._last_count = time.monotonic(), self._generated
        if not self._is_hidden and not self._in_terminal:
            # a reply without a verdict is requested again, so requests may outnumber verdicts
            line = f"helmframe: {self._done:,} of {self._planned:,} judge requests"
            print(line, file=sys.stderr, flush=True)
