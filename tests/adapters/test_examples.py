"""Which train instances stand before the question: HELM's rule, worked by hand."""

from random import Random

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe._core.specs import AdapterSpec
from helmframe.adapters.examples import balanced, check_order, draw, ordered
from helmframe.errors import ArgumentError
from tests.frames import instances, right


def pool(labels: list[str | None], subset: str = "") -> pl.DataFrame:
    frame = instances(
        [f"q{place}" for place in range(len(labels))],
        [[] if label is None else right(label) for label in labels],
        subset=subset,
        instance_id=[f"{subset}id{place}" for place in range(len(labels))],
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


def test_each_subset_draws_from_its_own_pool() -> None:
    train = pl.concat([pool(["a", "b"], "x/"), pool(["c"], "y/")])
    drawn = draw(train, AdapterSpec(shots=2), ["x/", "y/", "z/"])
    assert sorted(drawn["shot_id"]) == ["x/id0", "x/id1", "y/id0"]


# -- their order -----------------------------------------------------------------------------------------------------


def ids(order: str, labels: list[str | None] | None = None) -> list[str]:
    return ordered(pool(labels or ["a"] * 5), order)["instance_id"].to_list()


@pytest.mark.parametrize(
    ("order", "places"),
    [("", [0, 1, 2, 3, 4]), ("reverse", [4, 3, 2, 1, 0]), ("random", [1, 3, 0, 2, 4]), ("random:2", [3, 4, 1, 0, 2])],
)
def test_orders_stay_the_same_for_good(order: str, places: list[int]) -> None:
    assert ids(order) == [f"id{place}" for place in places]


def test_a_random_order_does_not_hang_on_the_order_before() -> None:
    shots = pool(["a"] * 5)
    assert ordered(shots.reverse(), "random:1").rows() == ordered(shots, "random:1").rows()


def test_random_is_the_order_number_zero() -> None:
    assert ids("random") == ids("random:0")


def test_every_order_comes_up() -> None:
    seen = {tuple(ids(f"random:{number}", ["a"] * 3)) for number in range(60)}
    assert len(seen) == 6


@pytest.mark.parametrize("order", ["reversed", "random:", "random:-1", "Random", "reverse "])
def test_an_unknown_order_raises(order: str) -> None:
    with pytest.raises(ArgumentError, match=r"adapt\(shot_order="):
        check_order(order)


def test_balanced_letters_are_there_equally_often() -> None:
    # the right option is the first in most rows: HELM's rule goes by its text, which is another in each
    frame = instances(
        [f"q{place}" for place in range(12)],
        [[(f"x{place}", place % 4 != 3), (f"y{place}", place % 4 == 3)] for place in range(12)],
        split="train",
    ).with_columns(question="input", answer=pl.lit("a"))
    spec = AdapterSpec(method="multiple_choice_joint", shots=6, balance="letters", trials=4)
    drawn = draw(frame, spec, [""]).join(frame.select(shot_id="instance_id", references="references"), on="shot_id")
    first = drawn["references"].list.get(0).struct.field("correct")
    counts = drawn.with_columns(first=first).group_by("trial").agg(pl.col("first").sum(), pl.len())
    assert counts["first"].to_list() == [3, 3, 3, 3]
    assert counts["len"].to_list() == [6, 6, 6, 6]


def test_balanced_letters_come_in_no_fixed_order() -> None:
    frame = instances(
        [f"q{place}" for place in range(20)],
        [[("x", place % 2 == 0), ("y", place % 2 == 1)] for place in range(20)],
        split="train",
    ).with_columns(question="input", answer=pl.lit("a"))
    spec = AdapterSpec(shots=4, balance="letters", trials=12)
    places = draw(frame, spec, [""])["shot_id"].str.strip_prefix("id").cast(pl.Int64) % 2
    orders = {tuple(places[trial * 4 : trial * 4 + 4]) for trial in range(12)}
    assert len(orders) > 2
    assert all(sum(order) == 2 for order in orders)
