"""A score in each cell of two columns."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import UnknownNameError
from tests.views.charts.drawn import encoding, perturbed, rows, scores, words


def cells(chart: object, *names: str) -> list[tuple[object, ...]]:
    return sorted({tuple(row[name] for name in names) for row in rows(chart)}, key=str)


def test_each_pair_has_its_score() -> None:
    frame = pl.concat([scores({"a": 0.5, "b": 0.25}, subject="art"), scores({"a": 1.0, "b": 0.0}, subject="music")])
    chart = hf.charts.heatmap(frame, "subject", "model")
    assert cells(chart, "x", "y", "value") == [
        ("art", "a", 0.5),
        ("art", "b", 0.25),
        ("music", "a", 1.0),
        ("music", "b", 0.0),
    ]
    assert encoding(chart, "rect", "color")["scale"] == {"domain": [0.0, 1.0], "scheme": "viridis"}


def test_what_else_tells_scores_apart_has_panels() -> None:
    frame = pl.concat([scores({"a": 0.5, "b": 0.25}, subject=name) for name in ("art", "music")])
    frame = pl.concat([frame.with_columns(scenario=pl.lit(name)) for name in ("s", "t")])
    chart = hf.charts.heatmap(frame, "subject", "scenario")
    assert chart.to_dict()["facet"]["sort"] == ["a", "b"]


def test_perturbed_inputs_do_not_blur_the_scores() -> None:
    frame = perturbed({"a": 0.5, "b": 0.25}, "typos").with_columns(subject=pl.lit("art"))
    assert cells(hf.charts.heatmap(frame, "subject", "model"), "y", "value") == [("a", 0.5), ("b", 0.25)]
    both = hf.charts.heatmap(frame, "perturbation", "model")
    assert ("typos", "a", 0.25) in cells(both, "x", "y", "value")


def test_columns_of_any_name_can_be_axes() -> None:
    frame = scores({"a": 0.5}).with_columns(pl.lit("v").alias("what.is[0]:N"))
    chart = hf.charts.heatmap(frame, "what.is[0]:N", "model")
    assert cells(chart, "x", "y") == [("v", "a")]
    assert encoding(chart, "rect", "x")["title"] == "what.is[0]:N"


def test_an_axis_has_no_more_values_than_can_be_read() -> None:
    subsets = [scores({"a": 0.5}, n=2, subset=f"p{place:03}") for place in range(100)]
    chart = hf.charts.heatmap(pl.concat(subsets), "model", "subset")
    assert len(cells(chart, "y")) == 60
    assert "the first 60 of 100 values of subset" in words(chart)


def test_an_unknown_column_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        hf.charts.heatmap(scores({"a": 0.5}), "modle", "metric")
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        hf.charts.heatmap(hf.stats.table(scores({"a": 0.5, "b": 0.2})), "modle", "metric")


def test_no_scores_no_chart() -> None:
    assert "no scores" in str(rows(hf.charts.heatmap(scores({"a": 0.5}).clear(), "model", "metric")))
