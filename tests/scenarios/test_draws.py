"""What HELM draws: each rule on rows few enough to see; that they are HELM's is in tests/acceptance."""

import random
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from helmframe.errors import UnknownNameError
from helmframe.scenarios import draws


def keys(**columns: Sequence[object]) -> pl.DataFrame:
    height = len(next(iter(columns.values())))
    given: dict[str, Sequence[object]] = {"file": [0] * height, "split": ["test"] * height, **columns}
    return pl.DataFrame(given).with_columns(position=pl.int_range(pl.len()))


def test_one_row_of_each_document_in_the_order_of_documents() -> None:
    taken = draws.one_per_document(keys(document=["b", "b", "b", "a", "a", "c"]))
    # Python's random.Random(0) chooses 1 of 3, 1 of 2, 0 of 1
    assert taken.rows() == [(1, 0), (4, 1), (5, 2)]


def test_a_document_is_one_in_each_split() -> None:
    taken = draws.one_per_document(keys(split=["train", "test"], document=["a", "a"]))
    assert taken.height == 2


def test_turns_are_the_third_or_later() -> None:
    taken = draws.one_turn_per_dialogue(keys(turns=[3, 5, 12, 12, 12]))
    assert taken["turn"].to_list() == [3, 4, 3, 7, 11]


def test_every_other_question_of_a_file_is_an_example() -> None:
    taken = draws.one_short_answer(keys(file=[0, 0, 0, 0, 1, 1], answers=[1, 0, 2, 1, 1, 3]))
    assert taken.select("position", "row_index", "split").rows() == [
        (0, 0, "train"),
        (2, 1, "validation"),
        (3, 2, "train"),
        (4, 3, "train"),
        (5, 4, "validation"),
    ]
    assert (taken["picked"] <= pl.Series([1, 2, 1, 1, 3])).all()


def test_a_text_is_asked_in_one_of_its_languages_and_each_subset_starts_anew() -> None:
    labels = [["1", "2"], [], ["3"]]
    taken = draws.wrong_labels_and_language(
        keys(subset=["a"] * 3 + ["b"] * 3, labels=labels * 2, languages=[3, 3, 3] * 2)
    )
    assert taken["picked"].to_list()[:3] == taken["picked"].to_list()[3:]
    assert taken["row_index"].to_list() == [0, 1, 2] * 2
    # Python's random.Random(42) shuffles one wrong label, then chooses; three; two
    assert taken["picked"].to_list()[:3] == [3, 3, 1]


def test_a_text_in_no_language_of_its_own_is_left_as_it_is() -> None:
    taken = draws.wrong_labels_and_language(keys(subset=["a"], labels=[["1"]], languages=[None]))
    assert taken["picked"].to_list() == [None]


def test_wrong_labels_are_shuffled_for_each_text_and_single_labels_are_in_the_order_of_numbers() -> None:
    labels = [[number] for number in range(11)]
    taken = draws.wrong_labels_and_language(keys(subset=["a"] * 11, labels=labels, languages=[None] * 11))
    stream, expected = random.Random(42), []
    for number in range(11):
        expected.append([other for other in range(11) if other != number])
        stream.shuffle(expected[-1])
    assert taken["wrong_labels"].to_list() == expected


def test_several_labels_are_in_the_order_of_their_texts_and_thirty_are_wrong() -> None:
    labels = [list(range(40)), [5, 7], None]
    taken = draws.wrong_labels_and_language(keys(subset=["a"] * 3, labels=labels, languages=[None] * 3))
    other = [number for number in sorted(range(40), key=str) if number not in (5, 7)]
    random.Random(42).shuffle(other)
    assert taken["wrong_labels"].to_list()[:2] == [[], other[:30]]
    assert taken["wrong_labels"].list.len().to_list() == [0, 30, 30]


def test_sequences_of_entities_are_not_labels_of_other_texts() -> None:
    labels = [['"O" "B-PER"'], ['"O" "O"']]
    taken = draws.wrong_labels_and_language(keys(subset=["a"] * 2, labels=labels, languages=[None] * 2))
    assert taken["wrong_labels"].to_list() == [None, None]


def test_options_start_anew_with_each_subset() -> None:
    taken = draws.shuffle_options(keys(subset=["a", "a", "b", "b"]))
    assert taken["options"].to_list()[:2] == taken["options"].to_list()[2:]
    assert taken["row_index"].to_list() == [0, 1, 0, 1]
    assert taken["options"][0].to_list() == [3, 2, 4, 1]


def test_subjects_have_an_order_together_and_one_alone() -> None:
    taken = draws.shuffle_by_subject(keys(subject=["b", "a", "b", "a", "b"]))
    assert sorted(taken["row_index"]) == [0, 1, 2, 3, 4]
    subjects = taken.with_columns(subject=pl.Series(["b", "a", "b", "a", "b"]).gather(taken["position"]))
    assert subjects.filter(subject="a")["alone"].sort().to_list() == [0, 1]
    assert subjects.filter(subject="b")["alone"].sort().to_list() == [0, 1, 2]


def test_problems_are_counted_within_subject_and_level() -> None:
    taken = draws.sort_and_shuffle(
        keys(problem=list("dcba"), subject=["x", "x", "y", "y"], level=["1", "1", "1", "2"], split=["test"] * 4)
    )
    # NumPy's default_rng(42).permutation(4) is [3, 2, 1, 0]; by their problems the rows are 3, 2, 1, 0
    assert taken.rows() == [(0, 0), (1, 1), (2, 0), (3, 0)]


def test_of_many_train_pairs_some_are_drawn_and_all_others_kept() -> None:
    files = pl.DataFrame(
        {
            "position": [0, 25_000, 60_000],
            "rows": [25_000, 35_000, 10],
            "split": ["train", "train", "test"],
            "language_pair": ["fr-en"] * 3,
        }
    )
    taken = draws.sample_train_pairs(files)
    assert taken["row_index"].to_list() == list(range(20_010))
    assert taken["position"].n_unique() == 20_010
    assert taken["position"].to_list()[-10:] == list(range(60_000, 60_010))


def test_as_many_train_pairs_differ_as_are_the_same() -> None:
    taken = draws.balance_train_pairs(
        keys(dataset=["Beer"] * 7, split=["train"] * 5 + ["test"] * 2, label=[0, 0, 0, 1, 0, 0, 1])
    )
    assert taken.height == 4
    assert taken["position"].to_list()[1:] == [3, 5, 6]


def test_a_tenth_is_asked_and_rows_with_holes_are_not() -> None:
    taken = draws.sample_test_rows(keys(dataset=["Buy"] * 21, whole=[True] * 20 + [False]))
    counted = dict(taken.group_by("split").len().rows())
    assert counted == {"test": 2, "validation": 4, "train": 14}
    assert 20 not in taken["position"]


def test_test_rows_are_sampled_in_the_shares_of_their_labels() -> None:
    labels = ["b"] * 1_500 + ["a"] * 500
    rows = draws.sample_by_label(keys(label=labels), seed=7)
    # NumPy's RandomState(7).choice samples 250 of the 500 rows of a first, then 750 of the 1,500 of b
    assert [labels[position] for position in rows["position"]] == ["a"] * 250 + ["b"] * 750
    assert rows["position"].to_list()[:2] == [
        1_500 + int(index) for index in np.random.RandomState(7).choice(500, 250, replace=False)[:2]
    ]
    assert rows["row_index"].to_list() == list(range(1_000))


def test_rows_that_are_not_sampled_are_examples_if_the_source_has_no_splits() -> None:
    rows = draws.sample_by_label(keys(label=[0, 1] * 1_000, split=[None] * 2_000), seed=1)
    assert dict(rows.group_by("split").len().rows()) == {"train": 1_000, "test": 1_000}
    assert rows.filter(split="train")["position"].is_sorted()
    assert rows["position"].n_unique() == 2_000


def test_splits_that_are_not_sampled_are_used_whole_and_unusable_rows_are_not() -> None:
    split = ["validation"] * 3 + ["test"] * 1_200
    usable = [True, False, *[True] * 1_201]
    rows = draws.sample_by_label(keys(label=[0] * 1_203, split=split, usable=usable), seed=1)
    assert rows["position"].to_list()[:2] == [0, 2]
    assert rows.filter(split="test").height == 1_000


def test_a_sample_gets_one_more_row_of_a_label() -> None:
    rows = draws.sample_by_label(
        keys(label=[0, 1, 2] * 501, language=["th"] * 1_503), seed=1, subset="language", more=1
    )
    assert rows.height == 1_000
    labels = [position % 3 for position in rows["position"]]
    assert (labels.count(0), labels.count(1), labels.count(2)) == (333, 334, 333)
    assert labels[-1] == 1


def test_fewer_rows_than_a_sample_are_all_used() -> None:
    assert draws.sample_by_label(keys(label=[0, 1, 0]), seed=1)["position"].to_list() == [0, 2, 1]
    rows = draws.sample_questions(keys(length=[3, 2], usable=[True, True], split=[None, None]), seed=1)
    assert sorted(rows["position"]) == [0, 1]


def test_examples_are_the_fifth_with_the_shortest_texts() -> None:
    rows = draws.shorten_examples(keys(length=[5, 1, 4, 2, 3, 9], split=["train"] * 5 + ["validation"]))
    assert rows.rows() == [(1, "train", 0), (5, "validation", 1)]
    rows = draws.sample_questions(keys(length=list(range(1_100)), split=[None] * 1_100), seed=1)
    assert dict(rows.group_by("split").len().rows()) == {"train": 20, "test": 1_000}


def test_minimal_pairs_are_in_the_order_of_the_size_of_their_categories() -> None:
    rows = draws.shuffle_minimal_pairs(keys(category=["a", "b", "b", "c", "b", "c"]))
    assert rows["position"].to_list() == [1, 2, 4, 3, 5, 0]
    # Python's random.Random(1) swaps the first and the second pair of a category, not the third
    assert rows["swapped"].to_list() == [True, True, False, True, True, True]


def test_a_third_of_the_sentences_is_for_testing() -> None:
    rows = draws.split_at_random(keys(split=[None] * 10))
    assert rows["split"].to_list() == ["train"] * 6 + ["test"] * 4
    order = np.random.default_rng(42).permutation(10).tolist()
    assert rows["position"].to_list() == [*order[4:], *order[:4]]


def test_a_tenth_of_the_words_is_masked() -> None:
    rows = draws.mask_words(keys(words=[9, 20, 30]))
    assert rows["masked"].list.len().to_list() == [0, 2, 3]
    # Python's random.Random(42).sample(range(20), 2) is 3 and 0
    assert rows["masked"].to_list()[1] == [4, 1]


def test_the_options_of_all_questions_are_shuffled_by_one_stream() -> None:
    rows = draws.shuffle_all_options(keys(options=[4, 4]))
    stream = random.Random(42)
    expected = [[1, 2, 3, 4], [1, 2, 3, 4]]
    for order in expected:
        stream.shuffle(order)
    assert rows["option_order"].to_list() == expected


def test_translations_without_pairs_of_languages_are_one_pair() -> None:
    files = pl.DataFrame({"position": [0, 30_000], "rows": [30_000, 5], "split": ["train", "test"]})
    assert draws.sample_train_pairs(files)["row_index"].to_list() == list(range(20_005))


def test_an_unknown_draw_has_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown draw 'quacs'\. Did you mean 'quac'\?"):
        draws.find_draw("quacs")
