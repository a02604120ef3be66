"""How leaderboards show themselves."""

import polars as pl

import helmframe as hf
from helmframe.stats import leaderboard
from helmframe.views.leaderboard import leaderboard_html, leaderboard_markdown, leaderboard_text

HOSTILE = "<img src=x onerror=alert(1)>"


def board(models: int = 2, name: str = "m0") -> hf.Leaderboard:
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
        "rank  between  ties  model  win rate  over instances",
        "   1      1–2  a     m0        1.000  [0.000, 1.000]",
        "   2      1–2  a     m1        0.000  [0.000, 1.000]",
        "ranks: those of all models hold at once in 95% of draws of instances",
        "1 column: s",
    ]


def test_a_board_of_many_says_how_many_it_does_not_show() -> None:
    assert "5 more models" in leaderboard_text(board(105))


def test_names_on_a_board_are_escaped() -> None:
    assert "<img" not in leaderboard_html(board(name=HOSTILE))
    assert "\\<img" in leaderboard_markdown(board(name=HOSTILE))


def test_a_board_of_means_shows_scenarios_and_missing_columns() -> None:
    means = pl.DataFrame({"model": ["a", "b"], "x": [0.5, 0.4], "y": [0.5, None], "z": [0.1, 0.2]})
    head = repr(hf.leaderboard(means)).splitlines()[0]
    assert head.split("  ")[-2:] == ["over scenarios", "columns"]


def test_where_there_is_room_a_board_shows_its_cells() -> None:
    means = pl.DataFrame({"model": ["a", "b"], "x": [0.5, 0.4], "y": [0.25, None]})
    rows = leaderboard_markdown(hf.leaderboard(means)).splitlines()
    assert rows[0].endswith("| x | y |")
    assert rows[2].endswith("| 0.500 | 0.250 |")
    assert rows[3].endswith("| 0.400 |  |")
