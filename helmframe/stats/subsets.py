"""Small subsets of a benchmark that predict the full score: their choice, the prediction, and its error.

Models are treated as samples: the scores of all instances of a model are correlated, and earlier models show how. The
full score of a new model is its best linear prediction from the instances that it ran.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import blake2b

import numpy as np
import polars as pl

from helmframe._schema import ORIGINAL
from helmframe.errors import ArgumentError, NotComparableError
from helmframe.stats.encoded_rows import Flags, Floats, Numbers, stable_sum
from helmframe.stats.estimate import estimate, group_keys
from helmframe.stats.frames import as_scores
from helmframe.stats.intervals import t_interval
from helmframe.stats.sequential import POPULATIONS

CHOSEN = {
    "scenario": pl.String(),
    "subset": pl.String(),
    "instance_id": pl.String(),
    "weight": pl.Float64(),
    "method": pl.String(),
    "error": pl.Float64(),
}
FULL = {
    "scenario": pl.String(),
    "metric": pl.String(),
    "model": pl.String(),
    "value": pl.Float64(),
    "stderr": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "interval": pl.String(),
    "population": pl.String(),
    "subset_mean": pl.Float64(),
    "n": pl.Int64(),
    "n_full": pl.Int64(),
    "n_models": pl.Int64(),
}
ERRORS = {
    "scenario": pl.String(),
    "metric": pl.String(),
    "n": pl.Int64(),
    "n_full": pl.Int64(),
    "method": pl.String(),
    "error": pl.Float64(),
    "mean_error": pl.Float64(),
    "largest_error": pl.Float64(),
    "n_models": pl.Int64(),
}
METHODS = ("auto", "chosen", "random")
# Fewer earlier models don't show how instances are correlated.
LEAST_MODELS = 5
FOLDS = 10
# The share of an instance's variance over models that the other instances don't explain, as the predictor assumes.
_OWN = 0.5
# The assumed standard deviation of a constant shift of all scores, in those of the full scores. A large one makes the
# weights of the instances sum to nearly 1, so that models unlike the earlier ones are predicted without bias.
_SHIFT = 10.0
_LEAST_VARIANCE = 0.05
# Random subsets whose errors are averaged.
RANDOM_SUBSETS = 20
# The share of instances in the chosen subset beyond which a subset counts as chosen.
_MOST_SHARED = 0.5
# Missing scores of an earlier model, beyond which it is excluded.
_MOST_MISSING = 0.1


def choose_subset(
    scores: pl.LazyFrame | pl.DataFrame,
    n: int,
    by: str = "model",
    *,
    metric: str | None = None,
    mean: str = "macro",
    method: str = "auto",
) -> pl.DataFrame:
    """Choose n instances of each scenario that predict the full score of a model, from the scores of earlier models.

    Instances are added one by one; the next one reduces the expected squared error of the prediction most. `plan.sample
    (n, like=results)` does the same for a run, and `full_scores` predicts.

    >>> scores = pl.DataFrame({"model": [f"m{model}" for model in range(8) for _ in range(40)],
    ...                        "instance_id": [*range(40)] * 8,
    ...                        "score": [int(item < 5 * model + item % 3) for model in range(8) for item in range(40)]})
    >>> choose_subset(scores, 4).height
    4

    Args:
        scores: `SCORES` of the earlier models, over all instances. Only original inputs are read.
        n: The number of instances of each scenario, over all of its subsets.
        by: The column that identifies the models.
        metric: The metric; default the only one.
        mean: The mean over subsets that is predicted, as in `aggregate`.
        method: "chosen" adds instances by their expected gain. "random" takes instances in the order of keyed hashes.
            "auto" takes the method with the smaller cross-validated error, because a choice by few models can be worse
            than a random one.

    Returns:
        scenario, subset, instance_id, weight (of the instance's score in the prediction), method and error (the
        cross-validated root mean square error of a predicted full score).

    Raises:
        NotComparableError: If fewer than 5 models ran the whole scenario.
        ArgumentError: If `n`, `method` or `mean` is invalid, or there are several metrics.

    Source: Vivek, Ethayarajh, Yang & Kiela 2024 (anchor points); Maia Polo et al. 2024 (tinyBenchmarks); Cressie 1993,
        Statistics for Spatial Data §3.2 (ordinary kriging, the prediction); Krause, Singh & Guestrin 2008, JMLR 9:235
        (greedy choice).
    """
    if method not in METHODS:
        raise ArgumentError.unknown_value(f"choose_subset(method={method!r})", method, METHODS)
    _check_size("choose_subset", n)
    tables = []
    for scores_of in _matrices(scores, by, metric, mean):
        size = min(n, len(scores_of.ids))
        chosen = method if method != "auto" else scores_of.better_method(size)
        index = scores_of.choose(size, chosen)
        tables.append(
            scores_of.ids[index].select(
                scenario=pl.lit(scores_of.scenario),
                subset="subset",
                instance_id="instance_id",
                weight=pl.Series(scores_of.predictor().weights(index)),
                method=pl.lit(chosen),
                error=pl.lit(_root_mean_square(scores_of.residuals(size, chosen))),
            )
        )
    return pl.concat(tables).cast(pl.Schema(CHOSEN))


def full_scores(
    scores: pl.LazyFrame | pl.DataFrame,
    like: pl.LazyFrame | pl.DataFrame,
    by: str = "model",
    *,
    metric: str | None = None,
    mean: str = "macro",
    fractions: Collection[str] | None = None,
    population: str = "benchmark",
    ci: float = 0.95,
) -> pl.DataFrame:
    """Predict the scores on all instances from a subset, with the scores of earlier models on all instances.

    The subset may be chosen (`choose_subset`) or random. The error is that of the earlier models, predicted by
    cross-validation: a model's full score is predicted from the others, on a subset chosen without it. The interval
    assumes that the new model is like a random one of the earlier models.

    >>> rows = [(f"m{model}", item, int(item < 5 * model + item % 3)) for model in range(9) for item in range(40)]
    >>> scores = pl.DataFrame(rows, schema=["model", "instance_id", "score"], orient="row")
    >>> earlier, new = scores.filter(pl.col("model") != "m4"), scores.filter(pl.col("model") == "m4")
    >>> subset = choose_subset(earlier, 8)["instance_id"].cast(pl.Int64).to_list()
    >>> full_scores(new.filter(pl.col("instance_id").is_in(subset)), earlier).select("model", "n", "n_full").row(0)
    ('m4', 8, 40)

    Args:
        scores: `SCORES` of the new models, on some of the instances.
        like: `SCORES` of the earlier models, on all instances. A model of both is not used to predict itself.
        by: The column that identifies the models.
        metric: The metric; default the only one.
        mean: The mean over subsets that is predicted, as in `aggregate`.
        fractions: The metrics whose scores are in [0, 1], where the interval is cut; default those whose scores are all
            0 or 1.
        population: "benchmark": the interval is about the score on all instances of the benchmark. "population": about
            the population that these instances are sampled from, so the interval of a full run is added.
        ci: The level of the interval.

    Returns:
        scenario, metric, model, value, stderr, ci_low, ci_high, interval, population, subset_mean (the mean of the
        subset's own scores), n (instances of the subset with a score), n_full, n_models (earlier models).

    Raises:
        NotComparableError: If fewer than 5 models ran the whole scenario, or no instance is one of theirs.
        ArgumentError: If `population` or `ci` is invalid, or there are several metrics.

    Source: As in `choose_subset`.
    """
    if population not in POPULATIONS:
        raise ArgumentError.unknown_value(f"full_scores(population={population!r})", population, POPULATIONS)
    if not 0 < ci < 1:
        raise ArgumentError(f"ci={ci!r}: ci must be between 0 and 1, such as 0.95.")
    new = _instance_means(scores, by, metric)
    earlier = {(matrix.scenario, matrix.metric): matrix for matrix in _matrices(like, by, metric, mean)}
    rows: list[dict[str, object]] = []
    for (scenario, name), table in new.partition_by(["scenario", "metric"], as_dict=True, maintain_order=True).items():
        matrix = earlier.get((str(scenario), str(name)))
        if matrix is None:
            raise NotComparableError(
                f"full_scores(): the earlier results have no scenario {scenario!r} with metric {name!r}. Pass results "
                "of the same plan."
            )
        fraction = matrix.is_binary if fractions is None else name in fractions
        for (model,), own in table.partition_by([by], as_dict=True, maintain_order=True).items():
            rows.append(_predicted(matrix, str(model), own, fraction=fraction, population=population, ci=ci))
    return pl.DataFrame(rows, schema=FULL).sort("scenario", "metric", "model")


def subset_errors(
    scores: pl.LazyFrame | pl.DataFrame,
    sizes: int | Sequence[int] = (50, 100, 200),
    by: str = "model",
    *,
    metric: str | None = None,
    mean: str = "macro",
) -> pl.DataFrame:
    """Measure the errors of full scores predicted from subsets, by cross-validation over models.

    >>> scores = pl.DataFrame({"model": [f"m{model}" for model in range(8) for _ in range(40)],
    ...                        "instance_id": [*range(40)] * 8,
    ...                        "score": [int(item < 5 * model + item % 3) for model in range(8) for item in range(40)]})
    >>> subset_errors(scores, 10)["method"].to_list()
    ['mean of a random subset', 'random', 'chosen']

    Args:
        scores: `SCORES` of models, over all instances.
        sizes: The numbers of instances of each scenario.
        by: The column that identifies the models.
        metric: The metric; default the only one.
        mean: The mean over subsets that is predicted, as in `aggregate`.

    Returns:
        scenario, metric, n, n_full, method ("mean of a random subset", and the methods of `choose_subset` with their
        prediction), error (root mean square), mean_error, largest_error and n_models. Errors of random subsets are over
        20 subsets.

    Raises:
        NotComparableError: If fewer than 5 models ran the whole scenario.
        ArgumentError: If a size or `mean` is invalid, or there are several metrics.
    """
    several = [sizes] if isinstance(sizes, int) else list(sizes)
    for size in several:
        _check_size("subset_errors", size)
    rows = []
    for matrix in _matrices(scores, by, metric, mean):
        for size in several:
            if size > len(matrix.ids):
                continue
            residuals = {
                "mean of a random subset": matrix.random_means(size),
                "random": matrix.random_residuals(size),
                "chosen": matrix.residuals(size, "chosen"),
            }
            for method, residual in residuals.items():
                absolute = np.abs(residual)
                rows.append(
                    {
                        "scenario": matrix.scenario, "metric": matrix.metric, "n": size, "n_full": len(matrix.ids),
                        "method": method, "error": _root_mean_square(residual), "mean_error": float(absolute.mean()),
                        "largest_error": float(absolute.max()), "n_models": len(matrix.models),
                    }
                )  # fmt: skip
    return pl.DataFrame(rows, schema=ERRORS)


def _check_size(function: str, n: int) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ArgumentError(f"{function}(n={n!r}): n must be an integer ≥ 1.")


def _root_mean_square(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _predicted(
    matrix: "_Matrix", model: str, own: pl.DataFrame, *, fraction: bool, population: str, ci: float
) -> dict[str, object]:
    """Return the row of a model's predicted full score."""
    shared = matrix.ids.with_row_index("position").join(
        own.select("instance_id", "score"), on="instance_id", how="inner"
    )
    if shared.is_empty():
        raise NotComparableError(
            f"full_scores(): no instance of {matrix.scenario!r} that {model!r} ran is one of the earlier results'. Run "
            "plan.sample(n, like=results)."
        )
    scored = shared.filter(pl.col("score").is_not_null()).sort("position")
    row: dict[str, object] = {
        "scenario": matrix.scenario, "metric": matrix.metric, "model": model, "population": population,
        "n": scored.height, "n_full": len(matrix.ids), "n_models": len(matrix.models),
    }  # fmt: skip
    if scored.is_empty():
        return {**row, "interval": "no interval: nothing was scored"}
    index, score = scored["position"].to_numpy().astype(np.int64), scored["score"].to_numpy()
    is_earlier = np.array([name != model for name in matrix.models])
    value = float(matrix.predictor(is_earlier).predict(index, score[None, :])[0])
    weight = matrix.weight[index]
    requested = shared["position"].to_numpy().astype(np.int64)
    if len(index) == len(matrix.ids):
        variance, label = 0.0, "all instances ran"
    else:
        residual = matrix.residuals_of(index, requested)
        count = len(residual)
        variance = float(np.mean(residual**2)) * (1 + 1 / count)
        label = f"cross-validated over {count} models"
    if population == "population":
        variance += matrix.sampling_variance(value, fraction=fraction)
        label += ", and sampling of instances"
    low, high = (float(end) for end in t_interval(value, variance, float(len(matrix.models) - 1), ci))
    if fraction:
        value, low, high = (min(max(number, 0.0), 1.0) for number in (value, low, high))
    return {
        **row, "value": value, "stderr": float(np.sqrt(variance)), "ci_low": low, "ci_high": high, "interval": label,
        "subset_mean": float(score @ weight / weight.sum()),
    }  # fmt: skip


def _instance_means(scores: pl.LazyFrame | pl.DataFrame, by: str, metric: str | None) -> pl.DataFrame:
    """Return the mean score of each model and instance: scenario, metric, subset, cluster, instance_id, `by`, score."""
    rows = as_scores(scores).lazy()
    group_keys(rows, [by])
    if metric is not None:
        rows = rows.filter(pl.col("metric") == metric)
    original = pl.col("perturbation") == ORIGINAL
    means = (
        rows.filter(original)
        .with_columns(pl.col(by).cast(pl.String), cluster=pl.coalesce("cluster", "instance_id"))
        .sort("scenario", "metric", "instance_id", by, "score")
        .group_by("scenario", "metric", "subset", "cluster", "instance_id", by, maintain_order=True)
        # an instance with a failed request has no score
        .agg(score=pl.when(pl.col("score").is_not_null().all()).then(stable_sum(pl.col("score")) / pl.len()))
        .collect()
    )
    if means.is_empty():
        wanted = "scores" if metric is None else f"scores of metric {metric!r}"
        raise NotComparableError(f"There are no {wanted} of original inputs.")
    names = means.select("scenario", "metric").unique().sort("scenario", "metric")
    if names["scenario"].is_duplicated().any():
        raise ArgumentError(
            f"There are several metrics. Write metric=… with one of: {', '.join(names['metric'].unique())}."
        )
    return means


@dataclass(frozen=True)
class _Predictor:
    """The prediction of a full score from some instances, by the mean and covariance of earlier models' scores.

    The covariance of two instances is that over models, shrunk: `_OWN` of the variance is the instance's own. A
    constant shift of all scores is nearly free (`_SHIFT`).
    """

    weight: Floats
    mean: Floats
    factors: Floats
    own: Floats

    @classmethod
    def of(cls, scores: Floats, weight: Floats) -> "_Predictor":
        mean = scores.mean(axis=0)
        centred = (scores - mean) / np.sqrt(max(len(scores) - 1, 1))
        variance = (centred**2).sum(axis=0)
        least = _LEAST_VARIANCE * float(variance.mean()) + 1e-12
        full = scores @ weight
        shift = _SHIFT * max(float(full.std()), 1e-6)
        factors = np.vstack([np.sqrt(1 - _OWN) * centred, np.full((1, len(weight)), shift)])
        return cls(weight, mean, factors, _OWN * variance + least)

    @cached_property
    def _target(self) -> Floats:
        """The covariance of each instance with the full score."""
        covariance: Floats = self.factors.T @ (self.factors @ self.weight) + self.own * self.weight
        return covariance

    def choose(self, n: int) -> Numbers:
        """Return n instances; each one reduces the expected squared error of the prediction most."""
        left = (self.factors**2).sum(axis=0) + self.own
        covariance, rows = self._target.copy(), np.zeros((n, len(self.weight)))
        chosen: list[int] = []
        free = np.ones(len(self.weight), dtype=np.bool_)
        for step in range(n):
            gain = np.where(free, np.round(covariance**2 / left, 15), -1.0)
            best = int(np.argmax(gain))
            chosen.append(best)
            free[best] = False
            row = self.factors[:, best] @ self.factors - rows[:step, best] @ rows[:step]
            row[best] += self.own[best]
            row /= np.sqrt(left[best])
            rows[step] = row
            covariance -= row * (covariance[best] / np.sqrt(left[best]))
            left = np.maximum(left - row**2, 1e-15)
        return np.array(chosen, dtype=np.int64)

    def weights(self, index: Numbers) -> Floats:
        """Return the weights of some instances in the prediction."""
        factors = self.factors[:, index]
        weights = np.linalg.solve(factors.T @ factors + np.diag(self.own[index]), self._target[index])
        return np.asarray(weights, dtype=np.float64)

    def predict(self, index: Numbers, scores: Floats) -> Floats:
        """Return the predicted full score of each row of scores on some instances."""
        predicted: Floats = self.weight @ self.mean + (scores - self.mean[index]) @ self.weights(index)
        return predicted


@dataclass(frozen=True)
class _Matrix:
    """The scores of earlier models (rows) on all instances (columns) of a scenario.

    `ids` has subset and instance_id of the columns, `weight` their weights in the full score. `sampling` has the
    models' full scores and the variances of these over instances.
    """

    scenario: str
    metric: str
    models: Sequence[str]
    ids: pl.DataFrame
    weight: Floats
    scores: Floats
    is_binary: bool
    sampling: pl.DataFrame

    @cached_property
    def folds(self) -> Numbers:
        """The fold of each model, by the hash of its name."""
        hashes = [blake2b(model.encode("utf-8", "surrogatepass"), digest_size=8).digest() for model in self.models]
        return np.argsort(np.argsort(hashes)) % min(FOLDS, len(self.models))

    def predictor(self, models: "Flags | None" = None) -> _Predictor:
        scores = self.scores if models is None or models.sum() < LEAST_MODELS - 1 else self.scores[models]
        return _Predictor.of(scores, self.weight)

    def random_order(self, seed: int = 0) -> Numbers:
        start = blake2b(f"{seed}\0{self.scenario}\0".encode("utf-8", "surrogatepass"), digest_size=8)

        def hashed(instance_id: str) -> bytes:
            state = start.copy()
            state.update(instance_id.encode("utf-8", "surrogatepass"))
            return state.digest()

        return np.argsort([hashed(instance_id) for instance_id in self.ids["instance_id"]], kind="stable")

    def choose(self, n: int, method: str) -> Numbers:
        return np.sort(self.random_order()[:n] if method == "random" else self.predictor().choose(n))

    def better_method(self, n: int) -> str:
        """Return the method with the smaller cross-validated error."""
        errors = {
            "chosen": _root_mean_square(self.residuals(n, "chosen")),
            "random": _root_mean_square(self.random_residuals(n)),
        }
        return min(errors, key=lambda method: errors[method])

    def residuals(self, n: int, method: str) -> Floats:
        """Return the errors of the predicted full scores; a model has no part in the choice or its prediction."""
        index = self.choose(n, "random") if method == "random" else None
        return self._over_folds(lambda predictor: np.sort(predictor.choose(n)) if index is None else index)

    def random_residuals(self, n: int) -> Floats:
        """Return the errors of predictions from random subsets."""
        orders = [self.random_order(seed)[:n] for seed in range(1, RANDOM_SUBSETS + 1)]
        return np.concatenate([self._over_folds(partial(_constant, index)) for index in orders])

    def random_means(self, n: int) -> Floats:
        """Return the errors of the plain mean of random subsets, at their weights."""
        full, errors = self.scores @ self.weight, []
        for seed in range(1, RANDOM_SUBSETS + 1):
            index = self.random_order(seed)[:n]
            errors.append(self.scores[:, index] @ self.weight[index] / self.weight[index].sum() - full)
        return np.concatenate(errors)

    def residuals_of(self, index: Numbers, requested: Numbers) -> Floats:
        """Return the errors of predictions from these instances, some of whose requests may have failed.

        Predictions of earlier models are too good on a subset that was chosen with them. So if the subset is (mostly)
        the one that would be chosen, the errors are those of the subsets chosen without each model.
        """
        chosen = self.choose(len(requested), "chosen")
        if len(np.intersect1d(chosen, requested)) > max(_MOST_SHARED, len(index) / len(self.ids)) * len(requested):
            return self.residuals(len(index), "chosen")
        return self._over_folds(partial(_constant, index))

    @cached_property
    def _fold_predictors(self) -> list[tuple[Flags, _Predictor]]:
        """The models of each fold, and the predictor from the others."""
        tests = [self.folds == fold for fold in np.unique(self.folds)]
        return [(test, _Predictor.of(self.scores[~test], self.weight)) for test in tests]

    def _over_folds(self, choose: Callable[[_Predictor], Numbers]) -> Floats:
        full, errors = self.scores @ self.weight, np.zeros(len(self.models))
        for test, predictor in self._fold_predictors:
            index = choose(predictor)
            errors[test] = predictor.predict(index, self.scores[np.ix_(test, index)]) - full[test]
        return errors

    def sampling_variance(self, value: float, *, fraction: bool) -> float:
        """Return the variance of a full score over samples of instances, by that of the earlier models."""
        variance = self.sampling["variance"].drop_nulls().to_numpy()
        if not len(variance):
            return float("nan")
        if not fraction:
            return float(variance.mean())
        sampled = self.sampling.drop_nulls("variance")["value"].to_numpy()
        binomial = sampled * (1 - sampled)
        inside = min(max(value, 1 / (2 * len(self.ids))), 1 - 1 / (2 * len(self.ids)))
        return float(variance.sum() / max(binomial.sum(), 1e-12) * inside * (1 - inside))


def _constant(index: Numbers, _: _Predictor) -> Numbers:
    """Return a choice that depends on no model."""
    return index


def _matrices(scores: pl.LazyFrame | pl.DataFrame, by: str, metric: str | None, mean: str) -> list[_Matrix]:
    """Return the scores of earlier models as a matrix per scenario."""
    means = _instance_means(scores, by, metric)
    return [
        _matrix(str(scenario), str(name), table, by, mean)
        for (scenario, name), table in means.partition_by(
            ["scenario", "metric"], as_dict=True, maintain_order=True
        ).items()
    ]


def _matrix(scenario: str, metric: str, means: pl.DataFrame, by: str, mean: str) -> _Matrix:
    ids = means.select("subset", "instance_id").unique("instance_id").sort("instance_id")
    wide = means.pivot(by, index="instance_id", values="score", sort_columns=True).sort("instance_id")
    models = [name for name in wide.columns if name != "instance_id"]
    matrix = wide.select(models).to_numpy().T.astype(np.float64)
    missing = np.isnan(matrix)
    complete = missing.mean(axis=1) <= _MOST_MISSING
    if complete.sum() < LEAST_MODELS:
        raise NotComparableError(
            f"Scenario {scenario!r}: {int(complete.sum())} models have scores of nearly all {len(ids):,} instances. A "
            f"choice or prediction needs at least {LEAST_MODELS}. Write sample(n) for a random subset."
        )
    models = [model for model, whole in zip(models, complete, strict=True) if whole]
    matrix, missing = matrix[complete], missing[complete]
    of_item = np.nanmean(np.where(missing.all(axis=0), 0.0, matrix), axis=0)
    # a missing score is the instance's mean, shifted by how the model does elsewhere
    shift = np.nanmean(np.where(missing, np.nan, matrix - of_item), axis=1)
    filled = np.where(missing, of_item + shift[:, None], matrix)
    size, subsets = (pl.len().over("subset"), pl.col("subset").n_unique()) if mean == "macro" else (pl.len(), 1)
    weight = ids.with_columns(weight=1 / size / subsets)["weight"]
    scored = means.filter(pl.col(by).is_in(models), pl.col("score").is_not_null())
    return _Matrix(
        scenario=scenario,
        metric=metric,
        models=models,
        ids=ids,
        weight=weight.to_numpy(),
        scores=filled,
        is_binary=bool(scored["score"].is_in([0.0, 1.0]).all()),
        sampling=estimate(scored, [by], "score", mean=mean).select("value", "variance"),
    )
