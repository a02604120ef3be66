"""Leaderboards and gates of results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import polars as pl

from helmframe import stats
from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.results._comparison import compare_results, load_results
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._early_stopping import refuse_stopped
from helmframe.results._pairing import INSTANCE, ScoringOptions, check_set_failures, range_of
from helmframe.results._robustness import worst_sides
from helmframe.results._tables import table as aggregate_table
from helmframe.stats.board import Column, Leaderboard, build_leaderboard
from helmframe.stats.compare import check_margin
from helmframe.stats.failures import treat_failures
from helmframe.stats.gate import Gate, check_known, check_population
from helmframe.stats.leaderboard import SAME_INSTANCES, build_columns, column_names
from helmframe.stats.ranks import Estimates

# A scenario (its main metric), a metric (in every scenario), or (scenario, metric).
ColumnSpec: TypeAlias = "str | tuple[str, str]"
ScenarioMetric: TypeAlias = "tuple[str, str]"
_COMPETITOR = "competitor"
_GATE_KEYS = ("scenario", "split", "model", "setting", "perturbation")


def leaderboard(
    results: ResultsData,
    *,
    mean: str = "win_rate",
    columns: "Sequence[ColumnSpec] | str | None" = None,
    subsets: str | None = None,
    worst: int | str | None = None,
    shared: bool = False,
    errors: str = "refuse",
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
    rank_probabilities: bool = False,
) -> Leaderboard:
    """Rank the models over scenarios, with the ranks that are significant. Settings of a grid are ranked separately.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> results = plan.generate({"good": hf.models.noisy(0.9), "bad": hf.models.noisy(0.3)}).score()
    >>> results.leaderboard().table.select("model", "value", "rank", "rank_low", "rank_high").rows()
    [('good', 1.0, 1, 1, 1), ('bad', 0.0, 2, 2, 2)]

    Args:
        results: Results of a run.
        mean: "win_rate", as in HELM: the share of the other models that a model beats; "mean", the mean over scenarios
            (HELM's, macro); "micro", the mean weighted by their instances.
        columns: Scenarios (their main metric), metrics (in every scenario), or (scenario, metric); default all
            scenarios. Only original inputs of the main split are counted.
        subsets: The mean over subsets, "macro" (equal weights, as in HELM) or "micro" (by size); default the
            scenario's.
        worst: Rank worst cases: "all", over the original and all variants; k, expected over k seeds, as in `compare`.
        shared: Whether to rank if a model lacks more than 1 % of the instances. Only instances with a score of every
            model are counted; `cells` has n and n_dropped.
        errors: The action if more than 1 % of a model's requests failed: "refuse"; "drop" these instances for every
            model; "worst" counts a failure as the metric's worst bound.
        higher_is_better: A dict of metric → direction, for unknown metrics of other tools.
        ci: The simultaneous level of all models' ranks, and the level of the intervals.
        rank_probabilities: Whether to compute the probability of each rank by bootstrap (`Leaderboard`).

    Returns:
        A `Leaderboard` with `.table`, `.cells`, its pool and columns, and `.compare(other)`.

    Raises:
        UnknownNameError: If a column is unknown.
        ArgumentError: If there is only one model, the mean is over several units, or `errors="worst"` is set for a
            metric without a worst bound.
        NotComparableError: If too many requests failed, no instance has a score of every model, models were run on
            different instances, worst cases are over different variants, or the run stopped early.
    """
    refuse_stopped(results.manifest, "a ranking")
    pairs = _resolve_columns(results.manifest, columns)
    options = reader_of(results).scoring_options(
        list(dict.fromkeys(metric for _, metric in pairs)), subsets, higher_is_better
    )
    runs = results.completions.select("model", "setting").unique().sort("model", "setting").collect()
    pool = [competitor_name(*run) for run in runs.iter_rows()]
    entries = results.manifest["metrics"]
    set_pairs = [pair for pair in pairs if entries[pair[1]]["level"] == "set"]
    if set_pairs and (worst is not None or shared):
        raise ArgumentError(
            f"leaderboard({'shared=True' if shared else f'worst={worst!r}'}): {set_pairs[0][1]!r} is a metric of the "
            "whole set, without a score per instance. Select other metrics with columns=…."
        )
    row_pairs = [pair for pair in pairs if pair not in set_pairs]
    names = column_names(pairs)
    board_columns = [_set_column(results, pair, pool, options, names[pair], errors, ci) for pair in set_pairs]
    if row_pairs:
        scores = results.scores.filter(_matches(row_pairs), _in_main_split(results)).with_columns(competitor_label())
        if worst is None:
            scores = scores.filter(pl.col("perturbation") == ORIGINAL)
        else:
            scores = _worst_scores(scores, pool, worst, options, reader_of(results).perturbation_entries())
        units = {metric: str(entry["unit"]) for metric, entry in entries.items()}
        board_columns += build_columns(
            scores,
            _COMPETITOR,
            pool,
            higher_is_better=options.higher_is_better,
            subsets=options.mean,
            fractions=options.fractions,
            units=units,
            names=names,
            shared=shared,
            errors=errors,
            ranges=options.ranges,
            ci=ci,
        )
    return build_leaderboard(board_columns, pool, mean=mean, ci=ci, rank_probabilities=rank_probabilities)


def gate(
    results: ResultsData,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    against: str | Path | ResultsData | None = None,
    margin: float = 0.02,
    equivalent: float | None = None,
    columns: "Sequence[ColumnSpec] | str | None" = None,
    axis: str | Sequence[str] = (),
    errors: str = "refuse",
    strict: bool = False,
    ci: float = 0.95,
    population: str = "population",
) -> Gate:
    """Decide whether these results pass: at least (or at most) a line, or not worse than a baseline by a margin.

    The verdict is "pass", "fail", or "undecided" if the interval includes the line. The table of the gate then has the
    number of instances that would decide. Over all rows together, values on the line fail in (1 − ci)/2 of runs, 2.5 %;
    equal sides fail less often, by the margin. Only original inputs of the main split are counted.

    The verdict is about the population that the instances are sampled from, also if the run stopped early. With
    `population="benchmark"` it is about these instances alone, whose mean is known once all of them have run.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> results = plan.generate(hf.models.noisy(0.9)).score()
    >>> results.gate(at_least=0.5).verdict, results.gate(at_least=0.5).exit_code
    ('pass', 0)

    Args:
        results: Results of a run.
        at_least: The smallest value that passes.
        at_most: The largest value that passes, for metrics that are better when lower.
        against: The baseline: results, or a folder of results of any tool, as in `hf.compare`.
        margin: How much worse than the baseline the results may be.
        equivalent: With a baseline: how much the results may differ from it, to either side, in place of `margin`.
        columns: Scenarios (their main metric), metrics (in every scenario), or (scenario, metric); default all
            scenarios.
        axis: The axes that may differ from the baseline, as in `hf.compare`.
        errors: The action if more than 1 % of the requests failed: "refuse"; "drop" these instances for every model;
            "worst" counts a failure as the metric's worst bound.
        strict: Whether "undecided" counts as "fail".
        ci: The level of the intervals.
        population: "population" (that the instances are sampled from) or "benchmark" (its own instances alone).

    Returns:
        A `Gate` with `.verdict`, `.exit_code` and `.table`.

    Raises:
        ArgumentError: If not exactly one of at_least, at_most and against is set; equivalent without a baseline;
            at_least is set for a metric that is better when lower, or at_most for a metric that is better when higher;
            or `population` is invalid.
        NotComparableError: If too many requests failed, or as in `hf.compare`.
    """
    _check_lines(at_least, at_most, against, margin, ci)
    check_population(population)
    check_margin(equivalent, "equivalent")
    if equivalent is not None and against is None:
        raise ArgumentError(
            f"gate(equivalent={equivalent!r}): a baseline is needed. Write gate(against=…, equivalent=…)."
        )
    pairs = _resolve_columns(results.manifest, columns)
    metrics = list(dict.fromkeys(metric for _, metric in pairs))
    counted = _in_main_split(results) & (pl.col("perturbation") == ORIGINAL) & _matches(pairs)
    if against is not None:
        compared = compare_results(
            replace(results, scores=results.scores.filter(counted), path=None),
            load_results(against),
            axis=axis,
            metrics=metrics,
            labels=("these", "baseline"),
            errors=errors,
            ci=ci,
            equivalence=equivalent,
        )
        # values of only one side are rows without a pair, and without failures
        rows = pl.DataFrame(compared).filter(_matches(pairs), pl.col("n") + pl.col("n_error") > 0)
        directions = reader_of(results).directions()
        return stats.gate(
            rows,
            margin=margin if equivalent is None else None,
            equivalent=equivalent,
            higher_is_better=directions,
            strict=strict,
            errors=errors,
            ci=ci,
            population=population,
        )
    until = results.manifest.get("until")
    if until is not None:
        results = replace(results, manifest={**results.manifest, "until": {**until, "population": population}})
    for metric in metrics:
        _check_direction(metric, results.manifest["metrics"][metric], at_least, at_most)
    counted_results = replace(
        results, scores=results.scores.filter(counted), completions=_counted_completions(results, pairs), path=None
    )
    higher_is_better = dict.fromkeys(metrics, at_least is not None)
    treated_results = _without_failures(counted_results, metrics, higher_is_better, errors)
    untreated = aggregate_table(counted_results, _GATE_KEYS, metrics=metrics).filter(_matches(pairs))
    # Bonferroni: over all rows together, at most (1 − ci)/2 fail by chance
    ci = 1 - (1 - ci) / max(untreated.height, 1)
    table = aggregate_table(treated_results, _GATE_KEYS, metrics=metrics, ci=ci)
    # n_error is counted before the treatment; a row that lost all of its instances has no value
    table = (
        untreated.select(*_GATE_KEYS, "metric", "n_completions", "n_error")
        .join(table.drop("n_completions", "n_error"), on=[*_GATE_KEYS, "metric"], how="left", maintain_order="left")
        .with_columns(
            pl.col("n", "n_clusters").fill_null(0), pl.col("interval").fill_null("no interval: nothing was scored")
        )
        .select(table.columns)
    )
    if population == "benchmark" and until is None:
        check_known(table, errors)
    # failures are treated already
    return stats.gate(
        table, at_least=at_least, at_most=at_most, strict=strict, errors="drop", ci=ci, population=population
    )


def full_scores(
    results: ResultsData,
    like: str | Path | ResultsData,
    *,
    metric: str | None = None,
    mean: str | None = None,
    population: str = "benchmark",
    ci: float = 0.95,
) -> pl.DataFrame:
    """Predict the scores on all instances of an earlier run, from these results on some of them.

    The instances may be chosen (`plan.sample(100, like=earlier)`) or random (`plan.sample(100)`). The interval is that
    of cross-validation over the earlier models: it assumes that a model is like a random one of them. Only original
    inputs of the main split are counted.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> earlier = plan.generate({f"m{i}": hf.models.noisy(0.1 * i) for i in range(1, 9)}).score()
    >>> subset = plan.sample(10, like=earlier).generate({"new": hf.models.noisy(0.75)}).score()
    >>> subset.full_scores(like=earlier).select("model", "n", "population").row(0)
    ('new', 10, 'benchmark')

    Args:
        results: Results of a run over a subset.
        like: Results of at least 5 other models on all instances, or their folder.
        metric: The metric; default each scenario's main metric.
        mean: The mean over subsets that is predicted, "macro" or "micro"; default the scenario's.
        population: "benchmark": the interval is about the score on all instances of the earlier run. "population":
            about the population that these are sampled from.
        ci: The level of the interval.

    Returns:
        The table of `hf.stats.full_scores`: one row per scenario and model.

    Raises:
        NotComparableError: If fewer than 5 earlier models ran all instances, no instance is shared, or the run stopped
            early.
        ArgumentError: If the metric is one of whole sets, or an argument is invalid.
        UnknownNameError: If the metric is unknown.
    """
    earlier = like if isinstance(like, ResultsData) else load_results(like)
    refuse_stopped(results.manifest, "a prediction")
    pairs = _subset_columns(earlier, metric)
    options = reader_of(earlier).scoring_options(list(dict.fromkeys(name for _, name in pairs)), mean, None)
    new = _subset_scores(results, [pair for pair in pairs if pair[0] in results.manifest["scenarios"]])
    table = stats.full_scores(
        new, _subset_scores(earlier, pairs), mean=options.mean, fractions=options.fractions,
        population=population, ci=ci,
    )  # fmt: skip
    return table.sort("scenario", "model")


def subset_errors(
    results: ResultsData,
    sizes: int | Sequence[int] = (50, 100, 200),
    *,
    metric: str | None = None,
    mean: str | None = None,
) -> pl.DataFrame:
    """Measure how well subsets of these instances predict the full scores, by cross-validation over models.

    >>> import helmframe as hf
    >>> plan = hf.scenario("sampler").where(subject="music")
    >>> results = plan.generate({f"m{i}": hf.models.noisy(0.1 * i) for i in range(1, 9)}).score()
    >>> results.subset_errors(10)["method"].to_list()
    ['mean of a random subset', 'random', 'chosen']

    Args:
        results: Results of at least 5 models on all instances.
        sizes: The numbers of instances of each scenario.
        metric: The metric; default each scenario's main metric.
        mean: The mean over subsets, "macro" or "micro"; default the scenario's.

    Returns:
        The table of `hf.stats.subset_errors`: the errors of each size and method.

    Raises:
        NotComparableError: If fewer than 5 models ran all instances.
        ArgumentError: If the metric is one of whole sets, or an argument is invalid.
        UnknownNameError: If the metric is unknown.
    """
    pairs = _subset_columns(results, metric)
    over = mean or reader_of(results).mean()
    return stats.subset_errors(_subset_scores(results, pairs), sizes, mean=over)


def chosen_instances(results: ResultsData, n: int) -> dict[str, list[str]]:
    """Return the ids of the n instances of each scenario that predict its full main score, for `Plan.sample`."""
    refuse_stopped(results.manifest, "a choice of instances")
    pairs = _subset_columns(results, None)
    chosen = stats.choose_subset(_subset_scores(results, pairs), n, mean=reader_of(results).mean())
    ids = chosen.group_by("scenario", maintain_order=True).agg("instance_id")
    return {str(scenario): list(names) for scenario, names in ids.iter_rows()}


def _subset_columns(results: ResultsData, metric: str | None) -> list[ScenarioMetric]:
    """Return each scenario with its metric, which has scores of instances."""
    pairs = _resolve_columns(results.manifest, None if metric is None else [metric])
    for _, name in pairs:
        if results.manifest["metrics"][name]["level"] == "set":
            raise ArgumentError(
                f"{name!r} is a metric of the whole set, without a score per instance. Select another one: metric=…."
            )
    return pairs


def _subset_scores(results: ResultsData, pairs: Sequence[ScenarioMetric]) -> pl.LazyFrame:
    """Return the scores of original inputs of the main split; a setting is a part of the model's name."""
    rows = results.scores.filter(_matches(pairs), _in_main_split(results), pl.col("perturbation") == ORIGINAL)
    return rows.with_columns(competitor_label().alias("model"))


def competitor_name(model: str, setting: str) -> str:
    """Return the name of a model in a leaderboard, with its setting if the run has a grid."""
    return f"{model} {setting}" if setting else model


def _resolve_columns(manifest: Mapping[str, Any], columns: "Sequence[ColumnSpec] | str | None") -> list[ScenarioMetric]:
    """Return the specified (scenario, metric) pairs; default each scenario with its main metric, or the first scored.

    Raises:
        UnknownNameError: If a name is neither a scenario nor a metric of these results.
    """
    scenarios, metrics = list(manifest["scenarios"]), list(manifest["metrics"])
    pairs: list[ScenarioMetric] = []
    for column in scenarios if columns is None else [columns] if isinstance(columns, str) else columns:
        if isinstance(column, tuple):
            scenario, metric = column
            for kind, name, names in (("scenario", scenario, scenarios), ("metric", metric, metrics)):
                if name not in names:
                    raise UnknownNameError.among(f"{kind} of these results", name, names)
            pairs.append((scenario, metric))
        elif column in scenarios:
            main = manifest["scenarios"][column]["main"]["metric"]
            pairs.append((column, main if main in metrics else metrics[0]))
        elif column in metrics:
            pairs += [(scenario, column) for scenario in scenarios]
        else:
            raise UnknownNameError.among("scenario or metric of these results", column, [*scenarios, *metrics])
    return list(dict.fromkeys(pairs))


def competitor_label() -> pl.Expr:
    """Return the name of a model with its setting, as `competitor_name` does."""
    label = pl.when(pl.col("setting") == "").then(pl.col("model")).otherwise(pl.format("{} {}", "model", "setting"))
    return label.alias(_COMPETITOR)


def _matches(pairs: Sequence[ScenarioMetric]) -> pl.Expr:
    """Return whether a score belongs to one of these (scenario, metric) pairs."""
    return pl.any_horizontal(
        [(pl.col("scenario") == scenario) & (pl.col("metric") == metric) for scenario, metric in pairs]
    )


def _in_main_split(results: ResultsData) -> pl.Expr:
    """Return whether a row belongs to the scenario's main split, if results have it, as in HELM's leaderboards."""
    splits = set(results.completions.select("scenario", "split").unique().collect().iter_rows())
    other_split = pl.lit(value=False)
    for name, entry in results.manifest["scenarios"].items():
        split = entry["main"].get("split")
        if (name, split) in splits:
            other_split |= (pl.col("scenario") == name) & (pl.col("split") != split)
    return ~other_split


def _worst_scores(
    scores: pl.LazyFrame, pool: Sequence[str], worst: int | str, options: ScoringOptions, kinds: Mapping[str, Any]
) -> pl.LazyFrame:
    sides = {label: scores.filter(pl.col(_COMPETITOR) == label) for label in pool}
    worst_by_label = worst_sides(sides, worst, options.higher_is_better, kinds)
    return pl.concat([rows.with_columns(pl.lit(label).alias(_COMPETITOR)) for label, rows in worst_by_label.items()])


def _set_column(
    results: ResultsData,
    pair: ScenarioMetric,
    pool: Sequence[str],
    options: ScoringOptions,
    name: str,
    errors: str,
    ci: float,
) -> Column:
    """Return the column of a metric over whole sets, with the unknown covariance of two models as 0."""
    scenario, metric = pair
    counted = results.completions.filter(
        pl.col("scenario") == scenario, pl.col("perturbation") == ORIGINAL, _in_main_split(results)
    ).with_columns(competitor_label())
    check_set_failures(counted, metric, _COMPETITOR, errors)
    completed, n_dropped = _completed_by_all(counted, pair)
    rows = aggregate_table(
        replace(results, completions=completed.drop(_COMPETITOR), path=None),
        ["scenario", "split", "model", "setting", "perturbation"],
        metrics=metric,
        ci=ci,
        mean=options.mean,
    )
    rows = rows.with_columns(model=competitor_label(), n_dropped=n_dropped).sort("model")
    index = np.array([pool.index(model) for model in rows["model"]])
    values = np.full(len(pool), np.nan)
    values[index] = rows["value"].to_numpy()
    higher_is_better = options.higher_is_better[metric]
    has_stderr = rows["stderr"].is_not_null().all()
    n = rows["n"].cast(pl.Float64).to_numpy()
    return Column(
        name=name,
        values=values,
        higher_is_better=higher_is_better,
        unit=str(results.manifest["metrics"][metric]["unit"]),
        size=float(n.max(initial=0.0)),
        estimates=Estimates(
            index=index,
            value=values[index] if higher_is_better else -values[index],
            covariance=np.diag(rows["stderr"].to_numpy() ** 2) if has_stderr else None,
            df=np.maximum(n - 1, 1.0),
            clusters=n,
        ),
        cells=rows,
    )


def _completed_by_all(completions: pl.LazyFrame, pair: ScenarioMetric) -> tuple[pl.LazyFrame, int]:
    """Return the completions of the instances that every competitor completed, and the number of the other instances.

    Raises:
        NotComparableError: If there is no such instance, or a competitor was run on fewer than 99 % of the instances.
    """
    failed = pl.col("error").is_not_null().any()
    runs = completions.group_by(*INSTANCE, _COMPETITOR).agg(failed=failed).collect()
    n_instances = runs.select(INSTANCE).n_unique()
    for name, n in runs.group_by(_COMPETITOR).len().sort(_COMPETITOR).iter_rows():
        if n < SAME_INSTANCES * n_instances:
            raise NotComparableError(
                f"{name!r} was run on {n:,} of the {n_instances:,} instances of {pair[0]!r} that others were run on. "
                "Run all models on the same instances."
            )
    completed = runs.filter(~pl.col("failed")).group_by(INSTANCE).len()
    shared = completed.filter(pl.col("len") == runs[_COMPETITOR].n_unique()).select(INSTANCE)
    if shared.is_empty():
        raise NotComparableError(
            f"leaderboard({pair[1]!r}): no instance of {pair[0]!r} was completed by every model. Rank without the "
            "models that failed."
        )
    return completions.join(shared.lazy(), on=INSTANCE, how="semi", maintain_order="left"), n_instances - shared.height


def _check_lines(
    at_least: float | None, at_most: float | None, against: ResultsData | str | Path | None, margin: float, ci: float
) -> None:
    """Check that exactly one line is set, and that it and the level are numbers."""
    if [at_least, at_most, against].count(None) != 2:
        raise ArgumentError(
            "gate(): exactly one of at_least, at_most and against must be set. Write gate(at_least=0.3), "
            "gate(at_most=0.1), or gate(against=baseline, margin=0.02)."
        )
    for argument, number in (("at_least", at_least), ("at_most", at_most), ("margin", margin)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise ArgumentError(f"gate({argument}={number!r}): {argument} must be a number, such as 0.3.")
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")


def _percent_advice(value: float) -> str:
    """Return what to write instead of a percentage.

    >>> _percent_advice(80)
    'Write 0.8 for 80 %.'
    """
    percent = value if 1 < value <= 100 else 30
    return f"Write {percent / 100:g} for {percent:g} %."


def _check_direction(metric: str, entry: Mapping[str, Any], at_least: float | None, at_most: float | None) -> None:
    """Raise if the metric is better in the other direction, or the line is in another unit."""
    if entry["higher_is_better"] is (at_least is None):
        argument, better, right = (
            ("at_least", "lower", "at_most") if at_most is None else ("at_most", "higher", "at_least")
        )
        raise ArgumentError(f"gate({argument}=…): {better} is better for {metric!r}. Write gate({right}=…).")
    argument, line = ("at_least", at_least) if at_most is None else ("at_most", at_most)
    if entry["unit"] == "fraction" and not 0 <= (line or 0) <= 1:
        raise ArgumentError(
            f"gate({argument}={line!r}): {argument} must be between 0 and 1 for {metric!r}, which is a fraction. "
            f"{_percent_advice(line or 0)}"
        )


def _counted_completions(results: ResultsData, pairs: Sequence[ScenarioMetric]) -> pl.LazyFrame:
    return results.completions.filter(
        pl.col("scenario").is_in([scenario for scenario, _ in pairs]),
        _in_main_split(results),
        pl.col("perturbation") == ORIGINAL,
    )


def _without_failures(
    results: ResultsData, metrics: Sequence[str], higher_is_better: Mapping[str, bool], errors: str
) -> ResultsData:
    """Return the results with their failures refused, dropped for every model, or counted as the worst."""
    set_metrics = [name for name in metrics if results.manifest["metrics"][name]["level"] == "set"]
    for metric in set_metrics:
        check_set_failures(results.completions, metric, "model", errors)
    scores = treat_failures(
        results.scores,
        ["model", "scenario", "split", "setting", "perturbation", "metric"],
        errors,
        higher_is_better=higher_is_better,
        ranges={name: range_of(results.manifest["metrics"][name]) for name in metrics},
    )
    completions = _drop_failed_instances(results.completions, pl.col("error").is_not_null(), INSTANCE)
    scores = _drop_failed_instances(scores, pl.col("score").is_null(), [*INSTANCE, "metric"])
    return replace(results, scores=scores, completions=completions if set_metrics else results.completions)


def _drop_failed_instances(rows: pl.LazyFrame, failed: pl.Expr, on: Sequence[str]) -> pl.LazyFrame:
    """Return the rows of the instances without any failure."""
    return rows.join(rows.filter(failed).select(on).unique(), on=on, how="anti", maintain_order="left")
