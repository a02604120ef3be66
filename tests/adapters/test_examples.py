"""Which train instances stand before the question: HELM's rule, worked by hand."""

from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.adapters.examples import balanced, draw
from helmframe.specs import AdapterSpec
from tests.frames import instances, right


def pool(labels: list[str | None], part: str = "") -> pl.DataFrame:
    frame = instances(
        [f"q{place}" for place in range(len(labels))],
        [[] if label is None else right(label) for label in labels],
        part=part,
        instance_id=[f"{part}id{place}" for place in range(len(labels))],
        split="train",
    )
    return frame.with_columns(question="input", answer=pl.lit("a"))


def test_labels_take_turns_the_frequent_one_first() -> None:
    # sizes no 3, yes 1: no shuffles of one label; the turns are no, yes, no, (yes is empty) no
    random = Random(0)
    random.shuffle(["no"])
    random.shuffle(["yes"])
    left = [0, 2, 3]
    expected = [left.pop(random.randrange(3)), [1].pop(random.randrange(1)), left.pop(random.randrange(2)), left[0]]
    assert balanced(["no", "yes", "no", "no"], 4, trial=0) == expected == [2, 1, 0, 3]


def test_labels_of_equal_size_are_shuffled_from_sorted() -> None:
    order = ["a", "b", "c"]
    Random(1).shuffle(order)
    labels = ["c", "a", "b"]
    assert [labels[place] for place in balanced(labels, 3, trial=1)] == order


def test_instances_without_a_label_fill_the_rest() -> None:
    drawn = balanced([None, "x", None, None], 3, trial=0)
    assert drawn[0] == 1
    assert set(drawn[1:]) < {0, 2, 3}


def test_a_label_that_is_the_empty_text_is_a_label() -> None:
    assert sorted(balanced(["", "x"], 2, trial=0)) == [0, 1]


def test_an_empty_pool_gives_nothing() -> None:
    assert balanced([], 5, trial=0) == []


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12), st.integers(0, 12), st.integers(0, 3))
def test_no_instance_is_drawn_twice_and_labels_stay_balanced(labels: list[str | None], count: int, trial: int) -> None:
    drawn = balanced(labels, min(count, len(labels)), trial)
    assert len(drawn) == len(set(drawn)) == min(count, len(labels))
    taken = [labels[place] for place in drawn]
    for label in {"a", "b", "c"} & set(labels):
        most = max(taken.count(each) for each in "abc")
        assert taken.count(label) >= min(labels.count(label), most - 1)


@pytest.mark.parametrize("shots", [0, 2, 5])
def test_as_many_shots_as_are_there(shots: int) -> None:
    drawn = draw(pool(["a", "b", "c"]), AdapterSpec(shots=shots), [""])
    assert drawn.height == min(shots, 3)


def test_trials_are_other_draws() -> None:
    drawn = draw(pool([str(place) for place in range(20)]), AdapterSpec(shots=5, trials=3), [""])
    sets = drawn.group_by("trial", maintain_order=True).agg("shot_id")
    assert sets["trial"].to_list() == [0, 1, 2]
    assert sets["shot_id"].list.join(",").n_unique() == 3


def test_a_trial_is_the_same_whatever_the_number_of_trials() -> None:
    train = pool([str(place) for place in range(20)])
    one = draw(train, AdapterSpec(shots=5, trials=1), [""])
    assert draw(train, AdapterSpec(shots=5, trials=3), [""]).head(5).rows() == one.rows()


def test_without_sampling_trials_take_the_next_in_order() -> None:
    drawn = draw(pool(["a"] * 5), AdapterSpec(shots=2, trials=3, sample_train=False), [""])
    assert drawn.select("trial", "shot_id").rows() == [(0, "id0"), (0, "id1"), (1, "id2"), (1, "id3"), (2, "id4")]


def test_each_part_draws_from_its_own_pool() -> None:
    train = pl.concat([pool(["a", "b"], "x/"), pool(["c"], "y/")])
    drawn = draw(train, AdapterSpec(shots=2), ["x/", "y/", "z/"])
    assert sorted(drawn["shot_id"]) == ["x/id0", "x/id1", "y/id0"]
