"""Two results compared, or two folders of some: what differs between them, and by how much they differ."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from helmframe.comparison import called_as, same_instances
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.results import Results, paired_results


def compare_results(
    a: Results | str | Path,
    b: Results | str | Path,
    *,
    axis: str | Sequence[str] = (),
    metrics: str | Sequence[str] | None = None,
    labels: tuple[str, str] = ("a", "b"),
    worst: int | str | None = None,
    errors: str = "refuse",
    ci: float = 0.95,
) -> pl.DataFrame:
    """A − b over the instances that both answered, with interval and test; what differs is in the column `differs`.

    Args:
        a: results, or the folder of some.
        b: the same.
        axis: what may differ: model, prompt, decoding, perturbation, version. Default: exactly one of them, whichever
            it is.
        metrics: default the main metric.
        labels: names of the sides.
        worst: compare worst cases, as in `Results.compare`.
        errors: where more than 1 % of a side failed: "refuse", "drop" those, or count them as "zero".
        ci: level of the interval.

    Raises:
        NotComparableError: more than one thing differs and was not named, nothing is shared, or too many requests
            failed.
    """
    for each in (a, b):
        if not isinstance(each, Results | str | Path):
            raise ArgumentError(
                f"compare() takes results or the folder of some, not {type(each).__name__}: .score() first."
            )
    sides = [each if isinstance(each, Results) else Results.load(each) for each in (a, b)]
    said = [axis] if isinstance(axis, str) else list(axis)
    for each in said:
        if each not in _DIFFERENCES:
            raise UnknownNameError.among("axis of comparison", each, _DIFFERENCES)
    if any("tool" in side.manifest for side in sides):
        sides[1] = _called_as(*sides)
    differs = [name for name, column in _DIFFERENCES.items() if _set(sides[0], column) != _set(sides[1], column)]
    if len(differs) > 1 and set(differs) - set(said):
        raise NotComparableError(
            f"these differ in {' and '.join(differs)}; a difference could come from any of them. "
            f"If that is meant: hf.compare(a, b, axis={differs!r})."
        )
    without = [column for name, column in _DIFFERENCES.items() if name in differs] + ["setting"]
    named = dict(zip(labels, sides, strict=True))
    table = paired_results(named, labels[1], without=without, metrics=metrics, worst=worst, errors=errors, ci=ci)
    return table.with_columns(differs=pl.lit(", ".join(differs) or "nothing"))


_DIFFERENCES = {
    "model": "model",
    "prompt": "adapter_id",
    "decoding": "decoding",
    "perturbation": "perturbation",
    "version": "scenario_version",
}


def _called_as(one: Results, two: Results) -> Results:
    """The second results with the first's instances, where another tool calls them otherwise: paired by content."""
    pairs = same_instances(one.completions, two.completions)
    # what pairs by its content is of the same version
    version = one.completions.select(pl.col("scenario_version").first()).collect().item()
    completions = called_as(two.completions, pairs).with_columns(scenario_version=pl.lit(version))
    return replace(two, completions=completions, scores=called_as(two.scores, pairs), path=None)


def _set(results: Results, column: str) -> set[Any]:
    return set(results.completions.select(column).unique().collect().to_series())
