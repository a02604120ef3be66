"""How leaderboards show themselves."""

import re

import polars as pl

import helmframe as hf
from helmframe.stats import leaderboard
from helmframe.views.comparison import leaderboard_html, leaderboard_text

HOSTILE = "<img src=x onerror=alert(1)>"


def board(models: int = 2, name: str = "m0") -> hf.stats.Leaderboard:
    names = [name, *(f"m{place}" for place in range(1, models))]
    frame = pl.DataFrame(
        [
            {"model": model, "instance_id": str(each), "score": float(each >= place), "scenario": "s", "metric": "x"}
            for place, model in enumerate(names)
            for each in range(20)
        ]
    )
    return leaderboard(frame, higher_is_better={"x": True})


def test_a_board_shows_ranks_and_what_holds() -> None:
    assert repr(board()).splitlines() == [
        "rank  rank interval  ties  model  win rate  over instances   mean  rank by mean",
        "   1            1–2  a     m0        1.000  [0.000, 1.000]  1.000           1–2",
        "   2            1–2  a     m1        0.000  [0.000, 1.000]  0.950           1–2",
        "rank intervals: 95%, simultaneous for all models, over samples of instances",
        "1 column: s",
    ]


def test_a_board_of_many_says_how_many_it_does_not_show() -> None:
    assert "5 more models are not shown" in leaderboard_text(board(105))


def test_names_on_a_board_are_escaped() -> None:
    assert "<img" not in leaderboard_html(board(name=HOSTILE))
    assert "&lt;img" in leaderboard_html(board(name=HOSTILE))


def test_a_board_of_means_shows_scenarios_and_missing_columns() -> None:
    means = pl.DataFrame({"model": ["a", "b"], "x": [0.5, 0.4], "y": [0.5, None], "z": [0.1, 0.2]})
    head = repr(hf.stats.leaderboard_of_means(means)).splitlines()[0]
    assert head.split("  ")[-2:] == ["over scenarios", "columns"]


def test_where_there_is_room_a_board_shows_its_cells() -> None:
    means = pl.DataFrame({"model": ["a", "b"], "x": [0.5, 0.4], "y": [0.25, None]})
    rows = [
        re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", row)
        for row in leaderboard_html(hf.stats.leaderboard_of_means(means)).split("<tr>")[1:]
    ]
    assert [row[-2:] for row in rows] == [["x", "y"], ["0.500", "0.250"], ["0.400", ""]]
