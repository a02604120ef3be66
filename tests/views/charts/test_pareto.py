"""One number over another, and the models that no other beats in both."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError
from tests.views.charts.drawn import encoding, layer, marks, rows, scores

SECONDS = "inference_runtime"


def frame(**seconds: float) -> pl.DataFrame:
    """Models that are right in .8, .6, .4 … of the instances and take so long for each."""
    shares = {model: 0.8 - 0.2 * place for place, model in enumerate(seconds)}
    took = [scores({model: 0.0}, metric=SECONDS).with_columns(score=pl.lit(took)) for model, took in seconds.items()]
    return pl.concat([scores(shares), *took])


def test_the_line_goes_through_those_that_no_other_beats_in_both() -> None:
    chart = hf.charts.pareto(frame(good=3.0, fast=1.0, beaten=2.0), SECONDS, "exact_match")
    assert [row["label"] for row in layer(chart, "line")] == ["fast", "good"]
    assert len(layer(chart, "point")) == 3


def test_where_more_is_better_on_both_axes_the_line_follows() -> None:
    metrics: dict[str, dict[str, Any]] = {
        "exact_match": {"unit": "fraction", "higher_is_better": True},
        SECONDS: {"higher_is_better": True},
    }
    chart = hf.charts.pareto(frame(good=3.0, fast=1.0, beaten=2.0), SECONDS, "exact_match", metrics=metrics)
    assert [row["label"] for row in layer(chart, "line")] == ["good"]


def test_axes_say_their_units() -> None:
    chart = hf.charts.pareto(frame(a=1.0, b=2.0), SECONDS, "exact_match")
    assert encoding(chart, "point", "x")["title"] == "inference_runtime (s, lower is better)"
    assert encoding(chart, "point", "y")["scale"]["domain"][1] <= 1


def test_values_far_apart_have_a_logarithmic_axis() -> None:
    near, far = (hf.charts.pareto(frame(a=1.0, b=b), SECONDS, "exact_match") for b in (2.0, 200.0))
    assert [encoding(each, "point", "x")["scale"].get("type", "linear") for each in (near, far)] == ["linear", "log"]


def test_settings_are_named_beside_their_points() -> None:
    parts = [frame(a=1.0, b=2.0).with_columns(setting=pl.lit(name)) for name in ("shots=0", "shots=5")]
    chart = hf.charts.pareto(pl.concat(parts), SECONDS, "exact_match")
    assert "text" in marks(chart)
    assert {row["label"] for row in layer(chart, "text")} == {"shots=0", "shots=5"}


def test_a_number_that_is_missing_is_named() -> None:
    lacking = frame(a=1.0, b=2.0).with_columns(score=pl.when(pl.col("metric") != SECONDS).then("score"))
    why = str(rows(hf.charts.pareto(lacking, SECONDS, "exact_match")))
    assert "inference_runtime is missing" in why
    lacking = frame(a=1.0, b=2.0).with_columns(score=pl.when(pl.col("metric") == SECONDS).then("score"))
    assert "exact_match is missing" in str(rows(hf.charts.pareto(lacking, SECONDS, "exact_match")))
    with pytest.raises(UnknownNameError, match="Did you mean 'inference_runtime'"):
        hf.charts.pareto(lacking, "inference_runtim", "exact_match")


def test_a_table_with_several_values_of_a_model_is_refused() -> None:
    parts = [frame(a=1.0, b=2.0).with_columns(scenario=pl.lit(name)) for name in ("s", "t")]
    table = hf.stats.table(pl.concat(parts))
    with pytest.raises(ArgumentError, match="Aggregate by model"):
        hf.charts.pareto(table, SECONDS, "exact_match")


def test_labels_overlap_neither_points_nor_each_other() -> None:
    names = [f"temperature={number}" for number in range(6)]
    parts = [
        frame(a=1.0 + number / 50, b=1.1 + number / 40, c=1.2).with_columns(setting=pl.lit(name))
        for number, name in enumerate(names)
    ]
    chart = hf.charts.pareto(pl.concat(parts), SECONDS, "exact_match")
    scales = {axis: encoding(chart, "point", axis)["scale"]["domain"] for axis in ("x", "y")}
    width, height = (chart.to_dict()[name] for name in ("width", "height"))

    def pixel(row: dict[str, Any], prefix: str) -> tuple[float, float]:
        ends = [(row[prefix + axis] - low) / (high - low) for axis, (low, high) in scales.items()]
        return ends[0] * width, ends[1] * height

    texts = layer(chart, "text")
    boxes = []
    for row in texts:
        x, y = pixel(row, "label_")
        boxes.append((x, y - 5, x + 5 * len(row["label"]), y + 5))
    assert len(boxes) > 6
    points = [(x, y, x, y) for x, y in (pixel(row, "") for row in layer(chart, "point"))]
    for number, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[2] <= width
        for other in [*boxes[number + 1 :], *points]:
            assert not (one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])
