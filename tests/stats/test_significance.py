from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from helmframe.stats.significance import (
    detectable,
    holm,
    joint_level,
    mcnemar_midp,
    pairwise_level,
    sign_flip_p,
    variances_of_pairs,
)


def test_mcnemar_midp_of_the_published_examples() -> None:
    assert round(mcnemar_midp(1, 7), 3) == 0.039
    assert round(mcnemar_midp(16, 6), 3) == 0.035


def test_mcnemar_midp_is_the_exact_p_less_the_chance_of_what_was_seen() -> None:
    # 2·(1 + 10)/2¹⁰ − 10/2¹⁰
    assert mcnemar_midp(9, 1) == pytest.approx(12 / 1024)


def test_mcnemar_midp_of_equal_counts_takes_half_of_the_middle() -> None:
    assert mcnemar_midp(1, 1) == pytest.approx(0.75)


def test_mcnemar_midp_without_discordance_is_one() -> None:
    assert mcnemar_midp(0, 0) == 1.0


def test_sign_flip_is_exact_for_few_clusters() -> None:
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == (0.25, "sign-flip (exact)")


def test_sign_flip_is_seeded_for_more_clusters() -> None:
    differences = np.array([1.0] * 20 + [-1.0] * 5)
    assert sign_flip_p(differences) == sign_flip_p(differences)
    p, test = sign_flip_p(differences)
    assert test == "sign-flip (9,999 flips)"
    assert p == pytest.approx(0.0041, abs=0.0025)  # 2·P(Bin(25, ½) ≤ 5) = 0.0041


@pytest.mark.parametrize("shift", [0.005, 0.015])
def test_sign_flip_of_more_sizes_than_are_flipped_is_their_normal_limit(shift: float) -> None:
    differences = np.random.default_rng(0).normal(size=20_000) + shift
    p, test = sign_flip_p(differences)
    limit = 2 * ndtr(-abs(differences.sum()) / np.sqrt(np.sum(differences**2)))
    assert test == "sign-flip (9,999 flips)"
    # four standard errors of 9,999 flips
    assert p == pytest.approx(limit, abs=4 * np.sqrt(limit * (1 - limit) / 9_999))


def test_sign_flip_without_any_difference_is_one() -> None:
    assert sign_flip_p(np.zeros(5)) == (1.0, "sign-flip (no difference)")


@given(st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=1, max_size=40), st.randoms())
def test_sign_flip_depends_on_neither_order_nor_sides(values: list[float], random: Random) -> None:
    shuffled = [-value for value in values]
    random.shuffle(shuffled)
    assert sign_flip_p(np.array(shuffled)) == sign_flip_p(np.array(values))


def test_holm_steps_down_and_keeps_the_order() -> None:
    assert [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])] == [0.03, 0.06, 0.06, 0.02]


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []


def test_what_is_detectable_is_found_four_times_in_five() -> None:
    # t(39) of a true difference of the mde, in standard errors: noncentral t
    from scipy.stats import nct, t

    error = np.array([1.0])
    mde = float(detectable(error, np.array([39.0]))[0])
    limit = t.ppf(0.975, 39)
    assert nct.sf(limit, 39, mde) == pytest.approx(0.8, abs=0.005)


def test_one_estimate_keeps_its_level() -> None:
    assert joint_level([np.array([[2.0]])], 0.95) == 0.95
    assert pairwise_level([np.eye(2)], 0.95) == 0.95


def test_sets_that_share_nothing_are_as_independent_estimates() -> None:
    apart = joint_level([np.eye(1)] * 10, 0.95)
    assert apart == pytest.approx(joint_level([np.eye(10)], 0.95), abs=0.001)
    assert apart == pytest.approx(0.95**0.1, abs=0.0015)


def test_the_scale_of_an_estimate_does_not_matter() -> None:
    correlated = np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    scale = np.diag([1.0, 100.0, 1e-6])
    assert joint_level([scale @ correlated @ scale], 0.9) == joint_level([correlated], 0.9)


def test_all_pairs_of_independent_means_are_tukeys() -> None:
    from scipy.stats import norm, studentized_range

    tukey = 2 * norm.cdf(studentized_range.ppf(0.95, 10, np.inf) / np.sqrt(2)) - 1
    # on the safe side, by two Monte Carlo errors of the draws
    assert tukey - 0.0002 <= pairwise_level([np.eye(10)], 0.95) <= tukey + 0.0006


def test_the_same_covariance_gives_the_same_level() -> None:
    some = np.cov(np.random.default_rng(0).normal(size=(4, 50)))
    assert joint_level([some], 0.95) == joint_level([some + 1e-14], 0.95)


def test_what_does_not_vary_has_no_part_in_it() -> None:
    assert joint_level([np.diag([1.0, 0.0])], 0.95) == 0.95
    assert variances_of_pairs(np.ones((2, 2))).tolist() == [[0.0, 0.0], [0.0, 0.0]]
