"""Calibration: HELM's numbers by its own code, worked examples, and what the debiased ones promise."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from helmframe.errors import ArgumentError
from helmframe.metrics.protocol import METRICS, resolve_metrics
from helmframe.metrics.score import prepare_set_metric
from helmframe.stats import aggregate_set
from tests.frames import completions, right
from tests.metrics.options import asked, of_set

HELMS = [
    "ece_10_bin", "ece_1_bin", "selective_cov_acc_area", "selective_acc@10", "platt_coef", "platt_intercept",
    "platt_ece_10_bin", "platt_ece_1_bin",
]  # fmt: skip
OURS = [
    "ece", "ece_if_calibrated", "squared_calibration_error", "selective_accuracy", "brier_score", "brier_reliability",
    "brier_resolution", "brier_uncertainty",
]  # fmt: skip


def sure(confidences: Sequence[float | None], hits: Sequence[bool | int]) -> pl.DataFrame:
    """Completions with these probabilities, in the columns logprob and `claimed`."""
    logprobs = [math.log(each) if each else None for each in confidences]
    return completions(
        ["yes" if hit else "no" for hit in hits],
        [right("yes")] * len(hits),
        logprob=pl.Series(logprobs, dtype=pl.Float64),
    ).with_columns(claimed=pl.Series(confidences, dtype=pl.Float64))


def claimed(name: str) -> str:
    """The metric of the confidences in `claimed`."""
    return f"{name}(confidence='claimed')"


TWENTY = sure(
    [0.05, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.95, 0.99],
    [0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1],
)


@pytest.mark.parametrize(
    ("name", "helm"),
    [
        # uncertainty-calibration 0.1.4, as crfm-helm 0.5.16 calls it
        ("ece_10_bin", 0.206),
        ("ece_1_bin", 0.063),
        ("selective_cov_acc_area", 0.6599536752806877),
        ("selective_acc@10", 2 / 3),
        ("ece(confidence='claimed')", 0.311),
        ("ece(bins=15, binning='mass', confidence='claimed')", 0.262),
    ],
)
def test_values_of_helms_code(name: str, helm: float) -> None:
    assert of_set(TWENTY, name) == pytest.approx(helm, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "helm"),
    [("platt_coef", 0.61135), ("platt_intercept", -0.24805), ("platt_ece_10_bin", 0.20733), ("platt_ece_1_bin", 0.0)],
)
def test_platt_scaling_of_helms_code(name: str, helm: float) -> None:
    assert of_set(TWENTY, name) == pytest.approx(helm, abs=2e-4)


@pytest.mark.parametrize("seed", range(20))
def test_platt_scaling_stops_where_scikit_learn_stops(seed: int) -> None:
    draws = np.random.default_rng(seed)
    confidences = draws.beta(0.5, 2.0, 300) ** draws.integers(1, 6)
    hits = draws.random(300) < confidences ** draws.uniform(0.3, 1.5)
    frame = sure(list(confidences), list(hits))
    inside = np.clip(confidences, 1e-12, 1 - 1e-12)
    # as uncertainty-calibration 0.1.4 calls it
    fitted = LogisticRegression(C=1e10, solver="lbfgs").fit(np.log(inside / (1 - inside))[:, None], hits)
    assert of_set(frame, "platt_coef") == pytest.approx(fitted.coef_[0][0], abs=1e-9)
    assert of_set(frame, "platt_intercept") == pytest.approx(fitted.intercept_[0], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ece_10_bin", (0.4 + 0.8) / 2),
        ("ece_1_bin", 0.2),
        ("selective_acc@10", 0.0),
        (claimed("brier_score"), (0.16 + 0.64) / 2),
        (claimed("brier_uncertainty"), 0.25),
    ],
)
def test_two_answers(name: str, expected: float) -> None:
    assert of_set(sure([0.6, 0.8], [True, False]), name) == pytest.approx(expected)


def test_the_area_is_the_mean_accuracy_over_coverages() -> None:
    frame = sure([0.9, 0.8, 0.7], [True, False, True])
    assert of_set(frame, "selective_cov_acc_area") == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)


@pytest.mark.parametrize(("coverage", "expected"), [(0.34, 1 / 2), (1 / 3, 1.0), (0.5, 1 / 2), (1, 2 / 3), (0.01, 1.0)])
def test_the_accuracy_of_a_share_of_the_answers(coverage: float, expected: float) -> None:
    frame = sure([0.9, 0.8, 0.7], [True, False, True])
    name = f"selective_accuracy(coverage={coverage!r}, confidence='claimed')"
    assert of_set(frame, name) == pytest.approx(expected)


def test_of_answers_as_sure_each_is_right_by_their_mean() -> None:
    frame = sure([0.9] * 4, [True, False, False, False])
    assert of_set(frame, "selective_acc@10") == 0.25
    assert of_set(frame.reverse(), "selective_acc@10") == 0.25


@pytest.mark.parametrize("hit", [True, False])
def test_where_all_are_right_or_wrong_scaling_is_perfect_and_has_no_slope(hit: bool) -> None:
    frame = sure([0.6, 0.8, 0.9], [hit] * 3)
    assert [of_set(frame, name) for name in HELMS[4:]] == [None, None, 0.0, 0.0]


def test_a_slope_below_zero_turns_confidences_around() -> None:
    frame = sure([0.1, 0.2, 0.3, 0.7, 0.8, 0.9] * 3, [1, 1, 0, 1, 0, 0] * 3)
    slope, ece = of_set(frame, "platt_coef"), of_set(frame, "platt_ece_10_bin")
    assert slope is not None
    assert slope < 0
    assert ece is not None
    assert ece < 0.35


def test_confidence_that_parts_right_from_wrong_has_a_large_slope() -> None:
    slope = of_set(sure([0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1]), "platt_coef")
    assert slope is not None
    assert 15 < slope < 1e6


# -- what is an answer -----------------------------------------------------------------------------------------------


def test_helm_has_none_where_all_log_probabilities_are_zero() -> None:
    frame = sure([1.0, 1.0], [True, False])
    assert [of_set(frame, name) for name in HELMS] == [None] * 8


@pytest.mark.parametrize("name", HELMS)
def test_helms_need_log_probabilities(name: str) -> None:
    assert METRICS[name].needs == ("logprob",)
    assert of_set(sure([0.6, None], [True, False]), name) is None


@pytest.mark.parametrize("name", OURS)
def test_of_free_text_there_is_no_confidence_unless_one_is_named(name: str) -> None:
    assert of_set(TWENTY, name) is None
    assert of_set(TWENTY, f"{name}(confidence='max_prob')") == pytest.approx(of_set(TWENTY, claimed(name)))


@pytest.mark.parametrize("name", [*HELMS, *OURS, *map(claimed, OURS)])
def test_failed_requests_and_nothing_at_all_have_no_value(name: str) -> None:
    failed = sure([0.5], [True]).with_columns(completion=pl.lit(None, dtype=pl.String))
    assert of_set(sure([], []), name) is None
    assert of_set(failed, name) is None


def test_failed_requests_are_left_out() -> None:
    failed = sure([0.5], [True]).with_columns(completion=pl.lit(None, dtype=pl.String))
    assert of_set(pl.concat([TWENTY, failed]), "ece_10_bin") == of_set(TWENTY, "ece_10_bin")


def test_unreadable_answers_are_wrong() -> None:
    frame = completions(["A", "?"], [right("x")] * 2, choices=[["A"]] * 2, logprob=[math.log(0.5)] * 2)
    assert of_set(frame, "ece_1_bin") == pytest.approx(0.0)
    assert of_set(frame, "brier_uncertainty(confidence='max_prob')") == 0.25


OPTIONS = pl.concat(
    [
        # probabilities .8, .2 and .6, .4, whatever the sum of the options' own
        asked({"a": (math.log(0.08), True), "b": (math.log(0.02), False)}, tokens=[2, 1], instance="one"),
        asked({"a": (math.log(0.3), False), "b": (math.log(0.2), True)}, tokens=[2, 1], instance="two"),
    ]
)


def test_of_options_it_is_the_probability_among_them() -> None:
    assert of_set(OPTIONS, "brier_score") == pytest.approx((0.2**2 + 0.6**2) / 2)


def test_helms_of_options_is_the_softmax_per_token() -> None:
    # √.08 against .02, right; √.3 against .2, wrong
    probabilities = [math.sqrt(0.08) / (math.sqrt(0.08) + 0.02), math.sqrt(0.3) / (math.sqrt(0.3) + 0.2)]
    assert of_set(OPTIONS, "ece_1_bin") == pytest.approx(abs(sum(probabilities) / 2 - 0.5))


def test_helms_of_calibrated_options_is_the_softmax_of_the_difference() -> None:
    frame = asked({"a": (math.log(0.1), True, math.log(0.2)), "b": (math.log(0.2), False, math.log(0.1))})
    # a: .1/.2 = .5, b: .2/.1 = 2; wrong
    assert of_set(frame, "ece_1_bin") == pytest.approx(0.8)


def test_of_options_as_likely_all_must_be_correct() -> None:
    frame = asked({"a": (-1.0, True), "b": (-1.0, False)})
    assert of_set(frame, "brier_score") == pytest.approx(0.25)


@pytest.mark.parametrize("value", [1.2, -0.1])
def test_what_is_no_probability_raises(value: float) -> None:
    with pytest.raises(ArgumentError, match="isn't a probability"):
        of_set(sure([0.5], [True]).with_columns(claimed=value), claimed("ece"))


@pytest.mark.parametrize(
    "name",
    [
        "ece(bins=0)", "ece(bins=2.5)", "ece(bins=True)", "ece(binning='adaptive')", "ece(confidence=3)",
        "ece_if_calibrated(bins=-1)", "squared_calibration_error(bins='10')", "selective_accuracy(coverage=0)",
        "selective_accuracy(coverage=1.1)", "brier_score(confidence='')",
    ],
)  # fmt: skip
def test_invalid_arguments_raise_when_the_plan_is_built(name: str) -> None:
    with pytest.raises(ArgumentError):
        resolve_metrics([name])


# -- ours ------------------------------------------------------------------------------------------------------------


SEEDS = 40


def calibrated(n: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    confidences = random.beta(4, 2, n)
    return sure(confidences.tolist(), (random.random(n) < confidences).tolist())


def test_one_bin_of_the_squared_error() -> None:
    frame = sure([0.9] * 40, [True] * 30 + [False] * 10)
    expected = 0.15**2 - 0.75 * 0.25 / 39
    assert of_set(frame, claimed("squared_calibration_error")) == pytest.approx(expected)


def test_few_answers_make_few_bins() -> None:
    frame = sure([0.2] * 29 + [0.8] * 30, [False] * 29 + [True] * 30)
    # 59 answers: one bin of at least 30, where claims and accuracy agree but for .0033
    value = of_set(frame, claimed("squared_calibration_error"))
    share = 30 / 59
    expected = ((29 * 0.2 + 30 * 0.8) / 59 - share) ** 2 - share * (1 - share) / 58
    assert value == pytest.approx(expected)


@pytest.mark.parametrize("n", [50, 400])
def test_of_calibrated_models_it_is_around_zero_with_any_number_of_answers(n: int) -> None:
    values = [of_set(calibrated(n, seed), claimed("squared_calibration_error")) or 0.0 for seed in range(SEEDS)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(SEEDS)
    assert min(values) < 0 < max(values)


@pytest.mark.parametrize("n", [50, 400])
def test_the_plain_error_of_a_calibrated_model_has_the_documented_size(n: int) -> None:
    frames = [calibrated(n, seed) for seed in range(SEEDS)]
    plain = [of_set(each, "ece_10_bin") or 0.0 for each in frames]
    expected = [of_set(each, claimed("ece_if_calibrated")) or 0.0 for each in frames]
    assert np.mean(expected) == pytest.approx(np.mean(plain), rel=0.08)


def test_the_plain_error_of_one_bin_that_is_calibrated() -> None:
    value = of_set(sure([0.5] * 100, [True] * 100), claimed("ece_if_calibrated"))
    assert value == pytest.approx(math.sqrt(2 * 0.0025 / math.pi))


answers = st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1, max_size=30)


@settings(deadline=None)
@given(answers)
def test_brier_is_scikit_learns(pairs: list[tuple[float, bool]]) -> None:
    confidences, hits = zip(*pairs, strict=True)
    expected = brier_score_loss(hits, confidences, labels=[False, True])
    assert of_set(sure(confidences, hits), claimed("brier_score")) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(answers)
def test_its_parts_add_up(pairs: list[tuple[float, bool]]) -> None:
    frame = sure(*zip(*pairs, strict=True))
    parts = [of_set(frame, claimed(f"brier_{part}")) for part in ("reliability", "resolution", "uncertainty")]
    assert None not in parts
    reliability, resolution, uncertainty = (each or 0.0 for each in parts)
    assert reliability - resolution + uncertainty == pytest.approx(of_set(frame, claimed("brier_score")), abs=1e-12)


@settings(deadline=None, max_examples=settings().max_examples // 2)
@given(answers, st.randoms())
def test_the_order_of_the_rows_does_not_matter(pairs: list[tuple[float, bool]], random: Random) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)
    one, other = sure(*zip(*pairs, strict=True)), sure(*zip(*shuffled, strict=True))
    names = [*HELMS, *map(claimed, OURS)]
    assert [of_set(one, name) for name in names] == [of_set(other, name) for name in names]


def test_intervals_are_jackknifed() -> None:
    (brier,) = resolve_metrics([claimed("brier_score")])
    rows, value = prepare_set_metric(TWENTY.lazy(), brier)
    row = aggregate_set(rows, value, [], metric="brier_score").row(0, named=True)
    hits = TWENTY["completion"].to_numpy() == "yes"
    squares = (TWENTY["claimed"].to_numpy() - hits) ** 2
    # of a mean the jackknife is the usual standard error
    assert row["stderr"] == pytest.approx(squares.std(ddof=1) / math.sqrt(20))
    assert row["interval"] == "jackknife, n small"


def test_of_several_outputs_of_an_option_the_first_counts() -> None:
    second = OPTIONS.with_columns(output_index=pl.lit(1, dtype=pl.Int64), logprob=-9.0)
    both = pl.concat([second, OPTIONS])
    assert of_set(both, "brier_score") == of_set(OPTIONS, "brier_score")


def test_an_instance_with_an_option_without_score_is_left_out() -> None:
    lacking = asked({"a": (-1.0, True, -1.0), "b": (-2.0, False)}, instance="lacking")
    whole = asked({"a": (-1.0, True, -2.0), "b": (-2.0, False, -1.0)}, instance="whole")
    assert of_set(pl.concat([lacking, whole]), "ece_1_bin") == of_set(whole, "ece_1_bin")
    assert of_set(lacking, "ece_1_bin") is None
