"""A model's confidence in each answer, and whether the answer is correct: the input of calibration metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helmframe._core.expressions import stripped
from helmframe.errors import ArgumentError
from helmframe.metrics.options import INSTANCE_KEY, option_rows, options

Floats = NDArray[np.float64]

MAX_PROB = "max_prob"

Value = Callable[[Floats, Floats], float | None]


def confident_answers(read: pl.LazyFrame, confidence: str | None = None) -> pl.DataFrame:
    """Return one row per answer: its key, its cluster, the model's confidence, and whether it is correct.

    This is the input of `hf.stats.calibration`. Answers without a probability are skipped.

    Args:
        read: `READ`.
        confidence: As in `over_answers`.

    Raises:
        ArgumentError: `confidence` isn't the name of a column.
    """
    _check(confidence)
    key_columns = [*INSTANCE_KEY, "cluster"]
    if confidence is None:
        option_requests = read.filter(pl.col("reference_index").is_not_null())
        rows = option_requests.select(*key_columns, **option_rows(["sum"])).collect()
        answers = _likeliest(rows, "sum", keep=key_columns)
    else:
        answers = read.select(*key_columns, confidence=_confidence(confidence), right=_right()).collect()
    return answers.fill_nan(None).drop_nulls(["confidence", "right"]).sort(key_columns)


def aggregate_answers(value: Value, confidence: str | None) -> pl.Expr:
    """Return the value of (confidence, right), two arrays with one entry per answer; null if there is no answer.

    Args:
        value: The function to compute; `right` is 0 or 1.
        confidence: None for the probability of the likeliest option among the options, if these were requested one by
            one. "max_prob" for the probability of the completion. Otherwise the name of a column with values between 0
            and 1.

    Raises:
        ArgumentError: `confidence` isn't the name of a column.
    """
    _check(confidence)
    if confidence is None:
        return _answer_expression(lambda rows: _likeliest(rows, "sum"), value, option_rows(["sum"]))

    def answers(frame: pl.DataFrame) -> pl.DataFrame:
        outside = frame["confidence"].filter(~frame["confidence"].is_between(0.0, 1.0))
        if len(outside):
            raise ArgumentError(
                f"confidence={confidence!r}: the column contains {outside[0]:g}, which isn't a probability between 0 "
                "and 1."
            )
        return frame

    return _answer_expression(answers, value, {"confidence": _confidence(confidence), "right": _right()})


def aggregate_helm_answers(value: Value) -> pl.Expr:
    """Return the value of HELM's (max_prob, exact_match); null if no completion has a log-probability below 0.

    For completions, the confidence is their probability. For options that were requested one by one, it is the largest
    softmax of HELM's scores: per token, or calibrated if they were requested without the question too.
    """

    def answers(rows: pl.DataFrame) -> pl.DataFrame:
        # HELM comments that "models with partial functionality" return zeros
        if not (rows["sum"] < 0).any():
            return _NO_ANSWERS
        texts = rows.filter(pl.col("index").is_null()).select(confidence=pl.col("sum").exp(), right="exact")
        by = "token" if rows["with_question"].all() else "calibrated"
        return pl.concat([texts, _likeliest(rows, by)])

    return _answer_expression(answers, value, {**option_rows(["sum", "token"]), "exact": _right()})


_NO_ANSWERS = pl.DataFrame(schema={"confidence": pl.Float64, "right": pl.Float64})

# As in uncertainty-calibration: probabilities are clipped at this distance from 0 and 1; the slope is almost free.
EPSILON = 1e-12
PENALTY = 1e-10
# scikit-learn's defaults for its solver "lbfgs". The slope depends on them if the likelihood is flat.
SOLVER = {"maxiter": 100, "maxls": 50, "gtol": 1e-4, "ftol": 64 * 2.0**-52}


@dataclass(frozen=True)
class Platt:
    """The regression: the logit of being right is slope · logit + intercept."""

    slope: float
    intercept: float

    def scaled(self, probabilities: Floats) -> Floats:
        """Return the scaled probabilities."""
        return _logistic(self.slope * _logit(probabilities) + self.intercept)


def platt(probabilities: Floats, right: Floats) -> Platt:
    """Return the regression with the largest likelihood of the outcomes, to the precision of HELM's optimiser.

    Args:
        probabilities: The confidences.
        right: The outcomes, 0 or 1; both occur.

    Source: Platt 1999; scikit-learn's LogisticRegression(C=1e10), which stops at a gradient of 1e-4.
    """
    from scipy.optimize import minimize

    logits = _logit(probabilities)
    penalty = PENALTY / len(right)

    def loss(weights: Floats) -> tuple[float, Floats]:
        slope, intercept = weights
        linear = slope * logits + intercept
        errors = (_logistic(linear) - right) / len(right)
        value = (np.logaddexp(0.0, linear) - right * linear).mean() + penalty * slope**2 / 2
        return float(value), np.array([errors @ logits + penalty * slope, errors.sum()])

    fitted = minimize(loss, np.zeros(2), method="L-BFGS-B", jac=True, options=SOLVER)
    return Platt(float(fitted.x[0]), float(fitted.x[1]))


def _answer_expression(
    answers: Callable[[pl.DataFrame], pl.DataFrame], value: Value, columns: Mapping[str, pl.Expr]
) -> pl.Expr:
    def compute(series: Any) -> float | None:
        rows = pl.DataFrame([column.alias(name) for name, column in zip(columns, series, strict=True)])
        # sorted, so that sums don't depend on the order of rows
        confident = answers(rows).fill_nan(None).drop_nulls().sort("confidence", "right")
        if confident.is_empty():
            return None
        return value(confident["confidence"].to_numpy(), confident["right"].to_numpy())

    return pl.map_batches(list(columns.values()), compute, return_dtype=pl.Float64, returns_scalar=True)


def _check(confidence: str | None) -> None:
    if confidence is not None and (not isinstance(confidence, str) or not confidence):
        raise ArgumentError(
            f"confidence={confidence!r}: confidence must be the name of a column of probabilities, or 'max_prob'."
        )


def _confidence(confidence: str) -> pl.Expr:
    return pl.col("logprob").exp() if confidence == MAX_PROB else pl.col(confidence).cast(pl.Float64)


def _likeliest(rows: pl.DataFrame, by: str, keep: Sequence[str] = ()) -> pl.DataFrame:
    """Return one answer per instance with option requests: the likeliest option.

    It is right if all equally likely options are correct.

    Args:
        rows: The rows that `options` takes.
        by: As in `options`.
        keep: Columns to keep, with the same value in all rows of an instance.
    """
    scored = options(rows, by)
    if scored.is_empty():
        return _NO_ANSWERS if not keep else rows.clear().select(*keep, confidence=pl.lit(0.0), right=pl.lit(0.0))
    score, top = pl.col("score"), pl.col("top")
    return (
        scored.with_columns(top=score.max().over("instance_key"))
        .with_columns(share=(score - top).exp(), fine=pl.col("correct") | (score < top))
        .group_by("instance_key")
        # sorted, as above
        .agg(
            *(pl.col(name).first() for name in keep),
            confidence=1 / pl.col("share").sort().sum(),
            right=pl.col("fine").all().cast(pl.Float64),
        )
        .select(*keep, "confidence", "right")
    )


def _right() -> pl.Expr:
    """Return 1 if the completion is an exact match, else 0; null if there is no completion."""
    golds = pl.col("correct").list.eval(stripped(pl.element()))
    hit = golds.list.contains(pl.col("output")) & (pl.col("output") != "")
    return pl.when(pl.col("completion").is_not_null()).then(hit.fill_null(value=False)).cast(pl.Float64)


def _logit(probabilities: Floats) -> Floats:
    inside = np.clip(probabilities, EPSILON, 1 - EPSILON)
    return np.log(inside / (1 - inside))


def _logistic(logits: Floats) -> Floats:
    # exponents are never positive, so no overflow occurs
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))
