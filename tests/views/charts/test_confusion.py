"""Which answer was given for which class."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.views.charts._confusion import MOST
from tests.frames import completions
from tests.views.charts.drawn import HOSTILE, rows, words


def counts(chart: Any) -> dict[tuple[str, str], int]:
    return {(row["y"], row["x"]): row["n"] for row in rows(chart)}


def test_outputs_are_counted_by_class() -> None:
    golds = ["yes", "yes", "yes", "no"]
    frame = completions(["yes", "Yes!", "no", "<b>"], [[(gold, True)] for gold in golds])
    chart = hf.charts.confusion(frame)
    assert counts(chart) == {("no", "(other)"): 1, ("yes", "no"): 1, ("yes", "yes"): 2}
    assert {row["share"] for row in rows(chart) if row["y"] == "yes"} == {1 / 3, 2 / 3}


def test_choices_whose_texts_differ_each_time_count_by_label() -> None:
    many = range(MOST + 1)
    options = [[(f"right {place}", True), (f"wrong {place}", False)] for place in many]
    choices = pl.Series([["A", "B"]] * len(many))
    frame = completions(["A"] * (MOST - 1) + ["B", "neither"], options, choices=choices)
    assert counts(hf.charts.confusion(frame)) == {("A", "A"): MOST - 1, ("A", "B"): 1, ("A", "(unparsed)"): 1}


def test_free_text_has_no_classes() -> None:
    frame = completions(["x"] * 50, [[(f"text {place}", True)] for place in range(50)])
    assert "no classes" in str(rows(hf.charts.confusion(frame)))


def test_rare_classes_are_cut_and_counted() -> None:
    golds = [f"class {place:02}" for place in range(30) for _ in range(5)]
    chart = hf.charts.confusion(completions(golds, [[(gold, True)] for gold in golds]))
    assert len(counts(chart)) == MOST
    assert f"the {MOST} most frequent of 30 classes" in words(chart)


def test_models_have_panels_and_names_stay_text() -> None:
    frame = pl.concat([completions(["a", "b"], [[("a", True)], [("b", True)]], model=name) for name in ("m", HOSTILE)])
    assert {row["panel"] for row in rows(hf.charts.confusion(frame))} == {"m", HOSTILE}


def test_counts_are_drawn_as_they_are() -> None:
    chart = hf.charts.confusion(pl.DataFrame({"gold": ["a", "a"], "output": ["a", "b"], "n": [3, 1]}))
    assert counts(chart) == {("a", "a"): 3, ("a", "(other)"): 1}


def test_nothing_to_count_no_chart() -> None:
    assert "no completion of an instance" in str(rows(hf.charts.confusion(completions([None], [[("a", True)]]))))
    with pytest.raises(ArgumentError, match="'gold', 'output', 'n'"):
        hf.charts.confusion(pl.DataFrame({"x": [1]}))
