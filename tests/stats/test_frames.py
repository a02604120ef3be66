from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from helmframe._schema import SCORES
from helmframe.errors import ArgumentError, UnknownNameError
from helmframe.stats import aggregate, compare, gap, robustness, table, worst_at_k, worst_case
from helmframe.stats.encoded_rows import encode_rows
from helmframe.stats.estimate import floats
from helmframe.stats.frames import FoldContext, PartialAggregate, as_scores, fold
from helmframe.stats.sums import sums_of


def test_a_frame_of_the_whole_schema_stays_as_it_is() -> None:
    whole = pl.LazyFrame(schema=SCORES.schema)
    assert as_scores(whole) is whole


def test_what_is_missing_is_one_for_all_rows() -> None:
    row = as_scores(pl.DataFrame({"instance_id": [7], "score": [0.5], "own": ["kept"]})).row(0, named=True)
    assert row == {
        "instance_id": "7", "score": 0.5, "own": "kept", "scenario": "", "subset": "", "perturbation": "original",
        "perturbation_seed": 0, "setting": "", "trial": 0, "model": "", "output_index": 0, "metric": "score",
        "cluster": None, "changed": None, "parsed": None, "truncated": None, "starved": None,
    }  # fmt: skip


def test_a_perturbed_row_counts_as_changed_by_default() -> None:
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
        ArgumentError, match=rf"table\(\): the result already has a column '{name}'. Rename the column of the scores"
    ):
        table(ROWS.with_columns(GROUPS.alias(name)), name)


def test_flags_of_another_type_are_refused() -> None:
    with pytest.raises(ArgumentError, match="Column 'parsed' must contain true or false, not values of type String"):
        table(ROWS.with_columns(GROUPS.alias("parsed")))


Build: TypeAlias = Callable[..., pl.DataFrame]
Table: TypeAlias = Callable[[Any], pl.DataFrame]

HIGHER = {"exact_match": True, "loss": False}
TABLES: dict[str, Table] = {
    "aggregate": lambda scores: aggregate(scores, ["perturbation"], fractions=["exact_match"]),
    "aggregate, micro": lambda scores: aggregate(scores, ["model"], mean="micro"),
    "robustness": lambda scores: robustness(scores, [], higher_is_better=HIGHER, fractions=["exact_match"]),
    "robustness, placebo": lambda scores: robustness(scores, ["model"], higher_is_better=HIGHER, placebo="rerun"),
    "worst case": lambda scores: worst_case(scores, ["scenario"], higher_is_better=HIGHER),
    "worst@1": lambda scores: worst_at_k(scores, [], 1, higher_is_better=HIGHER),
}


@settings(max_examples=settings().max_examples // 3, deadline=None)
@given(seed=st.integers(0, 10_000), instances=st.integers(1, 30), chunks=st.integers(1, 6))
@pytest.mark.parametrize("name", TABLES)
def test_chunks_give_what_one_frame_gives(name: str, seed: int, instances: int, chunks: int) -> None:
    scores = random_scores(np.random.default_rng(seed), instances)
    one = TABLES[name](scores)
    assert_frame_equal(TABLES[name](dealt(scores, chunks)), one, rel_tol=1e-12, abs_tol=1e-14)


def test_a_cluster_may_reach_over_several_chunks(scores: Build) -> None:
    frame = scores([1, 1, 0, 1, 0, 0], cluster=["x", "x", "x", "y", "y", "z"])
    whole = aggregate(frame, [])
    assert whole["interval"].item() == "t (CR2, clusters), few clusters, n small"
    assert_frame_equal(aggregate([frame[[0, 3, 5]].lazy(), frame[[1, 2, 4]].lazy()], []), whole)


def test_a_cluster_that_is_called_like_an_instance_of_another_chunk(scores: Build) -> None:
    frame = scores([1, 0, 1, 0, 0], cluster=["id0", "id1", "id2", "id0", "id0"])
    parts = [frame[:3].lazy(), frame[3:].lazy()]
    assert_frame_equal(aggregate(parts, []), aggregate(frame, []))


def test_trials_that_meet_in_no_chunk_are_given(scores: Build) -> None:
    frame = scores([1.0, 2.0, 3.0, 5.0], trial=[0, 0, 1, 1])
    table = aggregate([frame[:2].lazy(), frame[2:].lazy()], [])
    assert table["interval"].item() == "t, given these trials, n small"


def test_clusters_of_one_scenario_leave_the_instances_of_another_together(scores: Build) -> None:
    passages = scores([1, 0, 1, 1], scenario="s", cluster=["x", "x", "y", "y"])
    alone = scores([1, 0, 0, 1], scenario="t")
    seen = []

    def step(chunk: pl.LazyFrame, known: FoldContext) -> PartialAggregate:
        rows = encode_rows(chunk, ["metric", "scenario", "subset"], ["score"])
        seen.append((rows.cells["scenario"][0], known.named))
        return PartialAggregate({"score": sums_of(rows, ["metric"], *floats(rows.rows["score"]), named=known.named)})

    left = fold([passages.lazy(), alone[:2].lazy(), alone[2:].lazy()], step)
    assert sorted(seen) == [("s", False), ("t", False), ("t", False)]
    assert sorted(left.sums["score"].clusters["clusters"]) == [1.0, 1.0, 4.0]


def test_a_variant_that_a_chunk_lacks_leaves_its_instances_out(answers: Build) -> None:
    whole = answers(original=[1, 1, 1, 1], typos=[1, 0, 1, 1], lowercase=[1, 1, 0, 0])
    late = pl.col("instance_id").is_in(["id2", "id3"])
    asked = whole.filter(~late | (pl.col("perturbation") != "lowercase"))
    parts = [asked.filter(~late).lazy(), asked.filter(late).lazy()]
    table = robustness(parts, [], higher_is_better=HIGHER)
    assert table.select("perturbation", "k", "n", "n_dropped").rows() == [
        ("all", 2, 2, 2), ("lowercase", 1, 2, 2), ("typos", 1, 4, 0),
    ]  # fmt: skip
    assert_frame_equal(table, robustness(asked, [], higher_is_better=HIGHER))


def test_equal_values_in_chunks_are_still_equal(scores: Build) -> None:
    frame = scores([0.1] * 3 + [0.1] * 7)
    assert aggregate([frame[:3].lazy(), frame[3:].lazy()], [])["interval"].item() == "no interval: all values are equal"


def test_a_large_mean_does_not_drown_a_small_variance(scores: Build) -> None:
    frame = scores((1e6 + np.random.default_rng(0).random(1000)).tolist())
    parts = [frame[:300].lazy(), frame[300:].lazy()]
    stderr = aggregate(parts, [])["stderr"].item()
    assert stderr == pytest.approx(np.std(frame["score"].to_numpy() - 1e6, ddof=1) / np.sqrt(1000), rel=1e-9)


def test_the_first_chunk_tells_an_unknown_column(scores: Build) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'model'"):
        aggregate([scores([1]).lazy(), scores([0]).lazy()], ["modle"])


def random_scores(random: np.random.Generator, instances: int) -> pl.DataFrame:
    """Two scenarios: subsets, clusters or none, trials, outputs, a placebo, failures, and rows that were not asked."""
    ids = pl.DataFrame({"place": np.arange(instances)}).with_columns(instance_id=pl.format("id{}", "place"))
    clusters = {
        "none": pl.col("instance_id"),
        "passages": pl.format("passage {}", pl.col("place") // 3),
        "named like instances": pl.format("id{}", pl.col("place") // 2),
    }
    cluster = list(clusters.values())[random.integers(len(clusters))]
    grid = {
        "scenario": ["s", "t"],
        "perturbation": ["original", "typos", "lowercase", "rerun"],
        "perturbation_seed": [0, 1],
        "model": ["m", "n"],
        "trial": list(range(random.integers(1, 4))),
        "output_index": list(range(random.integers(1, 3))),
        "metric": list(HIGHER),
    }
    frame = ids.with_columns(subset=pl.format("subset {}", pl.col("place") % 2), cluster=cluster, split=pl.lit("test"))
    for name, values in grid.items():
        frame = frame.join(pl.DataFrame({name: values}), how="cross")
    frame = frame.filter((pl.col("perturbation_seed") == 0) | (pl.col("perturbation") == "typos"))
    n = frame.height
    score = random.random(n) if random.random() < 0.5 else random.integers(0, 2, n).astype(float)
    frame = frame.with_columns(
        setting=pl.lit(""),
        changed=pl.Series(random.random(n) < 0.8),
        score=pl.Series(score),
        parsed=pl.Series(random.random(n) < 0.9),
        truncated=pl.Series(random.random(n) < 0.1),
    )
    failed, asked = random.random(n) < random.choice([0, 0.02]), random.random(n) >= random.choice([0, 0.02])
    # so that there is always something to be the worst of
    asked |= (frame["place"] == 0).to_numpy()
    return frame.with_columns(score=pl.when(~pl.Series(failed)).then("score")).filter(pl.Series(asked)).drop("place")


def dealt(scores: pl.DataFrame, chunks: int) -> list[pl.LazyFrame]:
    """The scores in so many chunks or fewer, each with its instances whole, scenario by scenario."""
    place = pl.col("instance_id").str.slice(2).cast(pl.Int64)
    parts = scores.with_columns(chunk=place % chunks).partition_by("scenario", "chunk", include_key=True)
    return [part.drop("chunk").lazy() for part in parts]
