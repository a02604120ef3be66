from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import polars as pl
import pytest

from helmframe.stats import aggregate, aggregate_set
from helmframe.stats.bootstrap import percentile_interval
from helmframe.stats.encoded_rows import Floats


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
def test_the_interval_of_a_mean_agrees_with_its_standard_error(count: int, kinds: int) -> None:
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
    assert undefined == (None, None, "no interval: undefined because all ratings are equal")
    rare = np.column_stack([np.ones(30), np.arange(30) == 0])
    assert percentile_interval(rare, lambda s: np.where(s[..., 1] > 0, 1.0, np.nan), 1.0, 0.95)[2] == (
        "no interval: undefined for some resamples"
    )


Build: TypeAlias = Callable[..., pl.DataFrame]
MEAN = pl.col("score").mean()


@pytest.mark.parametrize("mean", ["macro", "micro"])
def test_the_jackknife_of_a_mean_is_the_usual_standard_error(scores: Build, mean: str) -> None:
    values = np.random.default_rng(0).random(600).tolist()
    frame = scores(values, subset=["a"] * 400 + ["b"] * 200, cluster=(np.arange(600) // 3).tolist())
    row = aggregate_set(frame, MEAN, [], metric="m", mean=mean, smooth=False).row(0, named=True)
    known = aggregate(frame, [], mean=mean).row(0, named=True)
    assert row["value"] == pytest.approx(known["value"])
    assert row["stderr"] == pytest.approx(known["stderr"], rel=0.15)
    assert row["interval"] == "bootstrap (200)"


def test_the_same_table_twice_in_any_order_is_equal(scores: Build) -> None:
    frame = scores(np.random.default_rng(1).random(200).tolist(), model=["a", "b"] * 100)
    first = aggregate_set(frame, pl.col("score").median(), ["model"], metric="m", smooth=False)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=2)
    assert aggregate_set(shuffled, pl.col("score").median(), ["model"], metric="m", smooth=False).equals(first)


def test_where_a_set_metric_has_no_interval_it_says_why(scores: Build) -> None:
    def why(frame: pl.DataFrame, value: pl.Expr = MEAN) -> tuple[float | None, str]:
        row = aggregate_set(frame, value, [], metric="m", smooth=False).row(0, named=True)
        return row["ci_low"], row["interval"]

    assert why(scores([1.0, 2.0], cluster="x")) == (None, "no interval: fewer than 2 clusters")
    assert why(scores([1.0, 2.0, 3.0], subset=["a", "a", "b"])) == (
        None,
        "no interval: a subset has fewer than 2 clusters",
    )
    assert why(scores([None, None])) == (None, "no interval: nothing was scored")
    ratio = pl.when(pl.col("score").sum() > 0).then(1 / pl.col("score").sum())
    assert why(scores([1.0, 0.0, 0.0]), ratio) == (None, "no interval: undefined if some cluster is omitted")
