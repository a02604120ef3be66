"""Strengths of models from battles in pairs: the Bradley–Terry model, with Elo ratings for display."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np
import polars as pl

from helmframe._core.registry import render
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError
from helmframe.stats.encoded_rows import Flags, Floats, Numbers
from helmframe.stats.frames import list_names
from helmframe.stats.intervals import FEW_CLUSTERS, t_interval
from helmframe.stats.ranks import Estimates, rank_interval, ranks, significant_signs, tie_groups

TABLE = {
    "model": pl.String(),
    "strength": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "elo": pl.Float64(),
    "elo_low": pl.Float64(),
    "elo_high": pl.Float64(),
    "win_rate": pl.Float64(),
    "rank": pl.Int64(),
    "rank_low": pl.Int64(),
    "rank_high": pl.Int64(),
    "ties": pl.String(),
    "win": pl.Int64(),
    "tie": pl.Int64(),
    "loss": pl.Int64(),
    "n": pl.Int64(),
    "n_clusters": pl.Int64(),
}
EFFECTS = {
    "effect": pl.String(),
    "value": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "p": pl.Float64(),
    "meaning": pl.String(),
}
PAIRS = {
    "a": pl.String(),
    "b": pl.String(),
    "difference": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "probability": pl.Float64(),
    "probability_low": pl.Float64(),
    "probability_high": pl.Float64(),
    "significant": pl.Boolean(),
    "n": pl.Int64(),
}
TIES = ("half", "davidson", "drop")
# One unit of strength (log-odds) in Elo points, and the Elo of the mean strength.
ELO_POINTS, ELO_MEAN = 400 / log(10), 1000.0
_STEPS, _TOLERANCE, _SMALLEST = 100, 1e-11, 1e-6
# Beyond this log-odds, a battle has a certain winner, and its likelihood no maximum.
_CERTAIN = 25.0
# Numbers in memory at once, for the corrections of clusters.
_AT_ONCE = 4_000_000


@dataclass(frozen=True, repr=False)
class BradleyTerry:
    """Strengths of models that were compared in pairs, from best to worst; `bradley_terry` returns it.

    `table` has one row per model: strength (log-odds against a model of mean strength) with stderr, ci_low, ci_high and
    interval, elo with elo_low and elo_high (1000 + 400/ln 10 · strength), win_rate (the expected share of wins against
    the other models), rank, rank_low and rank_high (simultaneous for all models at level `ci`), ties (letters; models
    with the same letter do not differ significantly), win, tie, loss, n (battles) and n_clusters. `effects` has the
    position, the covariates and Davidson's ties, on the scale of strengths. `pairs` has one row per pair of models: the
    difference of strengths, the probability that a wins, and whether the difference is significant (simultaneous for
    all pairs).

    >>> battles = pl.DataFrame({"model_a": ["x", "y"] * 20, "model_b": ["y", "x"] * 20,
    ...                         "winner": ["x", "x", "x", "y"] * 10})
    >>> board = bradley_terry(battles, position=False)
    >>> board.pairs.select("a", "b", pl.col("probability").round(2)).row(0)
    ('x', 'y', 0.75)
    """

    table: pl.DataFrame
    effects: pl.DataFrame
    pairs: pl.DataFrame
    ties: str
    ci: float
    n: int
    n_dropped: int
    n_clusters: int
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return str(render(self, "text"))

    def _repr_html_(self) -> str:
        return str(render(self, "html"))


def bradley_terry(
    battles: pl.DataFrame | pl.LazyFrame,
    *,
    cluster: str | Sequence[str] | None = None,
    covariates: str | Sequence[str] = (),
    position: bool = True,
    ties: str = "half",
    prior: float = 0.0,
    ci: float = 0.95,
) -> BradleyTerry:
    """Estimate the strengths of models from battles in pairs, by maximum likelihood.

    log-odds(a wins) = strength of a − strength of b + position + covariates. Strengths have the mean 0, so they depend
    on the pool of models. Standard errors are clustered (sandwich, CR3): battles about one prompt aren't independent.
    The intervals are about the population of prompts (and judgements) that the battles are sampled from. Ranks use the
    differences of all pairs at once, as `leaderboard` does.

    >>> battles = pl.DataFrame({"model_a": ["x", "y", "z"] * 20, "model_b": ["y", "z", "x"] * 20,
    ...                         "winner": ["model_a", "model_a", "model_b", "model_b", "tie", "model_b"] * 10})
    >>> board = bradley_terry(battles, position=False)
    >>> board.table.select("model", pl.col("elo").round(), "rank", "win", "tie", "loss").rows()
    [('x', 1150.0, 1, 30, 0, 10), ('y', 1077.0, 2, 20, 10, 10), ('z', 773.0, 3, 0, 10, 30)]

    Args:
        battles: One row per battle: model_a (shown first), model_b and winner. The winner is "model_a", "model_b", the
            name of a model, a tie ("tie", "tie (bothbad)" and other texts that start with "tie"), or the share of a's
            win as a number from 0 to 1. Rows without a winner (null, "" or "invalid") are dropped and counted.
        cluster: The columns that identify battles sampled together, such as the prompt or the judge; default the column
            `cluster`, if there is one. Without it, battles are independent.
        covariates: Columns that may explain wins, such as "length". A column has the value of a minus that of b, or
            two columns `length_a` and `length_b` have both. They are divided by their root mean square. Strengths are
            then those at equal covariates.
        position: Whether model_a has an advantage (or disadvantage) of its own, the position bias. False: a win counts
            the same in either position.
        ties: "half" counts a tie as half a win of both models, as most leaderboards do. "davidson" models the
            probability of a tie, which is largest between equal models (Davidson 1970). "drop" ignores ties.
        prior: The number of virtual ties of each model against a model of mean strength. A model that won all its
            battles has a strength only with a prior, such as 1.
        ci: The level of the intervals, and the simultaneous level of the ranks.

    Raises:
        UnknownNameError: If a column is missing.
        ArgumentError: If a winner or a covariate is invalid, or the position has no estimate.
        NotComparableError: If the battles don't connect all models, or a model won or lost all of its battles.

    Source: Bradley & Terry 1952, Biometrika 39:324; Hunter 2004, Annals of Statistics 32:384; Davidson 1970, JASA
        65:317 (ties); Chiang et al. 2024 (arXiv 2403.04132; Chatbot Arena: Elo scale, sandwich); Bell & McCaffrey 2002
        (CR3).
    """
    if ties not in TIES:
        raise ArgumentError.unknown_value(f"bradley_terry(ties={ties!r})", ties, TIES)
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    if isinstance(prior, bool) or not prior >= 0:
        raise ArgumentError(f"bradley_terry(prior={prior!r}): prior must be a number ≥ 0, such as 1.")
    styles = [covariates] if isinstance(covariates, str) else list(covariates)
    rows = _valid_battles(battles, cluster, styles, ties)
    models = pl.concat([rows.frame["model_a"], rows.frame["model_b"]]).unique().sort().to_list()
    number = {model: index for index, model in enumerate(models)}
    first, second = (
        rows.frame[name].replace_strict(number, return_dtype=pl.Int64).to_numpy() for name in ("model_a", "model_b")
    )
    share = rows.frame["share"].to_numpy()
    columns = [np.ones(len(share))] if position else []
    columns += [_scaled(rows.frame[name].to_numpy(), name) for name in styles]
    names = (["position"] if position else []) + styles
    if not prior:
        _check_connected(first, second, share, models)
    fit = _fit(_Design(first, second, np.array(columns).reshape(len(columns), len(share)), len(models)), share, ties,
               prior, names, rows.frame["unit"].to_numpy())  # fmt: skip
    return _board(fit, rows, models, first, second, share, ties, ci)


@dataclass(frozen=True)
class _Battles:
    """Valid battles: model_a, model_b, share (of a's win), unit (the cluster's number) and covariates."""

    frame: pl.DataFrame
    n_dropped: int
    clustered: bool


def _valid_battles(
    battles: pl.DataFrame | pl.LazyFrame, cluster: str | Sequence[str] | None, styles: Sequence[str], ties: str
) -> _Battles:
    if not isinstance(battles, pl.DataFrame | pl.LazyFrame):
        raise ArgumentError(
            f"bradley_terry(): battles must be a Polars frame, not {type(battles).__name__}. Write pl.DataFrame(…)."
        )
    frame = battles.lazy().collect()
    for name in ("model_a", "model_b", "winner"):
        if name not in frame.columns:
            raise UnknownNameError.among("column", name, frame.columns, hint="A battle has model_a, model_b, winner.")
    by = ["cluster"] if cluster is None and "cluster" in frame.columns else cluster
    clusters = [by] if isinstance(by, str) else list(by or ())
    for name in clusters:
        if name not in frame.columns:
            raise UnknownNameError.among("column", name, frame.columns)
    unit = pl.struct(clusters).rank("dense") - 1 if clusters else pl.int_range(pl.len())
    selected = frame.select(
        pl.col("model_a", "model_b").cast(pl.String),
        share=_share_of(frame),
        unit=unit.cast(pl.Int64),
        **{name: _difference(frame, name) for name in styles},
    )
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in ("share", *styles))
    valid = selected.filter(complete, pl.col("model_a") != pl.col("model_b"))
    n_dropped = frame.height - valid.height
    if ties == "drop":
        valid = valid.filter(pl.col("share") != 0.5)
    if ties == "davidson" and not valid["share"].is_in([0.0, 0.5, 1.0]).all():
        raise ArgumentError(
            "bradley_terry(ties='davidson'): winners are shares other than 0, ½ and 1. Write ties='half'."
        )
    if valid.is_empty():
        raise ArgumentError("bradley_terry(): there is no battle of two models with a winner.")
    return _Battles(valid.with_columns(unit=pl.col("unit").rank("dense").cast(pl.Int64) - 1), n_dropped, bool(clusters))


def _share_of(frame: pl.DataFrame) -> pl.Series:
    """Return the share of a's win: 1, ½, 0 or a fraction; null without a winner."""
    winner = frame["winner"]
    if winner.dtype.is_numeric() or winner.dtype == pl.Boolean:
        share = winner.cast(pl.Float64).fill_nan(None)
        if not share.drop_nulls().is_between(0.0, 1.0).all():
            raise ArgumentError("bradley_terry(): a winner as a number is the share of model_a's win, from 0 to 1.")
        return share
    text = pl.col("winner").cast(pl.String)
    lower = text.str.strip_chars().str.to_lowercase()
    first, second = (pl.col(name).cast(pl.String) for name in ("model_a", "model_b"))
    missing = text.is_null() | lower.is_in(["", "invalid"])
    parsed = frame.select(
        text.alias("winner"),
        missing.alias("missing"),
        share=pl.when(text == first).then(1.0).when(text == second).then(0.0).when(lower == "model_a").then(1.0)
        .when(lower == "model_b").then(0.0).when(lower.str.starts_with("tie")).then(0.5),
    )  # fmt: skip
    unknown = parsed.filter(~pl.col("missing"), pl.col("share").is_null())["winner"]
    if unknown.len():
        raise ArgumentError(
            f"bradley_terry(): winner {unknown[0]!r} is invalid. Write 'model_a', 'model_b', 'tie', or the name of one "
            "of the two models."
        )
    return parsed["share"]


def _difference(frame: pl.DataFrame, name: str) -> pl.Series:
    """Return a covariate's value of a minus that of b."""
    pair = [f"{name}_a", f"{name}_b"]
    columns = [name] if name in frame.columns else pair
    for column in columns:
        if column not in frame.columns:
            raise UnknownNameError.among(
                "covariate", name, frame.columns, hint=f"Add a column {name!r}, or {pair[0]!r} and {pair[1]!r}."
            )
        if not (frame[column].dtype.is_numeric() or frame[column].dtype == pl.Boolean):
            raise ArgumentError(f"bradley_terry(covariates={name!r}): column {column!r} must contain numbers.")
    values = [frame[column].cast(pl.Float64) for column in columns]
    value = values[0] if len(values) == 1 else values[0] - values[1]
    if not value.drop_nulls().is_finite().all():
        raise ArgumentError(f"bradley_terry(covariates={name!r}): the column contains NaN or an infinity.")
    return value


def _scaled(values: Floats, name: str) -> Floats:
    scale = float(np.sqrt(np.mean(values**2)))
    if scale == 0:
        raise ArgumentError(f"bradley_terry(covariates={name!r}): all values are 0, so they explain nothing.")
    return np.asarray(values / scale, dtype=np.float64)


def _check_connected(first: Numbers, second: Numbers, share: Floats, models: Sequence[str]) -> None:
    """Check that every model is beaten, directly or through others, by every other one; else a strength is infinite.

    Raises:
        NotComparableError: If it isn't.

    Source: Ford 1957, American Mathematical Monthly 64:28 (part 2).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    won, lost = share > 0, share < 1
    winners, losers = np.concatenate([first[won], second[lost]]), np.concatenate([second[won], first[lost]])
    shape = (len(models), len(models))
    graph = coo_array((np.ones(len(winners)), (winners, losers)), shape=shape).tocsr()
    count, group = connected_components(graph, directed=False)
    if count > 1:
        inside, outside = ([models[int(index)] for index in np.flatnonzero(mask)] for mask in (group == 0, group != 0))
        raise NotComparableError(
            f"bradley_terry(): no battle connects {list_names(inside)} with {list_names(outside)}. Rank the groups "
            "separately."
        )
    count, group = connected_components(graph, directed=True, connection="strong")
    if count > 1:
        lone = min(range(count), key=lambda index: int(np.sum(group == index)))
        names = list_names(models[int(index)] for index in np.flatnonzero(group == lone))
        raise NotComparableError(
            f"bradley_terry(): {names} won, or lost, all battles against the other models, so a strength is infinite. "
            "Write prior=1 (one virtual tie per model), or remove the model."
        )


@dataclass(frozen=True)
class _Design:
    """The battles as a matrix: 1 for a, −1 for b, then position and covariates (one row per column)."""

    first: Numbers
    second: Numbers
    columns: Floats
    models: int

    @property
    def size(self) -> int:
        return self.models + len(self.columns)

    def predict(self, theta: Floats) -> Floats:
        strengths, rest = theta[: self.models], theta[self.models :]
        predicted: Floats = strengths[self.first] - strengths[self.second] + rest @ self.columns
        return predicted

    def score(self, residual: Floats) -> Floats:
        total = np.bincount(self.first, residual, self.models) - np.bincount(self.second, residual, self.models)
        return np.concatenate([total, self.columns @ residual])

    def gram(self, weight: Floats) -> Floats:
        """Return the sum over battles of weight · x x′."""
        count = self.models
        pairs = np.bincount(self.first * count + self.second, weight, count * count).reshape(count, count)
        matrix = np.zeros((self.size, self.size))
        matrix[:count, :count] = np.diag(pairs.sum(axis=0) + pairs.sum(axis=1)) - pairs - pairs.T
        for index, column in enumerate(self.columns):
            total = weight * column
            cross = np.bincount(self.first, total, count) - np.bincount(self.second, total, count)
            matrix[:count, count + index] = matrix[count + index, :count] = cross
            matrix[count + index, count:] = self.columns @ total
        return matrix

    def rows(self, start: int, end: int) -> Floats:
        """Return some battles' rows of the matrix."""
        dense = np.zeros((end - start, self.size))
        index = np.arange(end - start)
        dense[index, self.first[start:end]] = 1.0
        dense[index, self.second[start:end]] = -1.0
        dense[:, self.models :] = self.columns[:, start:end].T
        return dense

    def ordered(self, order: Numbers) -> "_Design":
        return _Design(self.first[order], self.second[order], self.columns[:, order], self.models)


@dataclass(frozen=True)
class _Fit:
    """Parameters (strengths, position, covariates, ties), their covariance, and the number of clusters."""

    theta: Floats
    covariance: Floats
    clusters: int
    names: Sequence[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Terms:
    """Terms of the likelihood: per battle its value, residual and weight; for Davidson's ties also those of ties."""

    likelihood: float
    residual: Floats
    weight: Floats
    tie_residual: Floats
    tie_weight: Floats
    cross_weight: Floats


def _terms(predicted: Floats, share: Floats, tie: float | None) -> _Terms:
    if tie is None:
        won = np.exp(-np.logaddexp(0.0, -predicted))
        likelihood = -float(share @ np.logaddexp(0.0, -predicted) + (1 - share) @ np.logaddexp(0.0, predicted))
        none = np.zeros(0)
        return _Terms(likelihood, share - won, won * (1 - won), none, none, none)
    logits = np.array([predicted / 2, -predicted / 2, np.full(len(predicted), tie)])
    total = np.logaddexp(np.logaddexp(logits[0], logits[1]), logits[2])
    a, b, t = np.exp(logits - total)
    is_tie = (share == 0.5).astype(np.float64)
    observed = np.where(is_tie > 0, logits[2], np.where(share == 1.0, logits[0], logits[1]))
    return _Terms(
        float(np.sum(observed - total)),
        (2 * share - 1 - (a - b)) / 2,
        (a + b - (a - b) ** 2) / 4,
        is_tie - t,
        t * (1 - t),
        -(a - b) / 2 * t,
    )


def _fit(
    design: _Design, share: Floats, ties: str, prior: float, names: Sequence[str], unit: Numbers
) -> _Fit:  # fmt: skip
    """Maximise the likelihood by Newton's method, and return the estimates with the clustered covariance."""
    order = np.argsort(unit, kind="stable")
    design, share, unit = design.ordered(order), share[order], unit[order]
    has_tie = ties == "davidson" and bool(np.any(share == 0.5))
    if ties == "davidson" and not has_tie:
        raise ArgumentError("bradley_terry(ties='davidson'): there are no ties. Write ties='half'.")
    size = design.size + has_tie
    theta = np.zeros(size)
    terms = _evaluate(design, share, theta, has_tie)
    value = terms.likelihood + _log_prior(theta, design.models, prior)
    information = _information(design, terms, theta, prior, has_tie)
    if np.linalg.matrix_rank(information, tol=1e-9 * float(np.max(np.diag(information)))) < size:
        effects = " or ".join(f"{name!r}" for name in names) or "a strength"
        raise ArgumentError(
            f"bradley_terry(): {effects} has no estimate, because the pairs of models determine it. Write "
            "position=False, or remove covariates."
        )
    for _ in range(_STEPS):
        step = np.linalg.solve(information, _gradient(design, terms, theta, prior, has_tie))
        scale = 1.0
        while True:
            trial = theta + scale * step
            terms = _evaluate(design, share, trial, has_tie)
            reached = terms.likelihood + _log_prior(trial, design.models, prior)
            if reached >= value - 1e-9 * abs(value) or scale < _SMALLEST:
                break
            scale /= 2
        theta, value = trial, reached
        if np.max(np.abs(design.predict(theta[: design.size]))) > _CERTAIN:
            effects = " and ".join(["the strengths", *(f"{name!r}" for name in names)])
            raise NotComparableError(
                f"bradley_terry(): {effects} predict some winners with certainty, so an estimate is infinite. Write "
                "position=False, remove covariates, or add battles."
            )
        information = _information(design, terms, theta, prior, has_tie)
        if np.max(np.abs(scale * step)) < _TOLERANCE:
            break
    covariance, clusters = _sandwich(design, terms, information, unit, has_tie)
    centre = np.eye(size)
    centre[: design.models, : design.models] -= 1 / design.models
    return _Fit(centre @ theta, centre @ covariance @ centre.T, clusters, [*names, *(["ties"] if has_tie else [])])


def _evaluate(design: _Design, share: Floats, theta: Floats, has_tie: bool) -> _Terms:
    return _terms(design.predict(theta[: design.size]), share, float(theta[-1]) if has_tie else None)


def _log_prior(theta: Floats, models: int, prior: float) -> float:
    strengths = theta[:models]
    return -prior / 2 * float(np.sum(np.logaddexp(0.0, strengths) + np.logaddexp(0.0, -strengths)))


def _gradient(design: _Design, terms: _Terms, theta: Floats, prior: float, has_tie: bool) -> Floats:
    gradient = design.score(terms.residual)
    gradient[: design.models] -= prior / 2 * np.tanh(theta[: design.models] / 2)
    return np.append(gradient, terms.tie_residual.sum()) if has_tie else gradient


def _information(design: _Design, terms: _Terms, theta: Floats, prior: float, has_tie: bool) -> Floats:
    """Return the negative second derivatives; without a prior, the mean strength is pinned to 0."""
    matrix = np.zeros((design.size + has_tie,) * 2)
    matrix[: design.size, : design.size] = design.gram(terms.weight)
    if has_tie:
        matrix[-1, :-1] = matrix[:-1, -1] = design.score(terms.cross_weight)
        matrix[-1, -1] = terms.tie_weight.sum()
    models = design.models
    diagonal = np.arange(models)
    matrix[diagonal, diagonal] += prior / 4 / np.cosh(theta[:models] / 2) ** 2
    if not prior:
        matrix[:models, :models] += float(np.trace(matrix[:models, :models])) / models**2
    return matrix


def _sandwich(
    design: _Design, terms: _Terms, information: Floats, unit: Numbers, has_tie: bool
) -> tuple[Floats, int]:  # fmt: skip
    """Return the covariance over clusters, and their number.

    Each cluster's score is divided by 1 − its leverage (CR3): the change of the estimate if the cluster is omitted.
    Battles are sorted by `unit`.
    """
    inverse: Floats = np.asarray(np.linalg.inv(information), dtype=np.float64)
    size = len(information)
    starts = np.flatnonzero(np.diff(unit, prepend=-1))
    ends = np.append(starts[1:], len(unit))
    clusters = len(starts)
    middle = np.zeros((size, size))
    at_once = max(1, _AT_ONCE // size**2)
    for index in range(0, clusters, at_once):
        low, high = starts[index], ends[min(index + at_once, clusters) - 1]
        rows = design.rows(low, high)
        scores = rows * terms.residual[low:high, None]
        if has_tie:
            scores = np.column_stack([scores, terms.tie_residual[low:high]])
        local = starts[index : index + at_once] - low
        total = np.add.reduceat(scores, local, axis=0)
        middle += _corrected(total, rows, terms, low, high, local, inverse, has_tie)
    return inverse @ middle @ inverse, clusters


def _corrected(
    total: Floats, rows: Floats, terms: _Terms, low: int, high: int, local: Numbers, inverse: Floats, has_tie: bool
) -> Floats:
    """Return the sum of squared scores of some clusters, corrected for their leverage."""
    weight = terms.weight[low:high]
    if len(local) == len(rows) and not has_tie:
        # clusters of one battle have a scalar leverage
        leverage = weight * np.einsum("ij,ij->i", rows @ inverse[: rows.shape[1], : rows.shape[1]], rows)
        total = total / np.maximum(1 - leverage, 0.05)[:, None]
        return np.asarray(total.T @ total, dtype=np.float64)
    width = rows.shape[1]
    full = np.zeros((len(rows), width + has_tie, width + has_tie))
    full[:, :width, :width] = rows[:, :, None] * rows[:, None, :] * weight[:, None, None]
    if has_tie:
        cross = rows * terms.cross_weight[low:high, None]
        full[:, width, :width] = full[:, :width, width] = cross
        full[:, width, width] = terms.tie_weight[low:high]
    information = np.add.reduceat(full, local, axis=0)
    remaining = np.eye(width + has_tie) - information @ inverse
    values = np.linalg.solve(remaining + 1e-9 * np.eye(width + has_tie), total[:, :, None])[:, :, 0]
    return np.asarray(values.T @ values, dtype=np.float64)


def _board(
    fit: _Fit, rows: _Battles, models: Sequence[str], first: Numbers, second: Numbers,
    share: Floats, ties: str, ci: float,
) -> BradleyTerry:  # fmt: skip
    from scipy.special import expit

    count = len(models)
    strength, covariance = fit.theta[:count], fit.covariance[:count, :count]
    df = np.full(count, float(max(fit.clusters - 1, 1)))
    variance = np.diag(covariance)
    low, high = t_interval(strength, variance, df, ci)
    estimates = Estimates(np.arange(count), strength, covariance, df, np.full(count, float(fit.clusters)), score=False)
    signs = significant_signs([estimates], count, ci)[0]
    best, worst = rank_interval(signs, np.arange(count))
    order = np.argsort(-strength, kind="stable")
    expected = expit(strength[:, None] - strength[None, :])
    label = "sandwich (CR3)" + (", clusters" if rows.clustered else "")
    label += ", few clusters" if fit.clusters < FEW_CLUSTERS else ""
    won, lost, tied = share > 0.5, share < 0.5, share == 0.5

    def counted(a: Flags, b: Flags) -> Numbers:
        return np.bincount(first[a], minlength=count) + np.bincount(second[b], minlength=count)

    all_rows = np.ones(len(share), dtype=np.bool_)
    unit = rows.frame["unit"].to_numpy()
    of_model = np.unique(np.concatenate([first, second]) * (unit.max() + 1) + np.concatenate([unit, unit]))
    table = pl.DataFrame(
        {
            "model": list(models),
            "strength": strength,
            "stderr": np.sqrt(variance),
            "ci_low": low,
            "ci_high": high,
            "interval": label,
            "elo": ELO_MEAN + ELO_POINTS * strength,
            "elo_low": ELO_MEAN + ELO_POINTS * low,
            "elo_high": ELO_MEAN + ELO_POINTS * high,
            "win_rate": (expected.sum(axis=1) - 0.5) / (count - 1),
            "rank": ranks(strength),
            "rank_low": best,
            "rank_high": worst,
            "win": counted(won, lost),
            "tie": counted(tied, tied),
            "loss": counted(lost, won),
            "n": counted(all_rows, all_rows),
            "n_clusters": np.bincount(of_model // (unit.max() + 1), minlength=count),
        }
    )[order].with_columns(ties=pl.Series(tie_groups(signs[np.ix_(order, order)])))  # fmt: skip
    notes = []
    if rows.n_dropped:
        notes.append(f"{rows.n_dropped:,} rows without two models or a winner are dropped")
    if not rows.clustered:
        notes.append("battles are treated as independent: name the prompts or judges with cluster=…")
    return BradleyTerry(
        table=table.select(pl.col(name).cast(dtype) for name, dtype in TABLE.items()),
        effects=_effects(fit, count, ci),
        pairs=_pairs(models, order, strength, covariance, float(df[0]), signs, first, second, ci),
        ties=ties,
        ci=ci,
        n=len(share),
        n_dropped=rows.n_dropped,
        n_clusters=fit.clusters,
        notes=tuple(notes),
    )


def _effects(fit: _Fit, models: int, ci: float) -> pl.DataFrame:
    """Return the estimates of position, covariates and ties."""
    from scipy.special import stdtr

    value, variance = fit.theta[models:], np.diag(fit.covariance)[models:]
    df = float(max(fit.clusters - 1, 1))
    low, high = t_interval(value, variance, np.full(len(value), df), ci)
    error = np.sqrt(variance)
    return pl.DataFrame(
        {
            "effect": list(fit.names),
            "value": value,
            "stderr": error,
            "ci_low": low,
            "ci_high": high,
            "p": [float(2 * stdtr(df, -abs(v) / e)) if e > 0 else None for v, e in zip(value, error, strict=True)],
            "meaning": [_meaning(name, effect) for name, effect in zip(fit.names, value, strict=True)],
        },
        schema=EFFECTS,
    )


def _meaning(name: str, effect: float) -> str:
    from scipy.special import expit

    if name == "position":
        return f"model_a wins {expit(effect):.1%} of the battles between equal models"
    if name == "ties":
        return f"{np.exp(effect) / (2 + np.exp(effect)):.1%} of the battles between equal models are ties"
    return "log-odds of a win per root mean square of the difference"


def _pairs(
    models: Sequence[str], order: Numbers, strength: Floats, covariance: Floats, df: float,
    signs: "np.ndarray[tuple[int, ...], np.dtype[np.int8]]", first: Numbers, second: Numbers, ci: float,
) -> pl.DataFrame:  # fmt: skip
    """Return one row per pair of models, the better one first."""
    from scipy.special import expit

    upper, lower = np.triu_indices(len(models), 1)
    a, b = order[upper], order[lower]
    difference = strength[a] - strength[b]
    variance = np.maximum(covariance[a, a] + covariance[b, b] - 2 * covariance[a, b], 0.0)
    low, high = t_interval(difference, variance, np.full(len(a), df), ci)
    count = len(models)
    battles = np.bincount(np.minimum(first, second) * count + np.maximum(first, second), minlength=count * count)
    return pl.DataFrame(
        {
            "a": [models[index] for index in a],
            "b": [models[index] for index in b],
            "difference": difference,
            "ci_low": low,
            "ci_high": high,
            "probability": expit(difference),
            "probability_low": expit(low),
            "probability_high": expit(high),
            "significant": signs[a, b] != 0,
            "n": battles[np.minimum(a, b) * count + np.maximum(a, b)],
        },
        schema=PAIRS,
    )
