"""Frames from anywhere as scores."""

import polars as pl

from helmframe.columns import SCORES
from helmframe.stats import robustness
from helmframe.stats.frames import as_scores


def test_a_frame_of_the_whole_schema_stays_as_it_is() -> None:
    whole = pl.LazyFrame(schema=SCORES.schema)
    assert as_scores(whole) is whole


def test_what_is_missing_is_one_for_all_rows() -> None:
    row = as_scores(pl.DataFrame({"instance_id": [7], "score": [0.5], "own": ["kept"]})).row(0, named=True)
    assert row == {
        "instance_id": "7", "score": 0.5, "own": "kept", "scenario": "", "part": "", "perturbation": "original",
        "perturbation_seed": 0, "setting": "", "trial": 0, "model": "", "output_index": 0, "metric": "score",
        "cluster": None, "changed": None, "parsed": None, "truncated": None,
    }  # fmt: skip


def test_a_perturbed_row_counts_as_changed_unless_it_is_told() -> None:
    frame = pl.DataFrame(
        {"instance_id": [1, 2] * 2, "perturbation": ["original"] * 2 + ["typos"] * 2, "score": [1, 1, 0, 1]}
    )
    row = robustness(frame, [], higher_is_better={"score": True}).row(0, named=True)
    assert (row["drop"], row["n_changed"]) == (-0.5, 2)
