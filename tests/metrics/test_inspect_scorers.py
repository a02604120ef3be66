"""Inspect's scorers: numbers in any script, options, words and epochs. Equality with Inspect is an acceptance test."""

from typing import Any

import polars as pl
import pytest

import helmframe as hf
from helmframe.errors import ArgumentError
from helmframe.metrics import inspect_scorers as scorers


def references(*texts: str, correct: str | None = None) -> list[dict[str, Any]]:
    return [{"text": text, "correct": correct is None or text in correct} for text in texts]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42!", 42.0), ("(2½)", 2.5), ("三百二十", 320.0), ("二〇二五", 2025.0), ("十二点五", 12.5), ("−3²", 9.0),
        ("1.234,5", 1234.5), ("1 234,50", 1234.5), ("１２３", 123.0), ("٣٫٥", 3.5), ("廿一", 21.0), ("Ⅻ", 12.0),
        ("1e3", 1000.0), ("2⁻¹", 0.5), ("½", 0.5), ("负五", -5.0), ("一亿二千万", 120_000_000.0),
        ("<42", None), ("5 apples", None), ("nan", None), ("", None), ("²", 2.0), ("½⅓", None), ("1" * 500, None),
        ("9⁹⁹⁹⁹⁹⁹⁹⁹", None), ("0⁻¹", None),
    ],
)  # fmt: skip
def test_numbers_of_any_script_are_parsed(text: str, number: float | None) -> None:
    parsed = scorers.parse_number(text)
    assert parsed == pytest.approx(number) if number is not None else parsed is None


@pytest.mark.parametrize(
    ("completion", "target", "options", "score"),
    [
        ("It is $1,200.", "1200", {"numeric": True}, 1.0),
        ("It is 25", "5", {"numeric": True}, 0.0),
        ("25", "5", {}, 1.0),
        ("18 or 19", "18", {"location": "begin", "numeric": True}, 1.0),
        ("18 or 19", "18", {"location": "any", "numeric": True}, 1.0),
        ("(42)", "42", {"location": "exact", "numeric": True}, 0.0),
        ("paris", "Paris", {"ignore_case": False}, 0.0),
        ("", ".", {}, 1.0),
    ],
)
def test_match_compares_texts_and_numbers(completion: str, target: str, options: dict[str, Any], score: float) -> None:
    assert scorers.inspect_match(completion, references(target), **options) == score


def test_labels_of_options_replace_their_texts() -> None:
    options = references("x", "y", correct="y")
    assert scorers.inspect_answer("ANSWER: B", options, pattern="letter", labels=True) == 1.0
    assert scorers.inspect_answer("ANSWER: y", options, pattern="letter", labels=True) == 0.0
    assert scorers.inspect_includes("is it B?", options, labels=True) == 1.0


def test_options_are_selected_after_the_last_answer() -> None:
    options = references("1", "2", "3", correct="23")
    for text, score in [("ANSWER: B, C", 1), ("ANSWER: BC", 1), ("ANSWER: B and C", 1), ("ANSWER: B", 0), ("", 0)]:
        assert scorers.inspect_choice(text, options, multiple_correct=True) == score


@pytest.mark.parametrize(
    ("reducer", "k", "value"),
    [
        ("mean", 1, 0.5), ("median", 1, 0.5), ("mode", 1, 1.0), ("max", 1, 1.0), ("at_least", 2, 1.0),
        ("at_least", 3, 0.0), ("pass_at", 2, 1 - 1 / 6), ("pass_k", 2, 1 / 6), ("pass_at", 5, None),
    ],
)  # fmt: skip
def test_epochs_are_reduced(reducer: str, k: int, value: float | None) -> None:
    reduced = scorers.inspect_epochs([1.0, 0.0, 1.0, 0.0], metric="inspect_match", reducer=reducer, k=k)
    assert reduced == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    "metric",
    [
        "inspect_match(location='middle')",
        "inspect_pattern(pattern='(')",
        "inspect_answer(pattern='page')",
        "inspect_epochs(metric='inspect_match', reducer='sum')",
        "inspect_epochs(metric='inspect_match', k=0)",
    ],
)
def test_invalid_arguments_are_refused_before_a_request(metric: str) -> None:
    frame = pl.DataFrame({"input": ["1 + 1?"], "references": ["2"]})
    with pytest.raises(ArgumentError, match="inspect_"):
        hf.scenario(frame).metrics(metric).generate(lambda prompt: pytest.fail(prompt)).score()
