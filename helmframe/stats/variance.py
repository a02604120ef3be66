"""Sensitivity of scores to prompts, and their variance components: how much is due to instances, settings and trials.

Both use a grid: the mean scores of the instances that have a score for every combination of some axes.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
import polars as pl

from helmframe._core.registry import render
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.encoded_rows import INSTANCE, STRATUM, Flags, Floats, Numbers, merge_names, stable_sum
from helmframe.stats.estimate import group_keys
from helmframe.stats.failures import Range, metric_directions, resolve_ranges, treat_failures
from helmframe.stats.frames import as_scores, list_names, protect_columns
from helmframe.stats.intervals import FEW_CLUSTERS, paired_score, t_interval, unanimous
from helmframe.stats.ranks import FLIPPED_UNITS, Estimates, significant_signs
from helmframe.stats.significance import normals, pairwise_level, variances_of_pairs

SENSITIVITY = {
    "n_levels": pl.Int64(),
    "value": pl.Float64(),
    "lowest": pl.Float64(),
    "lowest_at": pl.String(),
    "highest": pl.Float64(),
    "highest_at": pl.String(),
    "range": pl.Float64(),
    "range_low": pl.Float64(),
    "range_high": pl.Float64(),
    "sd": pl.Float64(),
    "sd_low": pl.Float64(),
    "sd_high": pl.Float64(),
    "flips": pl.Float64(),
    "flips_low": pl.Float64(),
    "flips_high": pl.Float64(),
    "n_pairs": pl.Int64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_clusters": pl.Int64(),
    "n_dropped": pl.Int64(),
}
# The row of all models together.
ALL = "all"
_LONELY = "no interval: a subset has fewer than 2 clusters"


@dataclass(frozen=True)
class Grid:
    """The mean scores of instances on a complete grid of axes.

    `group` has the values of the columns that make a group, and `levels` the values of each axis. `scores` has one row
    per instance and one axis per axis of the grid, and `weight` the instances' shares of the mean. `influence` has one
    row per cluster: CR2 residuals whose products sum to the covariance of the means. `added` is what a cluster adds to
    the means. `df` is the number of clusters − the number of subsets. `within` is the variance of an instance's scores
    in one cell, null without repetitions, and `repeats` their (harmonic) mean number.
    """

    group: Mapping[str, Any]
    levels: Mapping[str, list[Any]]
    scores: Floats
    weight: Floats
    influence: Floats
    added: Floats
    df: int
    within: float | None
    repeats: float
    n_dropped: int

    @cached_property
    def mean(self) -> Floats:
        """Return the mean of each cell."""
        return np.asarray(np.tensordot(self.weight, self.scores, axes=1))

    @property
    def has_variance(self) -> bool:
        """Return whether each subset has at least 2 clusters."""
        return bool(np.isfinite(self.influence).all())


def build_grids(rows: pl.DataFrame, keys: Sequence[str], axes: Sequence[str], mean: str, caller: str) -> Iterator[Grid]:
    """Yield the complete grid of each group; instances without a score in every cell are dropped and counted.

    Args:
        rows: `SCORES`; rows of an instance that differ in other columns are averaged.
        keys: The columns whose values make a group.
        axes: The columns whose values make the grid.
        mean: The mean over subsets, "macro" or "micro".
        caller: The name of the function, for errors.

    Raises:
        NotComparableError: If no instance of a group has a score in every cell.
    """
    score = pl.col("score").cast(pl.Float64)
    unit = merge_names(keys, (*INSTANCE, *axes))
    total, count = stable_sum(score), pl.len()
    cells = (
        rows.with_columns(cluster=pl.coalesce("cluster", "instance_id"))
        .drop_nulls("score")
        .group_by(unit)
        .agg(
            score=total / count,
            count=count.cast(pl.Float64),
            spread=(stable_sum(score**2) - total**2 / count).clip(lower_bound=0.0),
        )
    )
    n_all = rows.group_by(keys).agg(n_all=pl.struct("scenario", "instance_id").n_unique())
    n_all = n_all.with_columns(pl.col("n_all").cast(pl.Int64))
    for values, part in rows.group_by(keys, maintain_order=True):
        group = dict(zip(keys, values, strict=True))
        same = [pl.col(name).eq_missing(pl.lit(value, dtype=rows.schema[name])) for name, value in group.items()]
        levels = {axis: part[axis].unique().sort().to_list() for axis in axes}
        yield _grid(group, levels, cells.filter(*same), n_all.filter(*same)["n_all"].item(), mean, caller)


def _grid(
    group: Mapping[str, Any], levels: Mapping[str, list[Any]], cells: pl.DataFrame, n_all: int, mean: str, caller: str
) -> Grid:
    axes = list(levels)
    shape = [len(values) for values in levels.values()]
    n_cells = prod(shape)
    whole = cells.group_by(INSTANCE).agg(pl.len()).filter(pl.col("len") == n_cells).select(INSTANCE).sort(INSTANCE)
    if whole.is_empty():
        raise NotComparableError(_incomplete(group, levels, cells, caller))
    numbers = [
        pl.col(axis).replace_strict(values, list(range(len(values))), return_dtype=pl.Int64).alias(f"level {axis}")
        for axis, values in levels.items()
    ]
    ordered = (
        cells.join(whole.with_row_index("row number"), on=INSTANCE, how="inner", nulls_equal=True)
        .with_columns(numbers)
        .sort("row number", *(f"level {axis}" for axis in axes))
    )
    scores = ordered["score"].to_numpy().reshape(whole.height, *shape)
    count = ordered["count"].to_numpy()
    extra = float((count - 1).sum())
    strata = whole.select(pl.struct(STRATUM).rle_id()).to_series().to_numpy()
    clusters = whole.select("scenario", "cluster").with_row_index("row number")
    cluster = clusters.group_by("scenario", "cluster", maintain_order=True).agg("row number")
    cluster_of = np.empty(whole.height, dtype=np.int64)
    for index, members in enumerate(cluster["row number"]):
        cluster_of[members.to_numpy()] = index
    weight = _weights(strata, mean)
    influence, added, n_parts = _cluster_sums(scores, weight, strata, cluster_of)
    return Grid(
        group, levels, scores, weight, influence, added,
        df=n_parts - int(strata[-1] + 1),
        within=float(ordered["spread"].sum()) / extra if extra else None,
        repeats=float(1 / np.mean(1 / count)),
        n_dropped=n_all - whole.height,
    )  # fmt: skip


def _incomplete(group: Mapping[str, Any], levels: Mapping[str, list[Any]], cells: pl.DataFrame, caller: str) -> str:
    """Return the message that no instance is in all cells, with the combination that has the fewest."""
    every = pl.DataFrame({"level": [0]})
    for axis, values in levels.items():
        every = every.join(pl.DataFrame({axis: pl.Series(values, dtype=cells.schema[axis])}), how="cross")
    counts = every.join(cells.group_by(list(levels)).len(), on=list(levels), how="left", nulls_equal=True)
    least = counts.with_columns(pl.col("len").fill_null(0)).sort("len", *levels).row(0, named=True)
    cell = ", ".join(f"{axis} {least[axis]!r}" for axis in levels)
    where = ", ".join(f"{name} {value!r}" for name, value in group.items() if value not in ("", None))
    return (
        f"{caller}(): no instance has a score for every combination of {list_names(levels)} ({where}). {cell} has "
        f"{least['len']:,} instances. Run the whole grid on the same instances, or filter the scores."
    )


def _weights(strata: Numbers, mean: str) -> Floats:
    """Return the weight of each instance in the mean over subsets."""
    if mean not in ("macro", "micro"):
        raise ArgumentError(
            f"mean={mean!r}: mean must be 'macro' (equal weight per subset) or 'micro' (weight by size)."
        )
    size = np.bincount(strata)
    return np.full(len(strata), 1 / len(strata)) if mean == "micro" else 1 / (len(size) * size[strata])


def _cluster_sums(scores: Floats, weight: Floats, strata: Numbers, cluster: Numbers) -> tuple[Floats, Floats, int]:
    """Return the influence of each cluster, its part of the means, and the number of clusters within subsets."""
    flat = scores.reshape(len(scores), -1)
    size = np.bincount(strata).astype(np.float64)
    means = np.array([np.bincount(strata, weights=column) for column in flat.T]).T / size[:, None]
    pairs, part = np.unique(strata * (cluster.max() + 1) + cluster, return_inverse=True)
    stratum = pairs // (cluster.max() + 1)
    members = np.bincount(part).astype(np.float64)
    total = np.array([np.bincount(part, weights=column) for column in flat.T]).T
    share = np.zeros(len(pairs))
    share[part] = weight
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = share / np.sqrt(1 - members / size[stratum])
        residual = factor[:, None] * (total - members[:, None] * means[stratum])
    # a cluster in several subsets is one cluster
    of_pair = pairs % (cluster.max() + 1)
    shape = (int(cluster.max()) + 1, flat.shape[1])
    influence, added = np.zeros(shape), np.zeros(shape)
    np.add.at(influence, of_pair, residual)
    np.add.at(added, of_pair, share[:, None] * total)
    grid = scores.shape[1:]
    return influence.reshape(-1, *grid), added.reshape(-1, *grid), len(pairs)


@protect_columns("axis", "by", "model")
def sensitivity(
    scores: pl.LazyFrame | pl.DataFrame,
    axis: str = "setting",
    by: Sequence[str] = (),
    *,
    higher_is_better: Mapping[str, bool],
    model: str = "model",
    fractions: Collection[str] | None = None,
    errors: str = "refuse",
    ranges: Mapping[str, Range] | None = None,
    ci: float = 0.95,
    mean: str = "macro",
) -> pl.DataFrame:
    """Compute how much scores, and the order of models, depend on an axis such as the prompt's setting.

    The levels of the axis are the ones that were run, not a sample of others. Instances are sampled. The standard
    deviation over levels is corrected for this noise: two prompts that are equally good differ on any sample of
    instances. So `sd` may be 0 though `range` is not. `variance_components` treats levels as a sample.

    >>> scores = pl.DataFrame({"setting": ["a"] * 40 + ["b"] * 40, "instance_id": [*range(40)] * 2,
    ...                        "score": [1] * 30 + [0] * 10 + [1] * 14 + [0] * 26})
    >>> table = sensitivity(scores, higher_is_better={"score": True})
    >>> table.select("lowest_at", "highest_at", pl.col("range", "range_low", "range_high", "sd").round(3)).row(0)
    ('b', 'a', 0.4, 0.258, 0.561, 0.277)

    Args:
        scores: A frame of `SCORES`.
        axis: The column whose values are compared: setting, perturbation, or a column of your own.
        by: The columns whose values make a separate table, besides scenario and metric.
        higher_is_better: A dict of metric → direction, for every metric in the scores.
        model: The column that identifies the models.
        fractions: The metrics whose scores are in [0, 1]; default those whose scores are all 0 or 1.
        errors: The action if more than 1 % of a model's requests failed: "refuse"; "drop" these instances everywhere;
            "worst" counts a failure as the metric's worst bound.
        ranges: A dict of metric → smallest and largest value, for "worst"; default 0 and 1 for fractions.
        ci: The level of the intervals.
        mean: The mean over subsets, as in `aggregate`.

    Returns:
        `by`, scenario, metric, model ("all": the mean over several models); n_levels (values of the axis); value (the
        mean over them); lowest and highest with their levels (lowest_at, highest_at); range (highest − lowest), whose
        interval includes all pairs of levels that may be the lowest and the highest; sd (over levels, corrected) with
        its interval; flips (the share of pairs with this model whose order differs between levels), from the pairs that
        certainly flip (flips_low) to those that may (flips_high); n_pairs; interval (its method); n (instances with a
        score of every model and level), n_clusters, n_dropped.

    Raises:
        UnknownNameError: If a column is unknown.
        ArgumentError: If the axis has only one value, a metric has no direction, or `errors="worst"` is set for a
            metric without a worst bound.
        NotComparableError: If too many requests failed, or no instance has a score of every model and level.

    Source: Mizrahi et al. 2024, TACL 12:933 (several prompts); Chernozhukov, Chetverikov & Kato 2013 (range, flips: all
        pairs jointly); Tango 1998 (pairs of fractions); Cox & Hinkley 1974 §7.2 (sd: inversion of the test of its
        value, from samples of its distribution).
    """
    rows, keys, fraction_names = _prepared(scores, by, (axis, model), higher_is_better, fractions, errors, ranges, ci)
    if rows[axis].n_unique() < 2:
        raise ArgumentError(
            f"sensitivity({axis!r}): at least two values of {axis!r} are needed. Write a grid, such as "
            ".adapt(shots=[0, 5]), or pass another axis."
        )
    directions = metric_directions(rows["metric"].unique(), higher_is_better)
    records = []
    for grid in build_grids(rows, keys, [model, axis], mean, "sensitivity"):
        metric = grid.group["metric"]
        records += sensitivity_of_grid(grid, model, up=directions[metric], fraction=metric in fraction_names, ci=ci)
    schema = {**{name: rows.schema[name] for name in keys}, model: pl.String(), **SENSITIVITY}
    return pl.DataFrame(records, schema=schema).sort(*keys, pl.col(model) != ALL, model)


def _prepared(
    scores: pl.LazyFrame | pl.DataFrame,
    by: Sequence[str],
    axes: Sequence[str],
    higher_is_better: Mapping[str, bool],
    fractions: Collection[str] | None,
    errors: str,
    ranges: Mapping[str, Range] | None,
    ci: float,
) -> tuple[pl.DataFrame, list[str], list[str]]:
    """Return the rows with treated failures, the columns of a group, and the metrics that are fractions."""
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    lazy = as_scores(scores).lazy()
    group_keys(lazy, [*by, *axes])
    keys = [*(name for name in merge_names(by, ("scenario",)) if name not in ("metric", *axes)), "metric"]
    names = merge_names(axes, (*keys, *INSTANCE, "score"))
    binary = lazy.group_by("metric").agg(pl.col("score").drop_nulls().is_in([0.0, 1.0]).all()).collect()
    fraction_names = binary.filter("score")["metric"].to_list() if fractions is None else list(fractions)
    treated = treat_failures(
        lazy.select(*names, *(["reason"] if "reason" in lazy.collect_schema() else [])),
        merge_names(axes, keys),
        errors,
        higher_is_better=higher_is_better,
        ranges=resolve_ranges(ranges, fraction_names),
    )
    return treated.select(names).collect(), keys, fraction_names


def sensitivity_of_grid(grid: Grid, model: str, *, up: bool, fraction: bool, ci: float = 0.95) -> list[dict[str, Any]]:
    """Return the rows of `sensitivity` for a grid of models and levels."""
    models, (_, levels) = grid.levels[model], grid.levels.values()
    low, point, high = _flips(grid, up, ci) if grid.has_variance else _no_flips(grid)
    several = len(models) > 1
    rows = [
        _spread_row(grid, grid.scores[:, index], grid.influence[:, index], levels, fraction=fraction, ci=ci)
        | {model: str(name)}
        | (_shares(low[index], point[index], high[index], np.arange(len(models)) != index) if several else {})
        for index, name in enumerate(models)
    ]
    if several and ALL not in models:
        upper = np.triu_indices(len(models), 1)
        mean_scores, mean_influence = grid.scores.mean(axis=1), grid.influence.mean(axis=1)
        rows.append(
            _spread_row(grid, mean_scores, mean_influence, levels, fraction=fraction, ci=ci)
            | {model: ALL}
            | _shares(low[upper], point[upper], high[upper], np.ones(len(upper[0]), dtype=np.bool_))
        )
    return rows


def _shares(low: Flags, point: Flags, high: Flags, pairs: Flags) -> dict[str, Any]:
    ends = {"flips": point, "flips_low": low, "flips_high": high}
    return {name: float(flags[pairs].mean()) for name, flags in ends.items()} | {"n_pairs": int(pairs.sum())}


def _spread_row(
    grid: Grid, scores: Floats, influence: Floats, levels: Sequence[Any], *, fraction: bool, ci: float
) -> dict[str, Any]:
    """Return value, lowest, highest, range and sd over the levels of one model, with their intervals."""
    means = grid.weight @ scores
    lowest, highest = int(np.argmin(means)), int(np.argmax(means))
    n_clusters = len(influence)
    row = dict(grid.group) | {
        "n_levels": len(levels),
        "value": float(means.mean()),
        "lowest": float(means[lowest]),
        "lowest_at": str(levels[lowest]),
        "highest": float(means[highest]),
        "highest_at": str(levels[highest]),
        "range": float(means[highest] - means[lowest]),
        "interval": _LONELY,
        "n": len(scores),
        "n_clusters": n_clusters,
        "n_dropped": grid.n_dropped,
    }
    if not grid.has_variance:
        return row
    covariance = influence.T @ influence
    square, sd_low, sd_high = spread_of_means(means, covariance, grid.df, ci)
    ends = _range_ends(means, covariance, scores, grid, fraction=fraction, ci=ci)
    if len(levels) == 2 and ends[0] is not None and ends[1] is not None:
        sd_low, sd_high = ends[0] / 2**0.5, ends[1] / 2**0.5
    few = ", few clusters" if n_clusters < FEW_CLUSTERS else ""
    return row | {
        "range_low": ends[0], "range_high": ends[1],
        "sd": max(square, 0.0) ** 0.5, "sd_low": sd_low, "sd_high": sd_high,
        "interval": "simultaneous over pairs; sd by inversion" + few,
    }  # fmt: skip


def spread_of_means(means: Floats, covariance: Floats, df: float, ci: float) -> tuple[float, float, float]:
    """Return the variance over means without their noise, and the interval of their standard deviation.

    The sum of squared deviations is compared with its distribution for every standard deviation, with deviations in
    proportion to those that are observed. The interval has the standard deviations that are not rejected. It is exact
    if all contrasts have the same variance.

    >>> square, low, high = spread_of_means(np.array([0.5, 0.6, 0.7]), np.eye(3) * 0.03**2, 500, 0.95)
    >>> print(f"{square ** 0.5:.3f} {low:.3f} {high:.3f}")
    0.095 0.055 0.142

    Args:
        means: The mean of each level.
        covariance: The covariance of the means over samples of instances.
        df: The degrees of freedom of the covariance.
        ci: The level.
    """
    n_levels = len(means)
    centred = np.eye(n_levels) - 1 / n_levels
    deviation, noise = means - means.mean(), centred @ covariance @ centred
    observed = float(deviation @ deviation)
    square = (observed - float(np.trace(noise))) / (n_levels - 1)
    scale = float(np.sqrt(np.trace(noise)))
    if scale == 0:
        sd = (observed / (n_levels - 1)) ** 0.5
        return square, sd, sd
    samples = scale * np.vstack([batch for _, batch in normals(noise / scale**2, 0)])
    generator = np.random.Generator(np.random.PCG64(n_levels))
    samples /= np.sqrt(generator.chisquare(max(df, 1), len(samples)) / max(df, 1))[:, None]
    # deviations of standard deviation 1, in the observed direction
    unit = deviation / (observed / (n_levels - 1)) ** 0.5 if observed > 0 else np.zeros(n_levels)
    along, squares = samples @ unit, (samples**2).sum(axis=1)

    def share_above(sd: float) -> float:
        return float(np.mean(sd**2 * (n_levels - 1) + 2 * sd * along + squares >= observed))

    most = (observed / (n_levels - 1)) ** 0.5 + 12 * scale
    low = _crossing(lambda sd: share_above(sd) >= (1 - ci) / 2, most)
    high = _crossing(lambda sd: share_above(sd) > (1 + ci) / 2, most)
    return square, low, high


def _crossing(reached: Callable[[float], bool], most: float) -> float:
    """Return the smallest number at which a condition that stays true is true."""
    if reached(0.0):
        return 0.0
    low, high = 0.0, most
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _range_ends(
    means: Floats, covariance: Floats, scores: Floats, grid: Grid, *, fraction: bool, ci: float
) -> tuple[float | None, float | None]:
    """Return the smallest and largest range that the joint intervals of all pairs of levels allow."""
    first, second = np.triu_indices(len(means), 1)
    difference = means[first] - means[second]
    variance = variances_of_pairs(covariance)[first, second]
    level = pairwise_level([covariance], ci)
    if fraction:
        low, high = paired_ends(scores, grid.weight, (first, second), variance, max(grid.df, 1), level)
        alike = unanimous(difference, float(len(grid.influence)), level, least=-1.0)
        low, high = (np.where(variance > 0, end, same) for end, same in zip((low, high), alike, strict=True))
    elif (variance > 0).all():
        low, high = t_interval(difference, variance, max(grid.df, 1), level)
    else:
        return None, None
    nearest = np.where((low <= 0) & (high >= 0), 0.0, np.minimum(np.abs(low), np.abs(high)))
    return float(nearest.max()), float(np.maximum(np.abs(low), np.abs(high)).max())


def paired_ends(
    scores: Floats, weight: Floats, pairs: tuple[Numbers, Numbers], variance: Floats, df: float, level: float
) -> tuple[Floats, Floats]:
    """Return the score intervals of paired differences of fractions, at the number of pairs with their variance."""
    from scipy.special import stdtrit

    gram = scores.T @ (weight[:, None] * scores)
    discordance = np.diag(gram)[pairs[0]] + np.diag(gram)[pairs[1]] - 2 * gram[pairs]
    means = weight @ scores
    difference = means[pairs[0]] - means[pairs[1]]
    worth = 1 / float((weight**2).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.minimum(worth, (discordance - difference**2) / variance)
    return paired_score(difference, discordance, effective, float(stdtrit(df, (1 + level) / 2)))


def _flips(grid: Grid, up: bool, ci: float) -> tuple[Flags, Flags, Flags]:
    """Return, per pair of models, whether its order certainly flips between levels, flips as observed, and may flip."""
    n_models, n_levels = grid.mean.shape
    sign = 1.0 if up else -1.0
    n_clusters = np.full(n_models, float(len(grid.influence)))
    columns = [
        Estimates(
            index=np.arange(n_models),
            value=sign * grid.mean[:, level],
            covariance=grid.influence[:, :, level].T @ grid.influence[:, :, level],
            df=np.full(n_models, float(max(grid.df, 1))),
            clusters=n_clusters,
            units=sign * grid.added[:, :, level] if len(grid.added) <= FLIPPED_UNITS else None,
        )
        for level in range(n_levels)
    ]
    signs = np.stack(significant_signs(columns, n_models, ci)) if n_models > 1 else np.zeros((n_levels, 1, 1))
    difference = grid.mean.T[:, :, None] - grid.mean.T[:, None, :]
    observed = (difference > 1e-12).any(axis=0) & (difference < -1e-12).any(axis=0)
    certain = (signs > 0).any(axis=0) & (signs < 0).any(axis=0)
    stable = (signs > 0).all(axis=0) | (signs < 0).all(axis=0)
    return np.asarray(certain), np.asarray(observed), ~np.asarray(stable)


def _no_flips(grid: Grid) -> tuple[Flags, Flags, Flags]:
    """Return that any pair may flip, because there are no intervals."""
    n_models = grid.mean.shape[0]
    difference = grid.mean.T[:, :, None] - grid.mean.T[:, None, :]
    observed = (difference > 1e-12).any(axis=0) & (difference < -1e-12).any(axis=0)
    shape = (n_models, n_models)
    return np.zeros(shape, dtype=np.bool_), np.asarray(observed), np.ones(shape, dtype=np.bool_)


COMPONENTS = {
    "component": pl.String(),
    "variance": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "sd": pl.Float64(),
    "share": pl.Float64(),
    "n_levels": pl.Int64(),
    "error_share": pl.Float64(),
    "interval": pl.String(),
}
DESIGNS = {
    "design": pl.String(),
    "stderr": pl.Float64(),
    "n_instance": pl.Int64(),
    "n_scores": pl.Int64(),
    "cost": pl.Float64(),
}
FACETS = ("setting", "perturbation", "trial")
_INSTANCE, _RESIDUAL, _REPEATED = "instance", "residual", "repetition"
# With fewer levels, an interval of a component is marked.
FEW_LEVELS = 20
# The most levels of an axis in a cheaper design.
_MOST_LEVELS = 500
# The number of designs that are searched.
_MOST_DESIGNS = 200_000


@dataclass(frozen=True, repr=False)
class VarianceComponents:
    """The variance components of scores, and the designs that would halve the standard error.

    `table` has one row per component: variance with its interval, sd, share (of the variance of a single score),
    n_levels (the number of its values in the mean) and error_share (of the variance of the mean). A component such as
    "instance × setting" remains after the effects of instances and of settings. "residual" is the interaction
    of all axes; without repeated outputs it includes their sampling. "repetition" is the variance of outputs or seeds.

    `designs` has the present design, more levels of one axis, and the cheapest design: the numbers of levels, the
    number of scores (n_scores), cost (n_scores relative to the present ones) and the standard error of the mean, at
    most half of the present one. A null number means that no number of levels of this axis suffices.

    >>> rows = [(i, s, (i * 7 + s * i) % 5) for i in range(30) for s in range(4)]
    >>> scores = pl.DataFrame(rows, ["instance_id", "setting", "score"], orient="row")
    >>> result = variance_components(scores, ["setting"])
    >>> result.table["component"].to_list()
    ['instance', 'setting', 'residual']
    """

    table: pl.DataFrame
    designs: pl.DataFrame

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


def variance_components(
    scores: pl.LazyFrame | pl.DataFrame,
    facets: Sequence[str] | None = None,
    by: Sequence[str] = (),
    *,
    errors: str = "refuse",
    higher_is_better: Mapping[str, bool] | None = None,
    fractions: Collection[str] | None = None,
    ranges: Mapping[str, Range] | None = None,
    ci: float = 0.95,
    mean: str = "macro",
) -> VarianceComponents:
    """Estimate how much of the variance of scores is due to instances, prompt settings, trials and their interactions.

    The model has crossed random effects: instances and all facets are samples of more of their kind. Components are
    estimated by the method of moments: mean squares of the balanced grid (ANOVA), without a distribution. Instances
    without a score in every cell are dropped, so the grid is balanced, and a grid that lacks a whole combination is
    refused. Negative estimates are shown, and count as 0 in shares and designs. With clusters or subsets, components of
    instances are variances per instance that give the clustered, stratified variance of the mean.

    >>> rows = [(i, s, (i * 7 + s * i) % 5) for i in range(30) for s in range(4)]
    >>> scores = pl.DataFrame(rows, ["instance_id", "setting", "score"], orient="row")
    >>> variance_components(scores, ["setting"]).table.select("component", pl.col("variance").round(3)).rows()
    [('instance', 0.345), ('setting', 0.96), ('residual', 1.207)]

    Args:
        scores: A frame of `SCORES`.
        facets: The columns that are crossed with instances: setting, perturbation, trial, or columns of your own, such
            as the judge; default those of the first three with several values.
        by: The columns whose values make a separate decomposition, besides scenario and metric.
        errors: The action if more than 1 % of a cell's requests failed, as in `compare`.
        higher_is_better: A dict of metric → direction, for `errors="worst"`.
        fractions: The metrics whose scores are in [0, 1]; default those whose scores are all 0 or 1.
        ranges: A dict of metric → smallest and largest value, for "worst"; default 0 and 1 for fractions.
        ci: The level of the intervals.
        mean: The mean over subsets, as in `aggregate`.

    Returns:
        `VarianceComponents`: `by`, scenario, metric and a component in each row of `table`.

    Raises:
        UnknownNameError: If a column is unknown.
        ArgumentError: If no facet has several values and scores aren't repeated.
        NotComparableError: If too many requests failed, or no instance has a score in every cell.

    Source: Searle, Casella & McCulloch 1992, Variance Components, ch. 4; Brennan 2001, Generalizability Theory (G and D
        studies); Ting, Burdick, Graybill, Jeyaratnam & Lu 1990, J. Statistical Computation and Simulation 35:135
        (intervals), with degrees of freedom from the fourth moments of clusters.
    """
    rows = as_scores(scores).lazy()
    if facets is None:
        counts = rows.select(pl.col(name).n_unique() for name in FACETS if name not in by).collect()
        facets = [name for name in counts.columns if counts[name].item() > 1]
    treated, keys, fraction_names = _prepared(rows, by, facets, higher_is_better or {}, fractions, errors, ranges, ci)
    tables, designs = [], []
    for grid in build_grids(treated, keys, facets, mean, "variance_components"):
        components = components_of(grid, ci, fraction=grid.group["metric"] in fraction_names)
        if len(components) < 2:
            raise ArgumentError(
                "variance_components(): no axis has several values, and scores are not repeated. Run a grid of "
                "settings, several trials or several outputs, or name a column in facets=[…]."
            )
        labels = {name: pl.lit(value, dtype=treated.schema[name]).alias(name) for name, value in grid.group.items()}
        tables.append(_components_table(components, grid).select(*labels.values(), *COMPONENTS))
        designs.append(_designs_table(components, grid).with_columns(*labels.values()))
    levels = {f"n_{name}": pl.Int64() for name in facets}
    shown = [*keys, "design", "stderr", "n_instance", *levels, "n_repeats", "n_scores", "cost"]
    return VarianceComponents(
        pl.concat(tables).sort(keys, maintain_order=True),
        pl.concat(designs, how="diagonal_relaxed").select(shown).sort(keys, maintain_order=True),
    )


@dataclass(frozen=True)
class Component:
    """A variance component: the axes that it varies over ("instance" among them), its estimate and its interval."""

    axes: tuple[str, ...]
    name: str
    variance: float
    low: float
    high: float


def components_of(grid: Grid, ci: float, *, fraction: bool = False) -> list[Component]:
    """Return the variance components of a grid, main effects first.

    Args:
        grid: The grid.
        ci: The level of the intervals.
        fraction: Whether scores are in [0, 1], so that their noise depends on the mean at a level.
    """
    facets = list(grid.levels)
    shape = grid.mean.shape
    every = [subset for size in range(len(facets) + 1) for subset in combinations(range(len(facets)), size)]
    n_effective = 1 / float((grid.weight**2).sum())
    noise = {subset: _Noise.of(grid.influence, subset, fraction=fraction) for subset in every}
    components = []
    for subset in every:
        shared = prod(shape[axis] for axis in range(len(facets)) if axis not in subset)
        signs = {other: (-1.0) ** (len(other) - len(subset)) / shared for other in every if set(subset) <= set(other)}
        names = tuple(facets[axis] for axis in subset)
        if subset:
            squares = [(sign, _mean_square(grid.mean, other), _degrees(shape, other)) for other, sign in signs.items()]
            components.append(_component(names, squares, {noise[other]: -sign for other, sign in signs.items()}, ci))
        of_instances = {noise[other]: sign * n_effective for other, sign in signs.items()}
        repeated = []
        if len(subset) == len(facets) and grid.within is not None:
            extra = len(grid.scores) * prod(shape) * max(grid.repeats - 1, 1e-9)
            repeated = [(1.0, grid.within, extra)]
        less = [(-1 / grid.repeats, *term[1:]) for term in repeated]
        components.append(_component((_INSTANCE, *names), less, of_instances, ci))
        if repeated:
            components.append(_component((_INSTANCE, *names, _REPEATED), repeated, {}, ci))
    if grid.within is None and facets:
        components = [
            replace(part, name=_RESIDUAL) if len(part.axes) == len(facets) + 1 else part for part in components
        ]
    return sorted(components, key=lambda part: len(part.axes))


def _effect(values: Floats, subset: Sequence[int]) -> Floats:
    """Return an effect for each row of an array whose other axes are the facets, averaged over the other facets."""
    averaged = tuple(axis + 1 for axis in range(values.ndim - 1) if axis not in subset)
    effect = values.mean(axis=averaged, keepdims=True)
    for axis in subset:
        effect = effect - effect.mean(axis=axis + 1, keepdims=True)
    return np.asarray(effect * prod(values.shape[axis] for axis in averaged) ** 0.5)


def _mean_square(values: Floats, subset: Sequence[int]) -> float:
    """Return the mean square of an effect."""
    return float((_effect(values[None], subset) ** 2).sum()) / _degrees(values.shape, subset)


@dataclass(frozen=True, eq=False)
class _Noise:
    """The mean square of an effect that is due to the sample of clusters.

    `parts` has the part of each cluster. `df` has the degrees of freedom: they follow from the variance of the parts,
    and for fractions also from the variance between levels of the facets, whose noise depends on the mean at a level.
    """

    square: float
    parts: Floats
    df: float

    @classmethod
    def of(cls, influence: Floats, subset: Sequence[int], *, fraction: bool) -> "_Noise":
        cells = _effect(influence, subset) ** 2 / _degrees(influence.shape[1:], subset)
        parts = cells.reshape(len(cells), -1).sum(axis=1)
        variances = [(_variance_of_sum(parts), len(parts) - 1)]
        for axis in subset if fraction else ():
            n_levels = cells.shape[axis + 1]
            by_level = np.moveaxis(cells, axis + 1, 1).reshape(len(cells), n_levels, -1).sum(axis=2)
            added = _variance_of_sum(by_level.sum(axis=0)) - _variance_of_sum(by_level.ravel())
            # an effect is centred over the levels, so a level's part contains others' parts
            shrinkage = 1 - 2 / n_levels if n_levels > 2 else 0.5
            variances.append((max(added, 0.0) / shrinkage**2, n_levels - 1))
        total, variance = float(parts.sum()), sum(value for value, _ in variances)
        if variance == 0:
            return cls(total, parts, float(len(parts)))
        df_of_variance = variance**2 / sum(value**2 / max(df, 1) for value, df in variances)
        return cls(total, parts, 2 * total**2 / (variance * _wider(df_of_variance)))


def _wider(df: float) -> float:
    """Return by how much a variance with these degrees of freedom counts more than a known one, at level 95 %."""
    from scipy.special import stdtrit

    return float((stdtrit(df, 0.975) / 1.959964) ** 2)


def _variance_of_sum(parts: Floats) -> float:
    """Return the variance of the sum of independent parts."""
    return float(((parts - parts.mean()) ** 2).sum()) * len(parts) / max(len(parts) - 1, 1)


def _degrees(shape: Sequence[int], subset: Sequence[int]) -> float:
    return float(prod(shape[axis] - 1 for axis in subset))


def _component(
    axes: tuple[str, ...],
    squares: Sequence[tuple[float, float, float]],
    noise: Mapping[_Noise, float],
    ci: float,
) -> Component:
    """Return a component: a sum of coefficients times mean squares, and times parts of the noise."""
    terms = [*squares, *((coefficient, part.square, part.df) for part, coefficient in noise.items())]
    covariance = 0.0
    if len(noise) > 1:
        # the same clusters are in all parts
        together = np.sum([coefficient * part.parts for part, coefficient in noise.items()], axis=0)
        covariance = _variance_of_sum(together)
        covariance -= sum(coefficient**2 * _variance_of_sum(part.parts) for part, coefficient in noise.items())
    low, high = combination_interval(terms, ci, covariance)
    return Component(axes, " × ".join(axes), sum(c * square for c, square, _ in terms), max(low, 0.0), max(high, 0.0))


def combination_interval(
    terms: Sequence[tuple[float, float, float]], ci: float, covariance: float = 0.0
) -> tuple[float, float]:
    """Return the modified large-sample interval of a sum of coefficients times mean squares.

    It is exact for one mean square of normal numbers, and close to that for their differences.

    >>> low, high = combination_interval([(1.0, 4.0, 10.0)], 0.95)
    >>> print(f"{low:.3f} {high:.3f}")  # 10 · 4 / χ²
    1.953 12.319

    Args:
        terms: Coefficient, mean square and degrees of freedom of each term.
        ci: The level.
        covariance: The sum of the covariances of the terms, which is added to the variance of the sum.

    Source: Ting, Burdick, Graybill, Jeyaratnam & Lu 1990.
    """
    from scipy.special import ndtri

    estimate = sum(coefficient * square for coefficient, square, _ in terms)
    plus = [(coefficient * square, df) for coefficient, square, df in terms if coefficient > 0]
    minus = [(-coefficient * square, df) for coefficient, square, df in terms if coefficient < 0]
    tail = (1 - ci) / 2
    more = float(ndtri(tail)) ** 2 * covariance
    # the upper end is the negative of the lower end of the negative sum
    low, high = _squared_half(plus, minus, tail) + more, _squared_half(minus, plus, tail) + more
    return estimate - max(low, 0.0) ** 0.5, estimate + max(high, 0.0) ** 0.5


def _squared_half(down: Sequence[tuple[float, float]], up: Sequence[tuple[float, float]], tail: float) -> float:
    """Return the squared distance from a sum of mean squares to its lower end; `up` is subtracted in the sum."""
    from scipy.special import chdtri, fdtri

    def over(df: float) -> float:
        return float(1 - df / chdtri(df, tail))

    def under(df: float) -> float:
        return float(df / chdtri(df, 1 - tail) - 1)

    total = sum((over(df) * size) ** 2 for size, df in down) + sum((under(df) * size) ** 2 for size, df in up)
    for size, df in down:
        for other, other_df in up:
            ratio = float(fdtri(df, other_df, 1 - tail))
            cross = ((ratio - 1) ** 2 - (over(df) * ratio) ** 2 - under(other_df) ** 2) / ratio
            total += cross * size * other
    for index, (size, df) in enumerate(down):
        for other, other_df in down[index + 1 :]:
            both = df + other_df
            joint = over(both) ** 2 * both**2 / (df * other_df)
            joint -= over(df) ** 2 * df / other_df + over(other_df) ** 2 * other_df / df
            total += joint / (len(down) - 1) * size * other
    return total


def _components_table(components: Sequence[Component], grid: Grid) -> pl.DataFrame:
    levels = _levels(grid)
    total = sum(max(part.variance, 0.0) for part in components)
    errors = [_error(part, levels, grid) for part in components]
    facets = {axis: len(values) for axis, values in grid.levels.items()}
    few = [axis for axis, count in facets.items() if count < FEW_LEVELS]
    method = "modified large-sample"
    if len(grid.influence) < FEW_CLUSTERS:
        method += ", few clusters"
    return pl.DataFrame(
        [
            {
                "component": part.name,
                "variance": part.variance,
                "ci_low": part.low if grid.has_variance else None,
                "ci_high": part.high if grid.has_variance else None,
                "sd": max(part.variance, 0.0) ** 0.5,
                "share": max(part.variance, 0.0) / total if total else None,
                "n_levels": round(prod(levels[axis] for axis in part.axes)),
                "error_share": error / sum(errors) if sum(errors) else None,
                "interval": (method + ", few levels" * (not {*few}.isdisjoint(part.axes)))
                if grid.has_variance
                else _LONELY,
            }
            for part, error in zip(components, errors, strict=True)
        ],
        schema=COMPONENTS,
    )


def _levels(grid: Grid) -> dict[str, float]:
    """Return the number of levels of each axis of the components."""
    facets = {axis: float(len(values)) for axis, values in grid.levels.items()}
    return {_INSTANCE: float(len(grid.scores)), **facets, _REPEATED: grid.repeats}


def _error(part: Component, levels: Mapping[str, float], grid: Grid) -> float:
    """Return the part of the variance of the mean that is due to a component."""
    # the effective number of instances, with unequal weights
    unequal = len(grid.scores) * float((grid.weight**2).sum()) if _INSTANCE in part.axes else 1.0
    return max(part.variance, 0.0) * unequal / prod(levels[axis] for axis in part.axes)


def _designs_table(components: Sequence[Component], grid: Grid) -> pl.DataFrame:
    """Return the present design, those that halve the standard error by one axis, and the cheapest one."""
    levels = _levels(grid)
    errors = {part.axes: _error(part, levels, grid) * prod(levels[axis] for axis in part.axes) for part in components}
    if grid.within is None:
        del levels[_REPEATED]
    axes = list(levels)
    present = np.array([levels[axis] for axis in axes])

    def variance(designs: Floats) -> Floats:
        columns = {axis: designs[:, index] for index, axis in enumerate(axes)}
        terms = [error / np.prod([columns[axis] for axis in part], axis=0) for part, error in errors.items()]
        return np.asarray(np.sum(terms, axis=0), dtype=np.float64)

    target = float(variance(present[None])[0]) / 4
    rows = [("present", present)]
    for index, axis in enumerate(axes):
        fixed = present.copy()
        fixed[index] = np.inf
        rest = float(variance(fixed[None])[0])
        needed = (4 * target - rest) * present[index]
        fixed[index] = np.ceil(needed / (target - rest) - 1e-9) if rest < target and needed > 0 else np.nan
        rows.append((f"more: {axis}", fixed))
    rows.append(("cheapest", _cheapest(variance, present, target)))
    n_scores = float(np.prod(present))
    names = [{_REPEATED: "n_repeats"}.get(axis, f"n_{axis}") for axis in axes]
    records = []
    for name, design in rows:
        possible = bool(np.isfinite(design).all())
        total = float(np.prod(design)) if possible else None
        counts = {key: round(number) if possible else None for key, number in zip(names, design, strict=True)}
        records.append(
            {
                "design": name,
                "stderr": float(variance(design[None])[0]) ** 0.5 if possible else None,
                **counts,
                "n_scores": None if total is None else round(total),
                "cost": None if total is None else total / n_scores,
            }
        )
    columns = {name: pl.Int64() for name in dict.fromkeys([*names, "n_repeats"])}
    return pl.DataFrame(records, schema={**DESIGNS, **columns})


def _cheapest(variance: Callable[[Floats], Floats], present: Floats, target: float) -> Floats:
    """Return the design with the fewest scores whose variance is at most the target; NaN if there is none."""
    if target <= 0:
        return present
    n_axes = len(present) - 1
    most = min(100, int(_MOST_DESIGNS ** (1 / max(n_axes, 1))))
    # all small numbers of levels, and some large ones
    steps = [*range(1, most // 2 + 1), *np.geomspace(most // 2 + 1, _MOST_LEVELS, most - most // 2).round()]
    counts = [np.unique([*steps, round(number)]).astype(np.float64) for number in present[1:]]
    grid = np.stack(np.meshgrid(*counts, indexing="ij"), axis=-1).reshape(-1, n_axes) if n_axes else np.zeros((1, 0))
    designs = np.column_stack([np.full(len(grid), np.inf), grid])
    rest = variance(designs)
    designs[:, 0] = 1.0
    of_instances = variance(designs) - rest
    with np.errstate(divide="ignore", invalid="ignore"):
        designs[:, 0] = np.where(rest < target, np.maximum(np.ceil(of_instances / (target - rest) - 1e-9), 2.0), np.nan)
    total = designs.prod(axis=1)
    if np.isnan(total).all():
        return np.full(len(present), np.nan)
    # of equally cheap designs, the one with the smallest standard error
    cheapest = np.flatnonzero(total == np.nanmin(total))
    return np.asarray(designs[cheapest[np.argmin(variance(designs[cheapest]))]], dtype=np.float64)
