from pathlib import Path
from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError, SourceMissingError, UnknownNameError

MEANS = pl.DataFrame({"name": ["a", "b", "c"], "x": [0.9, 0.5, 0.1], "y": [0.8, 0.6, None], "z": [0.7, 0.7, 0.2]})


def test_means_of_a_frame_are_ranked_by_win_rate() -> None:
    board = hf.stats.leaderboard_of_means(MEANS)
    # z: a tie of two above one
    assert board.table.select("model", "value", "n_columns").rows() == [
        *[("a", pytest.approx((1 + 1 + 0.75) / 3), 3), ("b", pytest.approx((0.5 + 0 + 0.75) / 3), 3)],
        ("c", 0.0, 2),
    ]
    assert (board.over, board.columns) == ("scenarios", ("x", "y", "z"))


def test_nothing_is_said_of_instances() -> None:
    row = hf.stats.leaderboard_of_means(MEANS).table.row(0, named=True)
    assert (row["ci_low"], row["interval"]) == (None, "no interval: only means are known")
    assert row["scenarios_interval"] == "bootstrap over 3 columns (2,000), few columns"
    assert row["scenarios_low"] <= row["value"] <= row["scenarios_high"]


def test_a_file_with_dashes_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "board.csv").write_text('model,x,y\n"m, 1",0.5,-\nm2,0.25, \nm3,,0.5\n')
    cells = hf.stats.leaderboard_of_means(tmp_path / "board.csv").cells
    assert cells.select("model", "column", "value").rows() == [("m, 1", "x", 0.5), ("m2", "x", 0.25), ("m3", "y", 0.5)]


def test_many_columns_tell_who_is_better() -> None:
    columns = {f"s{place}": [0.9 - place / 100, 0.5 + place / 50, 0.49 + place / 50] for place in range(12)}
    board = hf.stats.leaderboard_of_means(pl.DataFrame({"model": ["a", "b", "c"], **columns}), mean="mean")
    assert board.table["rank_low"].to_list() == [1, 2, 3]


def test_lower_may_be_better() -> None:
    board = hf.stats.leaderboard_of_means(MEANS, ["x"], lower_is_better=["x"])
    assert board.table["model"].to_list() == ["c", "b", "a"]


def test_the_order_of_rows_and_columns_does_not_matter() -> None:
    one, two = hf.stats.leaderboard_of_means(MEANS), hf.stats.leaderboard_of_means(MEANS[[2, 0, 1]], ["z", "x", "y"])
    assert one.table.equals(two.table)


@pytest.mark.parametrize(
    ("means", "said", "error", "message"),
    [
        (MEANS, {"columns": ["xx"]}, UnknownNameError, "no column is called 'xx'. Did you mean 'x'"),
        (MEANS, {"model": "model"}, UnknownNameError, "which names the models"),
        (MEANS, {"mean": "micro"}, ArgumentError, "how many instances"),
        (MEANS.with_columns(name=pl.lit("a")), {}, ArgumentError, "should name each model once: 'a'"),
        (MEANS.with_columns(y=pl.lit("good")), {}, ArgumentError, "column 'y' holds 'good', which is no number"),
        (MEANS.with_columns(y=pl.lit(float("inf"))), {}, ArgumentError, "column 'y' holds 'inf'"),
        ("no such file.csv", {}, SourceMissingError, "there is no file"),
        ([1, 2], {}, ArgumentError, "takes a Polars frame or a CSV file, not list"),
        (pl.DataFrame({"instance_id": ["a"], "score": [1.0]}), {}, ArgumentError, "hf.stats.leaderboard"),
    ],
)
def test_what_is_no_board_is_said(means: Any, said: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hf.stats.leaderboard_of_means(means, **said)
