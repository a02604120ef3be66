"""Metrics of calibration: how well a model's confidence predicts whether its answer is correct.

HELM's metrics use the probability of the whole completion. It is smaller the longer the completion is, and it is not
the probability of a letter among the option letters. The other metrics use the probability among the options, if these
were requested one by one. Otherwise set `confidence`: a column of your own, or "max_prob" for HELM's.

`ece_10_bin` depends on the number of answers: for a perfectly calibrated model it is about 0.15 with 50 answers and
0.03 with 1,000. `ece_if_calibrated` estimates this value. `squared_calibration_error` is about 0 for a calibrated
model, with any number of answers.
"""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helmframe._core.bins import accuracies, binned, debiased_error, enough, equal_masses, equally_sure, plain_error
from helmframe._core.checks import is_integer
from helmframe.errors import ArgumentError
from helmframe.metrics.confidence import aggregate_answers, aggregate_helm_answers, platt
from helmframe.metrics.protocol import metric

Floats = NDArray[np.float64]

HELM = "HELM, basic_metrics.py; uncertainty-calibration 0.1.4 (Kumar, Liang & Ma 2019)"
MURPHY = "Murphy 1973, J. Applied Meteorology 12:595"
LOGPROB = ("logprob",)
NO_PROBABILITY = "no completion has a log-probability below 0"
NO_CONFIDENCE = (
    "no answer has a probability; if options were not requested one by one, write confidence='max_prob' or a column"
)
ALIKE = f"{NO_PROBABILITY}, or all are right, or all are wrong"
BINNINGS = ("mass", "width")

# -- HELM's ----------------------------------------------------------------------------------------------------------


@metric(
    "ece_10_bin",
    level="set",
    higher_is_better=False,
    needs=LOGPROB,
    source=HELM,
    helm="ece_10_bin",
    no_value=NO_PROBABILITY,
    smooth=False,
)
def ece_10_bin() -> pl.Expr:
    """Return HELM's expected calibration error over 10 bins with equal numbers of answers.

    It is the mean distance between confidence and accuracy, weighted by the size of the bins. Equal confidences share a
    bin.

    Example: Confidences 0.6 (correct) and 0.8 (wrong), each in its own bin: (0.4 + 0.8) / 2 = 0.6.
    """
    return aggregate_helm_answers(
        lambda confidences, right: plain_error(confidences, right, equal_masses(confidences, 10))
    )


@metric(
    "ece_1_bin",
    level="set",
    higher_is_better=False,
    needs=LOGPROB,
    source=HELM,
    helm="ece_1_bin",
    no_value=NO_PROBABILITY,
)
def ece_1_bin() -> pl.Expr:
    """Return the distance between the mean confidence and the accuracy.

    Example: Confidences 0.6 and 0.8, one of two correct: |0.7 - 0.5| = 0.2.
    """
    return aggregate_helm_answers(lambda confidences, right: abs(float(confidences.mean() - right.mean())))


@metric(
    "selective_cov_acc_area",
    level="set",
    needs=LOGPROB,
    source=HELM,
    helm="selective_cov_acc_area",
    no_value=NO_PROBABILITY,
)
def selective_cov_acc_area() -> pl.Expr:
    """Return the mean accuracy of the k most confident answers, over all k.

    It is high if a model is more confident in its correct answers. For answers of equal confidence, HELM's value
    depends on the order of rows. Here each of them counts as their mean.

    Example: In order of confidence correct, wrong, correct: (1 + 1/2 + 2/3) / 3 = 0.722.
    """
    return aggregate_helm_answers(lambda confidences, right: float(accuracies(confidences, right).mean()))


@metric(
    "selective_acc@10",
    level="set",
    needs=LOGPROB,
    source=HELM,
    helm="selective_acc@10",
    no_value=NO_PROBABILITY,
    smooth=False,
)
def selective_acc_10() -> pl.Expr:
    """Return the accuracy of the most confident tenth of the answers: the first int(n/10) + 1 of n.

    `selective_accuracy` takes 2 of 20.

    Example: Of 20 answers the first 3 count; with 2 of them correct: 2/3.
    """
    return aggregate_helm_answers(
        lambda confidences, right: float(accuracies(confidences, right)[int(0.1 * len(confidences))])
    )


@metric(
    "platt_coef",
    level="set",
    unit="logits per logit",
    needs=LOGPROB,
    source=f"{HELM}; Platt 1999",
    helm="platt_coef",
    no_value=ALIKE,
)
def platt_coef() -> pl.Expr:
    """Return the slope of the logistic regression of correctness on the logit of the confidence; 1 if calibrated.

    The optimiser stops where HELM's stops. The value is null if all answers are correct, or all are wrong. If the
    confidence separates correct from wrong answers completely, no maximum of the likelihood exists, and the slope is an
    arbitrary large number.

    Example: One of two answers with confidence 0.5 and three of four with 0.9 are correct. Logits 0 and log 9 become 0
    and log 3, so the slope is 0.5 (HELM's stops at 0.50001).
    """
    return aggregate_helm_answers(lambda confidences, right: None if _alike(right) else platt(confidences, right).slope)


@metric(
    "platt_intercept", level="set", unit="logits", higher_is_better=None, needs=LOGPROB, source=f"{HELM}; Platt 1999",
    helm="platt_intercept",
    no_value=ALIKE,
)  # fmt: skip
def platt_intercept() -> pl.Expr:
    """Return the intercept of the regression in `platt_coef`; 0 if calibrated.

    Example: In the example of `platt_coef`, confidence 0.5 stays 0.5, so the intercept is 0.
    """
    return aggregate_helm_answers(
        lambda confidences, right: None if _alike(right) else platt(confidences, right).intercept
    )


@metric(
    "platt_ece_10_bin",
    level="set",
    higher_is_better=False,
    needs=LOGPROB,
    source=HELM,
    helm="platt_ece_10_bin",
    no_value=NO_PROBABILITY,
    smooth=False,
)
def platt_ece_10_bin() -> pl.Expr:
    """Return `ece_10_bin` of the confidences after Platt scaling.

    It is 0 if all answers are correct, or all are wrong.

    Example: In the example of `platt_coef`, 0.5 stays and 0.9 becomes 0.75, which are the accuracies: 0.
    """

    def value(confidences: Floats, right: Floats) -> float:
        if _alike(right):
            return 0.0
        scaled = platt(confidences, right).scaled(confidences)
        return plain_error(scaled, right, equal_masses(np.sort(scaled), 10))

    return aggregate_helm_answers(value)


@metric(
    "platt_ece_1_bin",
    level="set",
    higher_is_better=False,
    needs=LOGPROB,
    source=HELM,
    helm="platt_ece_1_bin",
    no_value=NO_PROBABILITY,
)
def platt_ece_1_bin() -> pl.Expr:
    """Return `ece_1_bin` of the confidences after Platt scaling; the regression makes it about 0.

    Example: In the example of `platt_coef`, the mean confidence and the accuracy are 0.667: 0.
    """

    def value(confidences: Floats, right: Floats) -> float:
        return 0.0 if _alike(right) else abs(float((platt(confidences, right).scaled(confidences) - right).mean()))

    return aggregate_helm_answers(value)


# -- others ----------------------------------------------------------------------------------------------------------


@metric(
    "ece",
    level="set",
    higher_is_better=False,
    source="Naeini et al. 2015; Guo et al. 2017",
    no_value=NO_CONFIDENCE,
    smooth=False,
)
def ece(bins: int = 15, binning: str = "width", confidence: str | None = None) -> pl.Expr:
    """Return the expected calibration error as most papers define it, without debiasing.

    It is the mean distance between confidence and accuracy over bins, weighted by the size of the bins.

    Example: Two answers with confidence 0.95, one correct, share a bin: |0.95 - 0.5| = 0.45.

    Args:
        bins: The number of bins.
        binning: "width" for bins of equal width, (0, 1/bins], …; "mass" for bins with equal numbers of answers.
        confidence: The probability of a correct answer: a column, or "max_prob". The default is the probability of the
            likeliest option.
    """
    _positive("ece", bins)
    if binning not in BINNINGS:
        raise ArgumentError.unknown_value(f"ece(binning={binning!r})", binning, BINNINGS)

    def value(confidences: Floats, right: Floats) -> float:
        edges = np.arange(1, bins + 1) / bins if binning == "width" else equal_masses(confidences, bins)
        return plain_error(confidences, right, edges)

    return aggregate_answers(value, confidence)


@metric(
    "ece_if_calibrated",
    level="set",
    higher_is_better=None,
    source="Bröcker & Smith 2007 (consistency)",
    no_value=NO_CONFIDENCE,
)
def ece_if_calibrated(bins: int = 10, confidence: str | None = None) -> pl.Expr:
    """Return the `ece` over bins of equal numbers that a perfectly calibrated model would have on average.

    It is computed by the normal approximation, as the mean over bins of √(2v/π), where v is the variance of the bin's
    accuracy. An `ece` that is not larger doesn't count against the model.

    Example: 100 answers with confidence 0.5, in one bin: √(2 · 0.0025 / π) = 0.0399.

    Args:
        bins: The number of bins.
        confidence: As in `ece`.
    """
    _positive("ece_if_calibrated", bins)

    def value(confidences: Floats, _: Floats) -> float:
        groups = np.searchsorted(equal_masses(confidences, bins), confidences)
        variance = np.bincount(groups, confidences * (1 - confidences))
        return float(np.sqrt(variance * 2 / math.pi).sum() / len(confidences))

    return aggregate_answers(value, confidence)


@metric(
    "squared_calibration_error", level="set", unit="squared probability", higher_is_better=False, range=(None, 1.0),
    source="Bröcker 2012; Ferro & Fricker 2012; Kumar, Liang & Ma 2019",
    no_value=NO_CONFIDENCE,
    smooth=False,
)  # fmt: skip
def squared_calibration_error(bins: int = 15, confidence: str | None = None) -> pl.Expr:
    """Return the mean squared distance between confidence and accuracy over bins, without the bias of small bins.

    The variance of each bin's accuracy, a(1 - a)/(n - 1), is subtracted from its square. The value is therefore about 0
    for a calibrated model and can be negative. Bins have equal numbers of answers. Fewer bins are used if they would
    have fewer than 30 answers. The square root has the unit of `ece`.

    Example: 40 answers with confidence 0.9, 30 correct, in one bin: 0.15² - 0.75 · 0.25/39 = 0.0177.

    Args:
        bins: The largest number of bins.
        confidence: As in `ece`.
    """
    _positive("squared_calibration_error", bins)

    def value(confidences: Floats, right: Floats) -> float | None:
        error = float(
            debiased_error(*binned(confidences, right, equal_masses(confidences, enough(len(confidences), bins))))
        )
        return None if math.isnan(error) else error

    return aggregate_answers(value, confidence)


@metric("selective_accuracy", level="set", source="El-Yaniv & Wiener 2010", no_value=NO_CONFIDENCE, smooth=False)
def selective_accuracy(coverage: float = 0.1, confidence: str | None = None) -> pl.Expr:
    """Return the accuracy of the most confident answers.

    Example: Of 20 answers the first 2 count, one of them correct: 0.5.

    Args:
        coverage: The share of the answers that counts, above 0 and at most 1.
        confidence: As in `ece`.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, float | int) or not 0 < coverage <= 1:
        raise ArgumentError(
            f"selective_accuracy(coverage={coverage!r}): coverage must be a number above 0 and at most 1."
        )
    return aggregate_answers(
        # rounded, because 0.07 * 100 is a little above 7
        lambda confidences, right: float(
            accuracies(confidences, right)[math.ceil(round(coverage * len(confidences), 9)) - 1]
        ),
        confidence,
    )


@metric(
    "brier_score", level="set", unit="squared probability", higher_is_better=False, range=(0.0, 1.0),
    source="Brier 1950; sklearn.metrics.brier_score_loss",
    no_value=NO_CONFIDENCE,
)  # fmt: skip
def brier_score(confidence: str | None = None) -> pl.Expr:
    """Return the mean squared difference between the confidence and the correctness (0 or 1) of the answer.

    It rates the model's answer only. lm-eval's brier_score rates all options: `option_brier`.

    Example: Confidences 0.8 (correct) and 0.6 (wrong): (0.04 + 0.36) / 2 = 0.2.

    Args:
        confidence: As in `ece`.
    """
    return aggregate_answers(lambda confidences, right: float(((confidences - right) ** 2).mean()), confidence)


@metric(
    "brier_reliability", level="set", unit="squared probability", higher_is_better=False, range=(0.0, 1.0),
    source=MURPHY,
    no_value=NO_CONFIDENCE,
)  # fmt: skip
def brier_reliability(confidence: str | None = None) -> pl.Expr:
    """Return the mean squared distance of confidence from accuracy, over answers of equal confidence.

    reliability - resolution + uncertainty = `brier_score`. It is not debiased: it is large if few answers have equal
    confidence.

    Example: Two answers with confidence 0.8, one correct: (0.8 - 0.5)² = 0.09.

    Args:
        confidence: As in `ece`.
    """

    def value(confidences: Floats, right: Floats) -> float:
        sizes, claimed, accuracy = equally_sure(confidences, right)
        return float((sizes * (claimed - accuracy) ** 2).sum() / len(confidences))

    return aggregate_answers(value, confidence)


@metric(
    "brier_resolution",
    level="set",
    unit="squared probability",
    range=(0.0, 0.25),
    source=MURPHY,
    no_value=NO_CONFIDENCE,
)
def brier_resolution(confidence: str | None = None) -> pl.Expr:
    """Return the mean squared distance of the accuracy at each confidence from the overall accuracy.

    High values mean that the confidence distinguishes correct from wrong answers.

    Example: Two answers with confidence 0.9, both correct, and two with 0.4, both wrong: accuracies 1 and 0 around 0.5,
    so 0.25.

    Args:
        confidence: As in `ece`.
    """

    def value(confidences: Floats, right: Floats) -> float:
        sizes, _, accuracy = equally_sure(confidences, right)
        return float((sizes * (accuracy - right.mean()) ** 2).sum() / len(confidences))

    return aggregate_answers(value, confidence)


@metric(
    "brier_uncertainty", level="set", unit="squared probability", higher_is_better=None, range=(0.0, 0.25),
    source=MURPHY,
    no_value=NO_CONFIDENCE,
)  # fmt: skip
def brier_uncertainty(confidence: str | None = None) -> pl.Expr:
    """Return the variance of correctness, a(1 - a) for accuracy a.

    It is the Brier score of a model whose confidence is always a.

    Example: 3 of 4 answers correct: 0.75 · 0.25 = 0.1875.

    Args:
        confidence: As in `ece`.
    """
    return aggregate_answers(lambda _, right: float(right.mean() * (1 - right.mean())), confidence)


def _positive(name: str, bins: int) -> None:
    if not is_integer(bins) or bins < 1:
        raise ArgumentError(f"{name}(bins={bins!r}): bins must be an integer ≥ 1.")


def _alike(right: Floats) -> bool:
    return bool(right.min() == right.max())
