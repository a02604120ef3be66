"""Metrics of how well confidence distinguishes right answers from wrong: HELM's under its names, and debiased ones.

HELM's take the probability of the completion, which is smaller the longer it is and isn't a letter's probability among
the letters. Ours take the probability among the options, where they were requested one by one; otherwise set
`confidence`: a column of your own, or "max_prob" for HELM's.

`ece_10_bin` depends on the number of answers: of a perfectly calibrated model it is about .15 with 50 and .03 with
1,000. `ece_if_calibrated` says how large; `squared_calibration_error` is around 0 then, with any number.
"""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helmframe._core.bins import accuracies, binned, debiased_error, enough, equal_masses, equally_sure, plain_error
from helmframe._core.checks import is_integer
from helmframe.errors import ArgumentError
from helmframe.metrics.confidence import over_answers, over_helms_answers, platt
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
    """Return the mean distance between confidence and accuracy over 10 bins of equal numbers, weighted by size.

    Equal confidences share a bin. With confidences .6 .8 and answers right, wrong: each its own bin:
    (.4 + .8) / 2 = .6.
    """
    return over_helms_answers(lambda sure, right: plain_error(sure, right, equal_masses(sure, 10)))


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
    """Return the distance between mean confidence and accuracy. Confidences .6 .8, one of two right: |.7 - .5| = .2."""
    return over_helms_answers(lambda sure, right: abs(float(sure.mean() - right.mean())))


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

    By falling confidence right, wrong, right: (1 + 1/2 + 2/3) / 3 = .722. Among answers of equal confidence HELM's
    value depends on the order of the rows; here each counts as their mean.
    """
    return over_helms_answers(lambda sure, right: float(accuracies(sure, right).mean()))


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
    """Return the accuracy of the most confident tenth of the answers: of n, the first int(n/10) + 1.

    Of 20 these are 3; with 2 of them right: 2/3. `selective_accuracy` takes 2 of 20.
    """
    return over_helms_answers(lambda sure, right: float(accuracies(sure, right)[int(0.1 * len(sure))]))


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
    """Return the slope of the logistic regression of right answers on the confidence's logit; 1 if calibrated.

    One of two with confidence .5 and three of four with .9 are right: logits 0 and log 9 become 0 and log 3, so .5.
    The optimiser stops where HELM's stops, here at .50001. Null where all are right or all wrong. Where confidence
    separates right from wrong without a mistake there is no largest likelihood, and the slope is just large.
    """
    return over_helms_answers(lambda sure, right: None if _alike(right) else platt(sure, right).slope)


@metric(
    "platt_intercept", level="set", unit="logits", higher_is_better=None, needs=LOGPROB, source=f"{HELM}; Platt 1999",
    helm="platt_intercept",
    no_value=ALIKE,
)  # fmt: skip
def platt_intercept() -> pl.Expr:
    """Return the intercept of the regression in `platt_coef`; 0 if calibrated, and in its example .5 · 0 + 0 = 0."""
    return over_helms_answers(lambda sure, right: None if _alike(right) else platt(sure, right).intercept)


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
    """Return `ece_10_bin` of the confidences after Platt scaling; 0 where all are right or all wrong.

    In the example of `platt_coef` .5 stays and .9 becomes .75, the accuracy: 0.
    """

    def value(sure: Floats, right: Floats) -> float:
        if _alike(right):
            return 0.0
        scaled = platt(sure, right).scaled(sure)
        return plain_error(scaled, right, equal_masses(np.sort(scaled), 10))

    return over_helms_answers(value)


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
    """Return `ece_1_bin` of the confidences after Platt scaling: about 0, which the regression ensures.

    In the example of `platt_coef` mean confidence and accuracy are .667: 0.
    """

    def value(sure: Floats, right: Floats) -> float:
        return 0.0 if _alike(right) else abs(float((platt(sure, right).scaled(sure) - right).mean()))

    return over_helms_answers(value)


# -- ours ------------------------------------------------------------------------------------------------------------


@metric(
    "ece",
    level="set",
    higher_is_better=False,
    source="Naeini et al. 2015; Guo et al. 2017",
    no_value=NO_CONFIDENCE,
    smooth=False,
)
def ece(bins: int = 15, binning: str = "width", confidence: str | None = None) -> pl.Expr:
    """Return the expected calibration error as most papers define it: plain, not debiased.

    Two answers with confidence .95, one right: they share a bin, and |.95 - .5| = .45.

    Args:
        bins: The number of bins.
        binning: "width", bins of equal width, (0, 1/bins] …; "mass", bins of equal numbers of answers.
        confidence: The probability of being right: a column, or "max_prob".
    """
    _positive("ece", bins)
    if binning not in BINNINGS:
        raise ArgumentError.unknown_value(f"ece(binning={binning!r}): unsupported value", binning, BINNINGS)

    def value(sure: Floats, right: Floats) -> float:
        edges = np.arange(1, bins + 1) / bins if binning == "width" else equal_masses(sure, bins)
        return plain_error(sure, right, edges)

    return over_answers(value, confidence)


@metric(
    "ece_if_calibrated",
    level="set",
    higher_is_better=None,
    source="Bröcker & Smith 2007 (consistency)",
    no_value=NO_CONFIDENCE,
)
def ece_if_calibrated(bins: int = 10, confidence: str | None = None) -> pl.Expr:
    """Return the mean of `ece` over equal masses if each answer were right with the probability it claims.

    By the normal approximation: the mean over bins of √(2v/π), v the variance of the bin's accuracy. An `ece` that
    isn't larger is no evidence against the model. 100 answers with confidence .5, in one bin: √(2 · .0025 / π) = .0399.
    """
    _positive("ece_if_calibrated", bins)

    def value(sure: Floats, _: Floats) -> float:
        groups = np.searchsorted(equal_masses(sure, bins), sure)
        variance = np.bincount(groups, sure * (1 - sure))
        return float(np.sqrt(variance * 2 / math.pi).sum() / len(sure))

    return over_answers(value, confidence)


@metric(
    "squared_calibration_error", level="set", unit="squared probability", higher_is_better=False, range=(None, 1.0),
    source="Bröcker 2012; Ferro & Fricker 2012; Kumar, Liang & Ma 2019",
    no_value=NO_CONFIDENCE,
    smooth=False,
)  # fmt: skip
def squared_calibration_error(bins: int = 15, confidence: str | None = None) -> pl.Expr:
    """Return the mean square of (confidence - accuracy) over bins of equal numbers, without small bins' bias.

    From each bin's square the variance of its accuracy, a(1 - a)/(n - 1), is subtracted, so that the value is around 0
    for a calibrated model and can be below it. Where bins would have fewer than 30 answers, fewer bins are made. Its
    root is in the unit of `ece`. 40 answers with confidence .9, 30 right, in one bin: .15² - .75 · .25/39 = .0177.

    Args:
        bins: The largest number of bins.
        confidence: As in `ece`.
    """
    _positive("squared_calibration_error", bins)

    def value(sure: Floats, right: Floats) -> float | None:
        error = float(debiased_error(*binned(sure, right, equal_masses(sure, enough(len(sure), bins)))))
        return None if math.isnan(error) else error

    return over_answers(value, confidence)


@metric("selective_accuracy", level="set", source="El-Yaniv & Wiener 2010", no_value=NO_CONFIDENCE, smooth=False)
def selective_accuracy(coverage: float = 0.1, confidence: str | None = None) -> pl.Expr:
    """Return the accuracy of the most confident answers: of 20 the first 2, of which one is right, .5.

    Args:
        coverage: The share of the answers that counts, above 0 and at most 1.
        confidence: As in `ece`.
    """
    if isinstance(coverage, bool) or not isinstance(coverage, float | int) or not 0 < coverage <= 1:
        raise ArgumentError(
            f"selective_accuracy(coverage={coverage!r}): coverage must be a number above 0 and at most 1."
        )
    return over_answers(
        # the decimal share: 0.07 * 100 is a little above 7
        lambda sure, right: float(accuracies(sure, right)[math.ceil(round(coverage * len(sure), 9)) - 1]),
        confidence,
    )


@metric(
    "brier_score", level="set", unit="squared probability", higher_is_better=False, range=(0.0, 1.0),
    source="Brier 1950; sklearn.metrics.brier_score_loss",
    no_value=NO_CONFIDENCE,
)  # fmt: skip
def brier_score(confidence: str | None = None) -> pl.Expr:
    """Return the mean of (confidence - right)². Confidences .8 and right, .6 and wrong: (.04 + .36) / 2 = .2.

    It is about the answer of the model, right or wrong. lm-eval's brier_score is about all options: `option_brier`.
    """
    return over_answers(lambda sure, right: float(((sure - right) ** 2).mean()), confidence)


@metric(
    "brier_reliability", level="set", unit="squared probability", higher_is_better=False, range=(0.0, 1.0),
    source=MURPHY,
    no_value=NO_CONFIDENCE,
)  # fmt: skip
def brier_reliability(confidence: str | None = None) -> pl.Expr:
    """Return the squared distance of confidence from accuracy, over answers of equal confidence.

    reliability - resolution + uncertainty = `brier_score`. Not debiased: large where few answers have equal confidence.
    Two with .8, one right: (.8 - .5)² = .09.
    """

    def value(sure: Floats, right: Floats) -> float:
        sizes, claimed, accuracy = equally_sure(sure, right)
        return float((sizes * (claimed - accuracy) ** 2).sum() / len(sure))

    return over_answers(value, confidence)


@metric(
    "brier_resolution",
    level="set",
    unit="squared probability",
    range=(0.0, 0.25),
    source=MURPHY,
    no_value=NO_CONFIDENCE,
)
def brier_resolution(confidence: str | None = None) -> pl.Expr:
    """Return the squared distance of the accuracy of answers of equal confidence from that of all answers.

    Two with .9 and right, two with .4 and wrong: accuracies 1 and 0 around .5, so .25.
    """

    def value(sure: Floats, right: Floats) -> float:
        sizes, _, accuracy = equally_sure(sure, right)
        return float((sizes * (accuracy - right.mean()) ** 2).sum() / len(sure))

    return over_answers(value, confidence)


@metric(
    "brier_uncertainty", level="set", unit="squared probability", higher_is_better=None, range=(0.0, 0.25),
    source=MURPHY,
    no_value=NO_CONFIDENCE,
)  # fmt: skip
def brier_uncertainty(confidence: str | None = None) -> pl.Expr:
    """Return the variance of being right, a(1 - a) of the accuracy a: the Brier score of always claiming a.

    Of 3 right of 4: .75 · .25 = .1875.
    """
    return over_answers(lambda _, right: float(right.mean() * (1 - right.mean())), confidence)


def _positive(name: str, bins: int) -> None:
    if not is_integer(bins) or bins < 1:
        raise ArgumentError(f"{name}(bins={bins!r}): bins must be an integer ≥ 1.")


def _alike(right: Floats) -> bool:
    return bool(right.min() == right.max())
