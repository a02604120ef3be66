import numpy as np
import pytest

from helmframe.stats.joint import joint_level, pairwise_level, variances_of_pairs


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
