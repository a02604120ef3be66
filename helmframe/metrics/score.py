"""The stage `score`, the reading of answers before it, and the decorator that makes a function a metric."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from helmframe.columns import SCORES
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.expressions import correct_references, same_place, stripped
from helmframe.registry import Registry

LEVELS = ("output", "instance", "set")

# One instance under one perturbation, asked one way: what its outputs have in common.
ASKED = [name for name in SCORES.key if name not in ("output_index", "metric")]


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    `level` says what one value stands for: a completion (`output`), all completions of an instance (`instance`, with
    `k` of them), or any group of instances (`set`).
    """

    name: str
    function: Callable[[], pl.Expr]
    level: str
    unit: str
    higher_is_better: bool
    source: str = ""
    k: int = 0


METRICS: Registry[Metric] = Registry("metric", "Add one with @helmframe.metric.")


def metric(
    name: str, *, level: str = "output", unit: str = "fraction", higher_is_better: bool = True, source: str = ""
) -> Callable[[Callable[[], pl.Expr]], Callable[[], pl.Expr]]:
    """Register a function that returns an expression over `COMPLETIONS` and the columns that `parse` adds:

    `output` (what the completion says, stripped; for choices the option's text; null if unreadable) and `correct` (list
    of the texts of the correct references). At level `output` the expression gives one value per row, null for a null
    output; at level `set` it aggregates the rows of any group.

    Args:
        name: as sentences and tables have it.
        level: "output" or "set"; every output metric is also there at instance level, as `name@k`.
        unit: "fraction" (between 0 and 1, gets intervals for fractions) or the unit's name.
        higher_is_better: the direction; worst cases and comparisons follow it.
        source: where the definition is from.
    """
    if level not in ("output", "set"):
        raise ArgumentError(f"@metric(level={level!r}): should be 'output' or 'set'.")

    def register(function: Callable[[], pl.Expr]) -> Callable[[], pl.Expr]:
        METRICS.add(name, Metric(name, function, level, unit, higher_is_better, source))
        return function

    return register


def flattened(names: Sequence[str | Sequence[str]]) -> tuple[str, ...]:
    """Names said one by one or in lists.

    >>> flattened(["exact_match", ["f1_score", "exact_match@5"]])
    ('exact_match', 'f1_score', 'exact_match@5')
    """
    return tuple(each for name in names for each in ([name] if isinstance(name, str) else name))


def check_units(scores: pl.DataFrame) -> None:
    """That scores of metrics whose unit is "fraction" lie between 0 and 1.

    Raises:
        ArgumentError: one does not; says what to write.
    """
    outside = scores.filter(~pl.col("score").is_between(0.0, 1.0)).unique("metric").select("metric", "score")
    for name, value in outside.iter_rows():
        if _chosen(name).unit == "fraction":
            raise ArgumentError(
                f"metric {name!r} gave {value:g}, and its unit is 'fraction' (between 0 and 1). "
                f"Write @helmframe.metric({name!r}, unit='…')."
            )


def chosen(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names; `exact_match@5` is the best of an instance's first five outputs by `exact_match`.

    Raises:
        UnknownNameError: no metric is called that.
    """
    return [_chosen(name) for name in names]


def metrics() -> pl.DataFrame:
    """Every metric: name, level, unit, higher_is_better, source. Output metrics also exist as `name@k`."""
    rows = [METRICS[name] for name in METRICS]
    names = ("name", "level", "unit", "higher_is_better", "source")
    return pl.DataFrame([{name: getattr(row, name) for name in names} for row in rows])


def parse(completions: pl.LazyFrame) -> pl.LazyFrame:
    """What each completion says: adds `output`, `parsed`, `truncated` and `correct` to `COMPLETIONS`.

    The completion, stripped; or the first group of `answer_pattern` in it; where there are `choices`, the text of the
    reference whose choice it is. What can't be read is null with `parsed` False and scores 0; what failed is null with
    `parsed` null.
    """
    text = stripped(pl.col("completion"))
    pattern = pl.col("answer_pattern")
    said = pl.when(pattern.is_null()).then(text).otherwise(stripped(text.str.extract(pattern, 1)))
    texts = pl.col("perturbed_references").list.eval(pl.element().struct.field("text"))
    of_choice = stripped(same_place(said, pl.col("choices"), texts))
    output = pl.when(pl.col("choices").is_null()).then(said).otherwise(of_choice)
    failed = pl.col("completion").is_null()
    return (
        completions.with_columns(output=pl.when(~failed).then(output), correct=correct_references())
        .with_columns(parsed=pl.when(~failed).then(pl.col("output").is_not_null()))
        .with_columns(
            truncated=pl.when(~failed).then(pl.col("finish_reason").eq_missing("length") & pl.col("choices").is_null())
        )
    )


def score(completions: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """One row per completion and output metric, and per instance and `metric@k`.

    Metrics of level `set` have no score of one completion and add no rows; tables compute them from the completions.

    Args:
        completions: `COMPLETIONS`.
        names: the metrics.

    Returns:
        `SCORES`; score is null where the request failed.
    """
    asked = chosen(names)
    read = parse(completions)
    frames = [_per_output(read, each) for each in asked if each.level == "output"]
    frames += [_per_instance(read, each) for each in asked if each.level == "instance"]
    if not frames:
        return read.select(pl.lit(None, dtype=dtype).alias(name) for name, dtype in SCORES.schema.items()).clear()
    return pl.concat(frames)


def _chosen(name: str) -> Metric:
    base, at, k = name.partition("@")
    if not at:
        return METRICS[name]
    if not re.fullmatch(r"[1-9]\d*", k):
        raise UnknownNameError.among("metric", name, METRICS, hint="name@k needs a number: 'exact_match@5'.")
    found = METRICS[base]
    if found.level != "output":
        raise ArgumentError(f"{name!r}: {base} is a metric of a whole set; only metrics of one output have an @k.")
    return replace(found, name=name, level="instance", k=int(k))


def _per_output(read: pl.LazyFrame, each: Metric) -> pl.LazyFrame:
    return _scores(read.with_columns(score=_value(each)), each.name)


def _per_instance(read: pl.LazyFrame, each: Metric) -> pl.LazyFrame:
    """The best of the first k outputs; null if one of them failed or there are fewer."""
    best = pl.col("score").max() if each.higher_is_better else pl.col("score").min()
    complete = (pl.len() == each.k) & pl.col("score").is_not_null().all()
    first = pl.all().exclude("score", "parsed", "truncated", "output", "output_index", *ASKED).first()
    joined = (
        read.with_columns(score=_value(each))
        .filter(pl.col("output_index") < each.k)
        .group_by(ASKED, maintain_order=True)
        .agg(
            first,
            score=pl.when(complete).then(best),
            parsed=pl.col("parsed").any(),
            truncated=pl.col("truncated").all(),
            output=pl.lit(None, dtype=pl.String),
            output_index=pl.lit(None, dtype=pl.Int64),
        )
    )
    return _scores(joined, each.name)


def _value(each: Metric) -> pl.Expr:
    # An answer that can't be read scores 0; a request that failed has no score.
    given: object = each.function()
    if not isinstance(given, pl.Expr):
        raise ArgumentError(f"metric {each.name!r} gave {given!r}; it should return a Polars expression over `output`.")
    value = given.cast(pl.Float64).fill_null(0.0)
    return pl.when(pl.col("completion").is_not_null()).then(value)


def _scores(frame: pl.LazyFrame, name: str) -> pl.LazyFrame:
    return frame.with_columns(metric=pl.lit(name)).select(
        pl.col(each).cast(dtype) for each, dtype in SCORES.schema.items()
    )
