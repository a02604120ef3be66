from collections.abc import Callable
from itertools import combinations
from typing import Any, TypeAlias

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.stats import worst_at_k, worst_case, worst_scores
from helmframe.stats.worst_case import _weights

HIGHER = {"exact_match": True}
FRACTIONS = ["exact_match"]
Build: TypeAlias = Callable[..., pl.DataFrame]


def only(table: pl.DataFrame) -> dict[str, Any]:
    assert table.height == 1
    return table.row(0, named=True)


def test_worst_is_the_mean_of_the_lowest_of_each_instance(answers: Build) -> None:
    frame = answers(original=[1, 1, 0, 1], typos=[1, 0, 1, 1], lowercase=[1, 1, 1, 0])
    row = only(worst_case(frame, ["model"], higher_is_better=HIGHER, fractions=FRACTIONS))
    assert (row["value"], row["k"], row["n"], row["interval"]) == (0.25, 2, 4, "Wilson, n small")


def test_worst_is_the_highest_where_lower_is_better(answers: Build) -> None:
    frame = answers(original=[1.0, 2.0], typos=[3.0, 1.0])
    assert only(worst_case(frame, [], higher_is_better={"exact_match": False}))["value"] == 2.5


def test_an_instance_with_a_failed_variant_has_no_worst(answers: Build) -> None:
    frame = answers(original=[1, 0, 1], typos=[1, 1, None])
    row = only(worst_case(frame, [], higher_is_better=HIGHER))
    assert (row["value"], row["n"], row["n_dropped"], row["n_error"]) == (0.5, 2, 1, 1)


def test_an_instance_that_lacks_a_variant_has_no_worst(answers: Build) -> None:
    frame = answers(original=[1, 0, 1], typos=[1, 1])
    row = only(worst_case(frame, [], higher_is_better=HIGHER))
    assert (row["n"], row["n_dropped"]) == (2, 1)


def test_worst_is_taken_per_trial(answers: Build) -> None:
    # one variant fails in each trial; the worst of each trial is 0, its mean over both too
    frame = answers(original=[1, 1], typos=[0, 1])
    other = answers(original=[1, 1], typos=[1, 1]).with_columns(trial=pl.lit(1))
    row = only(worst_case(pl.concat([frame, other]), [], higher_is_better=HIGHER))
    assert row["value"] == 0.75


def test_without_perturbations_there_is_no_worst(answers: Build) -> None:
    row = only(worst_case(answers(original=[1, 0]), [], higher_is_better=HIGHER))
    assert (row["value"], row["k"], row["interval"]) == (None, None, "no interval: nothing was perturbed")


def test_scenarios_with_other_numbers_of_variants_have_no_common_worst(answers: Build) -> None:
    one = answers(original=[1, 0], typos=[1, 0])
    two = answers(original=[1, 0], typos=[1, 0], lowercase=[1, 1]).with_columns(scenario=pl.lit("other"))
    row = only(worst_case(pl.concat([one, two]), [], higher_is_better=HIGHER))
    assert (row["value"], row["k"], row["interval"]) == (None, None, "no interval: scenarios differ in k")


def test_the_table_names_what_it_is_the_worst_of(answers: Build) -> None:
    frame = answers(original=[1, 0], typos=[1, 0], lowercase=[1, 1])
    again = answers(typos=[0, 1]).with_columns(perturbation_seed=pl.lit(1))
    row = only(worst_case(pl.concat([frame, again]), [], higher_is_better=HIGHER))
    assert (row["variants"], row["k"]) == ("original, lowercase, typos × 2", 3)


@pytest.fixture
def draws(scores: Build) -> Build:
    """Builds scores from one list per seed of one perturbation."""

    def build(*by_seed: list[float | None], **columns: object) -> pl.DataFrame:
        return pl.concat(
            scores(score, perturbation="typos", perturbation_seed=seed, changed=True, **columns)
            for seed, score in enumerate(by_seed)
        )

    return build


def test_of_zeros_and_ones_it_is_the_chance_that_k_draws_are_right(draws: Build) -> None:
    # 3 of 4 draws right: C(3,2)/C(4,2) = 3/6; all 4: 1
    table = worst_at_k(draws([1, 1], [1, 1], [0, 1], [1, 1]), [], 2, higher_is_better=HIGHER)
    row = table.row(0, named=True)
    assert (row["value"], row["k"], row["variants"], row["n"]) == (0.75, 2, "2 of 4 seeds of typos", 2)


def test_one_draw_is_the_mean_and_all_draws_are_the_lowest(draws: Build) -> None:
    frame = draws([0.2, 1.0], [0.6, 0.4], [0.4, 0.1])
    assert worst_at_k(frame, [], 1, higher_is_better=HIGHER)["value"].item() == pytest.approx(0.45)
    assert worst_at_k(frame, [], 3, higher_is_better=HIGHER)["value"].item() == pytest.approx(0.15)


def test_the_worst_is_the_highest_where_lower_is_better(draws: Build) -> None:
    frame = draws([2.0], [5.0], [3.0])
    # of the pairs (2,5), (2,3), (5,3)
    assert worst_at_k(frame, [], 2, higher_is_better={"exact_match": False})["value"].item() == pytest.approx(13 / 3)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=7), st.data())
def test_the_weights_average_the_worst_of_every_k_draws(values: list[float], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    every = [min(subset) for subset in combinations(values, k)]
    weighted = sum(w * s for w, s in zip(_weights(len(values), k)[len(values)], sorted(values), strict=True))
    assert weighted == pytest.approx(sum(every) / len(every))


def test_the_original_is_no_draw(draws: Build, scores: Build) -> None:
    frame = pl.concat([draws([1], [1]), scores([0])])
    assert worst_at_k(frame, [], 2, higher_is_better=HIGHER)["value"].item() == 1.0


def test_an_instance_with_a_failed_draw_is_left_out_and_counted(draws: Build) -> None:
    row = worst_at_k(draws([1, 1], [None, 1]), [], 2, higher_is_better=HIGHER).row(0, named=True)
    assert (row["n"], row["n_dropped"], row["n_error"], row["value"]) == (1, 1, 1, 1.0)


def test_too_few_seeds_raise_with_the_line_to_write(draws: Build) -> None:
    with pytest.raises(ArgumentError, match=r"worst@4: no perturbation has 4 seeds \('typos' has 2\)\. .*seeds=4"):
        worst_at_k(draws([1], [1]), [], 4, higher_is_better=HIGHER)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_counts_draws(draws: Build, k: int) -> None:
    with pytest.raises(ArgumentError, match="k must be an integer ≥ 1"):
        worst_at_k(draws([1], [1]), [], k, higher_is_better=HIGHER)


def test_perturbations_with_fewer_draws_have_no_row(draws: Build, scores: Build) -> None:
    frame = pl.concat([draws([1], [1]), scores([1], perturbation="lowercase", changed=True)])
    assert worst_at_k(frame, [], 2, higher_is_better=HIGHER)["perturbation"].to_list() == ["typos"]


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
