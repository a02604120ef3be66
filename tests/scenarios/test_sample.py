"""Which instances a sample takes."""

import polars as pl
import pytest

from helmframe._core.specs import Sample
from helmframe.errors import ArgumentError
from helmframe.scenarios.sample import draw


def keys(n: int, subset: str = "") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subset": [subset] * n,
            "row_index": list(range(n)),
            "instance_id": [f"{subset}/id{each}" for each in range(n)],
        }
    )


def drawn(frame: pl.DataFrame, sample: Sample) -> list[int]:
    return draw(frame, sample, "mine")["row_index"].to_list()


def test_first_takes_the_first_by_row_index() -> None:
    assert drawn(keys(5), Sample(2, order="first")) == [0, 1]


def test_keyed_is_the_same_in_every_version() -> None:
    assert drawn(keys(100), Sample(5)) == [9, 15, 73, 82, 89]


def test_keyed_depends_on_the_seed() -> None:
    assert drawn(keys(100), Sample(5, seed=1)) != drawn(keys(100), Sample(5, seed=0))


def test_keyed_keeps_row_order() -> None:
    assert drawn(keys(100), Sample(20)) == sorted(drawn(keys(100), Sample(20)))


def test_a_smaller_keyed_sample_is_subset_of_a_larger_one() -> None:
    assert set(drawn(keys(100), Sample(5))) <= set(drawn(keys(100), Sample(20)))


def test_keyed_does_not_depend_on_the_other_instances() -> None:
    some = keys(100).filter(pl.col("row_index") % 2 == 0)
    whole = {each for each in drawn(keys(100), Sample(40)) if each % 2 == 0}
    assert whole <= set(drawn(some, Sample(40)))


def test_each_subset_has_its_own_draw() -> None:
    both = pl.concat([keys(10, "a"), keys(10, "b")])
    assert draw(both, Sample(3), "mine").group_by("subset").len().sort("subset").rows() == [("a", 3), ("b", 3)]


def test_helm_draws_with_numpys_seed_0_in_drawn_order() -> None:
    # np.random.seed(0); np.random.choice(list(range(10)), 4, replace=False)
    assert drawn(keys(10), Sample(4, order="helm")) == [2, 8, 4, 9]


def test_helm_draws_nothing_when_there_are_no_more_than_asked_for() -> None:
    assert drawn(keys(4), Sample(4, order="helm")) == [0, 1, 2, 3]


def test_an_unknown_order_has_near_ones() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'helm'"):
        drawn(keys(4), Sample(4, order="hlem"))
