"""The bootstrap over clusters: the known standard error, the same in any order and unit."""

import numpy as np
import pytest

from helmframe.stats.bootstrap import Floats, percentile_interval


def mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def interval(values: Floats) -> tuple[float, float]:
    sums = np.column_stack([values, np.ones(len(values))])
    low, high, _ = percentile_interval(sums, mean, float(values.mean()), 0.95)
    assert low is not None
    assert high is not None
    return low, high


@pytest.mark.parametrize("count", [400, 5_000])
@pytest.mark.parametrize("kinds", [2, 0])
def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says(count: int, kinds: int) -> None:
    # few kinds of clusters, many, and more of them than are drawn one by one
    random = np.random.default_rng(0)
    values = random.integers(kinds, size=count).astype(float) if kinds else random.normal(size=count)
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / count**0.5, rel=0.08)


def test_neither_order_nor_unit_changes_it() -> None:
    values = np.random.default_rng(1).normal(size=300)
    low, high = interval(values)
    assert interval(values[::-1]) == pytest.approx((low, high))
    assert interval(values * 1e-12) == pytest.approx((low * 1e-12, high * 1e-12))


def test_where_there_is_no_interval_it_says_why() -> None:
    one = np.ones((1, 2))
    assert percentile_interval(one, mean, 1.0, 0.95) == (None, None, "no interval: fewer than 2 clusters")
    undefined = percentile_interval(np.ones((9, 2)), mean, float("nan"), 0.95)
    assert undefined == (None, None, "no interval: undefined, as all ratings are equal")
    rare = np.column_stack([np.ones(30), np.arange(30) == 0])
    assert percentile_interval(rare, lambda s: np.where(s[..., 1] > 0, 1.0, np.nan), 1.0, 0.95)[2] == (
        "no interval: undefined without some items"
    )
