"""Calibration of given probabilities."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats import calibration


def answers(sure: Sequence[float | None], hits: Sequence[bool | int | None]) -> pl.DataFrame:
    return pl.DataFrame({"confidence": sure, "right": hits}, schema={"confidence": pl.Float64, "right": pl.Int64})


def drawn(n: int, power: float, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    sure = random.uniform(0.25, 1, n)
    return pl.DataFrame({"confidence": sure, "right": random.random(n) < sure**power})


def test_one_bin_by_hand() -> None:
    row = calibration(answers([0.9] * 40, [1] * 30 + [0] * 10)).row(0, named=True)
    assert row["squared_calibration_error"] == pytest.approx(0.15**2 - 0.75 * 0.25 / 39)
    assert row["ece"] == pytest.approx(0.15)
    assert row["brier"] == pytest.approx((30 * 0.01 + 10 * 0.81) / 40)
    # one bin tells nothing apart
    assert row["resolution"] == pytest.approx(0.0, abs=1e-12)
    assert row["uncertainty"] == pytest.approx(0.75 * 0.25 * 40 / 39)
    assert (row["bins"], row["n"], row["n_clusters"]) == (1, 40, 40)


@pytest.mark.parametrize("n", [1, 2, 25, 100, 3_000])
def test_the_parts_add_up_to_the_brier_score(n: int) -> None:
    row = calibration(drawn(n, 1.5)).row(0, named=True)
    if n == 1:
        assert row["squared_calibration_error"] is None
        assert row["interval"] == "no interval: fewer than 2 clusters"
        return
    parts = row["squared_calibration_error"] - row["resolution"] + row["uncertainty"] + row["within"]
    assert parts == pytest.approx(row["brier"])


def test_equal_confidences_leave_nothing_within_a_bin() -> None:
    frame = answers([0.3] * 50 + [0.8] * 50, [1] * 20 + [0] * 30 + [1] * 35 + [0] * 15)
    row = calibration(frame).row(0, named=True)
    assert row["within"] == pytest.approx(0.0, abs=1e-12)
    assert row["bins"] == 2


def test_fewer_bins_are_noted() -> None:
    assert calibration(drawn(59, 1.0))["interval"].item() == "bootstrap (2,000), 1 of 15 bins"
    assert calibration(drawn(20, 1.0))["interval"].item() == "bootstrap (2,000), 1 of 15 bins, n small"
    assert calibration(drawn(450, 1.0))["interval"].item() == "bootstrap (2,000)"


@pytest.mark.parametrize("n", [300, 20_000])
def test_the_band_holds_the_plain_error_of_a_calibrated_model_only(n: int) -> None:
    calibrated, off = (calibration(drawn(n, power)).row(0, named=True) for power in (1.0, 2.0))
    assert calibrated["null_low"] < calibrated["ece"] < calibrated["null_high"]
    assert off["ece"] > off["null_high"]
    assert off["ci_low"] > 0


def test_the_two_ways_to_draw_the_band_agree() -> None:
    # ten thousand answers are drawn one by one, one more of them bin by bin
    drawn_one_by_one, by_bins = (calibration(drawn(n, 1.0)).row(0, named=True) for n in (10_000, 10_001))
    for end in ("null_low", "null_high"):
        assert by_bins[end] == pytest.approx(drawn_one_by_one[end], rel=0.06)


def test_clusters_that_agree_widen_the_interval() -> None:
    one = drawn(400, 1.5)
    fourfold = pl.concat([one.with_columns(cluster=pl.int_range(pl.len()))] * 4)
    together, apart = (calibration(each).row(0, named=True) for each in (fourfold, fourfold.drop("cluster")))
    assert (together["n_clusters"], apart["n_clusters"]) == (400, 1600)
    width = [row["ci_high"] - row["ci_low"] for row in (together, apart)]
    assert width[0] > 1.6 * width[1]


@pytest.mark.parametrize("columns", [["confidence", "right"], ["confidence", "right", "cluster"]])
@pytest.mark.parametrize("n", [500, 6_000])
def test_the_order_of_the_rows_does_not_matter(n: int, columns: list[str]) -> None:
    frame = drawn(n, 1.5).with_columns(cluster=pl.int_range(pl.len()) // 2).select(columns)
    assert calibration(frame.sample(fraction=1, shuffle=True, seed=1)).equals(calibration(frame))


def test_groups_have_one_row_and_null_rows_are_excluded() -> None:
    frame = pl.concat([drawn(100, 1.0), answers([None, 0.5], [1, None]).cast({"right": pl.Boolean})])
    both = pl.concat([frame.with_columns(model=pl.lit("b")), frame.with_columns(model=pl.lit("a"))])
    assert calibration(both, "model").select("model", "n").rows() == [("a", 100), ("b", 100)]
    assert calibration(frame.clear()).height == 0


def test_invalid_values_raise() -> None:
    with pytest.raises(ArgumentError, match=r"1\.2 isn't a probability"):
        calibration(answers([1.2], [1]))
    with pytest.raises(ArgumentError, match="2 is neither 0 nor 1"):
        calibration(answers([0.2], [2]))
    with pytest.raises(ArgumentError, match="bins must be an integer ≥ 1"):
        calibration(drawn(10, 1.0), bins=0)
    with pytest.raises(ArgumentError, match="between 0 and 1"):
        calibration(drawn(10, 1.0), ci=95)
    with pytest.raises(UnknownNameError, match="Did you mean 'confidence'"):
        calibration(drawn(10, 1.0), confidence="confidenc")
