import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from helmframe.stats.intervals import (
    Interval,
    beta_posterior,
    clopper_pearson,
    dirichlet_posterior,
    modified_wilson,
    paired_score,
    t_interval,
    unanimous,
    wilson,
)


def rounded(interval: Interval, digits: int = 3) -> tuple[float, ...]:
    return tuple(round(float(end), digits) for end in interval)


def test_wilson_of_eight_in_ten() -> None:
    assert rounded(wilson(8, 10)) == (0.490, 0.943)


def test_wilson_of_none_and_all_stays_inside_and_is_not_empty() -> None:
    assert rounded(wilson(0, 10)) == (0.0, 0.278)
    assert rounded(wilson(10, 10)) == (0.722, 1.0)


@pytest.mark.parametrize("n", [50, 100, 311, 1000])
def test_wilson_covers_95_percent_by_exact_binomial_sums(n: int) -> None:
    from scipy.stats import binom

    low, high = wilson(np.arange(n + 1.0), np.full(n + 1, float(n)))
    p = np.linspace(0.02, 0.98, 193)[:, None]
    coverage = (binom.pmf(np.arange(n + 1), n, p) * ((low <= p) & (p <= high))).sum(axis=1)
    assert 0.945 <= coverage.mean() <= 0.955
    assert coverage.min() >= 0.91


def test_modified_wilson_of_an_independent_sample_is_nearly_wilson() -> None:
    assert rounded(modified_wilson(0.8, 0.8 * 0.2 / 1000, 1000, 1e9)) == rounded(wilson(800, 1000))


def test_the_effective_sample_size_is_at_most_n() -> None:
    assert rounded(modified_wilson(0.8, 1e-9, 10, 1e9)) == (0.490, 0.943)


def test_clopper_pearson_of_eight_in_ten() -> None:
    assert rounded(clopper_pearson(8, 10)) == (0.444, 0.975)


def test_unanimous_ones_are_clopper_pearson() -> None:
    assert rounded(unanimous(1.0, 10)) == rounded(clopper_pearson(10, 10)) == (0.692, 1.0)


def test_unanimous_zero_differences_may_hide_a_difference_either_way() -> None:
    assert rounded(unanimous(0.0, 50, least=-1.0)) == (-0.071, 0.071)


def test_t_interval_of_ten_observations() -> None:
    assert rounded(t_interval(10.0, 4.0, 9)) == (5.476, 14.524)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_and_clopper_pearson_hold_the_estimate_and_stay_inside(answers: tuple[int, int]) -> None:
    successes, n = answers
    for low, high in (wilson(successes, n), clopper_pearson(successes, n)):
        assert -1e-12 <= low <= successes / n + 1e-12
        assert successes / n - 1e-12 <= high <= 1 + 1e-12


def test_tangos_interval_of_the_published_example() -> None:
    # airway hyper-responsiveness: 1 against 7 discordant of 21 children (Fagerland, Lydersen & Laake 2014)
    assert rounded(paired_score(-6 / 21, 8 / 21, 21, 1.959964)) == (-0.517, -0.026)


def test_tangos_interval_of_no_discordant_pair_is_wilsons() -> None:
    low, high = paired_score(0.0, 0.0, 200, 1.959964)
    assert float(high) == -float(low) == pytest.approx(float(wilson(0, 200)[1]))


def test_tangos_interval_at_zero_is_mcnemars_test() -> None:
    # (b − c)² / (b + c) = 3.84 at the edge
    for b, c, inside in ((9, 2, False), (8, 2, True), (2, 9, False)):
        low, high = paired_score((b - c) / 100, (b + c) / 100, 100, 1.959964)
        assert (float(low) <= 0 <= float(high)) is inside


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60))
def test_tangos_interval_covers_the_estimate_and_stays_inside(n: int, b: int, c: int) -> None:
    n = n + b + c
    low, high = paired_score((b - c) / n, (b + c) / n, n, 1.96)
    assert -1 <= float(low) <= (b - c) / n + 1e-9
    assert (b - c) / n - 1e-9 <= float(high) <= 1
    other_low, other_high = paired_score((c - b) / n, (b + c) / n, n, 1.96)
    assert [float(other_low), float(other_high)] == pytest.approx([-float(high), -float(low)])


def test_a_posterior_of_a_share_is_its_beta_quantiles() -> None:
    low, high = beta_posterior(np.array([3.0, 0.0, 10.0]), 10, 0.9)
    assert low == pytest.approx([beta.ppf(0.05, 3.5, 7.5), 0.0, beta.ppf(0.05, 10.5, 0.5)])
    assert high == pytest.approx([beta.ppf(0.95, 3.5, 7.5), beta.ppf(0.95, 0.5, 10.5), 1.0])


def test_a_posterior_of_a_paired_difference_equals_its_samples() -> None:
    random = np.random.default_rng(4)
    for wins, losses, n in ((5, 1, 20), (0, 0, 8), (40, 44, 300)):
        shares = random.dirichlet([wins + 0.5, losses + 0.5, n - wins - losses + 0.5], 400_000)
        low, high = dirichlet_posterior((wins - losses) / n, (wins + losses) / n, n)
        sampled = np.quantile(shares[:, 0] - shares[:, 1], [0.025, 0.975])
        assert [float(low), float(high)] == pytest.approx(list(sampled), abs=0.004)
