"""Frames from anywhere as scores."""

from collections.abc import Callable

import polars as pl
import pytest

from helmframe._schema import SCORES
from helmframe.errors import ArgumentError
from helmframe.stats import aggregate, compare, gap, robustness, table, worst_case
from helmframe.stats.frames import as_scores


def test_a_frame_of_the_whole_schema_stays_as_it_is() -> None:
    whole = pl.LazyFrame(schema=SCORES.schema)
    assert as_scores(whole) is whole


def test_what_is_missing_is_one_for_all_rows() -> None:
    row = as_scores(pl.DataFrame({"instance_id": [7], "score": [0.5], "own": ["kept"]})).row(0, named=True)
    assert row == {
        "instance_id": "7", "score": 0.5, "own": "kept", "scenario": "", "subset": "", "perturbation": "original",
        "perturbation_seed": 0, "setting": "", "trial": 0, "model": "", "output_index": 0, "metric": "score",
        "cluster": None, "changed": None, "parsed": None, "truncated": None,
    }  # fmt: skip


def test_a_perturbed_row_counts_as_changed_unless_it_is_told() -> None:
    frame = pl.DataFrame(
        {"instance_id": [1, 2] * 2, "perturbation": ["original"] * 2 + ["typos"] * 2, "score": [1, 1, 0, 1]}
    )
    row = robustness(frame, [], higher_is_better={"score": True}).row(0, named=True)
    assert (row["change"], row["n_changed"]) == (-0.5, 2)


UP = {"score": True}
ROWS = pl.DataFrame(
    {
        "instance_id": [str(n // 4) for n in range(96)],
        "model": ["a", "b"] * 48,
        "perturbation": ["original", "original", "typos", "typos"] * 24,
        "score": [float(n * 7 % 5 < 3) for n in range(96)],
    }
)
GROUPS = pl.Series(["x", "y", "z"] * 8).gather([n // 4 for n in range(96)])
STATISTICS: dict[str, Callable[[pl.DataFrame, str], pl.DataFrame]] = {
    "table": lambda rows, by: table(rows, [by, "model"]),
    "aggregate": lambda rows, by: aggregate(rows, [by, "model"]),
    "compare": lambda rows, by: compare(rows, "model", [by], higher_is_better=UP),
    "robustness": lambda rows, by: robustness(rows, [by], higher_is_better=UP),
    "worst_case": lambda rows, by: worst_case(rows, [by], higher_is_better=UP),
    "gap": lambda rows, by: gap(rows, by, ["model"]),
}


@pytest.mark.parametrize("name", ["weight", "rows", "size", "stratum", "variance", "cells", "unit", "worth", "v_trial"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_groups_may_have_names_that_a_statistic_uses_inside(statistic: str, name: str) -> None:
    function = STATISTICS[statistic]
    expected = function(ROWS.with_columns(GROUPS.alias("group_of_mine")), "group_of_mine")
    result = function(ROWS.with_columns(GROUPS.alias(name)), name)
    assert result.rename({name: "group_of_mine"}).equals(expected)


@pytest.mark.parametrize("name", ["value", "n", "stderr"])
def test_groups_with_the_name_of_a_result_column_are_refused(name: str) -> None:
    with pytest.raises(
        ArgumentError, match=rf"table\(\): the result has a column '{name}' already. Rename the scores'"
    ):
        table(ROWS.with_columns(GROUPS.alias(name)), name)


def test_flags_of_another_type_are_refused() -> None:
    with pytest.raises(ArgumentError, match="column 'parsed' should hold true or false: String"):
        table(ROWS.with_columns(GROUPS.alias("parsed")))
