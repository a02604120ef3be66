"""Paired comparisons on the same instances: the difference of each side from a base, with interval and test.

Gaps are the score of groups of instances minus that of all instances, or of one group.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import polars as pl

from helmframe._schema import ORIGINAL, SOURCE_PREFIX
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.stats.encoded_rows import (
    STRATUM,
    ClusterIndex,
    Flags,
    Floats,
    Numbers,
    build_cluster_index,
    cluster_sums,
    encode_rows,
    lengths,
    merge_names,
    numbered,
    residuals,
    stable_sum,
    starts_of,
    sums,
    totals,
)
from helmframe.stats.estimate import estimate_of, floats, group_keys, influences, weigh_strata
from helmframe.stats.failures import Range, metric_directions, resolve_ranges, treat_failures
from helmframe.stats.frames import as_scores, mark_stopped, protect_columns
from helmframe.stats.intervals import probability_better, with_interval
from helmframe.stats.paired import Pairs, pair_sides
from helmframe.stats.significance import detectable, holm, joint_level, mcnemar_midp, sign_flip_p
from helmframe.stats.sums import sums_of

PAIRED_ON = ("scenario", "instance_id", "perturbation", "perturbation_seed")
COMPARISON = {
    "a": pl.String(),
    "b": pl.String(),
    "value_a": pl.Float64(),
    "value_b": pl.Float64(),
    "difference": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "joint_low": pl.Float64(),
    "joint_high": pl.Float64(),
    "p": pl.Float64(),
    "p_holm": pl.Float64(),
    "test": pl.String(),
    "mde": pl.Float64(),
    "win": pl.Int64(),
    "tie": pl.Int64(),
    "loss": pl.Int64(),
    "n": pl.Int64(),
    "n_dropped": pl.Int64(),
    "n_error": pl.Int64(),
    "n_clusters": pl.Int64(),
    "higher_is_better": pl.Boolean(),
}
# The additional columns with `equivalence`.
EQUIVALENCE = {
    "equivalence_low": pl.Float64(),
    "equivalence_high": pl.Float64(),
    "p_equivalence": pl.Float64(),
    "verdict": pl.String(),
}
EQUIVALENT, DIFFERENT, UNDECIDED = "equivalent", "different", "undecided"
# Up to these numbers of rows, and of rows × clusters, all rows are treated as one set that shares clusters.
_FEW, _DENSE = 500, 50_000_000
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


@protect_columns("axis", "by")
def compare(
    scores: pl.LazyFrame | pl.DataFrame,
    axis: str,
    by: Sequence[str] = (),
    *,
    higher_is_better: Mapping[str, bool],
    base: str | None = None,
    on: Sequence[str] = PAIRED_ON,
    fractions: Collection[str] | None = None,
    errors: str = "refuse",
    ranges: Mapping[str, Range] | None = None,
    ci: float = 0.95,
    mean: str = "macro",
    equivalence: float | None = None,
    interval: str = "confidence",
) -> pl.DataFrame:
    """Compare each value of `axis` (a) with the base (b), per metric, over the instances that both sides scored.

    Columns that `on` lacks (trials, outputs) are averaged on each side before pairing. The test flips the signs of
    whole clusters. With one 0/1 score per instance, no clusters and equal weights it is McNemar's test, reported as
    mid-p. All rows form one family: p_holm and the joint interval are simultaneous for all of them. Neither the row
    order nor swapping the sides changes p. With several trials the interval is conditional on their few-shot examples.
    All sides are read at once.

    >>> scores = pl.DataFrame({"model": ["new"] * 6 + ["old"] * 6, "instance_id": list("abcdef") * 2,
    ...                        "score": [1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0]})
    >>> table = compare(scores, "model", higher_is_better={"score": True}, base="old")
    >>> table.select("a", "b", "difference", pl.col("p").round(3), "test", "win", "tie", "loss").row(0)
    ('new', 'old', 0.5, 0.125, 'McNemar mid-p', 3, 3, 0)

    Args:
        scores: A frame of `SCORES` of all sides.
        axis: The column whose values are compared: model, setting, perturbation, or a column of your own that names
            runs.
        by: The columns whose values make a separate comparison; the table has one row per side, group and metric.
        higher_is_better: A dict of metric → direction, for every metric in the scores.
        base: The value to compare the others with; default the first, for perturbations the original.
        on: The columns that identify an instance on both sides. Subset and cluster of an instance are those of the
            base.
        fractions: The metrics whose scores are in [0, 1]; default those whose scores are all 0 or 1. They get Tango's
            score interval, at the effective sample size for clusters and subsets; others get t.
        errors: The action if more than 1 % of a side's requests failed: "refuse"; "drop" these instances on both sides;
            "worst" counts a failure as the metric's worst bound.
        ranges: A dict of metric → smallest and largest value, for "worst"; default 0 and 1 for fractions.
        ci: The share of intervals that should cover the true difference.
        mean: The mean over subsets, as in `aggregate`.
        equivalence: A margin: the largest difference, to either side, that doesn't matter. Two one-sided tests (TOST)
            at level 1 − ci decide whether the sides are equivalent.
        interval: "confidence", or "bayes": posterior intervals of differences, with the prior Dirichlet(½, ½, ½) of
            wins, ties and losses for fractions and a flat prior for other scores. The table then has the column
            `probability_better`, the posterior probability that a is better than b.

    Returns:
        `by`, metric, a, b, value_a, value_b (over the paired instances), difference, stderr, ci_low, ci_high, interval,
        joint_low, joint_high (simultaneous for all rows, by the max-|t| bootstrap), p, p_holm (Holm over all rows),
        test (its name), mde (minimum detectable effect: the smallest true difference that a comparison with this
        standard error detects with power 80 %), win, tie, loss (instances where a is better, equal, worse), n (paired
        instances), n_dropped (instances that lack a score on one side: absent or failed), n_error (those of them that
        both sides were run on), n_clusters, higher_is_better. With `equivalence`: equivalence_low and equivalence_high
        (the interval at 2 · ci − 1, 90 %), p_equivalence (TOST, of each row alone) and verdict: "equivalent" if this
        interval is within ±margin, which it is if and only if p_equivalence is at most 1 − ci; "different" if it is
        outside; else "undecided". The rows are sorted by `by`, metric and a.

    Raises:
        UnknownNameError: If a column of `by` or `on`, or the base, is unknown.
        ArgumentError: If a metric has no direction, `on` lacks instance_id, or `errors="worst"` is set for a metric
            without a worst bound.
        NotComparableError: If the axis has only one value, or too many requests failed.

    Source: Fisher 1935; Phipson & Smyth 2010; Fagerland, Lydersen & Laake 2013; Holm 1979; Bloom 1995, Evaluation
        Review 19:547 (mde); Chernozhukov, Chetverikov & Kato 2013 (joint); Tango 1998, Statistics in Medicine 17:891
        (interval); its variance as in `estimate`. Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657
        (equivalence).
    """
    check_margin(equivalence, "equivalence")
    if equivalence is not None and interval == "bayes":
        raise ArgumentError("compare(): equivalence is a test by confidence intervals. Remove interval='bayes'.")
    if "instance_id" not in on:
        raise ArgumentError(
            f"compare(on={list(on)}): on must include 'instance_id', because sides are paired by instance."
        )
    rows = as_scores(scores).lazy()
    keys = [*group_keys(rows, by, ("metric", axis)), "metric"]
    group_keys(rows, [*on, axis])
    base = _base(rows, axis, base)
    # seeds are repetitions of a perturbation
    instance_key = ["instance_id"] if axis == "perturbation" else on
    rows = treat_failures(
        rows.with_columns(pl.col(axis).cast(pl.String)),
        merge_names([axis, *keys], ["scenario"]),
        errors,
        higher_is_better=higher_is_better,
        ranges=resolve_ranges(ranges, fractions),
        on=merge_names(["scenario"], instance_key),
    )
    pairs = pair_sides(rows, axis, keys, base, instance_key)
    columns = [*keys, axis]
    mask = np.ones(len(pairs.a), dtype=np.bool_)
    estimates = estimate_of(sums_of(pairs.rows, columns, pairs.a - pairs.b, mask), columns, mean=mean)
    several_trials = "trial" in rows.collect_schema() and rows.select(pl.col("trial").n_unique() > 1).collect().item()
    estimates = estimates.with_columns(crossed=pl.lit(False if several_trials else None, dtype=pl.Boolean))
    groups = pairs.dropped.sort(columns).with_row_index("group")
    nest = build_cluster_index(pairs.rows, columns, mask, None)
    strata = weigh_strata(nest.table, columns, mean).join(groups, on=columns, nulls_equal=True, maintain_order="left")
    clusters = _clusters(pairs, nest, strata)
    fraction = pl.col("metric").is_in(_binary(rows) if fractions is None else list(fractions))
    estimates = groups.join(estimates, on=columns, how="left", nulls_equal=True).join(
        _levels(pairs, nest, strata, higher_is_better), on="group", how="left"
    )
    tested = _with_tests(estimates.sort("group"), clusters)
    level = joint_level(_covariances(clusters), ci)
    table = mark_stopped(_with_intervals(tested, fraction, ci, level, interval), rows)
    if interval == "bayes":
        table = table.with_columns(probability_better=probability_better(table, fraction, higher_is_better))
    counts = pl.col("n", "n_clusters", "win", "tie", "loss")
    added = {} if equivalence is None else EQUIVALENCE
    if equivalence is not None:
        table = table.join(
            _equivalence(tested, fraction, ci, equivalence), on="group", how="left", maintain_order="left"
        )
    return table.with_columns(
        counts.fill_null(0),
        interval=pl.when(pl.col("n").fill_null(0) == 0)
        .then(pl.lit("no interval: no instance was completed by both sides"))
        .otherwise("interval"),
        mde=pl.when(pl.col("stderr") > 0).then(_mde(table, ci)),
        a=axis,
        b=pl.lit(base),
        difference="value",
        higher_is_better=pl.col("metric").replace_strict(dict(higher_is_better), default=None, return_dtype=pl.Boolean),
    ).select(
        *keys,
        *(pl.col(name).cast(dtype) for name, dtype in {**COMPARISON, **added}.items()),
        *(["probability_better"] if interval == "bayes" else []),
    )


def check_margin(margin: float | None, argument: str) -> None:
    """Raise if a margin of equivalence isn't a positive number."""
    if margin is not None and (
        isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < np.inf
    ):
        raise ArgumentError(f"{argument}={margin!r}: {argument} must be a margin > 0, such as 0.02.")


def _equivalence(table: pl.DataFrame, fraction: pl.Expr, ci: float, margin: float) -> pl.DataFrame:
    """Return group, the interval at 2 · ci − 1, the p value of two one-sided tests, and the verdict.

    The tests are duals of the intervals: p is 1 − the level of the widest one-sided interval that is within the margin.
    """

    def ends(level: Floats) -> tuple[Floats, Floats]:
        at_level = with_interval(table, fraction, ci=level, least=-1.0)
        low, high = (at_level[name].cast(pl.Float64).to_numpy() for name in ("ci_low", "ci_high"))
        return low, high

    low, high = ends(np.full(table.height, max(2 * ci - 1, 1e-9)))
    p = two_one_sided_p(ends, margin, table.height)
    with np.errstate(invalid="ignore"):
        verdict = np.select(
            [p <= 1 - ci + 1e-12, (low >= margin) | (high <= -margin), np.isfinite(low)],
            [EQUIVALENT, DIFFERENT, UNDECIDED],
            "",
        )
    columns = {
        "equivalence_low": pl.Series(low).fill_nan(None),
        "equivalence_high": pl.Series(high).fill_nan(None),
        "p_equivalence": pl.Series(p).fill_nan(None),
        "verdict": pl.Series(verdict, dtype=pl.String).replace("", None),
    }
    return table.select("group").with_columns(**columns)


def two_one_sided_p(ends: Callable[[Floats], tuple[Floats, Floats]], margin: float, n_rows: int) -> Floats:
    """Return the p value of equivalence: the larger one of two one-sided tests, by bisection over interval levels.

    >>> from helmframe.stats.intervals import t_interval
    >>> ends = lambda levels: t_interval(np.array([0.0, 0.03]), 0.01**2, 50, levels)
    >>> two_one_sided_p(ends, 0.02, 2).round(4).tolist()  # t = 2, and t = −1
    [0.0255, 0.8389]

    Args:
        ends: A function of the rows' two-sided levels that returns the ends of the intervals; wider levels include
            narrower ones.
        margin: The margin.
        n_rows: The number of rows.
    """
    narrow, wide = np.full(n_rows, 1e-12), np.full(n_rows, 1.0)
    low, high = ends(narrow)
    is_in, unknown = (low > -margin) & (high < margin), np.isnan(low)
    for _ in range(45):
        middle = (narrow + wide) / 2
        low, high = ends(middle)
        with np.errstate(invalid="ignore"):
            reached = np.where(is_in, (low >= -margin) & (high <= margin), (low >= margin) | (high <= -margin))
        narrow, wide = np.where(reached, middle, narrow), np.where(reached, wide, middle)
    return np.where(unknown, np.nan, np.where(is_in, (1 - narrow) / 2, (1 + narrow) / 2))


def _with_intervals(table: pl.DataFrame, fraction: pl.Expr, ci: float, joint: float, kind: str) -> pl.DataFrame:
    """Return the table with the intervals of both levels; the interval excludes 0 if and only if p is below 1 − ci.

    Interval and test are nearly, not exactly, dual: McNemar's mid-p is of a conditional test, and sign flips have no
    standard error. The end next to 0 is moved to 0, or just next to it, if they disagree.
    """
    joint_ends = {"joint_low": "ci_low", "joint_high": "ci_high"}
    wide = with_interval(table, fraction, ci=joint, least=-1.0, kind=kind).select("group", **joint_ends)
    if kind == "bayes":
        # a posterior interval belongs to no test
        narrow = with_interval(table, fraction, ci=ci, least=-1.0, kind=kind)
        return narrow.join(wide, on="group", how="left", maintain_order="left")
    low, high, at_zero = pl.col("ci_low"), pl.col("ci_high"), pl.col("p") >= 1 - ci
    just = pl.col("value") * 1e-6  # just next to 0, on the side of the value
    return (
        with_interval(table, fraction, ci=ci, least=-1.0)
        .with_columns(
            ci_low=pl.when(at_zero & (low > 0)).then(0.0).when(~at_zero & (low <= 0) & (just > 0)).then(just)
            .otherwise(low),
            ci_high=pl.when(at_zero & (high < 0)).then(0.0).when(~at_zero & (high >= 0) & (just < 0)).then(just)
            .otherwise(high),
        )
        .join(wide, on="group", how="left", maintain_order="left")
        .with_columns(
            joint_low=pl.min_horizontal("joint_low", "ci_low"), joint_high=pl.max_horizontal("joint_high", "ci_high")
        )
    )  # fmt: skip


def _base(rows: pl.LazyFrame, axis: str, base: str | None) -> str:
    labels = rows.select(pl.col(axis).cast(pl.String).unique().sort()).collect().to_series().to_list()
    if len(labels) < 2:
        count = f"There is only one: {labels[0]!r}" if labels else "There are no scores"
        raise NotComparableError(f"compare({axis!r}): at least two values are needed. {count}.")
    if base is None:
        return ORIGINAL if axis == "perturbation" and ORIGINAL in labels else str(labels[0])
    if base not in labels:
        raise UnknownNameError.among(axis, base, labels)
    return base


def _binary(rows: pl.LazyFrame) -> list[str]:
    binary = rows.group_by("metric").agg(pl.col("score").drop_nulls().is_in([0.0, 1.0]).all())
    return binary.filter("score").collect()["metric"].to_list()


def _clusters(pairs: Pairs, nest: ClusterIndex, strata: pl.DataFrame) -> pl.DataFrame:
    """Return per group and cluster its contribution to the difference, and its residual (CR2)."""
    stratum = nest.stratum_of_cluster
    totals = cluster_sums(nest, pairs.a - pairs.b)
    share = (strata["weight"] / strata["size"]).to_numpy()[stratum]
    clusters = strata.select("group", "scenario")[stratum].with_columns(
        cluster=pl.Series(pairs.rows.cluster[nest.unit]),
        added=pl.Series(share * totals),
        influence=pl.Series(share * residuals(nest, totals)),
    )
    if pairs.rows.alone:
        return clusters
    # a cluster in several subsets is one cluster
    return clusters.group_by("group", "scenario", "cluster", maintain_order=True).agg(
        stable_sum(pl.col("added")), stable_sum(pl.col("influence"))
    )


def _covariances(clusters: pl.DataFrame) -> list[Floats]:
    """Return the covariance of the differences of each set of groups that share clusters."""
    # a group with a cluster that is alone in its subset has no variance
    finite = clusters.filter(pl.col("influence").is_finite().all().over("group"))
    groups, row = np.unique(finite["group"].to_numpy(), return_inverse=True)
    if len(groups) < 2:
        return []
    scenario = numbered(finite, ["scenario"])[1]
    cluster = finite["cluster"].to_numpy()
    names, column = np.unique(scenario * (cluster.max() + 1) + cluster, return_inverse=True)
    influence = finite["influence"].to_numpy()
    if len(groups) <= _FEW and len(groups) * len(names) <= _DENSE:
        return [_gram(row, column, influence)]
    sets = _connected_entries(row, column, len(groups))
    return [_gram(row[entries], column[entries], influence[entries]) for entries in sets]


def _gram(row: Numbers, column: Numbers, influence: Floats) -> Floats:
    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    shape = len(rows), len(columns)
    added = np.bincount(row * shape[1] + column, weights=influence, minlength=shape[0] * shape[1])
    matrix: Floats = np.asarray(added, dtype=np.float64).reshape(shape)
    gram: Floats = matrix @ matrix.T
    return gram


def _connected_entries(row: Numbers, column: Numbers, rows: int) -> list[Numbers]:
    """Return the entries of each set of rows that share columns."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = rows + int(column.max()) + 1
    links = coo_array((np.ones(len(row)), (row, rows + column)), shape=(nodes, nodes))
    of_entry = connected_components(links, directed=False)[1][row]
    order = np.argsort(of_entry, kind="stable")
    return np.split(order, starts_of(of_entry[order])[1:])


def _levels(
    pairs: Pairs, nest: ClusterIndex, strata: pl.DataFrame, higher_is_better: Mapping[str, bool]
) -> pl.DataFrame:
    """Return value_a, value_b, discordance (the mean squared difference), single, win, tie and loss per group."""
    directions = metric_directions(strata["metric"], higher_is_better)

    def count_instances(flags: Flags) -> pl.Series:
        return pl.Series(sums(sums(flags.astype(np.int64), nest.of_cluster), nest.of_stratum), dtype=pl.Int64)

    gain = sums((pairs.a - pairs.b)[nest.order], nest.of_instance)
    several = sums((~pairs.single[nest.order]).astype(np.int64), nest.of_instance) > 0
    # scores that differ only by rounding are ties
    up, down = count_instances(gain > 1e-12), count_instances(gain < -1e-12)
    better = pl.Series([directions[metric] for metric in strata["metric"]], dtype=pl.Boolean)
    share = pl.col("weight") / pl.col("size")
    sides = {"total_a": pairs.a, "total_b": pairs.b}
    instance_gain = gain / lengths(nest.of_instance, len(nest.order))
    square = sums(sums(instance_gain**2, nest.of_cluster), nest.of_stratum)
    added = {name: pl.Series(totals(nest, values)) for name, values in sides.items()}
    return (
        strata.with_columns(
            up=up, down=down, better=better, several=count_instances(several), square=pl.Series(square), **added
        )
        .with_columns(
            win=pl.when("better").then("up").otherwise("down"), loss=pl.when("better").then("down").otherwise("up")
        )
        .group_by("group")
        .agg(
            value_a=stable_sum(share * pl.col("total_a")),
            value_b=stable_sum(share * pl.col("total_b")),
            discordance=stable_sum(share * pl.col("square")),
            single=pl.col("several").sum() == 0,
            win=pl.col("win").sum(),
            loss=pl.col("loss").sum(),
            tie=pl.col("size").sum().cast(pl.Int64) - pl.col("win").sum() - pl.col("loss").sum(),
        )
    )


def _mde(table: pl.DataFrame, ci: float) -> pl.Series:
    stderr, df = (table[name].cast(pl.Float64).to_numpy() for name in ("stderr", "df"))
    return pl.Series(detectable(stderr, df, ci))


def _with_tests(table: pl.DataFrame, clusters: pl.DataFrame) -> pl.DataFrame:
    """Return the table with p, test and p_holm; each row is tested separately."""
    table = table.join(clusters.group_by("group").agg("added"), on="group", how="left", maintain_order="left")
    tests = [
        _test(added.to_numpy(), bool(single) and rows == clusters) if added is not None else (None, None)
        for added, single, rows, clusters in zip(
            table["added"], table["single"], table["n_rows"], table["n_clusters"], strict=True
        )
    ]
    p = [p_value for p_value, _ in tests]
    family = iter(holm([p_value for p_value in p if p_value is not None]))
    return table.with_columns(
        p=pl.Series(p, dtype=pl.Float64),
        test=pl.Series([name for _, name in tests], dtype=pl.String),
        p_holm=pl.Series([None if p_value is None else next(family) for p_value in p], dtype=pl.Float64),
    )


def _test(added: Floats, single: bool) -> tuple[float, str]:
    differing = added[added != 0]
    if single and np.allclose(np.abs(differing), np.abs(differing[:1]), rtol=1e-9, atol=0.0):
        return mcnemar_midp(int(np.sum(differing > 0)), int(np.sum(differing < 0))), "McNemar mid-p"
    return sign_flip_p(added)


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
    # a cluster in several subsets is one cluster
    on = merge_names(outer, ("scenario", "cluster"))
    sides = [
        side.group_by(merge_names(columns, ("scenario", "cluster")), maintain_order=True).agg(pl.col("influence").sum())
        for side, columns in ((compared, keys), (reference, outer))
    ]
    pairs = sides[0].join(sides[1], on=on, how="inner", nulls_equal=True, suffix="_reference")
    return pairs.group_by(keys).agg(shared=(pl.col("influence") * pl.col("influence_reference")).sum())
