"""Scores with their intervals, of scores or of a table."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError
from tests.views.charts.drawn import encoding, layer, marks, rows, scores, words


def test_scores_are_aggregated_before_they_are_drawn() -> None:
    frame = scores({"a": 0.5, "b": 0.25}, n=20_000)
    chart = hf.charts.scores(frame)
    assert [(row["model"], row["value"], row["n"]) for row in layer(chart, "point")] == [
        ("a", 0.5, 20_000),
        ("b", 0.25, 20_000),
    ]
    assert len(rows(chart)) < 10


def test_a_table_is_drawn_as_it_is() -> None:
    table = hf.stats.table(scores({"a": 0.5, "b": 0.25}))
    drawn = pl.DataFrame(layer(hf.charts.scores(table), "point"))
    columns = ["model", "value", "ci_low", "ci_high"]
    assert_frame_equal(drawn.select(columns), table.select(columns))


def test_a_lazy_frame_will_do() -> None:
    assert layer(hf.charts.scores(scores({"a": 0.5}).lazy()), "point")[0]["value"] == 0.5


def test_the_axis_says_unit_and_direction() -> None:
    chart = hf.charts.scores(scores({"a": 0.5}))
    axis = encoding(chart, "point", "x")
    assert axis["title"] == "exact_match (fraction, higher is better)"
    assert axis["scale"]["domain"] == [0, 1]


def test_units_of_unknown_metrics_can_be_set() -> None:
    frame = scores({"a": 0.5}, metric="theirs")
    metrics = {"theirs": {"unit": "points", "higher_is_better": False}}
    chart = hf.charts.scores(frame, metrics=metrics)
    assert encoding(chart, "point", "x")["title"] == "theirs (points, lower is better)"


def test_metrics_of_another_unit_are_left_out_and_named() -> None:
    frame = pl.concat([scores({"a": 0.5}), scores({"a": 0.5}, metric="inference_runtime")])
    chart = hf.charts.scores(frame)
    assert len(layer(chart, "point")) == 1
    assert "not shown (different unit): inference_runtime" in words(chart)


def test_a_row_without_a_value_says_why() -> None:
    frame = pl.concat([scores({"a": 0.5}), scores({"b": 0.5}).with_columns(score=pl.lit(None, dtype=pl.Float64))])
    chart = hf.charts.scores(frame)
    assert [row["model"] for row in layer(chart, "point")] == ["a"]
    assert [(row["model"], row["why"]) for row in layer(chart, "text")] == [("b", "no interval: nothing was scored")]


def test_an_interval_that_is_not_known_is_not_drawn() -> None:
    frame = scores({"a": 0.5}, n=4).with_columns(cluster=pl.lit("one"))
    chart = hf.charts.scores(frame)
    assert layer(chart, "rule") == []
    assert len(layer(chart, "point")) == 1


def test_chance_is_a_tick_of_its_row() -> None:
    table = hf.stats.table(scores({"a": 0.5})).with_columns(chance=0.25)
    assert marks(hf.charts.scores(table)) == ["tick", "rule", "point"]


def test_more_rows_than_can_be_read_are_cut_and_counted() -> None:
    one = hf.stats.table(scores({"a": 0.5}))
    table = one.join(pl.DataFrame({"scenario": [f"s{place}" for place in range(400)]}), how="cross")
    chart = hf.charts.scores(table)
    assert len(layer(chart, "point")) == 300
    assert "the first 300 of 400 rows" in words(chart)


def test_texts_are_shown_with_what_cannot_be_seen_and_within_bounds() -> None:
    long = "x" * 5_000_000
    chart = hf.charts.scores(scores({"a\u202eb\x1b[31m": 0.5, long + "1": 0.2, long + "2": 0.1}))
    names = {row["model"] for row in layer(chart, "point")}
    assert "a⟨U+202E⟩b⟨U+001B⟩[31m" in names
    assert len(names) == 3
    assert len(chart.to_json()) < 20_000


def test_no_scores_no_chart() -> None:
    assert "no scores" in str(rows(hf.charts.scores(scores({"a": 0.5}).clear())))


def test_other_frames_are_refused() -> None:
    with pytest.raises(ArgumentError, match="Scores must have a column 'instance_id'"):
        hf.charts.scores(pl.DataFrame({"x": [1]}))
    with pytest.raises(ArgumentError, match="a Polars frame, not list"):
        hf.charts.scores([1])
    with pytest.raises(UnknownNameError, match="Did you mean 'exact_match'"):
        hf.charts.scores(scores({"a": 0.5}), "exact_mach")
    with pytest.raises(UnknownNameError, match="Did you mean 'exact_match'"):
        hf.charts.scores(hf.stats.table(scores({"a": 0.5})), "exact_mach")


def test_every_chart_takes_a_size_and_a_title() -> None:
    plan = hf.scenario("sampler").where(subject="music").perturb("typos")
    results = plan.generate({"a": hf.models.noisy(0.8), "b": hf.models.noisy(0.6)}).score()
    for name in ("scores", "robustness", "forest"):
        chart = getattr(results.plot, name)(width=500, height=90, title="Mine").to_dict()
        assert chart["title"]["text"] == "Mine"
        view = chart.get("spec", chart)
        assert (view["width"], view["height"]) == (500, 90)
    with pytest.raises(ArgumentError, match="width must be a number of pixels"):
        results.plot.scores(width="wide")
