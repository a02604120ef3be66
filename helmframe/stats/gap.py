"""Gaps: the score of groups of instances minus that of all instances, or of one group."""

from collections.abc import Collection, Sequence

import polars as pl

from helmframe._schema import SOURCE_PREFIX
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats.encoded_rows import STRATUM, encode_rows, merge_names
from helmframe.stats.estimate import estimate_of, floats, group_keys, influences
from helmframe.stats.frames import as_scores, protect_columns
from helmframe.stats.intervals import with_interval
from helmframe.stats.sums import sums_of

GAP = {
    "value": pl.Float64(),
    "reference": pl.String(),
    "reference_value": pl.Float64(),
    "gap": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_reference": pl.Int64(),
}
OVERALL = "all"


@protect_columns("group", "by")
def gap(
    scores: pl.LazyFrame | pl.DataFrame,
    group: str,
    by: Sequence[str],
    *,
    reference: object = None,
    fractions: Collection[str] = (),
    ci: float = 0.95,
    mean: str = "macro",
) -> pl.DataFrame:
    """Compute the score of each group minus that of all instances, or of one group, with its interval.

    The two sides may share clusters, and the set of all instances contains every group. The variance accounts for both.
    With several trials the interval is conditional on these trials. All scores are read at once.

    >>> regions, values = ["north", "south"] * 6, [1, 0, 1, 1, 1, 0] * 2
    >>> scores = pl.DataFrame({"instance_id": range(12), "region": regions, "score": values})
    >>> table = gap(scores, "region", by=[], reference="south", fractions=["score"])
    >>> table.select("region", "reference", pl.col("value", "gap", "ci_low", "ci_high").round(3)).row(0)
    ('north', 'south', 1.0, 0.667, 0.125, 1.0)

    Args:
        scores: `SCORES` with the column `group`.
        group: The column whose values are compared: a sub-population, a subject.
        by: The columns whose values make a separate table, as in `aggregate`.
        reference: A value of `group` to compare with; None: all instances.
        fractions: The metrics whose scores are in [0, 1]; their gap stays within ±1.
        ci: As in `aggregate`.
        mean: As in `aggregate`.

    Returns:
        `by`, metric, `group`, value, reference, reference_value, gap, stderr, ci_low, ci_high, interval, n,
        n_reference; the reference itself has no row. The rows are sorted. Instances whose group is null count only in
        the set of all instances.

    Raises:
        UnknownNameError: If a column or the reference is unknown.

    Source: Taylor linearisation of a difference of means over shared clusters (Särndal, Swensson & Wretman 1992 §5.5);
        each side as in `estimate`.
    """
    scores = as_scores(scores)
    outer = [*group_keys(scores, by, ("metric", group)), "metric"]
    group_keys(scores, [group])
    keys = [*outer, group]
    rows = encode_rows(scores, merge_names(keys, (*STRATUM, "trial")), ["score"])
    groups = rows.cells[group].drop_nulls().unique().sort().to_list()
    if reference is not None and reference not in groups:
        raise UnknownNameError.among(f"value of {group.removeprefix(SOURCE_PREFIX)!r}", reference, map(str, groups))
    if not groups:
        raise ArgumentError(f"gap({group.removeprefix(SOURCE_PREFIX)!r}): no instance has a value in this column.")
    value, mask = floats(rows.rows["score"])
    in_group = rows.cells[group].is_not_null().to_numpy()[rows.cell] & mask
    inside = (
        mask
        if reference is None
        else (rows.cells[group] == reference).fill_null(value=False).to_numpy()[rows.cell] & mask
    )
    # without trials in the cells, their component, which both sides share, is not added
    without_trials = rows.with_cells(
        rows.cells.drop("trial") if "trial" not in keys else rows.cells, rows.cell, rows.unit
    )
    sides = [
        estimate_of(sums_of(without_trials, columns, value, rows_of), columns, mean=mean)
        for columns, rows_of in ((keys, in_group), (outer, inside))
    ]
    shared = _covariance(
        influences(without_trials, keys, value, in_group, mean=mean),
        influences(without_trials, outer, value, inside, mean=mean),
        keys,
        outer,
    )
    reference_side = sides[1].select(*outer, reference_value="value", other="variance", df_other="df", n_reference="n")
    joined = (
        sides[0]
        .join(reference_side, on=outer, how="inner", nulls_equal=True)
        .join(shared, on=keys, how="left", nulls_equal=True)
        .filter(pl.lit(reference is None) | (pl.col(group) != pl.lit(reference)))
    )
    several_trials = "trial" not in keys and rows.cells["trial"].n_unique() > 1
    differences = _differences(joined).with_columns(crossed=pl.lit(False if several_trials else None, dtype=pl.Boolean))
    table = with_interval(differences, pl.col("metric").is_in(list(fractions)), ci=ci, least=-1.0)
    return (
        table.with_columns(
            gap="value", value="score", reference=pl.lit(OVERALL if reference is None else str(reference))
        )
        .select(*keys, *(pl.col(name).cast(dtype) for name, dtype in GAP.items()))
        .sort(keys)
    )


def _differences(joined: pl.DataFrame) -> pl.DataFrame:
    """Return the difference of two sides as `value`, with its variance and degrees of freedom."""
    variance, reference_variance = pl.col("variance"), pl.col("other")
    return joined.with_columns(
        score=pl.col("value"),
        value=pl.col("value") - pl.col("reference_value"),
        variance=(variance + reference_variance - 2 * pl.col("shared").fill_null(0.0)).clip(lower_bound=0.0),
        df=(variance + reference_variance) ** 2
        / (variance**2 / pl.col("df") + reference_variance**2 / pl.col("df_other")),
        binary=pl.lit(value=False),
    )


def _covariance(
    compared: pl.DataFrame, reference: pl.DataFrame, keys: Sequence[str], outer: Sequence[str]
) -> pl.DataFrame:
    """Return per group the covariance of the two sides, from the contributions of each cluster to both."""
    on = merge_names(outer, (*STRATUM, "cluster"))
    pairs = compared.join(reference, on=on, how="inner", nulls_equal=True, suffix="_reference")
    return pairs.group_by(keys).agg(shared=(pl.col("influence") * pl.col("influence_reference")).sum())
