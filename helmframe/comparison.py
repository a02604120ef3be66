"""Sides of a comparison, paired: several frames of scores against one of them."""

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from helmframe.errors import ArgumentError, NotComparableError
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
