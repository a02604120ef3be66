"""Columns of values → a leaderboard: win rates or means, their two intervals, and ranks that hold together."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import polars as pl

from helmframe.errors import ArgumentError
from helmframe.stats.board import BOARD, CELLS, INSTANCES, SCENARIOS, Leaderboard
from helmframe.stats.bootstrap import REPLICATES
from helmframe.stats.encoded_rows import Flags, Floats
from helmframe.stats.error_bars import FEW_CLUSTERS
from helmframe.stats.intervals import t_interval, unanimous
from helmframe.stats.ranks import Estimates, Signs, rank_interval, ranks, surely_better, tie_groups, win_rates

Interval: TypeAlias = "tuple[Floats, Floats, str]"
Bounds: TypeAlias = "tuple[Floats, Floats, str, Signs]"
MEANS = ("win_rate", "mean", "micro")


@dataclass(frozen=True)
class Column:
    """A column of a board: the value of each competitor, NaN where one has none.

    `estimates` are those that are there, higher being better; None where only means are known. `cells` has a row for
    each of them: model, value, ci_low, ci_high, interval, n, n_dropped. `size` is how many instances there are.
    """

    name: str
    values: Floats
    higher_is_better: bool = True
    unit: str = ""
    size: float = 1.0
    estimates: Estimates | None = None
    cells: pl.DataFrame = field(default_factory=pl.DataFrame)


def board_of(columns: Sequence[Column], pool: Sequence[str], *, mean: str, ci: float) -> Leaderboard:
    """The board of some columns.

    Args:
        columns: at least one.
        pool: the competitors, in the order of the columns' values.
        mean: "win_rate"; "mean", columns alike; "micro", by their size.
        ci: level of ranks and intervals.

    Raises:
        ArgumentError: another mean; one competitor alone; a mean over columns that don't add up.
    """
    import numpy as np

    _check(columns, pool, mean, ci)
    columns = sorted(columns, key=lambda column: column.name)
    signed = [each.values if each.higher_is_better else -each.values for each in columns]
    rates = np.array([_rates(each) for each in signed])
    shown = rates if mean == "win_rate" else np.array([each.values for each in columns])
    weight = np.array([each.size if mean == "micro" else 1.0 for each in columns])
    value = _averages(np.ones((1, len(columns))), shown, weight)[0]
    if mean != "win_rate":
        # a mean over other columns is of something else
        value[np.isnan(shown).any(axis=0)] = np.nan
    up = mean == "win_rate" or columns[0].higher_is_better
    standing = ~np.isnan(value)
    estimates = [each.estimates for each in columns if each.estimates is not None]
    if len(estimates) == len(columns):
        signs = surely_better(estimates, len(pool), ci)
        low, high, how, overall = (
            _win_rate_bounds(signs, rates)
            if mean == "win_rate"
            else _mean_bounds(columns, pool, value, weight, standing, ci)
        )
        cells = [_cells(each, pool, rate, sign) for each, rate, sign in zip(columns, rates, signs, strict=True)]
    else:
        low = high = np.full(len(pool), np.nan)
        how, overall = "no interval: only means are known", _over_scenarios(shown, weight, value, up=up, ci=ci)
        cells = [_cells(each, pool, rate, None) for each, rate in zip(columns, rates, strict=True)]
    again_low, again_high, again = _bootstrap(shown, weight, standing, ci)
    table = (
        pl.DataFrame({"model": list(pool), "value": value})
        .with_columns(
            ci_low=pl.Series(low), ci_high=pl.Series(high), interval=pl.lit(how),
            scenarios_low=pl.Series(again_low), scenarios_high=pl.Series(again_high), scenarios_interval=pl.lit(again),
            n_columns=pl.Series((~np.isnan(shown)).sum(axis=0)),
        )
        .with_columns(pl.col("value", "ci_low", "ci_high", "scenarios_low", "scenarios_high").fill_nan(None))
    )  # fmt: skip
    ranked = _ranked(pool, value if up else -value, standing, overall)
    joined = table.join(ranked, on="model", how="left").sort("rank", "model", nulls_last=True)
    return Leaderboard(
        table=joined.select(pl.col(name).cast(dtype) for name, dtype in BOARD.items()),
        cells=pl.concat(cells).sort("column", "rank", "model", nulls_last=True),
        pool=tuple(pool),
        columns=tuple(each.name for each in columns),
        mean=mean,
        over=INSTANCES if len(estimates) == len(columns) else SCENARIOS,
        ci=ci,
    )


def _check(columns: Sequence[Column], pool: Sequence[str], mean: str, ci: float) -> None:
    if mean not in MEANS:
        raise ArgumentError.unknown_value(f"mean={mean!r}", mean, MEANS)
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r} should lie between 0 and 1, such as 0.95.")
    if len(pool) < 2 or not columns:
        there = f"here is one: {pool[0]!r}" if pool else "there are none"
        raise ArgumentError(f"a leaderboard ranks several models, and {there}.")
    kinds = {(each.unit, each.higher_is_better) for each in columns}
    if mean != "win_rate" and len(kinds) > 1:
        told = ", ".join(f"{each.name} ({each.unit or 'no unit'})" for each in columns)
        raise ArgumentError(
            f"mean={mean!r}: these columns are of several units or directions, and have no mean: {told}. "
            "Choose columns=…, or mean='win_rate'."
        )


def _rates(values: Floats) -> Floats:
    """Win rates of those that have a value; nobody has one alone."""
    import numpy as np

    there = np.flatnonzero(~np.isnan(values))
    rates = np.full(len(values), np.nan)
    if len(there) > 1:
        rates[there] = win_rates(values[there])
    return rates


def _ranked(pool: Sequence[str], value: Floats, standing: Flags, overall: Signs) -> pl.DataFrame:
    """model, rank, rank_low, rank_high and ties of those that stand, best first; higher is better."""
    import numpy as np

    there = np.flatnonzero(standing)
    first, last = rank_interval(overall, there)
    ranked = pl.DataFrame(
        {
            "model": [pool[int(each)] for each in there],
            "place": there,
            "rank": ranks(value[there]),
            "rank_low": first,
            "rank_high": last,
        }
    ).sort("rank", "model")
    order = ranked["place"].to_numpy()
    return ranked.drop("place").with_columns(ties=pl.Series(tie_groups(overall[np.ix_(order, order)])))


def _averages(counts: Floats, shown: Floats, weight: Floats) -> Floats:
    """Per draw of columns (how often each was drawn) the weighted mean of each competitor, over what it has."""
    import numpy as np

    there = ~np.isnan(shown)
    with np.errstate(invalid="ignore", divide="ignore"):
        averages: Floats = (counts @ (np.where(there, shown, 0.0) * weight[:, None])) / (
            counts @ (there * weight[:, None])
        )
    return averages


def _win_rate_bounds(signs: Sequence[Signs], rates: Floats) -> Bounds:
    """The lowest and highest win rate that what is undecided leaves open, and who is so above whom."""
    import numpy as np

    low, high = np.full_like(rates, np.nan), np.full_like(rates, np.nan)
    for place, (each, rate) in enumerate(zip(signs, rates, strict=True)):
        there = ~np.isnan(rate)
        others = max(int(there.sum()) - 1, 1)
        low[place, there] = (each[there] > 0).sum(axis=1) / others
        high[place, there] = 1 - (each[there] < 0).sum(axis=1) / others
    once, alike = np.ones((1, len(rates))), np.ones(len(rates))
    least, most = _averages(once, low, alike)[0], _averages(once, high, alike)[0]
    with np.errstate(invalid="ignore"):
        above = least[:, None] > most[None, :]
    return least, most, "what pairs leave open (max-|t| over instances)", above.astype(np.int8) - above.T


def _mean_bounds(
    columns: Sequence[Column], pool: Sequence[str], value: Floats, weight: Floats, standing: Flags, ci: float
) -> Bounds:
    """The interval of each mean over instances, and whose difference is sure."""
    import numpy as np

    place = np.flatnonzero(standing)
    share = weight / weight.sum()
    covariance: Floats | None = np.zeros((len(place), len(place)))
    doubt, clusters = np.zeros(len(place)), np.full(len(place), np.inf)
    for column, part in zip(columns, share, strict=True):
        found = column.estimates
        assert found is not None
        at = np.searchsorted(found.place, place)
        clusters = np.minimum(clusters, found.clusters[at])
        if found.covariance is None or covariance is None:
            covariance = None
            continue
        covariance += part**2 * found.covariance[np.ix_(at, at)]
        doubt += (part**2 * np.diag(found.covariance)[at]) ** 2 / found.df[at]
    low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
    if covariance is None:
        none = np.zeros((len(value), len(value)), dtype=np.int8)
        return low, high, "no interval: a subset has fewer than 2 clusters", none
    variance = np.diag(covariance)
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(variance > 0, variance**2 / doubt, clusters - 1)
    fraction = columns[0].unit == "fraction"
    low[place], high[place] = t_interval(value[place], variance, df, ci)
    if fraction:
        alike = unanimous(value[place], clusters, ci)
        low[place] = np.where(variance > 0, np.maximum(low[place], 0.0), alike[0])
        high[place] = np.where(variance > 0, np.minimum(high[place], 1.0), alike[1])
    up = value[place] if columns[0].higher_is_better else -value[place]
    overall = Estimates(place, up, covariance, df, clusters)
    signs = surely_better([overall], len(value), ci)[0]
    if len(columns) == 1:
        # the column's own interval, which knows how its scores are made
        own = pl.DataFrame({"model": list(pool)}).join(columns[0].cells, on="model", how="left", maintain_order="left")
        low, high = (own[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in ("ci_low", "ci_high"))
        return low, high, "as in the column", signs
    return low, high, "t (CR2) over instances", signs


def _over_scenarios(shown: Floats, weight: Floats, value: Floats, *, up: bool, ci: float) -> Signs:
    """Whose difference is sure over draws of columns, paired."""
    import numpy as np

    there = ~np.isnan(shown)
    count = there.sum(axis=0)
    place = np.flatnonzero(~np.isnan(value) & (count > 1))
    shown, there, count, average = shown[:, place], there[:, place], count[place], value[place]
    share = weight[:, None] / (there * weight[:, None]).sum(axis=0)
    residual = np.where(there, share * (shown - average) * np.sqrt(count / (count - 1)), 0.0)
    signed = average if up else -average
    alike = Estimates(place, signed, residual.T @ residual, count - 1.0, count.astype(np.float64), score=False)
    return surely_better([alike], len(value), ci)[0]


def _bootstrap(shown: Floats, weight: Floats, standing: Flags, ci: float) -> Interval:
    """The percentile interval of each mean over draws of columns; the pool stays."""
    import numpy as np

    number, none = len(shown), np.full(shown.shape[1], np.nan)
    if number < 2:
        return none, none, "no interval: one column"
    held = np.round(np.nan_to_num(shown, nan=-1.0), 12) + 0.0
    key = hashlib.sha256(held.tobytes() + weight.tobytes()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
    counts = generator.multinomial(number, np.full(number, 1 / number), size=REPLICATES).astype(np.float64)
    drawn = _averages(counts, shown[:, standing], weight)
    low, high = none.copy(), none.copy()
    low[standing], high[standing] = np.nanquantile(drawn, [(1 - ci) / 2, (1 + ci) / 2], axis=0)
    few = ", few columns" if number < FEW_CLUSTERS else ""
    return low, high, f"bootstrap over {number} columns ({REPLICATES:,}){few}"


def _cells(column: Column, pool: Sequence[str], rates: Floats, signs: "Signs | None") -> pl.DataFrame:
    import numpy as np

    there = np.flatnonzero(~np.isnan(column.values))
    values = column.values[there]
    frame = pl.DataFrame(
        {
            "model": [pool[int(each)] for each in there],
            "column": [column.name] * len(there),
            "value": values,
            "win_rate": rates[there],
            "rank": ranks(values if column.higher_is_better else -values),
        }
    ).with_columns(pl.col("win_rate").fill_nan(None))
    if signs is not None:
        low, high = rank_interval(signs, there)
        frame = frame.with_columns(rank_low=pl.Series(low), rank_high=pl.Series(high))
    if column.cells.height:
        own = column.cells.select("model", "ci_low", "ci_high", "interval", "n", "n_dropped")
        frame = frame.join(own, on="model", how="left", maintain_order="left")
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in CELLS.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in CELLS.items())
