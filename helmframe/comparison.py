"""Sides of a comparison, paired: several frames of scores against one of them."""

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError
from helmframe.expressions import stripped
from helmframe.stats import compare

# Above this share of failed requests numbers are not compared unless told how.
ERRORS_ALLOWED = 0.01
ERRORS = ("refuse", "drop", "zero")
# What tells the rows of a comparison apart, unless it is what is compared.
APART = ("scenario", "model", "setting", "perturbation")


def paired(
    sides: Mapping[str, pl.LazyFrame],
    base: str,
    *,
    without: Sequence[str],
    higher_is_better: Mapping[str, bool],
    fractions: Collection[str],
    errors: str,
    ci: float,
) -> pl.DataFrame:
    """Every side against `base`, instance by instance; one family of tests.

    Args:
        sides: label → `SCORES` of the metrics compared.
        base: the label of the one that the others are compared with.
        without: columns that may differ between the sides.
        higher_is_better: metric → direction.
        fractions: metrics between 0 and 1.
        errors: where more than 1 % of a side failed: "refuse"; "drop", leave those out; "zero", count them as 0.
        ci: level of the interval.

    Returns:
        As `stats.compare`: one row per side, metric and whatever else tells rows apart.

    Raises:
        NotComparableError: too much failed, or no instance was answered by both.
    """
    if errors not in ERRORS:
        raise ArgumentError.unknown_value(f"errors={errors!r}", errors, ERRORS)
    for label, scores in sides.items():
        failed = scores.select(pl.col("score").is_null().mean()).collect().item() or 0.0
        if failed > ERRORS_ALLOWED and errors == "refuse":
            raise NotComparableError(
                f"{failed:.1%} of the requests of {label!r} failed; run again before comparing, or say what they are: "
                "errors='drop' or errors='zero'."
            )
    filled = pl.col("score").fill_null(0.0) if errors == "zero" else pl.col("score")
    others = [label for label in sides if label != base]
    one = pl.concat([sides[label].with_columns(filled, side=pl.lit(label)) for label in others])
    two = pl.concat([sides[base].with_columns(filled, side=pl.lit(label)) for label in others])
    table = compare(
        one,
        two,
        ["side", *(name for name in APART if name not in without)],
        on=["instance_id"],
        higher_is_better=higher_is_better,
        labels=("", base),
        fractions=fractions,
        ci=ci,
    )
    if not table["n"].sum():
        raise NotComparableError(
            "no instance was answered by both sides: they are of other scenarios, or of other instances."
        )
    return table.with_columns(a=pl.col("side")).drop("side")


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
    """The rows of the second side under the first's names, as `same_instances` pairs them; others are left out."""
    renamed = [pl.col(f"{name}_a").alias(name) for name in (*INSTANCE, "part", "cluster")]
    joined = rows.join(pairs.lazy(), on=INSTANCE, how="inner", maintain_order="left", validate="m:1")
    return joined.with_columns(renamed).drop(f"{name}_a" for name in (*INSTANCE, "part", "cluster"))


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
