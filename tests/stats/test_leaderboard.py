from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm

import helmframe as hf
from helmframe.errors import ArgumentError, NotComparableError, SourceMissingError, UnknownNameError
from helmframe.stats import Leaderboard, leaderboard

HIGHER = {"exact_match": True}


def scored(right: dict[str, int], instances: int = 200, **columns: Any) -> pl.DataFrame:
    """Models that answer so many of the instances, the first ones, right."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": model,
                "instance_id": [f"id{place}" for place in range(instances)],
                "score": [float(place < count) for place in range(instances)],
                "scenario": "s",
                "metric": "exact_match",
            }
        ).with_columns(**{name: pl.lit(value) for name, value in columns.items()})
        for model, count in right.items()
    )


def board(frame: pl.DataFrame, **options: Any) -> Leaderboard:
    return leaderboard(frame, higher_is_better=HIGHER, **options)


def column(found: Leaderboard, name: str) -> dict[str, Any]:
    return dict(found.table.select("model", name).iter_rows())


def test_models_are_sorted_from_best_to_worst() -> None:
    found = board(scored({"bad": 20, "good": 180, "fair": 100}))
    assert found.table.select("model", "value", "rank").rows() == [("good", 1.0, 1), ("fair", 0.5, 2), ("bad", 0.0, 3)]
    assert (found.pool, found.columns, found.over) == (("bad", "fair", "good"), ("s",), "instances")


def test_what_is_not_sure_is_tied() -> None:
    found = board(scored({"a": 101, "b": 100, "c": 20}))
    assert found.table.select("rank", "rank_low", "rank_high", "ties").rows() == [
        *[(1, 1, 2, "a"), (2, 1, 2, "a")],
        (3, 3, 3, "b"),
    ]


def test_a_win_rate_lies_between_what_undecided_pairs_leave_open() -> None:
    found = board(scored({"a": 101, "b": 100, "c": 20}))
    assert found.table.select("value", "ci_low", "ci_high").rows() == [
        (1.0, 0.5, 1.0),
        (0.5, 0.5, 1.0),
        (0.0, 0.0, 0.0),
    ]


def test_the_mean_of_scenarios_or_of_their_instances() -> None:
    frame = pl.concat(
        [scored({"a": 50, "b": 100}, 100, scenario="few"), scored({"a": 300, "b": 200}, 300, scenario="many")]
    )
    assert column(board(frame, mean="mean"), "value") == pytest.approx({"a": 0.75, "b": 5 / 6})
    assert column(board(frame, mean="micro"), "value") == pytest.approx({"a": 0.875, "b": 0.75})
    assert column(board(frame), "value") == {"a": 0.5, "b": 0.5}


def test_subsets_weigh_alike_or_by_size() -> None:
    frame = pl.concat([scored({"a": 10, "b": 0}, 10, subset="x"), scored({"a": 0, "b": 0}, 90, subset="y")])
    frame = frame.with_columns(instance_id=pl.col("subset") + pl.col("instance_id"))
    assert column(board(frame, mean="mean"), "value")["a"] == 0.5
    assert column(board(frame, mean="mean", subsets="micro"), "value")["a"] == pytest.approx(0.1)


def test_lower_may_be_better() -> None:
    frame = scored({"a": 180, "b": 20})
    found = leaderboard(frame, higher_is_better={"exact_match": False})
    assert found.table["model"].to_list() == ["b", "a"]
    assert leaderboard(frame, higher_is_better={"exact_match": False}, mean="mean").table["model"].to_list() == [
        "b",
        "a",
    ]


def test_a_cell_that_is_missing_is_left_out_of_a_win_rate_and_leaves_no_mean() -> None:
    frame = pl.concat([scored({"a": 80, "b": 60, "c": 40}, scenario="x"), scored({"a": 80, "b": 60}, scenario="y")])
    assert column(board(frame), "value") == {"a": 1.0, "b": 0.25, "c": 0.0}
    assert column(board(frame), "n_columns") == {"a": 2, "b": 2, "c": 1}
    assert column(board(frame, mean="mean"), "value") == pytest.approx({"a": 0.4, "b": 0.3, "c": None})
    assert column(board(frame, mean="mean"), "rank") == {"a": 1, "b": 2, "c": None}


def test_only_original_inputs_count() -> None:
    frame = pl.concat([scored({"a": 100, "b": 50}), scored({"a": 0, "b": 200}, perturbation="typos")], how="diagonal")
    frame = frame.with_columns(pl.col("perturbation").fill_null("original"))
    assert column(board(frame, mean="mean"), "value") == {"a": 0.5, "b": 0.25}


def test_clusters_make_ranks_less_sure() -> None:
    random = np.random.default_rng(0)
    right = random.random((40, 1)) < np.array([0.56, 0.5])
    frame = pl.concat(
        scored({model: 0}, 400).with_columns(score=pl.Series(np.repeat(right[:, place], 10).astype(float)))
        for place, model in enumerate("ab")
    )
    clustered = frame.with_columns(cluster=pl.col("instance_id").str.head(-1))
    assert board(frame, mean="mean").table["rank_high"].to_list() == [1, 2]
    assert board(clustered, mean="mean").table["rank_high"].to_list() == [2, 2]


def test_the_order_of_the_rows_does_not_matter() -> None:
    frame = pl.concat([scored({"a": 80, "b": 79, "c": 10}, scenario=name) for name in "xyz"])
    found, again = board(frame), board(frame.sample(fraction=1, shuffle=True, seed=1))
    assert again.table.equals(found.table)
    assert again.cells.equals(found.cells)


def test_models_on_other_instances_are_ranked_only_with_shared() -> None:
    frame = pl.concat([scored({"a": 100}), scored({"b": 50}, 100)])
    with pytest.raises(NotComparableError, match="'b' was run on 100 of the 200 instances of 's'"):
        board(frame)
    assert column(board(frame, shared=True, mean="mean"), "value") == {"a": 1.0, "b": 0.5}


def test_one_cluster_decides_nothing() -> None:
    found = board(scored({"a": 200, "b": 0}, cluster="all"), mean="mean")
    assert found.table.select("rank_low", "rank_high", "ci_low").rows() == [(1, 2, None), (1, 2, None)]
    assert found.table["interval"][0].startswith("no interval")


def test_boards_of_other_pools_columns_or_means_are_not_compared() -> None:
    two = board(scored({"a": 100, "b": 50}))
    for other, message in (
        (board(scored({"a": 100, "c": 50})), "different models.*Only the first has 'b'. Only the second has 'c'."),
        (board(scored({"a": 100, "b": 50}, scenario="t")), "different columns. Only the first has 's'."),
        (board(scored({"a": 100, "b": 50}), mean="mean"), "leaderboards show different values: 'win_rate' and 'mean'"),
    ):
        with pytest.raises(NotComparableError, match=message):
            two.compare(other)


def test_leaderboards_of_the_same_models_are_compared() -> None:
    before, after = board(scored({"a": 100, "b": 50}), mean="mean"), board(scored({"a": 100, "b": 150}), mean="mean")
    table = after.compare(before)
    assert table.select("model", "rank_a", "rank_b", "difference").rows() == [("b", 1, 2, 0.5), ("a", 2, 1, 0.0)]


def test_the_cells_as_one_row_per_model() -> None:
    frame = pl.concat([scored({"a": 80, "b": 60}, scenario="x"), scored({"a": 80, "b": 100}, scenario="y")])
    assert board(frame, mean="mean").pivot().rows() == [("a", 0.4, 0.4, 0.4), ("b", 0.4, 0.3, 0.5)]


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (scored({"a": 1}), {}, "at least two models are needed. There is only one: 'a'"),
        (scored({"a": 1, "b": 2}), {"mean": "median"}, "mean='median'"),
        (scored({"a": 1, "b": 2}), {"ci": 95}, "ci=95: ci must be between 0 and 1"),
        (scored({"a": 1, "b": 2}, metric="f1"), {}, "Metric 'f1' has no direction"),
    ],
)
def test_invalid_arguments_raise(frame: pl.DataFrame, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        board(frame, **options)


def test_columns_of_several_units_have_no_mean() -> None:
    frame = pl.concat([scored({"a": 1, "b": 2}), scored({"a": 3, "b": 4}, metric="seconds")])
    how: dict[str, Any] = {"higher_is_better": {"exact_match": True, "seconds": False}, "units": {"seconds": "s"}}
    with pytest.raises(ArgumentError, match="different units or directions"):
        leaderboard(frame, mean="mean", **how)
    assert leaderboard(frame, **how).columns == ("s: exact_match", "s: seconds")


MEANS = pl.DataFrame({"name": ["a", "b", "c"], "x": [0.9, 0.5, 0.1], "y": [0.8, 0.6, None], "z": [0.7, 0.7, 0.2]})


def test_means_of_a_frame_are_ranked_by_win_rate() -> None:
    board = hf.stats.leaderboard_of_means(MEANS)
    # z: a tie of two above one
    assert board.table.select("model", "value", "n_columns").rows() == [
        *[("a", pytest.approx((1 + 1 + 0.75) / 3), 3), ("b", pytest.approx((0.5 + 0 + 0.75) / 3), 3)],
        ("c", 0.0, 2),
    ]
    assert (board.over, board.columns) == ("scenarios", ("x", "y", "z"))


def test_published_means_have_no_intervals_over_instances() -> None:
    row = hf.stats.leaderboard_of_means(MEANS).table.row(0, named=True)
    assert (row["ci_low"], row["interval"]) == (None, "no interval: only means are known")
    assert row["scenarios_interval"] == "t over 3 columns, few columns"
    assert row["scenarios_low"] <= row["value"] <= row["scenarios_high"]


def test_a_file_with_dashes_and_blanks(tmp_path: Path) -> None:
    (tmp_path / "board.csv").write_text('model,x,y\n"m, 1",0.5,-\nm2,0.25, \nm3,,0.5\n')
    cells = hf.stats.leaderboard_of_means(tmp_path / "board.csv").cells
    assert cells.select("model", "column", "value").rows() == [("m, 1", "x", 0.5), ("m2", "x", 0.25), ("m3", "y", 0.5)]


def test_many_columns_tell_who_is_better() -> None:
    columns = {f"s{place}": [0.9 - place / 100, 0.5 + place / 50, 0.49 + place / 50] for place in range(12)}
    board = hf.stats.leaderboard_of_means(pl.DataFrame({"model": ["a", "b", "c"], **columns}), mean="mean")
    assert board.table["rank_low"].to_list() == [1, 2, 3]


def test_lower_published_means_may_be_better() -> None:
    board = hf.stats.leaderboard_of_means(MEANS, ["x"], lower_is_better=["x"])
    assert board.table["model"].to_list() == ["c", "b", "a"]


def test_the_order_of_rows_and_columns_does_not_matter() -> None:
    one, two = hf.stats.leaderboard_of_means(MEANS), hf.stats.leaderboard_of_means(MEANS[[2, 0, 1]], ["z", "x", "y"])
    assert one.table.equals(two.table)


@pytest.mark.parametrize(
    ("means", "options", "error", "message"),
    [
        (MEANS, {"columns": ["xx"]}, UnknownNameError, "Unknown column 'xx'. Did you mean 'x'"),
        (MEANS, {"model": "model"}, UnknownNameError, "Name the column of the models: model=…"),
        (MEANS, {"mean": "micro"}, ArgumentError, "have no number of instances. Write mean='mean'"),
        (MEANS.with_columns(name=pl.lit("a")), {}, ArgumentError, "must name each model once: 'a' is in several rows"),
        (MEANS.with_columns(y=pl.lit("good")), {}, ArgumentError, "Column 'y': 'good' isn't a number"),
        (MEANS.with_columns(y=pl.lit(float("inf"))), {}, ArgumentError, "Column 'y': 'inf' isn't a number"),
        ("no such file.csv", {}, SourceMissingError, "file no such file.csv not found"),
        ("~nobody-of-this-name/means.csv", {}, SourceMissingError, "file ~nobody-of-this-name/means.csv not found"),
        ([1, 2], {}, ArgumentError, "must be a Polars frame or a CSV file, not list"),
        (pl.DataFrame({"instance_id": ["a"], "score": [1.0]}), {}, ArgumentError, "hf.stats.leaderboard"),
    ],
)
def test_invalid_means_raise(means: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hf.stats.leaderboard_of_means(means, **options)


def test_a_column_that_is_the_mean_of_the_others_is_refused() -> None:
    columns = {"x": [0.91, 0.52, 0.18, 0.33], "y": [0.82, 0.61, 0.27, 0.4], "z": [0.7, 0.7, 0.2, 0.5]}
    means = pl.DataFrame({"model": ["a", "b", "c", "d"], **columns})
    rates = hf.stats.leaderboard_of_means(means).table.sort("model")["value"].round(3)
    for name, summary, noun in (
        ("Average", means.select(pl.mean_horizontal("x", "y", "z").round(3)).to_series(), "mean"),
        ("Mean win rate", rates, "mean win rate"),
    ):
        with pytest.raises(ArgumentError, match=f"column '{name}' is the {noun} of the other columns, not a scenario"):
            hf.stats.leaderboard_of_means(means.with_columns(summary.alias(name)))
        assert hf.stats.leaderboard_of_means(means.with_columns(summary.alias(name)), ["x", "y", "z"]).columns == (
            *("x", "y", "z"),
        )


def test_few_columns_distinguish_nothing_and_say_so() -> None:
    columns = {f"s{place}": [0.9 - 2**place / 200, 0.5, 0.1 + 2**place / 200] for place in range(6)}
    means = pl.DataFrame({"model": ["a", "b", "c"], **columns})
    five, six = (hf.stats.leaderboard_of_means(means.select("model", *list(columns)[:n])) for n in (5, 6))
    assert five.table.select("rank_low", "rank_high").rows() == [(1, 3)] * 3
    assert "few columns: 5 can't distinguish models at 95%, so every rank is possible; 6 can" in repr(five)
    assert six.table.select("rank_low", "rank_high").rows() == [(1, 1), (2, 2), (3, 3)]
    assert "few columns: 6, so only large differences are significant" in repr(six)


def test_a_board_of_win_rates_has_the_ranks_by_mean_beside() -> None:
    found = board(scored({"a": 120, "b": 100, "c": 20}))
    assert found.table.select("model", "mean", "mean_rank", "mean_rank_low", "mean_rank_high").rows() == [
        *[("a", 0.6, 1, 1, 1), ("b", 0.5, 2, 2, 2)],
        ("c", 0.1, 3, 3, 3),
    ]
    assert repr(found).splitlines()[0].endswith("mean  rank by mean")
    mixed = pl.concat([scored({"a": 120, "b": 100}), scored({"a": 3, "b": 4}, metric="seconds")])
    how: dict[str, Any] = {"higher_is_better": {"exact_match": True, "seconds": False}, "units": {"seconds": "s"}}
    assert leaderboard(mixed, **how).table["mean_rank"].null_count() == 2


def test_few_clusters_distinguish_models() -> None:
    share = {"a": [9, 8, 9, 9, 8, 9, 8, 9], "b": [6, 5, 6, 4, 5, 6, 5, 6], "c": [1, 2, 1, 0, 1, 2, 1, 1]}
    frame = pl.concat(
        pl.DataFrame(
            {
                "model": model,
                "instance_id": [f"{cluster}/{place}" for cluster in range(8) for place in range(10)],
                "cluster": [str(cluster) for cluster in range(8) for _ in range(10)],
                "score": [float(place < right[cluster]) for cluster in range(8) for place in range(10)],
                "metric": "exact_match",
            }
        )
        for model, right in share.items()
    )
    assert board(frame, mean="mean").table["rank_low"].to_list() == [1, 2, 3]
    five = board(frame.filter(pl.col("cluster") < "5"), mean="mean")
    assert five.table["rank_low"].to_list() == [1, 1, 1]
    assert "too few clusters for ranks in 'exact_match': 5; at least 6 are needed" in repr(five)


def test_the_probabilities_of_ranks_add_up_and_follow_the_data() -> None:
    random = np.random.default_rng(4)
    scores = pl.concat(
        pl.DataFrame({"model": name, "instance_id": range(200), "score": (random.random(200) < p).astype(float)})
        for name, p in {"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1}.items()
    )
    for mean in ("mean", "win_rate"):
        board = leaderboard(scores, higher_is_better={"score": True}, mean=mean, rank_probabilities=True)
        assert board.rank_probabilities is not None
        wide = board.rank_probabilities.pivot("rank", index="model", values="probability").sort("model")
        matrix = wide.drop("model").to_numpy()
        assert matrix.sum(axis=1) == pytest.approx(1.0)
        assert matrix.sum(axis=0) == pytest.approx(1.0)
        assert matrix[0, 0] > 0.999
        assert matrix[3, 3] > 0.999
        assert 0.01 < matrix[1, 1] < 0.99
    # the normal probability that b is above c
    difference = np.subtract(*(scores.filter(model=name)["score"].to_numpy() for name in "bc"))
    z = difference.mean() / (difference.std(ddof=1) / 200**0.5)
    assert matrix[1, 1] == pytest.approx(float(norm.cdf(z)), abs=0.03)
    assert leaderboard(scores, higher_is_better={"score": True}).rank_probabilities is None


def test_published_means_have_ranks_over_samples_of_scenarios() -> None:
    means = pl.DataFrame({"model": ["a", "b"], "x": [0.7, 0.6], "y": [0.5, 0.6], "z": [0.9, 0.5]})
    board = hf.stats.leaderboard_of_means(means, mean="mean", rank_probabilities=True)
    assert board.rank_probabilities is not None
    first = board.rank_probabilities.filter(model="a", rank=1)["probability"].item()
    # b is ahead, or level, if y is drawn at least twice without z
    assert 0.8 < first < 0.95
    assert "share first" in str(board)
