"""The gate of some results: which of their numbers count, at which level, and against which baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError
from helmframe.results._data import ResultsData, reader_of
from helmframe.results._pairing import INSTANCE, check_set_failures, range_of
from helmframe.results._tables import table as table_of
from helmframe.results.boards import Said, among, columns_said, main_splits
from helmframe.results.sides import compare_results, loaded
from helmframe.stats.failures import treat_failures
from helmframe.stats.gate import Gate, gate

_BY = ("scenario", "split", "model", "setting", "perturbation")


def gate_of(
    results: ResultsData,
    *,
    at_least: float | None,
    at_most: float | None,
    against: ResultsData | str | Path | None,
    margin: float,
    columns: Sequence[Said] | str | None,
    axis: str | Sequence[str],
    errors: str,
    strict: bool,
    ci: float,
) -> Gate:
    """As `Results.gate` documents it."""
    _check_lines(at_least, at_most, against, margin, ci)
    said = columns_said(results.manifest, columns)
    metrics = list(dict.fromkeys(metric for _, metric in said))
    counted = main_splits(results) & (pl.col("perturbation") == ORIGINAL) & among(said)
    if against is not None:
        compared = compare_results(
            replace(results, scores=results.scores.filter(counted), path=None),
            loaded(against),
            axis=axis,
            metrics=metrics,
            labels=("these", "baseline"),
            errors=errors,
            ci=ci,
        )
        # what one side alone has is a row without a pair, and without failures
        rows = pl.DataFrame(compared).filter(among(said), pl.col("n") + pl.col("n_error") > 0)
        return gate(rows, margin=margin, higher_is_better=reader_of(results).directions(), strict=strict, ci=ci)
    for metric in metrics:
        _check_direction(metric, results.manifest["metrics"][metric], at_least, at_most)
    wanted = replace(
        results, scores=results.scores.filter(counted), completions=_counted_completions(results, said), path=None
    )
    higher_is_better = dict.fromkeys(metrics, at_least is not None)
    treated_results = _without_failures(wanted, metrics, higher_is_better, errors)
    every = table_of(wanted, _BY, metrics=metrics).filter(among(said))
    # Bonferroni's level: of all rows together at most (1 − ci)/2 fail by chance
    ci = 1 - (1 - ci) / max(every.height, 1)
    table = table_of(treated_results, _BY, metrics=metrics, ci=ci)
    # failures are counted as they were; a row that lost all of its instances has no value
    table = (
        every.select(*_BY, "metric", "n_completions", "n_error")
        .join(table.drop("n_completions", "n_error"), on=[*_BY, "metric"], how="left", maintain_order="left")
        .with_columns(pl.col("n").fill_null(0), pl.col("interval").fill_null("no interval: nothing was scored"))
        .select(table.columns)
    )
    # failures are treated already
    return gate(table, at_least=at_least, at_most=at_most, strict=strict, errors="drop", ci=ci)


def _check_lines(
    at_least: float | None, at_most: float | None, against: ResultsData | str | Path | None, margin: float, ci: float
) -> None:
    """That there is one line, and it and its level are numbers."""
    if [at_least, at_most, against].count(None) != 2:
        raise ArgumentError(
            "gate() takes one line: gate(at_least=0.3), gate(at_most=0.1), or gate(against=baseline, margin=0.02)."
        )
    for word, number in (("at_least", at_least), ("at_most", at_most), ("margin", margin)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise ArgumentError(f"gate({word}={number!r}): a number, such as 0.3.")
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r} should lie between 0 and 1, such as 0.95.")


def _check_direction(metric: str, about: Mapping[str, Any], at_least: float | None, at_most: float | None) -> None:
    """Raise if the line lies on the better side of the metric, or is in another unit."""
    if about["higher_is_better"] is (at_least is None):
        word, better, right = ("at_least", "lower", "most") if at_most is None else ("at_most", "higher", "least")
        raise ArgumentError(f"gate({word}=…): {metric!r} is better when it is {better}; write gate(at_{right}=…).")
    line = at_least if at_most is None else at_most
    if about["unit"] == "fraction" and not 0 <= (line or 0) <= 1:
        raise ArgumentError(f"gate({line!r}): {metric!r} is a fraction, between 0 and 1; 30 % is 0.3.")


def _counted_completions(results: ResultsData, columns: Sequence[tuple[str, str]]) -> pl.LazyFrame:
    return results.completions.filter(
        pl.col("scenario").is_in([scenario for scenario, _ in columns]),
        main_splits(results),
        pl.col("perturbation") == ORIGINAL,
    )


def _without_failures(
    results: ResultsData, metrics: Sequence[str], higher_is_better: Mapping[str, bool], errors: str
) -> ResultsData:
    """Return the results with their failures refused, dropped for every model, or counted as the worst."""
    of_sets = [name for name in metrics if results.manifest["metrics"][name]["level"] == "set"]
    for metric in of_sets:
        check_set_failures(results.completions, metric, "model", errors)
    scores = treat_failures(
        results.scores,
        ["model", "scenario", "split", "setting", "perturbation", "metric"],
        errors,
        higher_is_better=higher_is_better,
        ranges={name: range_of(results.manifest["metrics"][name]) for name in metrics},
    )
    completions = _whole(results.completions, pl.col("error").is_not_null(), INSTANCE)
    scores = _whole(scores, pl.col("score").is_null(), [*INSTANCE, "metric"])
    return replace(results, scores=scores, completions=completions if of_sets else results.completions)


def _whole(rows: pl.LazyFrame, failed: pl.Expr, on: Sequence[str]) -> pl.LazyFrame:
    """Return the rows of instances that no model failed on."""
    return rows.join(rows.filter(failed).select(on).unique(), on=on, how="anti", maintain_order="left")
