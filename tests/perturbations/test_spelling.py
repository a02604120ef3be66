"""Case and typing errors."""

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import UnknownNameError
from helmframe.perturbations.parsing import call
from helmframe.perturbations.spelling import NEIGHBOURS

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def changed(text: str, perturbation: str, *, id: str = "id0", seed: int = 0, **arguments: float) -> str:
    frame = pl.DataFrame({"id": [id], "text": [text]})
    out = frame.select(call(perturbation, **arguments).on(pl.col("text"), id="id", seed=seed)).item()
    assert isinstance(out, str)
    return out


@pytest.mark.parametrize(
    ("text", "expected"), [("Who Wrote IT?", "who wrote it?"), ("ÀÉ ΣΑΣ", "àé σας"), ("İ", "i̇"), ("1!", "1!")]
)
def test_lowercase(text: str, expected: str) -> None:
    assert changed(text, "lowercase") == expected


def test_rerun_is_the_text_itself() -> None:
    assert changed("Who  Wrote IT?", "rerun") == "Who  Wrote IT?"


def test_again_is_no_longer_a_perturbation() -> None:
    with pytest.raises(UnknownNameError, match="'again'"):
        changed("Who?", "again")


def test_typos_stay_the_same_for_good() -> None:
    text = "The quick brown fox jumps over the lazy dog."
    assert changed(text, "typos", prob=0.3) == "Tuf aulcm beown flx jumow ovde the lazy fiy."


def test_no_typos_at_probability_zero() -> None:
    assert changed("The quick brown fox", "typos", prob=0) == "The quick brown fox"


def test_every_letter_is_a_typo_at_probability_one() -> None:
    text = "The Quick, 7 foxes!"
    out = changed(text, "typos", prob=1)
    assert [new == old for new, old in zip(out, text, strict=True)] == [not old.isalpha() for old in text]


def test_case_is_kept() -> None:
    out = changed("aBcDeFgH" * 20, "typos", prob=1)
    assert [each.isupper() for each in out] == [False, True] * 80


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.text(max_size=5))
def test_only_ascii_letters_change_and_only_into_neighbours(text: str, id: str) -> None:
    out = changed(text, "typos", prob=0.5, id=id)
    assert len(out.encode()) == len(text.encode())
    for new, old in zip(out, text, strict=True):
        beside = NEIGHBOURS.get(old, "") if old.islower() else NEIGHBOURS.get(old.lower(), "").upper()
        assert new == old or (old.isascii() and new in beside)


def test_a_higher_probability_keeps_the_typos_of_a_lower_one() -> None:
    text = "the quick brown fox jumps over the lazy dog " * 20
    few, many = changed(text, "typos", prob=0.05), changed(text, "typos", prob=0.2)
    assert [many[place] for place in range(len(text)) if few[place] != text[place]] == [
        few[place] for place in range(len(text)) if few[place] != text[place]
    ]


def test_one_letter_in_twenty_is_a_typo_by_default() -> None:
    text = ALPHABET * 4000
    out = changed(text, "typos")
    share = sum(new != old for new, old in zip(out, text, strict=True)) / len(text)
    # four standard errors around .05
    assert abs(share - 0.05) < 4 * (0.05 * 0.95 / len(text)) ** 0.5


def test_neighbours_are_drawn_evenly() -> None:
    from scipy.stats import chi2

    text = ALPHABET * 4000
    out = changed(text, "typos", prob=0.5)
    hits = Counter((old, new) for old, new in zip(text, out, strict=True) if new != old)
    statistic, freedom = 0.0, 0
    for letter, beside in NEIGHBOURS.items():
        expected = sum(hits[letter, each] for each in beside) / len(beside)
        statistic += sum((hits[letter, each] - expected) ** 2 / expected for each in beside)
        freedom += len(beside) - 1
    assert chi2.sf(statistic, freedom) > 0.001


def test_typos_hit_every_place_alike() -> None:
    from scipy.stats import chisquare

    text = "a" * 50
    frame = pl.DataFrame({"id": [f"id{number}" for number in range(4000)], "text": text})
    out = frame.select(call("typos", prob=0.3).on(pl.col("text"), id="id")).to_series()
    counts = [sum(each[place] != "a" for each in out) for place in range(50)]
    assert chisquare(counts).pvalue > 0.001


def test_each_letter_of_the_keyboard_has_neighbours_other_than_itself() -> None:
    assert sorted(NEIGHBOURS) == list(ALPHABET)
    assert all(letter not in beside and len(set(beside)) == len(beside) for letter, beside in NEIGHBOURS.items())


def test_neighbours_are_mutual_but_for_helms_eight_diagonals() -> None:
    one_way = {a + b for a in ALPHABET for b in NEIGHBOURS[a] if a not in NEIGHBOURS[b]}
    assert one_way == {"qs", "wd", "ef", "rg", "th", "yj", "uk", "il"}
