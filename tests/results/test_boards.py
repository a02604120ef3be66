"""The leaderboard of results: which columns, which competitors."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, UnknownNameError

MODELS = {"good": hf.models.oracle(), "fair": hf.models.noisy(0.6), "bad": hf.models.noisy(0.2)}


def plan(name: str, instances: int = 60) -> hf.Plan:
    rows = pl.DataFrame({"q": [f"{name}, question {place}?" for place in range(instances)], "a": ["yes"] * instances})
    return hf.scenario(rows, input="q", references="a", name=name).metrics("exact_match", "f1_score")


def run(*plans: hf.Plan, models: Any = MODELS) -> hf.Results:
    return hf.suite(*plans, models=models).score()


def test_a_suite_is_ranked_over_its_scenarios() -> None:
    board = run(plan("one"), plan("two")).leaderboard()
    assert board.table["model"].to_list() == ["good", "fair", "bad"]
    assert board.table["rank_high"].to_list() == [1, 2, 3]
    assert board.columns == ("one", "two")


def test_cells_are_the_values_of_the_table() -> None:
    results = run(plan("one"), plan("two"))
    cells = results.leaderboard().cells.filter(column="one").select("model", "value", "ci_low", "n").sort("model")
    table = results.table(["scenario", "model"], metrics="exact_match").filter(scenario="one").sort("model")
    assert cells.rows() == table.select("model", "value", "ci_low", "n").rows()


def test_columns_are_scenarios_metrics_or_both() -> None:
    results = run(plan("one"), plan("two"))
    assert results.leaderboard(columns="one").columns == ("one",)
    assert results.leaderboard(columns=["f1_score"]).columns == ("one", "two")
    both = results.leaderboard(columns=["one", ("one", "f1_score")])
    assert both.columns == ("one: exact_match", "one: f1_score")


def test_settings_of_a_grid_stand_side_by_side() -> None:
    board = run(plan("one").adapt(instructions=["", "Answer."]), models=hf.models.noisy(0.5)).leaderboard()
    assert len(board.pool) == 2
    assert all(name.startswith("noisy") for name in board.pool)


def test_worst_cases_are_ranked_over_the_same_variants() -> None:
    board = run(plan("one").perturb(["typos", "lowercase"])).leaderboard(worst="all", mean="mean")
    original = run(plan("one")).leaderboard(mean="mean")
    worst = dict(board.table.select("model", "value").iter_rows())
    assert worst["fair"] < dict(original.table.select("model", "value").iter_rows())["fair"]


def test_metrics_of_whole_sets_are_ranked_too() -> None:
    results = run(plan("one")).rescore("exact_match", "classification_macro_f1")
    board = results.leaderboard(columns=[("one", "classification_macro_f1")])
    assert board.table["model"].to_list()[0] == "good"
    with pytest.raises(ArgumentError, match="one number of all instances"):
        results.leaderboard(columns=[("one", "classification_macro_f1")], worst="all")


def test_models_of_which_many_requests_failed_are_not_ranked_unless_told_how() -> None:
    def half(prompt: str) -> str:
        if "5" in prompt:
            raise ValueError("no fives")
        return "yes"

    results = run(plan("one"), models={**MODELS, "half": hf.model(half)})
    with pytest.raises(NotComparableError, match=r"25.0% of the requests of 'half' failed"):
        results.leaderboard()
    worst, dropped = (results.leaderboard(errors=errors, mean="mean") for errors in ("worst", "drop"))
    assert dict(worst.table.select("model", "value").iter_rows())["half"] == pytest.approx(0.75)
    assert dict(dropped.table.select("model", "value").iter_rows())["half"] == 1.0
    # the 15 instances are dropped for every model
    assert dropped.cells.select("n", "n_dropped").unique().rows() == [(45, 15)]


def test_an_unknown_column_is_named() -> None:
    results = run(plan("one"))
    with pytest.raises(
        UnknownNameError, match=r"scenario or metric of these results is called 'on'\. Did you mean 'one'"
    ):
        results.leaderboard(columns="on")
    with pytest.raises(UnknownNameError, match="metric of these results is called 'f2_score'"):
        results.leaderboard(columns=[("one", "f2_score")])


def test_one_model_has_no_leaderboard() -> None:
    with pytest.raises(ArgumentError, match="here is one: 'oracle"):
        run(plan("one"), models=hf.models.oracle()).leaderboard()


def test_a_board_of_a_metric_over_whole_sets_is_paired_and_refuses_failures() -> None:
    def half(prompt: str) -> str:
        if "5" in prompt:
            raise ValueError("no fives")
        return "yes"

    results = run(plan("one"), models={**MODELS, "half": hf.model(half)}).rescore("classification_macro_f1")
    column = [("one", "classification_macro_f1")]
    with pytest.raises(NotComparableError, match=r"25\.0% of the requests of 'half' failed"):
        results.leaderboard(columns=column)
    with pytest.raises(ArgumentError, match="one number of all instances"):
        results.leaderboard(columns=column, errors="worst")
    cells = results.leaderboard(columns=column, errors="drop").cells
    assert cells.select("n", "n_dropped").unique().rows() == [(45, 15)]
