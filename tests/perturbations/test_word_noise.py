"""Noise in words, punctuation and numbers."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import ArgumentError
from helmframe.perturbations.call import call
from helmframe.perturbations.registry import PERTURBATIONS
from tests.perturbations.texts import changed, each_changed, is_part, near

FOX = "The quick brown fox jumps over 13 lazy dogs."
SAID = 'Who wrote "War and Peace" (1869), in Müller\'s well-known, 1,200-page form?'
WORDS = ["drop_words", "swap_words", "repeat_words"]
ANY_TEXT = st.text(st.sampled_from("abé1 \n.,;-'()한👧\u0301"), max_size=60)


@pytest.mark.parametrize(
    ("perturbation", "arguments", "out"),
    [
        ("drop_words", {"prob": 0.3}, "The quick brown jumps over 13 dogs."),
        ("swap_words", {"prob": 0.5}, "The quick brown fox jumps 13 over lazy dogs."),
        ("swap_words", {"prob": 1}, "The brown quick jumps fox 13 over dogs lazy."),
        ("repeat_words", {"prob": 0.3}, "The quick quick brown brown fox jumps over 13 lazy lazy dogs dogs."),
        ("punctuation", {"prob": 0.4, "mode": "insert"}, "The quick? brown fox, jumps over! 13! lazy. dogs."),
        ("change_numbers", {}, "The quick brown fox jumps over 46 lazy dogs."),
    ],
)
def test_noise_stays_the_same_for_good(perturbation: str, arguments: dict[str, Any], out: str) -> None:
    assert changed(FOX, perturbation, **arguments) == out


@pytest.mark.parametrize("perturbation", [*WORDS, "punctuation", "change_numbers"])
def test_null_empty_and_no_words(perturbation: str) -> None:
    texts = [None, "", " ", "\n", "👩‍👩‍👧", None]
    assert each_changed(texts, perturbation, prob=1) == texts


@pytest.mark.parametrize("perturbation", [*WORDS, "punctuation", "change_numbers"])
def test_nothing_changes_at_probability_zero(perturbation: str) -> None:
    assert changed(SAID, perturbation, prob=0) == SAID


@pytest.mark.parametrize("perturbation", [*WORDS, "punctuation", "change_numbers"])
def test_other_texts_beside_it_do_not_matter(perturbation: str) -> None:
    texts = [FOX, SAID, "", None, "a", "a b", "13", "."] * 12
    ids = [f"id{place}" for place in range(len(texts))]
    together = each_changed(texts, perturbation, ids=ids, prob=0.4)
    assert together == [
        each_changed([text], perturbation, ids=[each], prob=0.4)[0] for text, each in zip(texts, ids, strict=True)
    ]


@pytest.mark.parametrize("perturbation", [*WORDS, "punctuation", "change_numbers"])
def test_a_text_of_a_megabyte(perturbation: str) -> None:
    text = "naïve wording, 13 times: " * 40_000
    out = changed(text, perturbation, prob=0.1)
    assert out != text
    assert 0.8 < len(out) / len(text) < 1.2


# -- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prob", [0.1, 0.5])
def test_words_are_dropped_and_repeated_at_the_share_promised(prob: float) -> None:
    text = " ".join(["word"] * 30_000)
    assert near(1 - changed(text, "drop_words", prob=prob).count("word") / 30_000, prob, 30_000)
    assert near(changed(text, "repeat_words", prob=prob).count("word") / 30_000 - 1, prob, 30_000)


def test_pairs_of_words_change_places_at_the_share_promised() -> None:
    texts: list[str | None] = ["a b c"] * 30_000
    out = Counter(each_changed(texts, "swap_words", prob=0.2))
    assert set(out) == {"a b c", "b a c", "a c b"}
    assert near(1 - out["a b c"] / len(texts), 0.2, len(texts))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Who wrote it?", {"Who?", "wrote?", "it?"}),
        ("(Who) wrote, it", {"(Who),", "() wrote,", "(), it"}),
        ("word", {"word"}),
        ("  two words \n", {"  two ", "  words \n"}),
    ],
)
def test_one_word_always_stays(text: str, kept: set[str]) -> None:
    assert {changed(text, "drop_words", prob=1, id=f"id{place}") for place in range(60)} == kept


def test_the_space_before_a_word_goes_with_it() -> None:
    seen = {changed("Hello, dear (old) world.", "drop_words", prob=0.3, id=f"id{place}") for place in range(200)}
    assert {"Hello, (old) world.", "Hello, dear () world.", "Hello, dear (old).", ", dear (old) world."} <= seen
    assert not any("  " in each for each in seen)


def test_a_higher_probability_drops_what_a_lower_one_does() -> None:
    few, many, all_but_one = (changed(FOX * 9, "drop_words", prob=prob) for prob in (0.2, 0.6, 1.0))
    assert is_part(many, few)
    assert is_part(re.findall(r"\w+", all_but_one)[0], many)


@given(ANY_TEXT)
def test_swapping_words_keeps_them_all(text: str) -> None:
    out = changed(text, "swap_words", prob=0.8)
    assert sorted(re.findall(r"\S+", out)) == sorted(re.findall(r"\S+", text)) or len(out) == len(text)
    assert sorted(out) == sorted(text)


@given(ANY_TEXT)
def test_dropping_adds_and_repeating_loses_nothing(text: str) -> None:
    assert is_part(changed(text, "drop_words", prob=0.5), text)
    assert is_part(text, changed(text, "repeat_words", prob=0.5))


def test_words_with_marks_between_them_stay() -> None:
    assert changed("one, two; three", "swap_words", prob=1) == "one, two; three"


def test_words_keep_their_apostrophes_hyphens_and_points() -> None:
    out = changed("don't well-known", "swap_words", prob=1, id="id2")
    assert {out, changed("don't well-known", "swap_words", prob=1, id="id0")} == {
        "well-known don't",
        "don't well-known",
    }
    assert changed("3.14 don’t", "repeat_words", prob=1) == "3.14 3.14 don’t don’t"


# -- punctuation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "out"),
    [
        ("drop", "Who wrote War and Peace 1869 in Müller's well-known 1,200-page form"),
        ("double", 'Who wrote ""War and Peace"" ((1869)),, in Müller\'s well-known,, 1,200-page form??'),
    ],
)
def test_punctuation_goes_and_is_doubled_but_not_inside_of_words(mode: str, out: str) -> None:
    assert changed(SAID, "punctuation", prob=1, mode=mode) == out


def test_marks_are_inserted_after_words_that_have_none() -> None:
    out = changed(SAID, "punctuation", prob=1, mode="insert")
    assert re.sub(r"(?<=\w)[.;?:!,](?= )", "", out) == re.sub(r"(?<=\w)[.;?:!,](?= )", "", SAID)
    assert out == 'Who; wrote? "War: and, Peace" (1869), in! Müller\'s. well-known, 1,200-page, form?'


@pytest.mark.parametrize(("mode", "sign"), [("drop", -1), ("double", 1)])
def test_marks_are_hit_at_the_share_promised(mode: str, sign: int) -> None:
    out = changed("a, " * 30_000, "punctuation", prob=0.3, mode=mode)
    assert near(sign * (out.count(",") / 30_000 - 1), 0.3, 30_000)


def test_an_unknown_mode_names_near_ones() -> None:
    with pytest.raises(ArgumentError, match=r"punctuation\(mode='droop'\): mode must be .*\. Did you mean 'drop'"):
        call("punctuation", mode="droop")


# -- numbers ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.from_regex(r"[1-9][0-9]{0,5}(\.[0-9]{1,3})?", fullmatch=True), min_size=1, max_size=9))
def test_each_number_becomes_another_of_the_same_form(numbers: list[str]) -> None:
    out = changed(" and ".join(numbers), "change_numbers").split(" and ")
    for new, old in zip(out, numbers, strict=True):
        assert new != old
        assert re.sub(r"\d", "0", new) == re.sub(r"\d", "0", old)
        assert new[0] != "0"


@pytest.mark.parametrize("text", ["0.5", "007", "0", "1,200", "B2B", "3.14.15"])
def test_digits_alone_change_and_a_first_zero_stays(text: str) -> None:
    out = changed(text, "change_numbers")
    assert out != text
    assert re.sub(r"\d", "0", out) == re.sub(r"\d", "0", text)
    assert (out[0] == "0") == (text[0] == "0" and len(text) > 1)


def test_a_digit_becomes_each_other_one_alike() -> None:
    from scipy.stats import chisquare

    texts: list[str | None] = ["7"] * 9_000
    one = Counter(each_changed(texts, "change_numbers"))
    assert set(one) == set("12345689")
    assert chisquare(list(one.values())).pvalue > 0.001
    last = Counter(each_changed(["47"] * 9_000, "change_numbers"))
    assert set(Counter(each[1] for each in last if each)) == set("012345689")


def test_numbers_are_changed_at_the_share_promised() -> None:
    out = changed("12 " * 30_000, "change_numbers", prob=0.3).split()
    assert near(sum(each != "12" for each in out) / 30_000, 0.3, 30_000)


def test_changed_numbers_count_neither_as_robustness_nor_as_fairness() -> None:
    assert PERTURBATIONS["change_numbers"].kind == ""
    assert PERTURBATIONS["drop_words"].kind == "robustness"
