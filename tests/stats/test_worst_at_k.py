from collections.abc import Callable
from itertools import combinations
from typing import TypeAlias

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.stats import worst_at_k
from helmframe.stats.worst_at_k import _weights

HIGHER = {"exact_match": True}
Build: TypeAlias = Callable[..., pl.DataFrame]


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
    assert (row["value"], row["k"], row["variants"], row["n"]) == (0.75, 2, "2 of 4 draws of typos", 2)


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


def test_too_few_draws_are_told_with_what_to_write(draws: Build) -> None:
    with pytest.raises(ArgumentError, match=r"worst@4 needs 4 draws .* typos has 2\. Ask for more: .*seeds=4"):
        worst_at_k(draws([1], [1]), [], 4, higher_is_better=HIGHER)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_counts_draws(draws: Build, k: int) -> None:
    with pytest.raises(ArgumentError, match="whole number from 1 on"):
        worst_at_k(draws([1], [1]), [], k, higher_is_better=HIGHER)


def test_perturbations_with_fewer_draws_have_no_row(draws: Build, scores: Build) -> None:
    frame = pl.concat([draws([1], [1]), scores([1], perturbation="lowercase", changed=True)])
    assert worst_at_k(frame, [], 2, higher_is_better=HIGHER)["perturbation"].to_list() == ["typos"]
