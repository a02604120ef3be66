"""Sides of a comparison, paired: what of their scores is compared, and by which names their instances are the same."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError
from helmframe.expressions import stripped
from helmframe.stats.compare import compare
from helmframe.stats.failures import Range, check_errors, treated

# What tells the rows of a comparison apart, unless it is what is compared.
APART = ("scenario", "model", "setting", "perturbation")


@dataclass(frozen=True)
class Read:
    """How scores are read: which metrics, which way they are better, their ranges, and the mean over parts."""

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
    ) -> "Read":
        """As manifests say it; the direction of metrics that they don't know, as the user says it."""
        about = {name: each for manifest in reversed(manifests) for name, each in manifest["metrics"].items()}
        ways = {name: about[name]["higher_is_better"] for name in metrics} | dict(higher_is_better or {})
        return cls(
            metrics,
            {name: bool(way) for name, way in ways.items() if way is not None},
            [name for name in metrics if about[name]["unit"] == "fraction"],
            mean,
            {name: range_of(about[name]) for name in metrics},
        )


def range_of(metric: Mapping[str, Any]) -> Range:
    """Return the smallest and largest value of a metric, as its entry in a manifest declares them.

    >>> range_of({"unit": "nats", "range": [None, 0.0]}), range_of({"unit": "fraction"})
    ((None, 0.0), (0.0, 1.0))
    """
    low, high = metric.get("range") or ((0.0, 1.0) if metric["unit"] == "fraction" else (None, None))
    return low, high


def paired(
    scores: pl.LazyFrame,
    axis: str,
    by: Sequence[str],
    *,
    base: str | None = None,
    read: Read,
    errors: str,
    ci: float,
) -> pl.DataFrame:
    """Every value of `axis` against `base`, instance by instance; one family of tests.

    Args:
        scores: `SCORES` of the metrics compared; trials, outputs and seeds of an instance are averaged.
        axis: the column whose values are the sides.
        by: what tells the rows of the table apart, besides metric and side.
        base: as in `stats.compare`.
        read: how they are read.
        errors: as in `stats.compare`.
        ci: level of the interval.

    Returns:
        As `stats.compare`: one row per side, metric and whatever else tells rows apart.

    Raises:
        NotComparableError: too much failed, or no instance was answered by both.
    """
    table = compare(
        scores.filter(pl.col("metric").is_in(list(read.metrics))),
        axis,
        by,
        base=base,
        on=["instance_id"],
        higher_is_better=read.higher_is_better,
        fractions=read.fractions,
        errors=errors,
        ranges=read.ranges,
        ci=ci,
        mean=read.mean,
    )
    if not table["n"].sum():
        raise NotComparableError(
            "no instance was answered by both sides: they are of other scenarios, or of other instances."
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
            f"errors='worst': {metric!r} is one number of all instances, and a failure has no score of its own. "
            "Write errors='drop', or rerun the failed requests."
        )
    scores = completions.with_columns(
        metric=pl.lit(metric), score=pl.when(pl.col("error").is_null()).then(1.0), reason=pl.lit(None, dtype=pl.String)
    )
    treated(scores, [side, "scenario", "split", "setting", "metric"], errors, higher_is_better={}, ranges={})


def same_instances(a: pl.LazyFrame, b: pl.LazyFrame) -> pl.DataFrame:
    """The instances of `b` that are in `a` too, whatever each side calls them: by their input and references.

    Where a side has several alike, the first is the first's, in the order of their ids. What has no partner of the same
    references is paired by its input alone: other tools keep only the right answer.

    Args:
        a: `COMPLETIONS`.
        b: the same, of another tool.

    Returns:
        scenario and instance_id as in `b`; and as in `a`: scenario_a, instance_id_a, part_a, cluster_a.
    """
    left, right = _contents(a), _contents(b)
    found = []
    for key in ("content", "input"):
        here, there = (
            each.with_columns(nth=pl.int_range(pl.len()).over(key), kind=pl.lit(key)).rename({key: "same"})
            for each in (left, right)
        )
        pairs = there.join(here, on=["same", "nth"], how="inner", suffix="_a").select(_PAIR)
        found.append(pairs)
        left = left.join(pairs, left_on=INSTANCE, right_on=["scenario_a", "instance_id_a"], how="anti")
        right = right.join(pairs, on=INSTANCE, how="anti")
    return pl.concat(found)


def called_as(rows: pl.LazyFrame, pairs: pl.DataFrame) -> pl.LazyFrame:
    """The rows of the second side under the first's names, as `same_instances` pairs them.

    Others keep an id that the first side has not, in the scenario where most of theirs have a partner.
    """
    partner = pairs.group_by("scenario").agg(most=pl.col("scenario_a").mode().sort().first())
    joined = rows.join(pairs.lazy(), on=INSTANCE, how="left", maintain_order="left", validate="m:1").join(
        partner.lazy(), on="scenario", how="left", maintain_order="left"
    )
    return joined.with_columns(
        pl.coalesce("scenario_a", "most", "scenario").alias("scenario"),
        pl.coalesce("instance_id_a", pl.lit("without a partner: ") + pl.col("instance_id")).alias("instance_id"),
        *(pl.coalesce(f"{name}_a", name).alias(name) for name in ("part", "cluster")),
    ).drop("most", *(f"{name}_a" for name in (*INSTANCE, "part", "cluster")))


INSTANCE = ["scenario", "instance_id"]
_PAIR = [*INSTANCE, "scenario_a", "instance_id_a", "part_a", "cluster_a"]


def _contents(completions: pl.LazyFrame) -> pl.DataFrame:
    """One row per instance: what it is called, and hashes of its input, without and with its references."""
    text = stripped(pl.col("input")).str.replace_all(r"\s+", " ")
    texts = pl.col("references").list.eval(stripped(pl.element().struct.field("text"))).list.join("\x1f")
    return (
        completions.select(*INSTANCE, "part", "cluster", input=text, texts=texts)
        .unique(INSTANCE, keep="any")
        .select(
            *INSTANCE, "part", "cluster",
            input=pl.col("input").hash(),
            content=pl.concat_str("input", pl.col("texts").fill_null(""), separator="\x1e").hash(),
        )
        .sort(INSTANCE)
        .collect()
    )  # fmt: skip
