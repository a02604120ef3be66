"""Leaderboards, from scores and from published means."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.config import from_home
from helmframe.errors import ArgumentError, NotComparableError, SourceMissingError, UnknownNameError
from helmframe.stats.board import Column, Leaderboard, build_leaderboard, rates_of
from helmframe.stats.encoded_rows import (
    STRATUM,
    EncodedRows,
    Flags,
    Floats,
    Numbers,
    distinct,
    encode_rows,
    lengths,
    merge_names,
    numbered,
    starts_of,
)
from helmframe.stats.estimate import estimate_of, floats, group_keys, influences
from helmframe.stats.failures import Range, metric_directions, resolve_ranges, treat_failures
from helmframe.stats.frames import as_scores
from helmframe.stats.intervals import with_interval
from helmframe.stats.ranks import FLIPPED_UNITS, Estimates
from helmframe.stats.sums import sums_of

# The smallest share of a column's instances that a model may have.
SAME_INSTANCES = 0.99
COLUMN = ["scenario", "metric"]


def leaderboard(
    scores: pl.LazyFrame | pl.DataFrame,
    by: str = "model",
    *,
    higher_is_better: Mapping[str, bool],
    mean: str = "win_rate",
    subsets: str = "macro",
    fractions: Collection[str] | None = None,
    units: Mapping[str, str] | None = None,
    shared: bool = False,
    errors: str = "refuse",
    ranges: Mapping[str, Range] | None = None,
    ci: float = 0.95,
    rank_probabilities: bool = False,
) -> Leaderboard:
    """Rank models over scenarios, with intervals of their ranks.

    A column is a metric of a scenario. A cell is the mean score of original inputs, over subsets. A column counts the
    instances for which all its models have a score; the others are dropped for every model, and counted. All pairs of
    models are compared over the same clusters (paired, by the covariance of their means), with intervals that are
    simultaneous over all pairs and columns (max-|t| bootstrap). Columns with at most 60 clusters use sign flips of
    whole clusters instead, which are valid for few clusters. The best possible rank of a model is 1 + the number of
    significantly better models, and the worst is the number of all models − the number of significantly worse ones. The
    lowest and highest win rates assume that all undecided pairs are lost or won. With several trials the intervals are
    conditional on their few-shot examples.

    >>> scores = pl.DataFrame({"model": ["a"] * 50 + ["b"] * 50, "instance_id": [*range(50)] * 2,
    ...                        "score": [1] * 45 + [0] * 5 + [1, 0] * 25})
    >>> board = leaderboard(scores, higher_is_better={"score": True})
    >>> board.table.select("model", "value", "rank", "rank_low", "rank_high").rows()
    [('a', 1.0, 1, 1, 1), ('b', 0.0, 2, 2, 2)]

    Args:
        scores: `SCORES`; each of its metrics is a column of its scenario.
        by: The column that identifies the models.
        higher_is_better: A dict of metric → direction, for every metric in the scores.
        mean: "win_rate", as in HELM: the share of the other models that a model beats, with ties counted half, averaged
            over columns, without missing cells. "mean": the mean of the cells, with equal weights. "micro": weighted by
            their instances. A model that lacks a column has no mean.
        subsets: The mean over the subsets of a scenario: "macro" (equal weights, as in HELM) or "micro" (by size).
        fractions: The metrics whose scores are in [0, 1]; default those whose scores are all 0 or 1.
        units: A dict of metric → unit; means are over columns of one unit. Default "fraction" for `fractions`.
        shared: Whether to rank if a model lacks more than 1 % of a column's instances.
        errors: The action if more than 1 % of a cell's requests failed: "refuse"; "drop" these instances for every
            model; "worst" counts a failure as the metric's worst bound.
        ranges: A dict of metric → smallest and largest value, for "worst"; default 0 and 1 for fractions.
        ci: The level of the cells' intervals, and the simultaneous level of ranks and win rates.
        rank_probabilities: Whether to compute the probability of each rank by bootstrap (`Leaderboard`).

    Raises:
        NotComparableError: If a model was run on other instances of a column, too many requests failed, or no instance
            has a score of every model.
        ArgumentError: If there is only one model, a metric has no direction, `mean` is invalid or over several units,
            or `errors="worst"` is set for a metric without a worst bound.

    Source: Mogstad, Romano, Shaikh & Wilhelm 2024, Review of Economic Studies 91:476 (ranks); Liang et al. 2022 (HELM)
        §1.1, helm/benchmark/presentation/summarize.py (win rates).
    """
    rows = as_scores(scores).lazy()
    group_keys(rows, [by])
    pool = rows.select(pl.col(by).cast(pl.String).unique().sort()).collect().to_series().to_list()
    columns = build_columns(
        rows, by, pool, higher_is_better=higher_is_better, subsets=subsets, fractions=fractions, units=units or {},
        shared=shared, errors=errors, ranges=ranges, ci=ci,
    )  # fmt: skip
    return build_leaderboard(columns, pool, mean=mean, ci=ci, rank_probabilities=rank_probabilities)


def build_columns(
    scores: pl.LazyFrame,
    by: str,
    pool: Sequence[str],
    *,
    higher_is_better: Mapping[str, bool],
    subsets: str,
    fractions: Collection[str] | None,
    units: Mapping[str, str],
    names: Mapping[tuple[str, str], str] | None = None,
    shared: bool,
    errors: str,
    ranges: Mapping[str, Range] | None = None,
    ci: float,
) -> list[Column]:
    """Return the columns of a leaderboard of these scores; models in the order of `pool`."""
    keys = [by, *COLUMN]
    rows = treat_failures(
        _originals(scores).with_columns(pl.col(by).cast(pl.String)),
        keys,
        errors,
        higher_is_better=higher_is_better,
        ranges=resolve_ranges(ranges, fractions, units),
    )
    encoded = encode_rows(rows, merge_names(keys, (*STRATUM, "trial")), ["score"])
    directions = metric_directions(encoded.cells["metric"], higher_is_better)
    value, mask = floats(encoded.rows["score"])
    answered = _Answered.of(encoded, by, mask)
    if not shared:
        answered.check_alike()
    dropped = answered.check_shared()
    mask &= answered.by_all(encoded)
    estimates = estimate_of(sums_of(encoded, keys, value, mask), keys, mean=subsets)
    binary = pl.col("binary").all().over("metric")
    fraction = binary if fractions is None else pl.col("metric").is_in(list(fractions))
    cells = with_interval(estimates, fraction, ci=ci).with_columns(fraction=fraction, model=pl.col(by))
    cells = cells.join(dropped, on=COLUMN, how="left", maintain_order="left")
    residuals = influences(encoded, keys, value, mask, mean=subsets).partition_by(COLUMN, as_dict=True)
    name = names or column_names(encoded.cells.select(COLUMN).unique().rows())
    return [
        _column(
            name[scenario, metric],
            table,
            residuals[scenario, metric].with_columns(model=pl.col(by)),
            pool,
            higher_is_better=directions[metric],
            unit=units.get(metric, "fraction" if table["fraction"][0] else ""),
        )
        for (scenario, metric), table in cells.partition_by(COLUMN, as_dict=True).items()
    ]


def column_names(columns: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Map scenario and metric to the column's name: the scenario, and the metric if a scenario has several.

    >>> column_names([("gsm8k", "f1"), ("mmlu", "f1"), ("mmlu", "exact_match")])[("mmlu", "f1")]
    'mmlu: f1'
    """
    often = Counter(scenario for scenario, _ in columns)
    return {
        (scenario, metric): (scenario or metric) if often[scenario] == 1 else f"{scenario}: {metric}"
        for scenario, metric in columns
    }


def _originals(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return the scores of original inputs if there are any; worst cases have none."""
    original = pl.col("perturbation") == ORIGINAL
    return rows.filter(original) if rows.select(original.any()).collect().item() else rows


def _column(
    name: str, cells: pl.DataFrame, residuals: pl.DataFrame, pool: Sequence[str], *, higher_is_better: bool, unit: str
) -> Column:
    cells = cells.sort("model")
    number = {model: index for index, model in enumerate(pool)}
    index = np.array([number[model] for model in cells["model"]])
    values = np.full(len(pool), np.nan)
    values[index] = cells["value"].to_numpy()
    by_cluster, added = (_by_cluster(residuals, cells["model"].to_list(), name) for name in ("influence", "added"))
    sign = 1.0 if higher_is_better else -1.0
    return Column(
        name=name,
        values=values,
        higher_is_better=higher_is_better,
        unit=unit,
        size=float(cells["n"].max() or 0),  # type: ignore[arg-type]
        estimates=Estimates(
            index=index,
            value=sign * values[index],
            covariance=None if by_cluster is None else by_cluster @ by_cluster.T,
            df=cells["df"].cast(pl.Float64).fill_null(1.0).to_numpy(),
            clusters=cells["n_clusters"].cast(pl.Float64).to_numpy(),
            units=None if added is None or added.shape[1] > FLIPPED_UNITS else sign * added.T,
        ),
        cells=cells,
    )


def _by_cluster(residuals: pl.DataFrame, models: Sequence[str], name: str) -> "Floats | None":
    """Return a column of `influences` as a matrix of models and shared clusters; None if a subset has one cluster."""
    influence = residuals[name].to_numpy()
    if not np.isfinite(influence).all():
        return None
    number = {model: index for index, model in enumerate(models)}
    row = residuals["model"].replace_strict(number, return_dtype=pl.Int64).to_numpy()
    clusters, column = np.unique(residuals["cluster"].to_numpy(), return_inverse=True)
    shape = len(models), len(clusters)
    added = np.bincount(row * shape[1] + column, weights=influence, minlength=shape[0] * shape[1])
    matrix: Floats = np.asarray(added, dtype=np.float64).reshape(shape)
    return matrix


@dataclass(frozen=True)
class _Answered:
    """The instances that each model was run on in each column, and those with a score."""

    cells: pl.DataFrame
    competitor: str
    units: int
    requested: Numbers
    answered: Numbers

    @classmethod
    def of(cls, encoded: EncodedRows, by: str, mask: Flags) -> "_Answered":
        cells, cell = encoded.index_by([by, *COLUMN])
        key = cell * encoded.units + encoded.unit
        requested = distinct(key)
        return cls(cells, by, encoded.units, requested, requested if mask.all() else distinct(key[mask]))

    def check_alike(self) -> None:
        """Check that all models were run on nearly the same instances.

        Raises:
            NotComparableError: If a model was run on fewer than 99 % of a column's instances.
        """
        column = numbered(self.cells, COLUMN)[1]
        n_requested = np.bincount(self.requested // self.units, minlength=self.cells.height)
        union = distinct(column[self.requested // self.units] * self.units + self.requested % self.units)
        n_instances = np.bincount(union // self.units)[column]
        for index in np.flatnonzero(n_requested < SAME_INSTANCES * n_instances)[:1]:
            cell = self.cells.row(int(index), named=True)
            raise NotComparableError(
                f"{cell[self.competitor]!r} was run on {n_requested[index]:,} of the {n_instances[index]:,} instances "
                f"of {cell['scenario']!r} that others were run on. Run all models on the same instances, or rank them "
                "over the shared instances: shared=True."
            )

    def check_shared(self) -> pl.DataFrame:
        """Return the number of instances of each column that are dropped because a model has no score.

        Raises:
            NotComparableError: If a column has no instance that all of its models have a score for.
        """
        columns, column = numbered(self.cells, COLUMN)
        all_keys = distinct(column[self.requested // self.units] * self.units + self.requested % self.units)
        n_every, n_shared = (
            np.bincount(keys // self.units, minlength=columns.height) for keys in (all_keys, self._shared())
        )
        for index in np.flatnonzero(n_shared == 0)[:1]:
            scored = np.bincount(self.answered // self.units, minlength=self.cells.height)
            least = min(np.flatnonzero(column == index), key=lambda cell: scored[cell])
            scenario, metric = columns.row(int(index))
            raise NotComparableError(
                f"No instance of {scenario!r} has a score of every model for {metric!r}: "
                f"{self.cells[self.competitor][int(least)]!r} has {scored[least]:,} of {n_every[index]:,} scores. "
                "Rank without this model, or count its failures: errors='worst'."
            )
        return columns.with_columns(n_dropped=pl.Series(n_every - n_shared, dtype=pl.Int64))

    def by_all(self, encoded: EncodedRows) -> Flags:
        """Return whether each row's instance has a score of every model of its column."""
        keys = numbered(encoded.cells, COLUMN)[1][encoded.cell] * encoded.units + encoded.unit
        return np.isin(keys, self._shared())

    def _shared(self) -> Numbers:
        """Return the keys (column and instance) that every model of the column has a score for."""
        columns, column = numbered(self.cells, COLUMN)
        competitors = np.bincount(column, minlength=columns.height)
        key = np.sort(column[self.answered // self.units] * self.units + self.answered % self.units)
        starts = starts_of(key)
        shared: Numbers = key[starts][lengths(starts, len(key)) == competitors[key[starts] // self.units]]
        return shared


_MISSING = ("", "-", "–", "—", "NA", "N/A", "nan", "null")


def leaderboard_of_means(
    means: pl.DataFrame | str | Path,
    columns: Sequence[str] | None = None,
    *,
    model: str | None = None,
    mean: str = "win_rate",
    lower_is_better: Collection[str] = (),
    ci: float = 0.95,
    rank_probabilities: bool = False,
) -> Leaderboard:
    """Rank models by published means: one row per model, one column per scenario.

    Only the means are known, so the sampling units are scenarios: intervals and ranks cover the choice of similar
    scenarios. Models are distinguished by sign flips of whole scenarios, so at least 6 scenarios are needed at the
    level 95 %. With fewer, every rank is possible. `results.leaderboard()` ranks scores, whose sampling units are
    instances.

    >>> means = pl.DataFrame({"model": ["a", "b", "c"], "MMLU": [0.71, 0.64, 0.5], "GSM8K": [0.6, 0.4, 0.5]})
    >>> board = leaderboard_of_means(means)
    >>> board.table.select("model", pl.col("value").round(3), "rank").rows()
    [('a', 1.0, 1), ('b', 0.25, 2), ('c', 0.25, 2)]

    Args:
        means: A Polars frame, or a CSV file. An empty cell or a dash means no value.
        columns: The columns of scenarios; default all. A published mean or mean win rate of the others is refused.
        model: The column with the models' names; default the first text column.
        mean: "win_rate" or "mean", as in `hf.stats.leaderboard`.
        lower_is_better: The columns where lower values are better.
        ci: The level of intervals and ranks.
        rank_probabilities: Whether to compute the probability of each rank by a bootstrap over scenarios.

    Raises:
        SourceMissingError: If the file does not exist.
        UnknownNameError: If a column is unknown.
        ArgumentError: If a value isn't a number, a model has no name or several rows, there is only one model, or a
            column is the mean or the mean win rate of the others.
    """
    frame = _frame(means)
    if {"instance_id", "score"} <= set(frame.columns):
        raise ArgumentError("leaderboard_of_means(): these are scores of instances. Write hf.stats.leaderboard(frame).")
    model_column = model or next((name for name, dtype in frame.schema.items() if not dtype.is_numeric()), None)
    if model_column is None or model_column not in frame.columns:
        raise UnknownNameError.among(
            "column", model_column or "model", frame.columns, hint="Name the column of the models: model=…."
        )
    pool = frame[model_column].cast(pl.String).to_list()
    for name in pool:
        if name is None or pool.count(name) > 1:
            problem = "a row has no name" if name is None else f"{name!r} is in several rows"
            raise ArgumentError(f"Column {model_column!r} must name each model once: {problem}.")
    chosen = [name for name in frame.columns if name != model_column] if columns is None else list(columns)
    for name in [*chosen, *lower_is_better]:
        if name not in frame.columns or name == model_column:
            raise UnknownNameError.among("column", name, [column for column in frame.columns if column != model_column])
    if mean == "micro":
        raise ArgumentError(
            "leaderboard_of_means(mean='micro'): published means have no number of instances. Write mean='mean'."
        )
    values = {name: np.array(_numbers(frame[name]), dtype=np.float64) for name in chosen}
    _refuse_summaries(values, lower_is_better)
    board_columns = [
        Column(name, column, higher_is_better=name not in lower_is_better) for name, column in values.items()
    ]
    return build_leaderboard(board_columns, pool, mean=mean, ci=ci, rank_probabilities=rank_probabilities)


# A column is the mean of others only if at least this number of models agree.
_MODELS_OF_SUMMARY = 3
_CHANCE = 1e-4


def _refuse_summaries(values: Mapping[str, Floats], lower_is_better: Collection[str]) -> None:
    """Raise if a column is the mean or the mean win rate of the other columns, up to their rounding.

    Such a column contains nothing new, and counting it as a scenario makes the others look alike.
    """
    names = list(values)
    if len(names) < 3:
        return
    matrix = np.array([values[name] for name in names])
    signed = matrix * np.array([[-1.0 if name in lower_is_better else 1.0] for name in names])
    rates = np.array([rates_of(row) for row in signed])
    steps = [_rounding(row) for row in matrix]
    for index, name in enumerate(names):
        is_rival = np.arange(len(names)) != index
        rounding = (steps[index] + min(steps[:index] + steps[index + 1 :])) / 2
        # published win rates are of values with more decimals, which have fewer ties
        for noun, every, tolerance in (("mean", matrix, rounding), ("mean win rate", rates, max(rounding, 0.005))):
            cells = every[is_rival]
            present = ~np.isnan(cells)
            count = present.sum(axis=0)
            is_complete = (count > 1) & ~np.isnan(matrix[index])
            mean = np.where(present, cells, 0.0).sum(axis=0) / np.maximum(count, 1)
            gap = np.abs(matrix[index] - mean)[is_complete]
            spread = float(np.ptp(matrix[index][is_complete])) if is_complete.any() else 0.0
            # the probability that all models agree by chance
            chance = (2 * tolerance / spread) ** float(is_complete.sum()) if spread > 2 * tolerance else 1.0
            if is_complete.sum() >= _MODELS_OF_SUMMARY and chance < _CHANCE and np.all(gap <= tolerance * (1 + 1e-6)):
                raise ArgumentError(
                    f"leaderboard_of_means(): column {name!r} is the {noun} of the other columns, not a scenario. "
                    f"Exclude it: columns=[…], or means.drop({name!r})."
                )


def _rounding(values: Floats) -> float:
    """Return the largest error of values with the number of decimals that these have.

    >>> import numpy as np
    >>> print(f"{_rounding(np.array([0.25, 0.5])):.3f} {_rounding(np.array([0.1234567])):.0e}")
    0.010 1e-07
    """
    numbers = values[~np.isnan(values)]
    for decimals in range(7):
        if np.allclose(numbers, np.round(numbers, decimals), rtol=0.0, atol=1e-9):
            return float(10.0**-decimals)
    return 1e-7


def _frame(means: pl.DataFrame | str | Path) -> pl.DataFrame:
    if isinstance(means, pl.DataFrame):
        return means
    if not isinstance(means, str | Path):
        raise ArgumentError(
            f"leaderboard_of_means(): means must be a Polars frame or a CSV file, not {type(means).__name__}."
        )
    path = from_home(means)
    if not path.is_file():
        raise SourceMissingError(f"leaderboard_of_means(): file {path} not found.")
    return pl.read_csv(path, infer_schema=False)


def _numbers(values: pl.Series) -> list[float]:
    """Return the values as numbers, NaN for missing values."""
    texts = values.cast(pl.String).str.strip_chars()
    texts = texts.set(texts.is_in(_MISSING), None)
    numbers = texts.cast(pl.Float64, strict=False)
    wrong = texts.filter(texts.is_not_null() & (numbers.is_null() | numbers.is_infinite()))
    if wrong.len():
        raise ArgumentError(
            f"Column {values.name!r}: {wrong[0]!r} isn't a number. Select the columns of means with columns=[…]."
        )
    return [float("nan") if number is None else number for number in numbers]
