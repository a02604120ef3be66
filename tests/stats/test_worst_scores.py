from collections.abc import Callable
from typing import TypeAlias

import polars as pl

from helmframe.stats import worst_scores

HIGHER = {"exact_match": True}
Build: TypeAlias = Callable[..., pl.DataFrame]


def test_one_score_per_instance_the_worst(answers: Build) -> None:
    table, pools = worst_scores(answers(original=[1, 1, 0], typos=[0, 1, 1]), higher_is_better=HIGHER)
    assert table.sort("instance_id").select("instance_id", "perturbation", "score").rows() == [
        ("id0", "worst", 0.0),
        ("id1", "worst", 1.0),
        ("id2", "worst", 0.0),
    ]
    assert pools.rows() == [("s", "original, typos")]


def test_an_instance_with_a_failed_variant_has_a_null_one(answers: Build) -> None:
    table, _ = worst_scores(answers(original=[1, 1], typos=[None, 1]), higher_is_better=HIGHER)
    assert table.sort("instance_id")["score"].to_list() == [None, 1.0]


def test_of_k_draws_of_each_perturbation(answers: Build) -> None:
    frame = answers(original=[1], typos=[1], lowercase=[0])
    again = answers(typos=[0]).with_columns(perturbation_seed=pl.lit(1))
    table, pools = worst_scores(pl.concat([frame, again]), higher_is_better=HIGHER, k=2)
    assert table.select("perturbation", "score").rows() == [("typos", 0.0)]
    assert pools.rows() == [("s", "typos")]
