"""Contractions, expansions and fillers."""

from collections import Counter
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.perturbations.parsing import call
from helmframe.perturbations.word_lists import FILL_PHRASES, SPEAKER_PHRASES, UNCERTAIN_PHRASES


def changed(texts: list[str | None] | str, name: str, **arguments: Any) -> list[str]:
    texts = [texts] if isinstance(texts, str) else list(texts)
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    return frame.select(call(name, **arguments).on(pl.col("text"), id="id")).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She is a doctor, and I am a student", "She's a doctor, and I'm a student"),  # HELM's own test
        ("it is not so", "it's not so"),
        ("is not so", "isn't so"),
        ("Is not it", "Isn't it"),
        ("IS NOT it", "Isn't it"),
        ("CANNOT it cannot be", "CAN'T it can't be"),
        ("i am I AM here", "i'm I'm here"),
        ("that is not.", "that's not."),
        ("who they are", "who they are"),  # no space follows
        ("it is", "it is"),
        ("it  is not  so", "it  isn't  so"),
        ("he would have been, cannot have", "he'd have been, can't have"),
        ("this is", "this is"),
        ("", ""),
    ],
)
def test_contraction(text: str, expected: str) -> None:
    assert changed(text, "contraction") == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She's a doctor, and I'm a student", "She is a doctor, and I am a student"),  # HELM's own test
        ("isn't", "is not"),
        ("DON'T i'm I'M", "Do not i am I am"),
        ("you can't've seen it", "you cannot have seen it"),
        ("he'd've, he'd", "he would have, he would"),
        ("ma'am won't", "madam will not"),
        ("the dog's can’t", "the dog's can’t"),
        ("", ""),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert changed(text, "expansion") == [expected]


def test_contractions_and_expansions_leave_nulls_and_neighbours_alone() -> None:
    assert changed(["it is", None, "not so", "", "it is not so"], "contraction") == [
        "it is",
        None,
        "not so",
        "",
        "it's not so",
    ]


def test_fillers_stay_the_same_for_good() -> None:
    assert changed("The quick brown fox jumps over the lazy dog.", "filler_words") == [
        "umm The like quick brown fox jumps over the lazy possibly dog."
    ]


def test_before_every_word_at_probability_one() -> None:
    (out,) = changed("a b  c", "filler_words", insert_prob=1.0, speaker_ph=False, uncertain_ph=False)
    fillers = set(FILL_PHRASES)
    pieces = out.split(" a ")[0], out.split(" a ")[1].split(" b ")[0]
    assert set(pieces) <= fillers
    assert out.endswith(" c")
    # between two spaces stands a word of no letters, as HELM splits
    assert sum(out.count(each) for each in fillers) >= 4


def test_none_at_probability_zero_and_none_in_an_empty_text() -> None:
    assert changed("a b", "filler_words", insert_prob=0.0) == ["a b"]
    assert changed(["", None, " "], "filler_words", insert_prob=1.0)[:2] == ["", None]


def test_no_more_than_said() -> None:
    texts: list[str | None] = ["w " * 50] * 40
    counts = [len(out.split()) - 50 for out in changed(texts, "filler_words", max_num_insert=2, fill_ph=False)]
    assert max(counts) <= 2 * 4  # "In my opinion" and its like have several words
    assert changed("a b c", "filler_words", max_num_insert=0, insert_prob=1.0) == ["a b c"]
    (one,) = changed("a b c", "filler_words", max_num_insert=1, insert_prob=1.0)
    assert one.endswith("a b c")


def test_which_fillers_is_said() -> None:
    lists = {"speaker_ph": SPEAKER_PHRASES, "uncertain_ph": UNCERTAIN_PHRASES, "fill_ph": FILL_PHRASES}
    for kind, phrases in lists.items():
        said = {each: each == kind for each in lists}
        outs = changed(["w"] * 200, "filler_words", insert_prob=1.0, **said)
        assert {out.removesuffix(" w") for out in outs} == set(phrases)


def test_fillers_are_drawn_evenly() -> None:
    from scipy.stats import chisquare

    outs = changed(["w"] * 23_000, "filler_words", insert_prob=1.0)
    counts = Counter(out.removesuffix(" w") for out in outs)
    assert len(counts) == 23
    assert chisquare(list(counts.values())).pvalue > 0.001


@given(st.lists(st.text("ab \né🎓", max_size=20), max_size=6))
def test_the_text_stays_between_the_fillers(texts: list[str]) -> None:
    outs = changed([*texts], "filler_words", insert_prob=0.5, uncertain_ph=False, speaker_ph=False)
    for new, old in zip(outs, texts, strict=True):
        for filler in ("you know", *FILL_PHRASES):
            new = new.replace(f"{filler} ", "")
        assert new == old


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"insert_prob": 2}, "between 0 and 1"),
        ({"max_num_insert": -1}, "a whole number from 0 on"),
        ({"max_num_insert": 1.5}, "a whole number from 0 on"),
        ({"speaker_ph": 1}, "True or False"),
        ({"speaker_ph": False, "uncertain_ph": False, "fill_ph": False}, "nothing to insert"),
    ],
)
def test_values_that_cannot_be_are_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call("filler_words", **arguments)
