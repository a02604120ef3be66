"""Prompts of `multiple_choice_joint`, character for character."""

import polars as pl
import pytest

from helmframe.errors import ArgumentError
from tests.adapters.test_adapt import requests
from tests.frames import instances, variants

ASKED = variants(["Which floats?"], [[("Stone", False), ("Cork", True), ("Lead", False)]], data_subject="physics")
TRAIN = instances(["Which sinks?"], [[("Iron", True), ("Wood", False)]], data_subject="physics", split="train")


def prompt(**fields: object) -> str:
    (text,) = requests(ASKED, TRAIN, **{"method": "multiple_choice_joint", **fields})["prompt"]
    assert isinstance(text, str)
    return text


def test_no_shots() -> None:
    assert prompt(shots=0) == "Question: Which floats?\nA. Stone\nB. Cork\nC. Lead\nAnswer:"


def test_one_shot_ends_with_its_letter() -> None:
    assert prompt(shots=1) == (
        "Question: Which sinks?\nA. Iron\nB. Wood\nAnswer: A\n\n"
        "Question: Which floats?\nA. Stone\nB. Cork\nC. Lead\nAnswer:"
    )


@pytest.mark.parametrize(
    ("prefix", "lines"),
    [
        ("(A) ", "(A) Stone\n(B) Cork\n(C) Lead\n"),
        ("a) ", "a) Stone\nb) Cork\nc) Lead\n"),
        ("1. ", "1. Stone\n2. Cork\n3. Lead\n"),
        ("_K: ", "_K: Stone\n_L: Cork\n_M: Lead\n"),
        ("\nA. ", "\nA. Stone\n\nB. Cork\n\nC. Lead\n"),
    ],
)
def test_the_letter_is_the_first_of_the_prefix_counted_up(prefix: str, lines: str) -> None:
    assert prompt(shots=0, reference_prefix=prefix) == f"Question: Which floats?\n{lines}Answer:"


def test_choices_name_each_reference_in_turn() -> None:
    rows = requests(ASKED, TRAIN, method="multiple_choice_joint", reference_prefix="(A) ")
    assert rows["choices"].to_list() == [["A", "B", "C"]]


def test_the_first_correct_option_answers() -> None:
    train = instances(["Which?"], [[("x", False), ("y", True), ("z", True)]], data_subject="physics", split="train")
    (text,) = requests(ASKED, train, method="multiple_choice_joint", shots=1)["prompt"]
    assert "Answer: B\n\n" in text


def test_an_example_without_a_correct_option_says_so() -> None:
    train = instances(["Which?"], [[("x", False)]], data_subject="physics", split="train")
    (text,) = requests(ASKED, train, method="multiple_choice_joint", shots=1)["prompt"]
    assert text.startswith("Question: Which?\nA. x\nAnswer: n/a\n\n")


def test_an_instance_without_options() -> None:
    rows = requests(variants(["Which?"], [[]], data_subject="physics"), TRAIN, method="multiple_choice_joint", shots=0)
    assert rows.select("prompt", "choices").rows() == [("Question: Which?\nAnswer:", [])]


def test_space_at_the_end_of_an_option_is_preserved() -> None:
    asked = variants(["Which?"], [[("x ", True)]], data_subject="physics")
    rows = requests(asked, TRAIN, method="multiple_choice_joint", shots=0, output_prefix="", reference_suffix="")
    assert rows["prompt"].to_list() == ["Question: Which?\nA. x "]


def test_a_whole_alphabet_of_options() -> None:
    options = [(str(place), place == 25) for place in range(26)]
    (row,) = requests(
        variants(["Which?"], [options], data_subject="physics"), TRAIN, method="multiple_choice_joint", shots=0
    ).rows(named=True)
    assert row["choices"] == list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert row["prompt"].endswith("\nZ. 25\nAnswer:")


@pytest.mark.parametrize(("prefix", "count", "letters"), [("A. ", 27, 26), ("1. ", 10, 9), ("X. ", 4, 3)])
def test_more_options_than_letters_raise(prefix: str, count: int, letters: int) -> None:
    asked = variants(["Which?"], [[("x", False)] * count], data_subject="physics")
    with pytest.raises(
        ArgumentError, match=f"'id0' of scenario 's' has {count} options, but .* has only {letters} labels"
    ):
        requests(asked, TRAIN, method="multiple_choice_joint", shots=0, reference_prefix=prefix)


def test_a_prefix_without_a_letter_raises() -> None:
    with pytest.raises(ArgumentError, match="must contain a letter or digit to count up from"):
        prompt(reference_prefix="- ")


def test_labels_can_be_listed() -> None:
    rows = requests(
        ASKED, TRAIN, method="multiple_choice_joint", shots=1, reference_prefix="(A) ",
        reference_prefix_characters=["x", "y", "zz"],
    )  # fmt: skip
    assert rows["choices"].to_list() == [["x", "y", "zz"]]
    assert rows["prompt"][0] == (
        "Question: Which sinks?\n(x) Iron\n(y) Wood\nAnswer: x\n\n"
        "Question: Which floats?\n(x) Stone\n(y) Cork\n(zz) Lead\nAnswer:"
    )


@pytest.mark.parametrize("characters", [["x", "x", "y"], ["x", "", "y"]])
def test_labels_that_repeat_are_an_error(characters: list[str]) -> None:
    with pytest.raises(ArgumentError, match="labels must differ and must not be empty"):
        prompt(reference_prefix_characters=characters)


def test_too_few_labels_raise() -> None:
    with pytest.raises(ArgumentError, match=r"has only 2 labels\. .* or another reference_prefix_characters"):
        prompt(reference_prefix_characters=["x", "y"])


def test_all_correct_options_answer_with_multi_label() -> None:
    train = instances(["Which?"], [[("x", True), ("y", False), ("z", True)]], data_subject="physics", split="train")
    (text,) = requests(ASKED, train, method="multiple_choice_joint", shots=1, multi_label=True)["prompt"]
    assert "Answer: A, C\n\n" in text


def test_an_example_shows_its_reasoning() -> None:
    train = TRAIN.with_columns(data_chain_of_thought=pl.lit("Iron is heavy."))
    (text,) = requests(
        ASKED, train, method="multiple_choice_joint_chain_of_thought", shots=1, chain_of_thought_prefix="Think: ",
        chain_of_thought_suffix=" So: ",
    )["prompt"]  # fmt: skip
    assert "Answer: Think: Iron is heavy. So: A. \n\nQuestion: Which floats?" in text
    assert text.endswith("Answer:")


def test_reasoning_may_lack() -> None:
    (text,) = requests(ASKED, TRAIN, method="multiple_choice_joint_chain_of_thought", shots=1)["prompt"]
    assert "Answer: \nA. \n\n" in text
