import numpy as np
import pytest

from helmframe.stats.ranks import (
    Estimates,
    flip_signs,
    ranks,
    significant_signs,
    tie_groups,
    units_needed,
    win_rates,
)


def independent(value: list[float], error: float, clusters: float = 1_000.0) -> Estimates:
    every = len(value)
    return Estimates(
        index=np.arange(every),
        value=np.array(value),
        covariance=np.eye(every) * error**2,
        df=np.full(every, clusters - 1),
        clusters=np.full(every, clusters),
    )


def test_far_ones_are_surely_better_and_near_ones_undecided() -> None:
    (signs,) = significant_signs([independent([0.9, 0.5, 0.51], 0.02)], 3, 0.95)
    assert signs.tolist() == [[0, 1, 1], [-1, 0, 0], [-1, 0, 0]]


def test_the_more_pairs_the_more_it_takes() -> None:
    two, many = independent([0.55, 0.49], 0.02), independent([0.55, 0.49, *[0.0] * 20], 0.02)
    assert significant_signs([two], 2, 0.95)[0][0, 1] == 1
    assert significant_signs([many], 22, 0.95)[0][0, 1] == 0


def test_who_is_not_there_is_undecided() -> None:
    column = independent([0.9, 0.1], 0.01)
    there = Estimates(np.array([0, 2]), column.value, column.covariance, column.df, column.clusters)
    (signs,) = significant_signs([there], 3, 0.95)
    assert signs.tolist() == [[0, 0, 1], [0, 0, 0], [-1, 0, 0]]


@pytest.mark.parametrize(("clusters", "sure"), [(3.0, 0), (100.0, 1)])
def test_where_all_clusters_differ_by_the_same_their_number_decides(clusters: float, sure: int) -> None:
    same = Estimates(
        np.arange(2), np.array([1.0, 0.0]), np.zeros((2, 2)), np.full(2, clusters - 1), np.full(2, clusters)
    )
    assert significant_signs([same], 2, 0.95)[0][0, 1] == sure


def test_without_a_covariance_nothing_is_sure() -> None:
    unknown = Estimates(np.arange(2), np.array([1.0, 0.0]), None, np.ones(2), np.ones(2))
    assert not significant_signs([unknown], 2, 0.95)[0].any()


def test_ties_count_half_of_a_win() -> None:
    # HELM: (strictly worse + (tied − 1) / 2) / (others)
    assert win_rates(np.array([0.3, 0.3, 0.3, 0.1])).tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0.0])


def test_values_that_differ_by_rounding_are_tied() -> None:
    assert ranks(np.array([0.1 + 0.2, 0.3])).tolist() == [1, 1]


def test_the_twenty_seventh_group_is_aa() -> None:
    apart = np.sign(np.arange(28)[None, :] - np.arange(28)[:, None]).astype(np.int8)
    assert tie_groups(apart)[25:] == ["z", "aa", "ab"]


def test_no_two_of_a_tie_group_are_surely_apart() -> None:
    # the first surely better than the third alone, which ties with the fourth
    signs = np.zeros((4, 4), dtype=np.int8)
    signs[0, 2], signs[2, 0] = 1, -1
    assert tie_groups(signs) == ["a", "a–b", "b", "b"]


def units(n: int, *differences: float) -> np.ndarray:
    """Sampling units of a first model and of others that differ from it by almost the same in every unit."""
    wobble = 0.01 * np.cos(np.arange(n))
    return np.column_stack([np.zeros(n), *(each + wobble * (1 + place) for place, each in enumerate(differences))])


@pytest.mark.parametrize(("n", "sure"), [(5, 0), (6, 1)])
def test_six_units_distinguish_models_and_five_never_do(n: int, sure: int) -> None:
    # the observed signs are one of 2**(n - 1) that are equally probable
    assert flip_signs(units(n, 0.5), 0.05).tolist() == [[0, -sure], [sure, 0]]
    assert units_needed(0.05) == 6


def test_pairs_with_large_differences_do_not_hide_small_ones() -> None:
    signs = flip_signs(units(12, 5.0, 0.5), 0.05)
    assert signs.tolist() == [[0, -1, -1], [1, 0, 1], [1, -1, 0]]


def test_a_pair_is_compared_over_the_units_that_both_have() -> None:
    values = units(10, 0.5)
    values[6:, 1] = np.nan
    assert flip_signs(values, 0.05)[1, 0] == 1
    values[5:, 1] = np.nan
    assert flip_signs(values, 0.05)[1, 0] == 0


def test_flips_of_more_units_are_random_and_seeded() -> None:
    noise = np.random.default_rng(0).normal(size=(40, 4)) + np.array([0.0, 0.0, 0.0, 1.0])
    signs = flip_signs(noise, 0.05)
    assert np.array_equal(signs, flip_signs(noise, 0.05))
    assert signs[3].tolist() == [1, 1, 1, 0]
    assert not signs[:3, :3].any()


def test_columns_with_few_units_share_the_level_with_the_others() -> None:
    few = Estimates(np.arange(2), np.array([0.5, 0.0]), np.eye(2) * 1e-6, np.full(2, 5.0), np.full(2, 6.0),
                    units=-units(6, 0.5) / 6)  # fmt: skip
    assert significant_signs([few], 2, 0.95)[0][0, 1] == 1
    # 1/32 is above .05/2
    both = significant_signs([few, independent([0.9, 0.1], 0.01)], 2, 0.95)
    assert [signs[0, 1] for signs in both] == [0, 1]
