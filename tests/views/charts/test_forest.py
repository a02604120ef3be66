"""Paired differences."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from tests.views.charts.drawn import encoding, layer, rows, scores, words

BETTER = {"exact_match": True}


def test_each_difference_has_its_interval_and_the_joint_one() -> None:
    frame = scores({"a": 0.75, "b": 0.5, "c": 0.25})
    table = hf.stats.compare(frame, "model", base="b", higher_is_better=BETTER)
    chart = hf.charts.forest(table)
    assert [(row["label"], row["difference"]) for row in layer(chart, "point")] == [("a", 0.25), ("c", -0.25)]
    assert "exact_match: each − b" in words(chart)
    row = layer(chart, "point")[0]
    assert row["joint_low"] <= row["ci_low"] < row["difference"] < row["ci_high"] <= row["joint_high"]


def test_scores_are_compared_first() -> None:
    frame = scores({"a": 0.75, "b": 0.5})
    chart = hf.charts.forest(frame, base="b")
    assert [row["difference"] for row in layer(chart, "point")] == [0.25]
    assert "exact_match: a − b" in words(chart)


def test_models_keep_their_colours() -> None:
    frame = scores({"a": 0.75, "b": 0.5, "c": 0.25})
    colours = encoding(hf.charts.scores(frame), "point", "color")["scale"]
    compared = encoding(hf.charts.forest(frame, models=["a", "b", "c"]), "point", "color")["scale"]
    assert compared["domain"] == ["b", "c"]
    assert compared["range"] == colours["range"][1:]


def test_settings_are_compared_model_by_model() -> None:
    frame = pl.concat([scores({"m": share}, setting=name) for share, name in ((0.5, "shots=0"), (0.75, "shots=5"))])
    chart = hf.charts.forest(frame, axis="setting")
    assert [(row["model"], row["difference"]) for row in layer(chart, "point")] == [("m", 0.25)]
    assert "shots=5 − shots=0" in words(chart)


def test_one_side_no_chart() -> None:
    assert "only one model" in str(rows(hf.charts.forest(scores({"a": 0.5}))))
    assert "only one setting" in str(rows(hf.charts.forest(scores({"a": 0.5}), axis="setting")))


def test_other_tables_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"a table of hf\.compare"):
        hf.charts.forest(hf.stats.table(scores({"a": 0.5})))
