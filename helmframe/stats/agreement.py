"""Agreement of raters: Krippendorff's α, Cohen's and Fleiss' κ, shares and differences, with intervals over items."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl

from helmframe.errors import ArgumentError
from helmframe.stats.bootstrap import percentile_interval
from helmframe.stats.encoded_rows import STRATUM, Flags, Floats, merge_names
from helmframe.stats.estimate import group_keys
from helmframe.stats.frames import protect_columns

LEVELS = ("nominal", "ordinal", "interval")
AGREEMENT = {
    "statistic": pl.String(),
    "raters": pl.String(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_clusters": pl.Int64(),
}
# More different values than this aren't categories; their agreement is α at the level "interval".
MOST_CATEGORIES = 50


class Statistic(NamedTuple):
    """A statistic computed from sums over items.

    `parts` has one row per item: what the item adds to each sum. `value` computes the statistic from the sums (last
    axis). `items` is the mask of the items that count.
    """

    name: str
    raters: str
    parts: Floats
    value: Callable[[Floats], Floats]
    items: Flags


@protect_columns("by")
def agreement(
    ratings: pl.DataFrame | pl.LazyFrame, by: Sequence[str] = (), *, level: str = "interval", ci: float = 0.95
) -> pl.DataFrame:
    """Measure the agreement of raters per group, over all raters and for each pair of raters.

    >>> ratings = pl.DataFrame({"rater": ["judge"] * 4 + ["human"] * 4, "instance_id": list("abcd") * 2,
    ...                         "value": [1, 0, 1, 1, 1, 0, 0, 1]})
    >>> ratings = ratings.with_columns(scenario=pl.lit("s"), subset=pl.lit(""), cluster="instance_id", item=pl.lit(""))
    >>> agreement(ratings, level="nominal").select("statistic", "raters", pl.col("value").round(3)).head(3).rows()
    [('krippendorff_alpha', 'all', 0.533), ('fleiss_kappa', 'all', 0.467), ('same', 'human, judge', 0.75)]

    Args:
        ratings: One row per item and rater: scenario, subset, cluster, instance_id, `item` (the item within its
            instance), `rater`, `value` (null for a missing rating), and the columns of `by`.
        by: The columns whose values make a group.
        level: The scale of the values for α and the weighted κ: "nominal" (categories), "ordinal" (ranks) or "interval"
            (distances).
        ci: The level of the intervals, percentiles of a bootstrap over clusters.

    Returns:
        `by`, statistic, raters ("all", or "a, b"), value, ci_low, ci_high, interval, n (items with at least two
        ratings; for Fleiss' κ items that all raters rated), n_clusters. The statistics are "krippendorff_alpha" and
        "fleiss_kappa", and per pair "same" (share of equal ratings), "cohen_kappa", "weighted_kappa" (quadratic; not if
        nominal) and "difference" (mean of a − b). An undefined statistic is null, such as κ if all ratings are equal.

    Raises:
        ArgumentError: If the level is unknown, there are fewer than two raters, or a rater has two ratings of one item.

    Source: Krippendorff 2011 (Computing Krippendorff's Alpha-Reliability); Cohen 1960, 1968; Fleiss 1971; Efron &
        Tibshirani 1993 ch. 13 (percentile interval).
    """
    if level not in LEVELS:
        raise ArgumentError.unknown_value(f"agreement(level={level!r})", level, LEVELS)
    keys = group_keys(ratings, by, ())
    rows = ratings.lazy().filter(pl.col("value").is_not_null()).with_columns(
        cluster=pl.coalesce("cluster", "instance_id")
    ).collect()  # fmt: skip
    raters = rows["rater"].unique().sort().to_list()
    if len(raters) < 2:
        raise ArgumentError(
            f"agreement(): at least two raters are needed. The raters are: {', '.join(raters) or 'none'}."
        )
    item = merge_names(keys, (*STRATUM, "cluster", "instance_id", "item"))
    if rows.select(*item, "rater").is_duplicated().any():
        raise ArgumentError(
            "agreement(): a rater has two ratings of one item. Name the column in which they differ: by=['model']."
        )
    wide = rows.pivot("rater", index=item, values="value").sort(item, nulls_last=True)
    groups = wide.partition_by(keys, as_dict=True, maintain_order=True) if keys else {(): wide}
    table_rows = []
    for group, items in groups.items():
        present = [rater for rater in raters if items[rater].count()]
        table_rows += [{**dict(zip(keys, group, strict=True)), **row} for row in _rows(items, present, level, ci)]
    schema = {**{name: wide.schema[name] for name in keys}, **AGREEMENT}
    return pl.DataFrame(table_rows, schema=schema)


def _rows(items: pl.DataFrame, raters: Sequence[str], level: str, ci: float) -> list[dict[str, object]]:
    values = items.select(pl.col(raters).cast(pl.Float64)).fill_null(float("nan")).to_numpy()
    clusters = items.select(pl.struct(*STRATUM, "cluster").rank("dense") - 1).to_series().to_numpy()
    rows: list[dict[str, object]] = []
    for statistic in _statistics(values, raters, level):
        used, cluster = statistic.parts[statistic.items], clusters[statistic.items]
        _, cluster_index = np.unique(cluster, return_inverse=True)
        count = int(cluster_index.max(initial=-1)) + 1
        sums = np.zeros((count, used.shape[1]))
        np.add.at(sums, cluster_index, used)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(statistic.value(sums.sum(axis=0)))
        low, high, method = percentile_interval(sums, statistic.value, value, ci)
        estimate = None if np.isnan(value) else value
        row = (statistic.name, statistic.raters, estimate, low, high, method, len(used), count)
        rows.append(dict(zip(AGREEMENT, row, strict=True)))
    return rows


def _statistics(values: Floats, raters: Sequence[str], level: str) -> list[Statistic]:
    rated = ~np.isnan(values)
    categories = np.unique(values[rated])
    several = rated.sum(axis=1) > 1
    coded = len(categories) <= MOST_CATEGORIES
    counts = (values[:, :, None] == categories).sum(axis=1).astype(np.float64) if coded else np.zeros((len(values), 0))
    statistics = []
    if level == "interval":
        statistics.append(Statistic("krippendorff_alpha", "all", *_alpha_interval(values, rated), several))
    elif coded:
        statistics.append(Statistic("krippendorff_alpha", "all", *_alpha(counts, ordinal=level == "ordinal"), several))
    else:
        raise ArgumentError(
            f"agreement(level={level!r}): {len(categories)} different values are too many for categories. Write "
            "level='interval'."
        )
    if coded:
        rated_by_all = rated.sum(axis=1) == max(len(raters), 2)
        statistics.append(Statistic("fleiss_kappa", "all", *_fleiss(counts, len(raters)), rated_by_all))
    for a, b in combinations(range(len(raters)), 2):
        rated_by_both, named = rated[:, a] & rated[:, b], f"{raters[a]}, {raters[b]}"
        x, y = np.nan_to_num(values[:, a]), np.nan_to_num(values[:, b])
        statistics.append(Statistic("same", named, *_mean((x == y).astype(np.float64)), rated_by_both))
        if coded:
            statistics.append(Statistic("cohen_kappa", named, *_cohen(x, y, categories), rated_by_both))
        if level != "nominal":
            statistics.append(Statistic("weighted_kappa", named, *_quadratic(x, y), rated_by_both))
        statistics.append(Statistic("difference", named, *_mean(x - y), rated_by_both))
    return statistics


_Made: TypeAlias = tuple["Floats", Callable[["Floats"], "Floats"]]


def _alpha_interval(values: Floats, rated: Flags) -> _Made:
    """Return α with squared distances: disagreement within items relative to that between all pairable ratings."""
    m = rated.sum(axis=1).astype(np.float64)
    # centred, so that large squares do not hide small differences
    x = np.where(rated, values - np.nanmean(values), 0.0) if rated.any() else np.zeros_like(values)
    total, square = x.sum(axis=1), (x**2).sum(axis=1)
    within = 2 * (m * square - total**2) / np.maximum(m - 1, 1)
    parts = np.column_stack([within, m, total, square])

    def value(sums: Floats) -> Floats:
        observed, n, first, second = np.moveaxis(sums, -1, 0)
        alpha: Floats = 1 - observed * (n - 1) / (2 * (n * second - first**2))
        return np.where(n * second - first**2 > 1e-12 * n * second, alpha, np.nan)

    return parts, value


def _alpha(counts: Floats, *, ordinal: bool) -> _Made:
    """Return α from coincidences, nominal or ordinal."""
    k = counts.shape[1]
    m = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(k)
    coincidences = (pairs / np.maximum(m - 1, 1)[:, None, None]).reshape(len(counts), k * k)

    def value(sums: Floats) -> Floats:
        o = sums.reshape(*sums.shape[:-1], k, k)
        n = o.sum(axis=-1)
        if ordinal:
            # the number of ratings between two values, with half of both ends: Krippendorff's ordinal metric
            middle = np.cumsum(n, axis=-1) - n / 2
            distance = (middle[..., :, None] - middle[..., None, :]) ** 2
        else:
            distance = np.broadcast_to(1 - np.eye(k), o.shape)
        observed = (o * distance).sum(axis=(-1, -2))
        expected = (n[..., :, None] * n[..., None, :] * distance).sum(axis=(-1, -2))
        return np.asarray(1 - (n.sum(axis=-1) - 1) * observed / np.where(expected > 0, expected, np.nan))

    return coincidences, value


def _fleiss(counts: Floats, raters: int) -> _Made:
    item_agreement = ((counts**2).sum(axis=1) - raters) / max(raters * (raters - 1), 1)
    parts = np.column_stack([item_agreement, np.ones(len(counts)), counts])

    def value(sums: Floats) -> Floats:
        n = sums[..., 1]
        share = sums[..., 2:] / (n * raters)[..., None]
        return _kappa(sums[..., 0] / n, (share**2).sum(axis=-1))

    return parts, value


def _cohen(x: Floats, y: Floats, categories: Floats) -> _Made:
    k = len(categories)
    parts = np.column_stack([x == y, np.ones(len(x)), x[:, None] == categories, y[:, None] == categories])

    def value(sums: Floats) -> Floats:
        n = sums[..., 1]
        chance = (sums[..., 2 : 2 + k] * sums[..., 2 + k :]).sum(axis=-1) / n**2
        return _kappa(sums[..., 0] / n, chance)

    return parts.astype(np.float64), value


def _quadratic(x: Floats, y: Floats) -> _Made:
    """Return κ weighted by squared distances, computed from moments, for any number of different values."""
    parts = np.column_stack([(x - y) ** 2, np.ones(len(x)), x, y, x**2 + y**2])

    def value(sums: Floats) -> Floats:
        observed, n, first, second, squares = np.moveaxis(sums, -1, 0)
        expected = squares / n - 2 * first * second / n**2
        return np.asarray(1 - observed / n / np.where(expected > 1e-12 * squares / n, expected, np.nan))

    return parts, value


def _mean(x: Floats) -> _Made:
    return np.column_stack([x, np.ones(len(x))]), lambda sums: np.asarray(sums[..., 0] / sums[..., 1])


def _kappa(observed: Floats, chance: Floats) -> Floats:
    return np.asarray((observed - chance) / np.where(chance < 1 - 1e-12, 1 - chance, np.nan))
