from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError
from helmframe.stats import aggregate, aggregate_set

MEAN = pl.col("score").mean()
Build: TypeAlias = Callable[..., pl.DataFrame]


def only(table: pl.DataFrame) -> dict[str, Any]:
    assert table.height == 1
    return table.row(0, named=True)


@pytest.mark.parametrize("mean", ["macro", "micro"])
def test_the_jackknife_of_a_mean_is_its_stderr(scores: Build, mean: str) -> None:
    frame = scores([1.0, 4.0, 2.0, 8.0, 5.0, 7.0, 1.0], subset=["a"] * 4 + ["b"] * 3)
    row = only(aggregate_set(frame, MEAN, ["model"], metric="mine", mean=mean))
    known = only(aggregate(frame, ["model"], mean=mean))
    assert row["metric"] == "mine"
    assert row["value"] == pytest.approx(known["value"])
    assert row["stderr"] == pytest.approx(known["stderr"])
    assert row["interval"] == "jackknife, n small"


def test_the_interval_has_t_with_clusters_less_one(scores: Build) -> None:
    row = only(aggregate_set(scores([1.0, 2.0, 3.0, 4.0]), MEAN, [], metric="mine"))
    assert (round(row["ci_low"], 3), round(row["ci_high"], 3)) == (0.446, 4.554)


def test_macro_takes_the_value_per_subset(scores: Build) -> None:
    frame = scores([1.0, 3.0, 9.0, 9.0, 9.0], subset=["a"] * 2 + ["b"] * 3)
    assert only(aggregate_set(frame, pl.col("score").max(), [], metric="most"))["value"] == 6.0
    assert only(aggregate_set(frame, pl.col("score").max(), [], metric="most", mean="micro"))["value"] == 9.0


def test_a_ratio_of_sums_agrees_with_the_bootstrap(scores: Build) -> None:
    random = np.random.default_rng(4)
    tokens = random.integers(20, 400, 500)
    nats = tokens * random.gamma(20, 0.1, 500)
    frame = scores(nats.tolist(), tokens=tokens.tolist())
    ratio = pl.col("score").sum() / pl.col("tokens").sum()
    draws = random.integers(0, 500, (2000, 500))
    bootstrap = (nats[draws].sum(axis=1) / tokens[draws].sum(axis=1)).std()
    row = only(aggregate_set(frame, ratio, [], metric="nats_per_token"))
    assert row["stderr"] == pytest.approx(bootstrap, rel=0.1)
    assert row["interval"] == "jackknife (200 blocks)"


def test_clusters_are_left_out_whole(scores: Build) -> None:
    frame = scores([1.0, 1.0, 2.0, 2.0, 6.0, 6.0], cluster=["x", "x", "y", "y", "z", "z"])
    single = scores([1.0, 2.0, 6.0])
    row, known = (only(aggregate_set(each, MEAN, [], metric="mine")) for each in (frame, single))
    assert row["stderr"] == pytest.approx(known["stderr"])
    assert row["interval"] == "jackknife, few clusters, n small"


def test_failed_rows_are_left_out_and_counted(scores: Build) -> None:
    row = only(aggregate_set(scores([1.0, None, 3.0]), MEAN, [], metric="mine"))
    assert (row["value"], row["n"], row["n_error"]) == (2.0, 2, 1)


def test_an_error_column_says_what_failed(scores: Build) -> None:
    frame = (
        scores([1.0, 2.0, 3.0], error=[None, "TimeoutError", None])
        .drop("score")
        .with_columns(tokens=pl.Series([1, 2, 5]))
    )
    row = only(aggregate_set(frame, pl.col("tokens").mean(), [], metric="mine"))
    assert (row["value"], row["n_error"]) == (3.0, 1)


def test_one_cluster_has_no_interval(scores: Build) -> None:
    row = only(aggregate_set(scores([1.0, 3.0], cluster="x"), MEAN, [], metric="mine"))
    assert (row["value"], row["ci_low"], row["interval"]) == (2.0, None, "no interval: fewer than 2 clusters")


def test_a_value_undefined_without_some_cluster_has_no_interval(scores: Build) -> None:
    ratio = pl.when(pl.col("score").sum() > 0).then(pl.col("score").sum() / pl.len())
    row = only(aggregate_set(scores([1.0, 0.0, 0.0]), ratio, [], metric="mine"))
    assert row["interval"] == "no interval: undefined if some cluster is omitted"


def test_a_value_that_never_moves_has_no_interval(scores: Build) -> None:
    row = only(aggregate_set(scores([1.0, 1.0, 1.0]), MEAN, [], metric="mine"))
    assert (row["value"], row["interval"]) == (1.0, "no interval: the same whichever cluster is omitted")


def test_all_failed_is_a_row(scores: Build) -> None:
    row = only(aggregate_set(scores([None, None]), MEAN, ["model"], metric="mine"))
    assert (row["value"], row["n"], row["n_error"]) == (None, 0, 2)


def test_the_interval_of_a_fraction_is_cut(scores: Build) -> None:
    row = only(aggregate_set(scores([0.0, 0.0, 1.0]), MEAN, [], metric="mine", fraction=True))
    assert (row["ci_low"], row["ci_high"]) == (0.0, 1.0)


@pytest.mark.parametrize("mean", ["macro", "micro"])
def test_the_order_of_the_rows_does_not_matter(scores: Build, mean: str) -> None:
    frame = scores(np.random.default_rng(0).random(500).tolist(), subset=["a"] * 300 + ["b"] * 200)
    table = aggregate_set(frame, MEAN, [], metric="mine", mean=mean)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=1)
    assert aggregate_set(shuffled, MEAN, [], metric="mine", mean=mean).equals(table)


def test_an_unknown_mean_is_named(scores: Build) -> None:
    with pytest.raises(ArgumentError, match="mean must be 'macro'"):
        aggregate_set(scores([1.0]), MEAN, [], metric="mine", mean="median")


def test_by_trial_the_value_is_the_mean_over_trials(scores: Build) -> None:
    # the largest of a set grows with the set: 4 over both trials, (4 + 3) / 2 by trial
    frame = scores([1.0, 4.0, 2.0, 3.0], trial=[0, 0, 1, 1], instance_id=["a", "b", "a", "b"])
    assert only(aggregate_set(frame, pl.col("score").max(), [], metric="most"))["value"] == 4.0
    assert only(aggregate_set(frame, pl.col("score").max(), [], metric="most", by_trial=True))["value"] == 3.5


@pytest.mark.parametrize("smooth", [True, False])
def test_by_trial_the_interval_is_over_clusters(scores: Build, smooth: bool) -> None:
    values = [1.0, 4.0, 2.0, 8.0]
    frame = scores([*values, *values], trial=[0] * 4 + [1] * 4, instance_id=["a", "b", "c", "d"] * 2)
    by_trial = only(aggregate_set(frame, MEAN, [], metric="mine", by_trial=True, smooth=smooth))
    pooled = only(aggregate_set(frame, MEAN, [], metric="mine", smooth=smooth))
    # a mean over equal trials is the same either way
    assert by_trial["stderr"] == pytest.approx(pooled["stderr"])
    assert by_trial["stderr"] > 0


def test_by_trial_a_trial_without_a_value_does_not_count(scores: Build) -> None:
    frame = scores([1.0, 4.0, None, None], trial=[0, 0, 1, 1], instance_id=["a", "b", "a", "b"])
    assert only(aggregate_set(frame, pl.col("score").max(), [], metric="most", by_trial=True))["value"] == 4.0
