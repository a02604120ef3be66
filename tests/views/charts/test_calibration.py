"""The reliability diagram."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from tests.frames import completions
from tests.views.charts.drawn import layer, rows, words


def answers() -> pl.DataFrame:
    """60 answers sure to .6, of which 36 are right, and 60 sure to .9, of which 45 are."""
    return pl.DataFrame({"confidence": [0.6] * 60 + [0.9] * 60, "right": [1] * 36 + [0] * 24 + [1] * 45 + [0] * 15})


def test_each_bin_is_at_its_confidence_and_accuracy() -> None:
    chart = hf.charts.calibration(answers())
    points = [(round(row["claimed"], 3), round(row["value"], 3), row["n"]) for row in layer(chart, "point")]
    assert points == [(0.6, 0.6, 60), (0.9, 0.75, 60)]
    assert all(row["ci_low"] < row["value"] < row["ci_high"] for row in layer(chart, "point"))


def test_the_error_is_listed_with_its_range_for_a_calibrated_model() -> None:
    found = hf.stats.calibration(answers(), bins=10).row(0, named=True)
    note = f"calibration error {found['ece']:.3f} (if calibrated: [{found['null_low']:.3f}, {found['null_high']:.3f}])"
    assert note in words(hf.charts.calibration(answers()))


def test_each_model_has_points() -> None:
    frame = pl.concat([answers().with_columns(model=pl.lit(name)) for name in ("a", "b")])
    assert {row["model"] for row in layer(hf.charts.calibration(frame), "point")} == {"a", "b"}


def test_confidence_may_be_the_probability_of_the_completion() -> None:
    frame = completions(
        ["x"] * 40, [[("x", place % 4 > 0), ("y", place % 4 == 0)] for place in range(40)], logprob=-0.2
    )
    assert "no answer has a probability" in str(rows(hf.charts.calibration(frame)))
    (point,) = layer(hf.charts.calibration(frame, confidence="max_prob"), "point")
    assert (round(point["claimed"], 3), point["value"]) == (0.819, 0.75)
    with pytest.raises(ArgumentError, match="Did you mean 'max_prob'"):
        hf.charts.calibration(frame, confidence="max_prop")


def test_other_frames_are_refused() -> None:
    with pytest.raises(ArgumentError, match="columns confidence and right"):
        hf.charts.calibration(pl.DataFrame({"x": [1]}))
    with pytest.raises(ArgumentError, match="isn't a probability"):
        hf.charts.calibration(pl.DataFrame({"confidence": [2.0], "right": [1]}))
