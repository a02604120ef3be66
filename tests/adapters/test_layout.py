"""Labels of options, and texts that name columns."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.adapters.layout import counted
from helmframe.errors import ArgumentError


@pytest.mark.parametrize(
    ("prefix", "lines", "labels"),
    [
        ("A. ", ["A. ", "B. ", "C. ", "D. "], ["A", "B", "C", "D"]),
        ("(a) ", ["(a) ", "(b) ", "(c) ", "(d) "], ["a", "b", "c", "d"]),
        ("1) ", ["1) ", "2) ", "3) ", "4) "], ["1", "2", "3", "4"]),
        ("i. ", ["i. ", "ii. ", "iii. ", "iv. "], ["i", "ii", "iii", "iv"]),
        ("(I) ", ["(I) ", "(II) ", "(III) ", "(IV) "], ["I", "II", "III", "IV"]),
        ("α: ", ["α: ", "β: ", "γ: ", "δ: "], ["α", "β", "γ", "δ"]),
        ("Item: ", ["Item: ", "Jtem: ", "Ktem: ", "Ltem: "], ["I", "J", "K", "L"]),
    ],
)
def test_labels_count_up(prefix: str, lines: list[str], labels: list[str]) -> None:
    assert (counted(prefix)[0][:4], counted(prefix)[1][:4]) == (lines, labels)


def test_roman_numerals() -> None:
    labels = counted("i. ")[1]
    assert len(set(labels)) == 64
    numerals = [labels[number - 1] for number in (4, 9, 14, 19, 38, 40, 49, 50, 64)]
    assert numerals == ["iv", "ix", "xiv", "xix", "xxxviii", "xl", "xlix", "l", "lxiv"]


@pytest.mark.parametrize(("prefix", "count"), [("A. ", 26), ("1. ", 9), ("W. ", 4), ("中 ", 64)])
def test_alphabets_end(prefix: str, count: int) -> None:
    assert len(counted(prefix)[1]) == count


def test_nothing_to_count_up_from_raises() -> None:
    with pytest.raises(ArgumentError, match="must contain a letter or digit to count up from"):
        counted("- ")


ROWS = pl.DataFrame(
    {
        "lang": ["fr_fr", "fr_fr", "de_de"],
        "source": ["French", "French", "German"],
        "split": ["train", "test", "test"],
        "q": ["chien", "chat", "Hund"],
        "a": ["dog", "cat", "dog"],
    }
)


def prompts(**adapter: Any) -> list[str]:
    plan = hf.scenario(ROWS, input="q", references="a", subset="lang").adapt(shots=1, **adapter)
    return plan.requests().collect()["prompt"].to_list()


def test_prefixes_say_what_the_column_says_in_each_subset_and_in_the_shots_too() -> None:
    # subsets in alphabetical order
    assert prompts(instructions="From {source}.", input_prefix="{source}: ", output_prefix="English: ") == [
        "From German.\n\nGerman: Hund\nEnglish:",
        "From French.\n\nFrench: chien\nEnglish: dog\n\nFrench: chat\nEnglish:",
    ]


def test_subset_columns_have_spaces_for_underscores() -> None:
    assert prompts(input_prefix="{lang}: ")[0].startswith("de de: ")


def test_braces_that_name_no_column_stay() -> None:
    assert prompts(instructions=r"Use \boxed{} and {this}.")[0].startswith(r"Use \boxed{} and {this}.")


def test_a_column_that_differs_within_a_subset_is_refused() -> None:
    rows = ROWS.head(2).with_columns(split=pl.lit("test"))
    plan = hf.scenario(rows, input="q", references="a", subset="lang").adapt(shots=0, input_prefix="{q}: ")
    with pytest.raises(ArgumentError, match="column 'q' has 2 values in subset"):
        plan.requests()


def test_requests_keep_the_order_of_the_instances() -> None:
    frame = pl.DataFrame({"k": ["b", "a", "b", "a"], "n": ["B", "A", "B", "A"], "q": list("1234"), "a": list("1234")})
    plan = hf.scenario(frame, input="q", references="a", subset="k").adapt(shots=0, input_prefix="{n} ")
    asked = plan.requests().collect()
    assert asked["instance_id"].to_list() == plan.instances().collect()["instance_id"].to_list()
    assert [text.split("\n")[0] for text in asked["prompt"]] == ["A 2", "A 4", "B 1", "B 3"]
