"""The leaderboard object, and its construction from columns of values: win rates or means, intervals and ranks."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import polars as pl

from helmframe._core.registry import render
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.encoded_rows import Flags, Floats
from helmframe.stats.intervals import FEW_CLUSTERS, t_interval, unanimous
from helmframe.stats.ranks import (
    Estimates,
    Signs,
    flip_signs,
    rank_interval,
    ranks,
    significant_signs,
    tie_groups,
    units_needed,
    win_rates,
)
from helmframe.stats.ranks import rank_probabilities as shares_of_ranks
from helmframe.stats.significance import JOINT_DRAWS, normals

BOARD = {
    "model": pl.String(),
    "value": pl.Float64(),
    "rank": pl.Int64(),
    "rank_low": pl.Int64(),
    "rank_high": pl.Int64(),
    "ties": pl.String(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "scenarios_low": pl.Float64(),
    "scenarios_high": pl.Float64(),
    "scenarios_interval": pl.String(),
    "n_columns": pl.Int64(),
    "mean": pl.Float64(),
    "mean_rank": pl.Int64(),
    "mean_rank_low": pl.Int64(),
    "mean_rank_high": pl.Int64(),
}
CELLS = {
    "model": pl.String(),
    "column": pl.String(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "n": pl.Int64(),
    "n_dropped": pl.Int64(),
    "win_rate": pl.Float64(),
    "rank": pl.Int64(),
    "rank_low": pl.Int64(),
    "rank_high": pl.Int64(),
}
INSTANCES, SCENARIOS = "instances", "scenarios"


@dataclass(frozen=True)
class Leaderboard:
    """A ranking of models, from best to worst.

    `table` has one row per model: value (win rate or mean), rank, rank_low and rank_high (simultaneous for all models
    at level `ci`), ties (letters; models with the same letter do not differ significantly), ci_low, ci_high and
    interval (over `instances`), scenarios_low, scenarios_high and scenarios_interval (over columns), n_columns; for a
    leaderboard of win rates also mean (over columns, null if they have no common unit) and mean_rank, mean_rank_low,
    mean_rank_high, which are usually sharper. `cells` has one row per model and column: its value with interval, n,
    n_dropped (instances without a score of every model, which do not count), win_rate, rank, rank_low, rank_high.
    `notes` has the reasons why models aren't distinguished. `rank_probabilities`, if requested, has the share of
    bootstrap samples in which a model has a rank: model, rank, probability. It describes how stable the ranks are, and
    isn't a confidence level: among equal models, the one that is first by chance has the largest share.

    A win rate depends on the other models, and a mean depends on its columns. `pool` and `columns` list them, and
    leaderboards with other models or columns aren't compared. `over` is the sampling unit of the ranks: "instances", or
    "scenarios" if only means are known.

    >>> from helmframe.stats.leaderboard import leaderboard_of_means
    >>> means = pl.DataFrame({"model": ["a", "b"], "MMLU": [0.7, 0.6], "GSM8K": [0.5, 0.6]})
    >>> board = leaderboard_of_means(means, mean="mean")
    >>> board.pool, board.columns, board.over
    (('a', 'b'), ('GSM8K', 'MMLU'), 'scenarios')
    """

    table: pl.DataFrame = field(repr=False)
    cells: pl.DataFrame = field(repr=False)
    pool: tuple[str, ...]
    columns: tuple[str, ...]
    mean: str
    over: str
    ci: float
    notes: tuple[str, ...] = ()
    rank_probabilities: pl.DataFrame | None = field(default=None, repr=False)

    def compare(self, other: "Leaderboard") -> pl.DataFrame:
        """Compare with another leaderboard of the same models and columns: values, differences and ranks of both.

        >>> from helmframe.stats.leaderboard import leaderboard_of_means
        >>> means = pl.DataFrame({"model": ["a", "b"], "MMLU": [0.7, 0.6], "GSM8K": [0.5, 0.6]})
        >>> board = leaderboard_of_means(means, mean="mean")
        >>> earlier = leaderboard_of_means(means.with_columns(GSM8K=pl.col("GSM8K") - 0.1), mean="mean")
        >>> board.compare(earlier).select("model", pl.col("difference").round(3)).rows()
        [('a', 0.05), ('b', 0.05)]

        Raises:
            NotComparableError: If the models, the columns or the mean differ.
        """
        for field_name in ("mean", "columns", "pool"):
            values, other_values = getattr(self, field_name), getattr(other, field_name)
            if sorted(values) != sorted(other_values):
                raise NotComparableError(_difference(field_name, values, other_values))
        names = ("value", "rank", "rank_low", "rank_high")
        sides = [
            board.table.select("model", *(pl.col(name).alias(f"{name}_{side}") for name in names))
            for side, board in (("a", self), ("b", other))
        ]
        joined = sides[0].join(sides[1], on="model", how="left", maintain_order="left", validate="1:1")
        return joined.with_columns(difference=pl.col("value_a") - pl.col("value_b"))

    def pivot(self) -> pl.DataFrame:
        """Return one row per model, from best to worst, and one column per column of the leaderboard.

        >>> from helmframe.stats.leaderboard import leaderboard_of_means
        >>> means = pl.DataFrame({"model": ["a", "b"], "MMLU": [0.7, 0.6], "GSM8K": [0.5, 0.6]})
        >>> leaderboard_of_means(means, mean="mean").pivot().columns
        ['model', 'value', 'GSM8K', 'MMLU']
        """
        wide = self.cells.pivot("column", index="model", values="value")
        return self.table.select("model", "value").join(wide, on="model", how="left", maintain_order="left")

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


def _difference(field: str, first: Collection[str], second: Collection[str]) -> str:
    """Return the error message for two leaderboards that differ in a field."""
    if field == "mean":
        return f"compare(): the leaderboards show different values: {first!r} and {second!r}. Use one mean= for both."
    noun, reason = {"pool": ("models", ", and a win rate depends on the other models"), "columns": ("columns", "")}[
        field
    ]
    unshared = [
        f"Only {name} has {', '.join(map(repr, sorted(set(names_a) - set(names_b))))}."
        for name, names_a, names_b in (("the first", first, second), ("the second", second, first))
        if set(names_a) - set(names_b)
    ]
    return (
        f"compare(): the leaderboards have different {noun}{reason}. {' '.join(unshared)} Build both from the same "
        f"{noun}."
    )


Interval: TypeAlias = "tuple[Floats, Floats, str]"
Bounds: TypeAlias = "tuple[Floats, Floats, str, Signs]"
MEANS = ("win_rate", "mean", "micro")


@dataclass(frozen=True)
class Column:
    """A column of a leaderboard: the value of each model, NaN if a model has none.

    `estimates` are the known estimates, with higher being better; None if only means are known. `cells` has one row for
    each of them: model, value, ci_low, ci_high, interval, n, n_dropped. `size` is the number of instances.
    """

    name: str
    values: Floats
    higher_is_better: bool = True
    unit: str = ""
    size: float = 1.0
    estimates: Estimates | None = None
    cells: pl.DataFrame = field(default_factory=pl.DataFrame)


def build_leaderboard(
    columns: Sequence[Column], pool: Sequence[str], *, mean: str, ci: float, rank_probabilities: bool = False
) -> Leaderboard:
    """Build the leaderboard of some columns.

    Args:
        columns: At least one column.
        pool: The models, in the order of the columns' values.
        mean: "win_rate"; "mean", with equal weights; "micro", weighted by the size of columns.
        ci: The level of ranks and intervals.
        rank_probabilities: Whether to compute the probability of each rank.

    Raises:
        ArgumentError: If `mean` or `ci` is invalid, there is only one model, or the columns have no common mean.
    """
    _check(columns, pool, mean, ci)
    columns = sorted(columns, key=lambda column: column.name)
    signed = [column.values if column.higher_is_better else -column.values for column in columns]
    rates = np.array([rates_of(column) for column in signed])
    matrix = rates if mean == "win_rate" else np.array([column.values for column in columns])
    weight = np.array([column.size if mean == "micro" else 1.0 for column in columns])
    value = _values(matrix, weight, mean)
    up = mean == "win_rate" or columns[0].higher_is_better
    eligible = ~np.isnan(value)
    estimates = [column.estimates for column in columns if column.estimates is not None]
    has_scores = len(estimates) == len(columns)
    if has_scores:
        signs = significant_signs(estimates, len(pool), ci)
        low, high, method, overall = (
            _win_rate_bounds(signs, rates)
            if mean == "win_rate"
            else _mean_bounds(columns, pool, value, weight, eligible, ci)
        )
        cells = [_cells(column, pool, rate, sign) for column, rate, sign in zip(columns, rates, signs, strict=True)]
    else:
        low = high = np.full(len(pool), np.nan)
        method, overall = "no interval: only means are known", _over_scenarios(matrix, value, up=up, ci=ci)
        cells = [_cells(column, pool, rate, None) for column, rate in zip(columns, rates, strict=True)]
    bounded = mean == "win_rate" or columns[0].unit == "fraction"
    scenarios_low, scenarios_high, scenarios_method = _over_columns(matrix, weight, value, ci, bounded=bounded)
    table = (
        pl.DataFrame({"model": list(pool), "value": value})
        .with_columns(
            ci_low=pl.Series(low), ci_high=pl.Series(high), interval=pl.lit(method),
            scenarios_low=pl.Series(scenarios_low), scenarios_high=pl.Series(scenarios_high),
            scenarios_interval=pl.lit(scenarios_method),
            n_columns=pl.Series((~np.isnan(matrix)).sum(axis=0)),
        )
        .with_columns(pl.col("value", "ci_low", "ci_high", "scenarios_low", "scenarios_high").fill_nan(None))
    )  # fmt: skip
    ranked = _ranked(pool, value if up else -value, eligible, overall)
    joined = table.join(ranked, on="model", how="left").sort("rank", "model", nulls_last=True)
    if mean == "win_rate":
        by_mean = _ranked_by_mean(columns, pool, has_scores=has_scores, ci=ci)
        joined = joined.join(by_mean, on="model", how="left", maintain_order="left")
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in BOARD.items() if name not in joined.columns]
    return Leaderboard(
        table=joined.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in BOARD.items()),
        cells=pl.concat(cells).sort("column", "rank", "model", nulls_last=True),
        pool=tuple(pool),
        columns=tuple(column.name for column in columns),
        mean=mean,
        over=INSTANCES if has_scores else SCENARIOS,
        ci=ci,
        notes=tuple(_few_units(columns, estimates if has_scores else None, ci)),
        rank_probabilities=_rank_probabilities(columns, pool, mean, weight, eligible, matrix if up else -matrix)
        if rank_probabilities
        else None,
    )


def _rank_probabilities(
    columns: Sequence[Column], pool: Sequence[str], mean: str, weight: Floats, eligible: Flags, matrix: Floats
) -> pl.DataFrame:
    """Return model, rank and probability over bootstrap samples of instances; of columns, if only means are known.

    The bootstrap over instances is parametric: values of a column are normal with the covariance of its models. No rows
    if a covariance is unknown.
    """
    schema = {"model": pl.String, "rank": pl.Int64, "probability": pl.Float64}
    index = np.flatnonzero(eligible)
    estimates = [column.estimates for column in columns]
    if any(estimate is not None and estimate.covariance is None for estimate in estimates) or len(index) < 2:
        return pl.DataFrame(schema=schema)
    complete = [estimate for estimate in estimates if estimate is not None]
    if len(complete) < len(columns):
        generator = np.random.Generator(np.random.PCG64(len(columns)))
        counts = generator.multinomial(len(columns), np.full(len(columns), 1 / len(columns)), size=JOINT_DRAWS)
        samples = _averages(counts.astype(np.float64), matrix[:, index], weight)
        # a sample may lack all columns of a model
        samples = samples[np.isfinite(samples).all(axis=1)]
    else:
        drawn = np.full((len(columns), JOINT_DRAWS, len(pool)), np.nan)
        for number, estimate in enumerate(complete):
            drawn[number][:, estimate.index] = _sampled(estimate, number)
        rates = np.stack([_rates_of_samples(column) for column in drawn]) if mean == "win_rate" else drawn
        present = ~np.isnan(rates)
        shares = weight[:, None, None] * present
        samples = ((np.where(present, rates, 0.0) * shares).sum(axis=0) / shares.sum(axis=0))[:, index]
    if not len(samples):
        return pl.DataFrame(schema=schema)
    probability = shares_of_ranks(samples)
    order = np.argsort(probability @ np.arange(len(index)), kind="stable")
    records = [
        (pool[int(index[model])], rank + 1, float(probability[model, rank]))
        for model in order
        for rank in range(len(index))
    ]
    return pl.DataFrame(records, schema=schema, orient="row")


def _sampled(estimate: Estimates, number: int) -> Floats:
    """Return samples of the values of a column."""
    assert estimate.covariance is not None
    scale = float(np.sqrt(np.max(np.diag(estimate.covariance), initial=0.0)))
    if scale == 0:
        return np.tile(estimate.value, (JOINT_DRAWS, 1))
    return estimate.value + scale * np.vstack([batch for _, batch in normals(estimate.covariance / scale**2, number)])


def _rates_of_samples(values: Floats) -> Floats:
    """Return the win rate of each model in each sample (row); NaN for models without a value."""
    from scipy.stats import rankdata

    present = ~np.isnan(values[0])
    rates = np.full_like(values, np.nan)
    if present.sum() > 1:
        rates[:, present] = (rankdata(np.round(values[:, present], 12), axis=1) - 1) / (present.sum() - 1)
    return rates


def rates_of(values: Floats) -> Floats:
    """Return the win rates of models with a value; NaN if only one has a value."""
    present = np.flatnonzero(~np.isnan(values))
    rates = np.full(len(values), np.nan)
    if len(present) > 1:
        rates[present] = win_rates(values[present])
    return rates


def _values(matrix: Floats, weight: Floats, mean: str) -> Floats:
    """Return the weighted mean of each model over its columns; NaN for a mean over fewer columns than others."""
    value: Floats = _averages(np.ones((1, len(matrix))), matrix, weight)[0]
    if mean != "win_rate":
        # a mean over fewer columns measures something else
        value[np.isnan(matrix).any(axis=0)] = np.nan
    return value


def _ranked_by_mean(columns: Sequence[Column], pool: Sequence[str], *, has_scores: bool, ci: float) -> pl.DataFrame:
    """Return model, mean, mean_rank, mean_rank_low and mean_rank_high; no rows if the columns have no common mean."""
    names = ("rank", "rank_low", "rank_high")
    schema = {"model": pl.String, "mean": pl.Float64, **{f"mean_{name}": pl.Int64 for name in names}}
    kinds = {(column.unit, column.higher_is_better) for column in columns}
    matrix, weight = np.array([column.values for column in columns]), np.ones(len(columns))
    value = _values(matrix, weight, "mean")
    eligible = ~np.isnan(value)
    if len(kinds) > 1 or eligible.sum() < 2:
        return pl.DataFrame(schema=schema)
    up = columns[0].higher_is_better
    signs = (
        _mean_bounds(columns, pool, value, weight, eligible, ci)[3]
        if has_scores
        else _over_scenarios(matrix, value, up=up, ci=ci)
    )
    ranked = _ranked(pool, value if up else -value, eligible, signs)
    means = pl.DataFrame({"model": list(pool), "mean": value}).with_columns(pl.col("mean").fill_nan(None))
    renamed = ranked.select("model", **{f"mean_{name}": pl.col(name) for name in names})
    return means.join(renamed, on="model", how="left", maintain_order="left").select(list(schema))


def _few_units(columns: Sequence[Column], estimates: Sequence[Estimates] | None, ci: float) -> list[str]:
    """Return notes on the columns with too few sampling units to distinguish models, and on few columns."""
    if estimates is None:
        n, needed = len(columns), units_needed(1 - ci)
        if n < needed:
            return [f"few columns: {n} can't distinguish models at {ci:.0%}, so every rank is possible; {needed} can"]
        return [f"few columns: {n}, so only large differences are significant"] if n < FEW_CLUSTERS else []
    needed = units_needed((1 - ci) / len(columns))
    few = {
        column.name: len(estimate.units)
        for column, estimate in zip(columns, estimates, strict=True)
        if estimate.units is not None and len(estimate.units) < needed
    }
    return [
        f"too few clusters for ranks in {name!r}: {n}; at least {needed} are needed"
        for name, n in list(few.items())[:3]
    ]


def _check(columns: Sequence[Column], pool: Sequence[str], mean: str, ci: float) -> None:
    if mean not in MEANS:
        raise ArgumentError.unknown_value(f"leaderboard(mean={mean!r})", mean, MEANS)
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    if len(pool) < 2 or not columns:
        count = f"There is only one: {pool[0]!r}" if pool else "There are none"
        raise ArgumentError(f"leaderboard(): at least two models are needed. {count}.")
    kinds = {(column.unit, column.higher_is_better) for column in columns}
    if mean != "win_rate" and len(kinds) > 1:
        units = ", ".join(f"{column.name} ({column.unit or 'no unit'})" for column in columns)
        raise ArgumentError(
            f"leaderboard(mean={mean!r}): the columns have different units or directions, so they have no mean: "
            f"{units}. Select some with columns=…, or write mean='win_rate'."
        )


def _ranked(pool: Sequence[str], value: Floats, eligible: Flags, overall: Signs) -> pl.DataFrame:
    """Return model, rank, rank_low, rank_high and ties of eligible models, best first; higher is better."""
    index = np.flatnonzero(eligible)
    first, last = rank_interval(overall, index)
    ranked = pl.DataFrame(
        {
            "model": [pool[int(competitor)] for competitor in index],
            "place": index,
            "rank": ranks(value[index]),
            "rank_low": first,
            "rank_high": last,
        }
    ).sort("rank", "model")
    order = ranked["place"].to_numpy()
    return ranked.drop("place").with_columns(ties=pl.Series(tie_groups(overall[np.ix_(order, order)])))


def _averages(counts: Floats, matrix: Floats, weight: Floats) -> Floats:
    """Return each model's weighted mean over its columns, per sample of columns (`counts`)."""
    present = ~np.isnan(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        averages: Floats = (counts @ (np.where(present, matrix, 0.0) * weight[:, None])) / (
            counts @ (present * weight[:, None])
        )
    return averages


def _win_rate_bounds(signs: Sequence[Signs], rates: Floats) -> Bounds:
    """Return the lowest and highest win rates that undecided pairs allow, and the resulting signs."""
    low, high = np.full_like(rates, np.nan), np.full_like(rates, np.nan)
    for row, (sign, rate) in enumerate(zip(signs, rates, strict=True)):
        present = ~np.isnan(rate)
        n_rivals = max(int(present.sum()) - 1, 1)
        low[row, present] = (sign[present] > 0).sum(axis=1) / n_rivals
        high[row, present] = 1 - (sign[present] < 0).sum(axis=1) / n_rivals
    once, alike = np.ones((1, len(rates))), np.ones(len(rates))
    least, most = _averages(once, low, alike)[0], _averages(once, high, alike)[0]
    with np.errstate(invalid="ignore"):
        above = least[:, None] > most[None, :]
    return least, most, "pairwise max-|t| over instances", above.astype(np.int8) - above.T


def _mean_bounds(
    columns: Sequence[Column], pool: Sequence[str], value: Floats, weight: Floats, eligible: Flags, ci: float
) -> Bounds:
    """Return the interval of each mean over instances, and the signs of significant differences."""
    index = np.flatnonzero(eligible)
    share = weight / weight.sum()
    covariance: Floats | None = np.zeros((len(index), len(index)))
    df_terms, clusters, n_units = np.zeros(len(index)), np.full(len(index), np.inf), np.zeros(len(index))
    units: list[Floats] | None = []
    for column, part in zip(columns, share, strict=True):
        estimates = column.estimates
        assert estimates is not None
        positions = np.searchsorted(estimates.index, index)
        clusters = np.minimum(clusters, estimates.clusters[positions])
        n_units += estimates.clusters[positions]
        if units is not None:
            units = None if estimates.units is None else [*units, part * estimates.units[:, positions]]
        if estimates.covariance is None or covariance is None:
            covariance = None
            continue
        covariance += part**2 * estimates.covariance[np.ix_(positions, positions)]
        df_terms += (part**2 * np.diag(estimates.covariance)[positions]) ** 2 / estimates.df[positions]
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    if covariance is None:
        none = np.zeros((len(value), len(value)), dtype=np.int8)
        return low, high, "no interval: a subset has fewer than 2 clusters", none
    variance = np.diag(covariance)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(variance > 0, variance**2 / df_terms, clusters - 1)
    fraction = columns[0].unit == "fraction"
    low[index], high[index] = t_interval(value[index], variance, df, ci)
    if fraction:
        alike = unanimous(value[index], clusters, ci)
        low[index] = np.where(variance > 0, np.maximum(low[index], 0.0), alike[0])
        high[index] = np.where(variance > 0, np.minimum(high[index], 1.0), alike[1])
    up = value[index] if columns[0].higher_is_better else -value[index]
    stacked = np.vstack(units) if units else None
    overall = Estimates(index, up, covariance, df, n_units, units=stacked)
    signs = significant_signs([overall], len(value), ci)[0]
    if len(columns) == 1:
        # the column's own interval, which depends on the type of its scores
        column_cells = pl.DataFrame({"model": list(pool)}).join(
            columns[0].cells, on="model", how="left", maintain_order="left"
        )
        low, high = (
            column_cells[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in ("ci_low", "ci_high")
        )
        return low, high, "interval of the only column", signs
    return low, high, "t (CR2) over instances", signs


def _over_scenarios(matrix: Floats, value: Floats, *, up: bool, ci: float) -> Signs:
    """Return the signs of differences that are significant over samples of columns, paired, by sign flips."""
    index = np.flatnonzero(~np.isnan(value))
    signs = np.zeros((len(value), len(value)), dtype=np.int8)
    signs[np.ix_(index, index)] = flip_signs(matrix[:, index] if up else -matrix[:, index], 1 - ci)
    return signs


def _over_columns(matrix: Floats, weight: Floats, value: Floats, ci: float, *, bounded: bool) -> Interval:
    """Return the t interval of each mean over samples of columns; the pool is fixed.

    Args:
        matrix: The values of columns (rows) and models.
        weight: The weight of each column.
        value: The mean of each model.
        ci: The level.
        bounded: Whether values are between 0 and 1. Intervals are then cut there, and a model whose columns are all
            equal has the exact interval.
    """
    number, none = len(matrix), np.full(matrix.shape[1], np.nan)
    if number < 2:
        return none, none, "no interval: only one column"
    present = ~np.isnan(matrix)
    count = present.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = weight[:, None] / (present * weight[:, None]).sum(axis=0)
        residual = np.where(present, share * (matrix - value) * np.sqrt(count / (count - 1)), 0.0)
        variance = (residual**2).sum(axis=0)
        low, high = t_interval(value, variance, count - 1.0, ci)
        alike = unanimous(value, count, ci)
    equal, has_variance = variance <= 1e-20, ~np.isnan(value) & (count > 1)
    if bounded:
        low, high = (
            np.clip(np.where(equal, same, end), 0.0, 1.0) for same, end in zip(alike, (low, high), strict=True)
        )
    else:
        has_variance &= ~equal
    few = ", few columns" if number < FEW_CLUSTERS else ""
    return np.where(has_variance, low, np.nan), np.where(has_variance, high, np.nan), f"t over {number} columns{few}"


def _cells(column: Column, pool: Sequence[str], rates: Floats, signs: "Signs | None") -> pl.DataFrame:
    index = np.flatnonzero(~np.isnan(column.values))
    values = column.values[index]
    frame = pl.DataFrame(
        {
            "model": [pool[int(competitor)] for competitor in index],
            "column": [column.name] * len(index),
            "value": values,
            "win_rate": rates[index],
            "rank": ranks(values if column.higher_is_better else -values),
        }
    ).with_columns(pl.col("win_rate").fill_nan(None))
    if signs is not None:
        low, high = rank_interval(signs, index)
        frame = frame.with_columns(rank_low=pl.Series(low), rank_high=pl.Series(high))
    if column.cells.height:
        intervals = column.cells.select("model", "ci_low", "ci_high", "interval", "n", "n_dropped")
        frame = frame.join(intervals, on="model", how="left", maintain_order="left")
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in CELLS.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in CELLS.items())
