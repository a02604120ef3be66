"""What perturbations do, over all of them and one by one."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, UnknownNameError
from tests.views.charts.drawn import encoding, layer, perturbed, rows, scores, words


def test_robustness_goes_from_original_to_worst_and_tells_the_paired_drop() -> None:
    chart = hf.charts.robustness(perturbed({"a": 0.5, "b": 0.25}, "typos"))
    assert [(row["model"], row["level"], row["score"]) for row in layer(chart, "point") if row["model"] == "a"] == [
        ("a", "original", 0.5),
        ("a", "perturbed, mean", 0.25),
        ("a", "worst", 0.25),
    ]
    (text, _) = [row["change_text"] for row in layer(chart, "text")]
    assert text.startswith("−0.250 [−0.")


def test_robustness_draws_the_table_that_results_give() -> None:
    frame = perturbed({"a": 0.5, "b": 0.25}, "typos", "lowercase")
    table = hf.stats.robustness(frame, ["model"], higher_is_better={"exact_match": True}, fractions=["exact_match"])
    assert layer(hf.charts.robustness(table), "point") == layer(hf.charts.robustness(frame), "point")


def test_perturbations_of_one_name_are_sorted_by_strength() -> None:
    chart = hf.charts.perturbations(perturbed({"a": 0.5}, "typos(prob=0.2)", "lowercase", "typos(prob=0.01)", "typos"))
    assert encoding(chart, "point", "y")["scale"]["domain"] == [
        "lowercase",
        "typos(prob=0.01)",
        "typos(prob=0.05)",
        "typos(prob=0.2)",
    ]


def test_a_placebo_is_shown_beside_and_counts_for_nothing_in_all() -> None:
    frame = perturbed({"a": 0.5}, "typos", "rerun")
    assert layer(hf.charts.robustness(frame), "point")[0]["k"] == 1
    shown = {row["label"] for row in layer(hf.charts.perturbations(frame), "point")}
    assert shown == {"rerun", "typos"}


def test_changes_have_a_line_at_nothing_changed() -> None:
    chart = hf.charts.perturbations(perturbed({"a": 0.5}, "typos"))
    assert {"at": 0} in rows(chart)
    assert encoding(chart, "point", "x")["title"] == "change in exact_match (fraction)"


def test_a_perturbation_that_changed_nothing_keeps_its_row() -> None:
    frame = perturbed({"a": 0.5}, "typos", "lowercase")
    same = frame.with_columns(changed=pl.col("changed") & (pl.col("perturbation") != "lowercase"))
    chart = hf.charts.perturbations(same)
    assert encoding(chart, "point", "y")["scale"]["domain"] == ["lowercase", "typos"]
    assert "no point: no input was changed" in words(chart)


def test_nothing_perturbed_no_chart() -> None:
    for chart in (hf.charts.robustness(scores({"a": 0.5})), hf.charts.perturbations(scores({"a": 0.5}))):
        assert "no perturbations: add .perturb" in str(rows(chart))


def test_other_tables_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"a table of hf\.stats\.robustness"):
        hf.charts.robustness(hf.stats.table(scores({"a": 0.5})))
    with pytest.raises(UnknownNameError, match="Did you mean 'exact_match'"):
        hf.charts.perturbations(perturbed({"a": 0.5}, "typos"), "exact_mach")
