from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.stats.intervals import (
    Interval,
    clopper_pearson,
    holm,
    mcnemar_midp,
    modified_wilson,
    sign_flip_p,
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


def test_modified_wilson_never_counts_more_than_the_answers_there_are() -> None:
    assert rounded(modified_wilson(0.8, 1e-9, 10, 1e9)) == (0.490, 0.943)


def test_clopper_pearson_of_eight_in_ten() -> None:
    assert rounded(clopper_pearson(8, 10)) == (0.444, 0.975)


def test_unanimous_ones_are_clopper_pearson() -> None:
    assert rounded(unanimous(1.0, 10)) == rounded(clopper_pearson(10, 10)) == (0.692, 1.0)


def test_unanimous_zero_differences_may_hide_a_difference_either_way() -> None:
    assert rounded(unanimous(0.0, 50, least=-1.0)) == (-0.071, 0.071)


def test_t_interval_of_ten_observations() -> None:
    assert rounded(t_interval(10.0, 4.0, 9)) == (5.476, 14.524)


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


def test_sign_flip_takes_the_normal_limit_beyond_ten_thousand_sizes() -> None:
    p, test = sign_flip_p(np.arange(1.0, 12_001.0) * np.resize([1.0, -1.0], 12_000))
    assert test == "sign-flip (normal limit)"
    assert p == pytest.approx(0.9937, abs=0.0005)  # z = 6,000 / √(Σi²) = 0.0079


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


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_and_clopper_pearson_hold_the_estimate_and_stay_inside(answers: tuple[int, int]) -> None:
    successes, n = answers
    for low, high in (wilson(successes, n), clopper_pearson(successes, n)):
        assert -1e-12 <= low <= successes / n + 1e-12
        assert successes / n - 1e-12 <= high <= 1 + 1e-12
