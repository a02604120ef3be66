"""The gate of some results: which of their numbers count, at which level, and against which baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.columns import ORIGINAL
from helmframe.errors import ArgumentError
from helmframe.results.boards import Said, among, columns_said, main_splits
from helmframe.results.pairing import with_errors
from helmframe.results.sides import compare_results, loaded
from helmframe.results.tables import Tables
from helmframe.stats.gate import Gate, gate

_BY = ("scenario", "split", "model", "setting", "perturbation")


def gate_of(
    results: Tables,
    *,
    at_least: float | None,
    at_most: float | None,
    against: Tables | str | Path | None,
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
        # what one side alone has is a row without a pair
        rows = pl.DataFrame(compared).filter(among(said), pl.col("n") > 0)
        return gate(rows, margin=margin, higher_is_better=results.directions(), strict=strict, ci=ci)
    for metric in metrics:
        _check_direction(metric, results.manifest["metrics"][metric], at_least, at_most, errors)
    _check_failures(results, [scenario for scenario, _ in said], errors)
    scores = results.scores.filter(counted)
    if errors == "zero":
        scores = scores.with_columns(pl.col("score").fill_null(0.0))
    wanted = replace(results, scores=scores, path=None)
    table = wanted.table(_BY, metrics=metrics, ci=ci).filter(counted)
    if table.height > 1:
        # Bonferroni's level: of all rows together at most (1 − ci)/2 fail by chance
        ci = 1 - (1 - ci) / table.height
        table = wanted.table(_BY, metrics=metrics, ci=ci).filter(counted)
    return gate(table, at_least=at_least, at_most=at_most, strict=strict, ci=ci)


def _check_lines(
    at_least: float | None, at_most: float | None, against: Tables | str | Path | None, margin: float, ci: float
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


def _check_direction(
    metric: str, about: Mapping[str, Any], at_least: float | None, at_most: float | None, errors: str
) -> None:
    """That the line lies on the side of the metric that is worse, in its unit, and failures can count so."""
    if about["higher_is_better"] is (at_least is None):
        word, better, right = ("at_least", "lower", "most") if at_most is None else ("at_most", "higher", "least")
        raise ArgumentError(f"gate({word}=…): {metric!r} is better when it is {better}; write gate(at_{right}=…).")
    line = at_least if at_most is None else at_most
    if about["unit"] == "fraction" and not 0 <= (line or 0) <= 1:
        raise ArgumentError(f"gate({line!r}): {metric!r} is a fraction, between 0 and 1; 30 % is 0.3.")
    if at_most is not None and errors == "zero":
        raise ArgumentError(f"errors='zero': 0 would be a good {metric!r}; say errors='drop'.")
    if about["level"] == "set" and errors == "zero":
        raise ArgumentError(f"errors='zero': {metric!r} is one number of all instances; say errors='drop'.")


def _check_failures(results: Tables, scenarios: Sequence[str], errors: str) -> None:
    """That no model failed on too many of these scenarios' instances, unless told otherwise."""
    asked = results.completions.filter(
        pl.col("scenario").is_in(scenarios), main_splits(results), pl.col("perturbation") == ORIGINAL
    )
    with_errors(asked.select("model", score=pl.when(pl.col("error").is_null()).then(1.0)), "model", errors)
