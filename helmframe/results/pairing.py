"""Sides of a comparison, paired: what of their scores is compared, and by which names their instances are the same."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError
from helmframe.expressions import stripped
from helmframe.stats.compare import compare

# Above this share of failed requests numbers are not compared unless told how.
ERRORS_ALLOWED = 0.01
ERRORS = ("refuse", "drop", "zero")
# What tells the rows of a comparison apart, unless it is what is compared.
APART = ("scenario", "model", "setting", "perturbation")


@dataclass(frozen=True)
class Read:
    """How scores are read: which metrics, which way they are better, which are fractions, and the mean over parts."""

    metrics: Sequence[str]
    higher_is_better: Mapping[str, bool]
    fractions: Collection[str]
    mean: str

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
        )


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
        errors: where more than 1 % of a side failed: "refuse"; "drop", leave those out; "zero", count them as 0.
        ci: level of the interval.

    Returns:
        As `stats.compare`: one row per side, metric and whatever else tells rows apart.

    Raises:
        NotComparableError: too much failed, or no instance was answered by both.
    """
    table = compare(
        with_errors(scores.filter(pl.col("metric").is_in(list(read.metrics))), axis, errors),
        axis,
        by,
        base=base,
        on=["instance_id"],
        higher_is_better=read.higher_is_better,
        fractions=read.fractions,
        ci=ci,
        mean=read.mean,
    )
    if not table["n"].sum():
        raise NotComparableError(
            "no instance was answered by both sides: they are of other scenarios, or of other instances."
        )
    return table


def with_errors(scores: pl.LazyFrame, axis: str, errors: str) -> pl.LazyFrame:
    """The scores with what failed as `errors` says.

    Raises:
        NotComparableError: "refuse", and more than 1 % of a value of `axis` failed.
        ArgumentError: another word.
    """
    if errors not in ERRORS:
        raise ArgumentError.unknown_value(f"errors={errors!r}", errors, ERRORS)
    if errors == "zero":
        return scores.with_columns(pl.col("score").fill_null(0.0))
    if errors == "refuse":
        failed = scores.group_by(axis).agg(share=pl.col("score").is_null().mean()).sort("share", axis).collect()
        for label, share in failed.filter(pl.col("share") > ERRORS_ALLOWED).iter_rows():
            raise NotComparableError(
                f"{share:.1%} of the requests of {label!r} failed; run again before comparing, or say what they are: "
                "errors='drop' or errors='zero'."
            )
    return scores


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
