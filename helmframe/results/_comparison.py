"""Results compared along an axis, ranked, and held against a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._early_stopping import refuse, with_differences
from helmframe.results._pairing import APART, Comparison, ScoringOptions, paired
from helmframe.results._perturbed import worst_sides
from helmframe.results.boards import board, columns_said
from helmframe.results.gates import gate_of
from helmframe.stats.board import Leaderboard
from helmframe.stats.gate import Gate


def compare(
    results: ResultsData,
    axis: str,
    *,
    base: str | None = None,
    metrics: str | Sequence[str] | None = None,
    worst: int | str | None = None,
    errors: str = "refuse",
    mean: str | None = None,
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
) -> "Comparison":
    """Paired differences between the values of one axis: model, setting or perturbation.

    Args:
        results: Results of a run.
        axis: what is compared.
        base: the value that the others are compared with; default the first, of perturbations the original.
        metrics: default the main metric.
        worst: compare the worst case instead of each variant: "all", over the original and all variants; a number
            k, of k draws.
        errors: What to do where more than 1 % of the requests failed: "refuse"; "drop" these instances on both
            sides; "worst" counts a failure as the metric's worst bound.
        mean: over subsets, "macro" or "micro"; default the scenario's own.
        higher_is_better: metric → direction, for metrics of other tools that we don't know.
        ci: level of the interval.

    Returns:
        As `helmframe.stats.compare`: a frame, which shows itself as a short table. Of a run that stopped `until` it
        knew enough: intervals that hold at every look, and no p values.

    Raises:
        UnknownNameError: no such axis, or base.
        NotComparableError: the run has only one value of it, too many requests failed, or worst cases are over
            other variants.
    """
    if axis not in ("model", "setting", "perturbation"):
        raise UnknownNameError.among("axis of comparison", axis, ["model", "setting", "perturbation"])
    read = reader_of(results).scoring_options(metrics, mean, higher_is_better)
    scores = results.scores
    if worst is not None:
        refuse(results.manifest, "worst cases")
        scores = _worst_of_each(results, axis, worst, read)
    by = [name for name in APART if name != axis]
    table = paired(scores, axis, by, base=base, read=read, errors=errors, ci=ci)
    if "until" in results.manifest:
        table = with_differences(table, scores, results.manifest["until"], axis, mean=read.mean, ci=ci)
    return Comparison(table)


def leaderboard(
    results: ResultsData,
    *,
    mean: str = "win_rate",
    columns: "Sequence[str | tuple[str, str]] | str | None" = None,
    subsets: str | None = None,
    worst: int | str | None = None,
    shared: bool = False,
    errors: str = "refuse",
    higher_is_better: Mapping[str, bool] | None = None,
    ci: float = 0.95,
) -> Leaderboard:
    """The models ranked over scenarios, with what of their order is sure; settings of a grid rank side by side.

    Args:
        results: Results of a run.
        mean: "win_rate", HELM's: the share of the others that a model is better than; "mean", the mean over
            scenarios (HELM's, macro); "micro", the mean by their instances.
        columns: scenarios (their main metric), metrics (in every scenario), or (scenario, metric); default all
            scenarios. Original inputs alone count, of the main split.
        subsets: mean over subsets, "macro" (alike, HELM's) or "micro" (by size); default the scenario's.
        worst: rank worst cases, over the original and "all" variants, or of k draws; as in `compare`.
        shared: Rank also where a model lacks more than 1 % of the instances. In any case only instances with a
            score of every model count; `cells` has n, and n_dropped.
        errors: What to do where more than 1 % of a model's requests failed: "refuse"; "drop" these instances for
            every model; "worst" counts a failure as the metric's worst bound.
        higher_is_better: metric → direction, for metrics of other tools that we don't know.
        ci: level at which all models' ranks hold together, and of the intervals.

    Returns:
        As `helmframe.stats.leaderboard`: `.table`, `.cells`, the pool and columns it was made over, and
        `.compare(other)`, which refuses boards of others.

    Raises:
        UnknownNameError: no such column.
        ArgumentError: one model alone, a mean over columns of several units, or `errors="worst"` for a metric
            without a worst bound.
        NotComparableError: too many requests failed, no instance has a score of every model, models were asked
            other instances, or worst cases are over other variants.
    """
    refuse(results.manifest, "ranks")
    said = columns_said(results.manifest, columns)
    read = reader_of(results).scoring_options(
        list(dict.fromkeys(metric for _, metric in said)), subsets, higher_is_better
    )
    return board(results, said, read, mean=mean, worst=worst, shared=shared, errors=errors, ci=ci)


def gate(
    results: ResultsData,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    against: str | Path | ResultsData | None = None,
    margin: float = 0.02,
    columns: "Sequence[str | tuple[str, str]] | str | None" = None,
    axis: str | Sequence[str] = (),
    errors: str = "refuse",
    strict: bool = False,
    ci: float = 0.95,
) -> Gate:
    """Whether these results may pass: surely at least (or most) so much, or not worse than a baseline by a margin.

    `results.gate(against="runs/yesterday").verdict` is "pass", "fail", or "undecided" where the interval holds the
    line; then `table` says how many instances would decide. Of all its rows together, numbers that lie on the line
    fail in (1 − ci)/2 of runs, 2.5 %; sides that are alike less often, by the margin. Original inputs of the main
    split alone count.

    Args:
        results: Results of a run.
        at_least: the least value that passes.
        at_most: the greatest one that does, of metrics that are better when lower.
        against: the baseline: results, or a folder of any tool's, as in `hf.compare`.
        margin: by how much these may be worse than the baseline.
        columns: scenarios (their main metric), metrics (in every scenario), or (scenario, metric); default all
            scenarios.
        axis: what may differ from the baseline, as in `hf.compare`.
        errors: What to do where more than 1 % of the requests failed: "refuse"; "drop" these instances for every
            model; "worst" counts a failure as the metric's worst bound.
        strict: whether "undecided" is "fail".
        ci: level of the intervals.

    Returns:
        As `helmframe.stats.gate`: `.verdict`, `.exit_code`, `.table`.

    Raises:
        ArgumentError: none of at_least, at_most and against, or two; at_least of a metric that is better when
            lower, or at_most of one that is better when higher.
        NotComparableError: too many requests failed, or as in `hf.compare`.
    """
    return gate_of(
        results,
        at_least=at_least,
        at_most=at_most,
        against=against,
        margin=margin,
        columns=columns,
        axis=axis,
        errors=errors,
        strict=strict,
        ci=ci,
    )


def _worst_of_each(results: ResultsData, axis: str, worst: int | str, read: ScoringOptions) -> pl.LazyFrame:
    if axis == "perturbation":
        raise ArgumentError("compare('perturbation') has a side for each perturbation: none has a worst case.")
    rows = results.scores.filter(pl.col("metric").is_in(list(read.metrics)))
    values = rows.select(pl.col(axis).unique().sort()).collect().to_series().to_list()
    sides = {value: rows.filter(pl.col(axis) == value) for value in values}
    worst_of = worst_sides(sides, worst, read.higher_is_better, reader_of(results).perturbation_kinds())
    return pl.concat([scores.with_columns(pl.lit(value).alias(axis)) for value, scores in worst_of.items()])
