"""The table of any frame of scores."""

from typing import Any

import polars as pl
import pytest

from helmframe._schema import STATS
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats import aggregate, table
from helmframe.stats.frames import as_scores

FRAME = pl.DataFrame({"instance_id": range(8), "model": ["a"] * 4 + ["b"] * 4, "score": [1, 0, 1, 1, 0, 0, 0, 1]})


def test_instances_and_scores_are_enough() -> None:
    found = table(FRAME)
    assert found.columns == ["model", *STATS.schema]
    assert found.select("model", "metric", "value", "n", "interval").rows() == [
        ("a", "score", 0.75, 4, "Wilson, n small"),
        ("b", "score", 0.25, 4, "Wilson, n small"),
    ]


def test_it_is_aggregate_of_the_whole_schema() -> None:
    whole = as_scores(FRAME)
    assert table(FRAME, "model").equals(aggregate(whole, ["model"], fractions=["score"]))


def test_what_does_not_vary_makes_no_group() -> None:
    assert table(FRAME.with_columns(model=pl.lit("a"), split=pl.lit("test"))).columns == list(STATS.schema)


def test_the_original_stands_first_among_its_perturbations() -> None:
    frame = FRAME.with_columns(perturbation=pl.Series(["a", "original"] * 4))
    assert table(frame, "perturbation", pool=True)["perturbation"].to_list() == ["original", "a"]


def test_values_of_a_key_become_columns() -> None:
    assert table(FRAME, pivot="model").rows() == [("score", 0.75, 0.25)]
    with pytest.raises(UnknownNameError, match="column of this table"):
        table(FRAME, pivot="perturbation")


def test_other_axes_that_vary_stay_rows_unless_they_are_pooled() -> None:
    frame = pl.concat([FRAME.with_columns(perturbation=pl.lit(name)) for name in ("original", "typos")])
    frame = frame.with_columns(subject=pl.when(pl.col("instance_id") % 2 == 0).then(pl.lit("x")).otherwise(pl.lit("y")))
    rows = table(frame, "subject")
    assert rows.columns[:4] == ["subject", "model", "perturbation", "metric"]
    assert rows.filter(subject="x", model="a")["value"].to_list() == [1.0, 1.0]
    pooled = table(frame, "subject", pool=["model", "perturbation"])
    assert pooled.select("subject", "pooled", "value", "n").rows() == [
        ("x", "2 models, 2 perturbations", 0.5, 4),
        ("y", "2 models, 2 perturbations", 0.5, 4),
    ]
    assert table(frame, "subject", pool=True).equals(pooled)
    assert table(frame, "subject", pool="model")["pooled"].unique().to_list() == ["2 models"]
    assert table(frame, pool=True)["pooled"].to_list() == ["2 models, 2 perturbations"]
    # an axis of one value is no pooling
    assert "pooled" not in table(FRAME, "model", pool=True).columns


def test_what_a_group_pools_is_said_group_by_group_and_kept_in_a_pivot() -> None:
    frame = pl.concat([FRAME, FRAME.filter(pl.col("model") == "a").with_columns(scenario=pl.lit("t"))], how="diagonal")
    frame = frame.with_columns(pl.col("scenario").fill_null("s"))
    assert table(frame, "scenario", pool="model").select("scenario", "pooled").rows() == [
        ("s", "2 models"),
        ("t", "1 model"),
    ]
    wide = table(frame.with_columns(perturbation=pl.lit("original")), "scenario", pool="model", pivot="scenario")
    assert wide.rows() == [("score", "2 models", 0.5, 0.75)]


def test_an_axis_is_a_key_or_pooled() -> None:
    with pytest.raises(ArgumentError, match="pool='model'"):
        table(FRAME, "model", pool="model")
    with pytest.raises(UnknownNameError, match=r"axis to pool is called 'modell'\. Did you mean 'model'"):
        table(FRAME, pool="modell")


def test_a_metric_is_a_fraction_where_all_its_scores_are_0_or_1() -> None:
    both = pl.concat(
        [FRAME.with_columns(metric=pl.lit("right")), FRAME.with_columns(pl.col("score") * 3, metric=pl.lit("points"))]
    )
    found = table(both, pool=True).drop("pooled")
    assert found.select("metric", "interval").rows() == [("points", "t, n small"), ("right", "Wilson, n small")]
    assert table(both, pool=True, metrics="right")["metric"].to_list() == ["right"]
    assert table(both, pool=True, fractions=[])["interval"].to_list() == ["t, n small"] * 2


def test_a_group_of_another_metric_stays_a_fraction_s_or_not() -> None:
    # all of model b's are 0, which says nothing of a metric whose others are not
    frame = FRAME.with_columns(score=pl.when(pl.col("model") == "a").then(2.5).otherwise(0.0))
    assert table(frame)["interval"].to_list() == ["no interval: all values are equal"] * 2


def test_lazy_frames_in_chunks_give_the_same() -> None:
    assert table([FRAME[:4].lazy(), FRAME[4:].lazy()]).equals(table(FRAME))


def test_true_and_false_are_scores() -> None:
    assert table(FRAME.with_columns(pl.col("score").cast(pl.Boolean))).equals(table(FRAME))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (FRAME.drop("score"), "need a column 'score'; there are: instance_id, model"),
        (FRAME.drop("instance_id"), "need a column 'instance_id'"),
        (FRAME.with_columns(score=pl.lit("A")), "should hold numbers"),
        (FRAME.with_columns(trial=pl.lit("first")), "'trial' should hold whole numbers"),
        (FRAME.with_columns(score=pl.lit(float("nan"))), "holds NaN"),
        (FRAME.with_columns(score=pl.lit(float("-inf"))), "an infinity"),
        ({"instance_id": [1], "score": [1]}, "should be a Polars frame"),
        ([], "should be a Polars frame"),
        ([FRAME], "a list of lazy ones"),
    ],
)
def test_what_is_no_frame_of_scores_is_told(frame: Any, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        table(frame, [])


def test_unknown_names_are_told() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        table(FRAME, "modle")
    with pytest.raises(UnknownNameError, match="Did you mean 'score'"):
        table(FRAME, metrics="scor")
