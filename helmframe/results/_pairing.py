"""Pairing of the sides of a comparison: the options to score them, and the instances that both have."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe._core.expressions import stripped
from helmframe._core.registry import render
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.compare import compare
from helmframe.stats.failures import Range, check_errors, treat_failures

# The columns that identify a row of a comparison, without the compared axis.
ROW_KEYS = ("scenario", "model", "setting", "perturbation")


class ShortTable(pl.DataFrame):
    """A frame that is displayed as a short table, which `views` registers for its class.

    `frame` is the same table as a plain Polars frame, which displays its columns.
    """

    @property
    def frame(self) -> pl.DataFrame:
        """Return all rows and columns as a plain Polars frame.

        >>> ShortTable({"n": [1]}).frame.columns
        ['n']
        """
        return pl.DataFrame(self)

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def __str__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self, *, _from_series: bool = False) -> str:
        return str(render(self, "html"))

    def _display_(self) -> Any:
        # marimo calls it, and else would show all columns of a frame
        return sys.modules["marimo"].Html(self._repr_html_())


class ScoreTable(ShortTable):
    """A frame of `results.table()`; its short table has the value with its interval first."""


class Failures(ShortTable):
    """A frame of `results.errors()`; its short table has one row per model and message."""


class Comparison(ShortTable):
    """A frame of `helmframe.stats.compare`."""


class Sensitivity(ShortTable):
    """A frame of `helmframe.stats.sensitivity`."""


@dataclass(frozen=True)
class ScoringOptions:
    """Options to aggregate scores: metrics, their directions and ranges, and the mean over subsets."""

    metrics: Sequence[str]
    higher_is_better: Mapping[str, bool]
    fractions: Collection[str]
    mean: str
    ranges: Mapping[str, Range]

    @classmethod
    def of(
        cls,
        manifests: Sequence[Mapping[str, Any]],
        metrics: Sequence[str],
        higher_is_better: Mapping[str, bool] | None,
        mean: str,
    ) -> "ScoringOptions":
        """Return the options of the manifests, with the user's directions for metrics that declare none."""
        entries = {name: entry for manifest in reversed(manifests) for name, entry in manifest["metrics"].items()}
        directions = {name: entries[name]["higher_is_better"] for name in metrics} | dict(higher_is_better or {})
        return cls(
            metrics,
            {name: bool(higher) for name, higher in directions.items() if higher is not None},
            [name for name in metrics if entries[name]["unit"] == "fraction"],
            mean,
            {name: range_of(entries[name]) for name in metrics},
        )


def range_of(metric: Mapping[str, Any]) -> Range:
    """Return the smallest and largest value of a metric, as its entry in a manifest declares them.

    >>> range_of({"unit": "nats", "range": [None, 0.0]}), range_of({"unit": "fraction"})
    ((None, 0.0), (0.0, 1.0))
    """
    low, high = metric.get("range") or ((0.0, 1.0) if metric["unit"] == "fraction" else (None, None))
    return low, high


def compare_sides(
    scores: pl.LazyFrame,
    axis: str,
    by: Sequence[str],
    *,
    base: str | None = None,
    options: ScoringOptions,
    errors: str,
    ci: float,
    equivalence: float | None = None,
    interval: str = "confidence",
) -> pl.DataFrame:
    """Compare every value of `axis` with `base`, instance by instance, in one family of tests.

    Args:
        scores: `SCORES` of the compared metrics; trials, outputs and seeds of an instance are averaged.
        axis: The column whose values are the sides.
        by: The columns that identify a row of the table, besides metric and side.
        base: As in `stats.compare`.
        options: The options to aggregate scores.
        errors: As in `stats.compare`.
        ci: The level of the interval.
        equivalence: As in `stats.compare`.
        interval: As in `stats.compare`.

    Returns:
        As `stats.compare`: one row per side, metric and values of `by`.

    Raises:
        NotComparableError: If too many requests failed, or no instance was completed by both sides.
    """
    table = compare(
        scores.filter(pl.col("metric").is_in(list(options.metrics))),
        axis,
        by,
        base=base,
        on=["instance_id"],
        higher_is_better=options.higher_is_better,
        fractions=options.fractions,
        errors=errors,
        ranges=options.ranges,
        ci=ci,
        mean=options.mean,
        equivalence=equivalence,
        interval=interval,
    )
    if not table["n"].sum():
        raise NotComparableError(
            "compare(): no instance was completed by both sides. Run both sides on the same scenarios and instances."
        )
    return table


def check_set_failures(completions: pl.LazyFrame, metric: str, side: str, errors: str) -> None:
    """Raise if more completions failed than `errors` allows for a metric of a whole set.

    Args:
        completions: `COMPLETIONS`.
        metric: The metric, which has no score of one completion.
        side: The column that names the sides.
        errors: As in `stats.compare`.

    Raises:
        NotComparableError: If more than 1 % failed, with "refuse".
        ArgumentError: With "worst": a failure has no score of its own.
    """
    check_errors(errors)
    if errors == "worst":
        raise ArgumentError(
            f"errors='worst': {metric!r} is a metric of the whole set, so a failed request has no score. Write "
            "errors='drop', or rerun the failed requests."
        )
    scores = completions.with_columns(
        metric=pl.lit(metric), score=pl.when(pl.col("error").is_null()).then(1.0), reason=pl.lit(None, dtype=pl.String)
    )
    treat_failures(scores, [side, "scenario", "split", "setting", "metric"], errors, higher_is_better={}, ranges={})


def match_instances(a: pl.LazyFrame, b: pl.LazyFrame, *, foreign: bool) -> tuple[pl.DataFrame, int]:
    """Pair the instances of two sides by their input and references, not by their ids.

    References agree if both sides have the same texts and the same correct texts, or if one side has only correct
    references and the other has the same. Other tools store one right answer in their format: it agrees with any
    correct reference, with the letter of the correct option, and in free text with a reference of the same last number.

    Equal instances on one side are paired in the order of their ids.

    Args:
        a: `COMPLETIONS`.
        b: The same, of another version or tool.
        foreign: Whether a side is another tool's.

    Returns:
        scenario and instance_id as in `b`, and as in `a`: scenario_a, instance_id_a, subset_a, cluster_a; and the
        number of instances whose input is on both sides with different references.
    """
    left, right = _fingerprints(a), _fingerprints(b)
    pairs: list[pl.DataFrame] = []
    either = pl.col("only_correct") | pl.col("only_correct_a")
    passes: list[tuple[str, pl.Expr]] = [("content", pl.lit(value=True)), ("correct", either)]
    if foreign:
        # a tool that stores no correct reference can't disagree
        passes += [("texts", ~pl.col("has_correct") | ~pl.col("has_correct_a"))]
    for key, agree in passes:
        pairs.append(_pair_by(left, right, [key], agree))
        left, right = _unpaired(left, right, pairs[-1])
    if foreign:
        left_names, right_names = (side.explode("names").drop_nulls("names") for side in (left, right))
        by_name = _pair_by(left_names, right_names, ["input", "names"], pl.lit(value=True))
        pairs.append(by_name.unique(INSTANCE, maintain_order=True).unique(_INSTANCE_A, maintain_order=True))
        left, right = _unpaired(left, right, pairs[-1])
    n_mismatched = _pair_by(left, right, ["input"], pl.lit(value=True)).height
    return pl.concat(pairs), n_mismatched


def rename_instances(rows: pl.LazyFrame, pairs: pl.DataFrame) -> pl.LazyFrame:
    """Return the rows of the second side with the instance names of the first, as `match_instances` pairs them.

    Unpaired instances get an id that the first side lacks, in the scenario of most pairs.
    """
    partner = pairs.group_by("scenario").agg(most=pl.col("scenario_a").mode().sort().first())
    joined = rows.join(pairs.lazy(), on=INSTANCE, how="left", maintain_order="left", validate="m:1").join(
        partner.lazy(), on="scenario", how="left", maintain_order="left"
    )
    return joined.with_columns(
        pl.coalesce("scenario_a", "most", "scenario").alias("scenario"),
        pl.coalesce("instance_id_a", pl.lit("without a partner: ") + pl.col("instance_id")).alias("instance_id"),
        *(pl.coalesce(f"{name}_a", name).alias(name) for name in ("subset", "cluster")),
    ).drop("most", *(f"{name}_a" for name in (*INSTANCE, "subset", "cluster")))


INSTANCE = ["scenario", "instance_id"]
_INSTANCE_A = ["scenario_a", "instance_id_a"]
_PAIR = [*INSTANCE, *_INSTANCE_A, "subset_a", "cluster_a"]
_LETTERS = pl.lit(pl.Series([list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")]))


def _pair_by(left: pl.DataFrame, right: pl.DataFrame, on: Sequence[str], agree: pl.Expr) -> pl.DataFrame:
    """Return the pairs of instances with the same key, the first with the first, that agree."""
    first, second = (side.with_columns(nth=pl.int_range(pl.len()).over(on)) for side in (left, right))
    joined = second.join(first, on=[*on, "nth"], how="inner", suffix="_a", maintain_order="left")
    return joined.filter(agree).select(_PAIR)


def _unpaired(left: pl.DataFrame, right: pl.DataFrame, pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the instances of both sides that have no partner yet."""
    return (
        left.join(pairs, left_on=INSTANCE, right_on=_INSTANCE_A, how="anti", maintain_order="left"),
        right.join(pairs, on=INSTANCE, how="anti", maintain_order="left"),
    )


def _fingerprints(completions: pl.LazyFrame) -> pl.DataFrame:
    """Return one row per instance with the values to compare.

    Returns:
        scenario, instance_id, subset, cluster; hashes of the input alone, and with the references (content), their
        texts (texts) and the correct ones (correct); only_correct, has_correct; and names, the other
        tools' forms of a correct reference.
    """
    instances = completions.select(*INSTANCE, "subset", "cluster", "input", "references").unique(INSTANCE, keep="any")
    references = pl.col("references").fill_null([])
    correct_flags = references.list.eval(pl.element().struct.field("correct"))
    texts = references.list.eval(_collapse_spaces(pl.element().struct.field("text")).fill_null(""))
    marked_texts = references.list.eval(
        pl.concat_str(
            pl.element().struct.field("correct").cast(pl.String),
            _collapse_spaces(pl.element().struct.field("text")).fill_null(""),
            separator=" ",
        )
    )
    correct = texts.list.gather(correct_flags.list.eval(pl.element().arg_true()))
    letters = _LETTERS.list.gather(correct_flags.list.eval(pl.element().arg_true()), null_on_oob=True)
    short_answers = correct.list.eval(pl.element().str.replace(r"^\(?([A-Z])[).]?$", "$1"))
    numbers = correct.list.eval(
        pl.lit("number ") + pl.element().str.extract_all(r"-?\d[\d,]*(?:\.\d+)?").list.last().str.replace_all(",", "")
    )
    has_options = correct_flags.list.eval(~pl.element()).list.any()
    empty = pl.lit([], dtype=pl.List(pl.String))
    other_forms = (
        pl.when(has_options).then(letters).otherwise(empty),
        pl.when(~has_options).then(numbers).otherwise(empty),
    )
    names = pl.concat_list(short_answers, *other_forms)
    text = _collapse_spaces(pl.col("input"))

    def with_input(reference_texts: pl.Expr) -> pl.Expr:
        return pl.concat_str(text, reference_texts.list.sort().list.join("\x1f"), separator="\x1e").hash()

    return (
        instances.select(
            *INSTANCE,
            "subset",
            "cluster",
            input=text.hash(),
            content=with_input(marked_texts),
            texts=with_input(texts),
            correct=with_input(correct),
            only_correct=~has_options & correct_flags.list.any(),
            has_correct=correct_flags.list.any(),
            names=names.list.unique(),
        )
        .sort(INSTANCE)
        .collect()
    )


def _collapse_spaces(text: pl.Expr) -> pl.Expr:
    """Return the text with single spaces, and none at its ends."""
    return stripped(text).str.replace_all(r"\s+", " ")
