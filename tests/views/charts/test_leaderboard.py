"""Ranks of models, and how sure they are."""

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from tests.views.charts.drawn import encoding, layer, rows, scores, words

FRAME = scores({"a": 0.2, "b": 0.9, "c": 0.85})


def board() -> hf.stats.Leaderboard:
    return hf.stats.leaderboard(FRAME, higher_is_better={"exact_match": True})


def test_models_are_drawn_from_best_to_worst_with_their_ranks() -> None:
    chart = hf.charts.leaderboard(board())
    assert encoding(chart, "point", "y")["scale"]["domain"] == ["b", "c", "a"]
    ranks = [(row["rank"], row["rank_low"], row["rank_high"], row["ties"]) for row in layer(chart, "point")]
    assert ranks == board().table.select("rank", "rank_low", "rank_high", "ties").rows()
    assert "95% rank intervals, simultaneous for all models, over samples of instances" in words(chart)


def test_scores_and_tables_are_ranked_alike() -> None:
    drawn = [layer(hf.charts.leaderboard(each), "point") for each in (board(), board().table, FRAME)]
    assert drawn[0] == drawn[1] == drawn[2]


def test_settings_of_a_model_have_its_colour() -> None:
    table = board().table.with_columns(model=board().table["model"] + " shots=0")
    model_of = {f"{name} shots=0": name for name in "abc"}
    chart = hf.charts.leaderboard(table, model_of=model_of)
    first = layer(chart, "point")[0]
    assert (first["label"], first["model"]) == ("b shots=0", "b")


def test_one_model_no_chart() -> None:
    for frame in (scores({"a": 0.5}), board().table.head(1)):
        assert "only one model" in str(rows(hf.charts.leaderboard(frame)))


def test_published_means_are_ranked_over_scenarios() -> None:
    means = pl.DataFrame({"model": ["x", "y", "z"], "s": [0.5, 0.4, 0.1], "t": [0.5, 0.2, 0.3]})
    assert "over samples of scenarios" in words(hf.charts.leaderboard(hf.stats.leaderboard_of_means(means)))


def test_other_frames_are_refused() -> None:
    with pytest.raises(ArgumentError, match="must be the table of a leaderboard or scores"):
        hf.charts.leaderboard(hf.stats.table(scores({"a": 0.5, "b": 0.2})))
