"""Noise that a reader does not see."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.perturbations.parsing import call
from helmframe.perturbations.unicode_noise import ALPHABETS
from tests.perturbations.texts import changed, each_changed, near

FOX = "The quick brown fox jumps over 13 lazy dogs."
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u200b\u200c\u2060"), max_size=60)


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        ({"prob": 0.3}, "Тhe ԛuіck brоwn foх jumps over 13 lazy dоgs."),
        ({"prob": 1}, "Тһе ԛuісk brоԝn fох јumрѕ оvеr 13 lаzу ԁоgѕ."),
        ({"prob": 1, "alphabet": "greek"}, "Τhe qυιck brοwn fοx jυmρs ονer 13 lazy dοgs."),
    ],
)
def test_homoglyphs_stay_the_same_for_good(arguments: dict[str, Any], out: str) -> None:
    assert changed(FOX, "homoglyphs", **arguments) == out


@given(ANY_TEXT, st.sampled_from(sorted(ALPHABETS)))
def test_only_letters_with_a_look_alike_change(text: str, alphabet: str) -> None:
    out = changed(text, "homoglyphs", prob=0.7, alphabet=alphabet)
    assert all(new == old or new in ALPHABETS[alphabet][old].split() for new, old in zip(out, text, strict=True))


def test_look_alikes_are_letters_of_their_alphabet_in_the_same_case() -> None:
    for alphabet in ("cyrillic", "greek"):
        for latin, other in ALPHABETS[alphabet].items():
            assert unicodedata.name(other).startswith(alphabet.upper())
            assert latin.isupper() == other.isupper()


def test_an_unknown_alphabet_is_told() -> None:
    with pytest.raises(ArgumentError, match=r"homoglyphs\(alphabet='cyrilic'\)\. Did you mean 'cyrillic'"):
        call("homoglyphs", alphabet="cyrilic")


def test_zero_width_stays_the_same_for_good() -> None:
    out = changed("The quick brown fox", "zero_width", prob=0.3)
    assert out == "T\u200bhe qui\u200bc\u200bk b\u200brow\u200bn fo\u200bx"


@given(ANY_TEXT)
def test_without_what_has_no_width_it_is_the_text(text: str) -> None:
    out = changed(text, "zero_width", prob=0.6)
    assert out.translate(dict.fromkeys((0x200B, 0x200C, 0x2060))) == text


def test_zero_width_characters_stand_between_two_letters_alone() -> None:
    assert changed("a b-c 1d ḧ", "zero_width", prob=1) == "a b-c 1d ḧ"
    assert len(changed("ae\u0301b", "zero_width", prob=1)) == 6
    assert changed("e\u0301e\u0301", "zero_width", prob=1)[:2] == "e\u0301"


@pytest.mark.parametrize("prob", [0.05, 0.5])
def test_the_share_promised_is_hit(prob: float) -> None:
    text = "ae" * 25_000
    assert near(
        sum(a != b for a, b in zip(changed(text, "homoglyphs", prob=prob), text, strict=True)) / 50_000, prob, 50_000
    )
    assert near((len(changed(text, "zero_width", prob=prob)) - 50_000) / 49_999, prob, 49_999)


@pytest.mark.parametrize("perturbation", ["homoglyphs", "zero_width"])
def test_null_empty_and_no_letters(perturbation: str) -> None:
    texts = [None, "", " \n", "13 — 👩‍👩‍👧", None]
    assert each_changed(texts, perturbation, prob=1) == texts


@pytest.mark.parametrize("perturbation", ["homoglyphs", "zero_width"])
def test_a_text_of_a_megabyte(perturbation: str) -> None:
    text = "naïve wording " * 70_000
    assert len(changed(text, perturbation, prob=0.1)) >= len(text)
