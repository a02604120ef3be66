"""Treatment of failed requests, and directions of metrics, in comparisons, leaderboards and gates.

A failed request has a null score. Excluding it from a mean favours the model that failed, so comparisons, leaderboards
and gates treat failures alike, by their argument `errors`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.encoded_rows import merge_names

ERRORS = ("refuse", "drop", "worst")
# The share of failed requests above which `errors` must be explicit.
ERRORS_ALLOWED = 0.01
# Smallest and largest value of a metric; None without a bound.
Range: TypeAlias = tuple[float | None, float | None]


def treat_failures(
    scores: pl.LazyFrame,
    cells: Sequence[str],
    errors: str,
    *,
    higher_is_better: Mapping[str, bool],
    ranges: Mapping[str, Range],
    on: Sequence[str] = ("instance_id",),
) -> pl.LazyFrame:
    """Return the scores with the null scores treated as `errors` specifies.

    With "worst" each becomes the worst bound of its metric. Otherwise an instance with a failed output loses all its
    scores in its cell, because the mean of its other outputs would favour the model that failed.

    Args:
        scores: `SCORES`.
        cells: The columns that identify a cell, metric among them; the first identifies the side.
        errors: "refuse" more than 1 % of failures in any cell, "drop" them, or count them as the "worst".
        higher_is_better: A dict of metric → direction.
        ranges: A dict of metric → smallest and largest value.
        on: The columns that identify an instance in a cell.

    Raises:
        NotComparableError: If more than 1 % of a cell failed, with "refuse".
        ArgumentError: If `errors` is unknown, or a metric with failures has no worst bound, with "worst".
    """
    check_errors(errors)
    failed = _failures(scores, cells)
    if failed.is_empty():
        return scores
    if errors == "worst":
        bounds = {
            name: worst_bound(name, higher_is_better.get(name), ranges.get(name))
            for name in failed["metric"].unique().sort()
        }
        worst = pl.col("metric").replace_strict(bounds, default=None, return_dtype=pl.Float64)
        return scores.with_columns(score=pl.coalesce(pl.col("score").cast(pl.Float64), worst))
    if errors == "refuse":
        for row in failed.filter(pl.col("failed") > ERRORS_ALLOWED * pl.col("n")).sort(cells).iter_rows(named=True):
            raise NotComparableError(_refusal(row, cells))
    whole = pl.col("score").is_not_null().all().over(merge_names(cells, on))
    return scores.with_columns(score=pl.when(whole).then("score"))


def check_errors(errors: str) -> None:
    """Raise if `errors` is not one of `ERRORS`."""
    if errors not in ERRORS:
        raise ArgumentError.unknown_value(f"errors={errors!r}", errors, ERRORS)


def worst_bound(metric: str, higher_is_better: bool | None, bounds: Range | None) -> float:
    """Return the worst value that a metric can have.

    >>> worst_bound("exact_match", True, (0.0, 1.0)), worst_bound("toxicity", False, (0.0, 1.0))
    (0.0, 1.0)

    Raises:
        ArgumentError: If its direction is unknown, or it has no bound on the worse side.
    """
    if higher_is_better is None:
        raise ArgumentError(
            f"errors='worst': metric {metric!r} has no direction. Write higher_is_better={{{metric!r}: True}} (or "
            "False) or errors='drop', or rerun the failed requests."
        )
    low, high = bounds or (None, None)
    bound, side = (low, "lower") if higher_is_better else (high, "upper")
    if bound is None:
        raise ArgumentError(
            f"errors='worst': metric {metric!r} has no {side} bound, so a failure has no worst value. "
            "Write errors='drop', or rerun the failed requests."
        )
    return float(bound)


def resolve_ranges(
    ranges: Mapping[str, Range] | None, fractions: Collection[str] | None, units: Mapping[str, str] | None = None
) -> dict[str, Range]:
    """Return `ranges`, and 0 to 1 for the metrics that are fractions."""
    names = [*(fractions or ()), *(name for name, unit in (units or {}).items() if unit == "fraction")]
    return {**dict.fromkeys(names, (0.0, 1.0)), **(ranges or {})}


def _failures(scores: pl.LazyFrame, cells: Sequence[str]) -> pl.DataFrame:
    """Return n, failed and reason of each cell with a null score."""
    null = pl.col("score").is_null()
    has_reason = "reason" in scores.collect_schema()
    reason = pl.col("reason").filter(null).drop_nulls().first() if has_reason else pl.lit(None, dtype=pl.String)
    counts = scores.group_by(cells).agg(n=pl.len(), failed=null.sum(), reason=reason)
    return counts.filter(pl.col("failed") > 0).collect()


def _refusal(row: Mapping[str, Any], cells: Sequence[str]) -> str:
    where = ", ".join(f"{name} {row[name]!r}" for name in cells[1:] if row[name] not in ("", None))
    share, side = f"{row['failed'] / row['n']:.1%}", repr(row[cells[0]])
    problem = f"{share} of the requests of {side} failed ({where})"
    if row["reason"] is not None:
        problem = f"{share} of the scores of {side} are missing ({where}): {row['reason']}"
    return (
        f"{problem}. Rerun failed requests, or correct the metric and rescore. Or write errors='drop' (skip these "
        "instances) or errors='worst' (count the metric's worst value)."
    )


def metric_directions(metrics: Iterable[str], higher_is_better: Mapping[str, bool]) -> dict[str, bool]:
    """Return whether higher is better, for each of these metrics.

    Raises:
        ArgumentError: If a metric has no direction.
    """
    for metric in sorted(set(metrics)):
        if metric not in higher_is_better:
            raise ArgumentError(
                f"Metric {metric!r} has no direction. Write higher_is_better={{{metric!r}: True}}, or False if lower "
                "is better."
            )
    return {metric: higher_is_better[metric] for metric in set(metrics)}
