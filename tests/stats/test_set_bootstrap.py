"""The bootstrap of metrics of sets."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import polars as pl
import pytest

from helmframe.stats import aggregate, aggregate_set

Build: TypeAlias = Callable[..., pl.DataFrame]
MEAN = pl.col("score").mean()


@pytest.mark.parametrize("mean", ["macro", "micro"])
def test_of_a_mean_it_is_the_usual_standard_error(scores: Build, mean: str) -> None:
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


def test_where_there_is_no_interval_it_says_why(scores: Build) -> None:
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
    assert why(scores([1.0, 0.0, 0.0]), ratio) == (None, "no interval: undefined without some cluster")
