"""Case, white space and typing errors."""

import re
from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.errors import UnknownNameError
from helmframe.perturbations.call import call
from helmframe.perturbations.spelling import NEIGHBOURS
from tests.perturbations.texts import changed, each_changed

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


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


def test_case_is_preserved() -> None:
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


def spaced(texts: list[str], perturbation: str, **arguments: int) -> list[str]:
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    return frame.select(call(perturbation, **arguments).on(pl.col("text"), id="id")).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello my name is", "Hello  my  name  is"),  # HELM's own test
        ("a  b", "a    b"),
        (" a ", "  a  "),
        ("a\tb\nc\u00a0d", "a\tb\nc\u00a0d"),
        ("", ""),
    ],
)
def test_extra_space(text: str, expected: str) -> None:
    assert spaced([text], "extra_space") == [expected]


def test_extra_space_takes_a_number() -> None:
    assert spaced(["a b"], "extra_space", num_spaces=4) == ["a    b"]


def test_extra_space_of_one_changes_nothing() -> None:
    assert spaced(["a b  c"], "extra_space", num_spaces=1) == ["a b  c"]


def test_space_stays_the_same_for_good() -> None:
    assert spaced(["Hello World!\nQuite a day, huh?"], "space") == ["Hello  World!\nQuite  a day,   huh?"]


def test_space_of_one_leaves_single_spaces() -> None:
    assert spaced(["a  b c    d"], "space", max_spaces=1) == ["a b c d"]


@given(st.lists(st.text("ab \t\né🎓", max_size=20), max_size=6), st.integers(1, 5))
def test_only_runs_of_spaces_change(texts: list[str], max_spaces: int) -> None:
    for new, old in zip(spaced(texts, "space", max_spaces=max_spaces), texts, strict=True):
        assert re.split(" +", new) == re.split(" +", old)
        assert all(1 <= len(run) <= max_spaces for run in re.findall(" +", new))


def test_a_run_ends_with_its_row() -> None:
    first, second = spaced(["a ", " b"], "space")
    assert re.fullmatch("a {1,3}", first)
    assert re.fullmatch(" {1,3}b", second)


def test_lengths_are_drawn_evenly() -> None:
    from scipy.stats import chisquare

    (out,) = spaced(["a " * 30_000], "space")
    counts = Counter(len(run) for run in re.findall(" +", out))
    assert sorted(counts) == [1, 2, 3]
    assert chisquare([counts[1], counts[2], counts[3]]).pvalue > 0.001


def test_the_length_of_a_run_does_not_decide_what_it_becomes() -> None:
    short, long = spaced(["a b c d"], "space"), spaced(["a    b  c   d"], "space")
    assert short == long


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_random_case_stays_the_same_for_good() -> None:
    assert (
        changed("The quick brown fox — café, ende\u0301!", "random_case") == "ThE QUIck bROwn foX — cAFé, ende\u0301!"
    )


@given(ANY_TEXT)
def test_random_case_changes_case_alone(text: str) -> None:
    out = changed(text, "random_case", prob=0.5)
    assert all(new in (old, old.swapcase()) for new, old in zip(out, text, strict=True))


@given(ANY_TEXT)
def test_twice_in_the_other_case_is_the_text(text: str) -> None:
    assert changed(changed(text, "random_case", prob=1), "random_case", prob=1) == text


@pytest.mark.parametrize(
    ("text", "out"), [("Who wrote it?", "WHO WROTE IT?"), ("straße, ς ά", "STRASSE, Σ Ά"), ("ŉ 1!", "ʼN 1!")]
)
def test_uppercase(text: str, out: str) -> None:
    assert changed(text, "uppercase") == out


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("who wrote it? NASA's 3rd iPod", "Who Wrote It? NASA's 3rd IPod"),
        ("it's well-known (by all)", "It's Well-known (By All)"),
        ("élan e\u0301lan ßa ΐ", "Élan E\u0301lan ßa ΐ"),
        ("2nd place", "2nd Place"),
    ],
)
def test_titlecase(text: str, out: str) -> None:
    assert changed(text, "titlecase") == out


@pytest.mark.parametrize("perturbation", ["random_case", "uppercase", "titlecase"])
def test_null_empty_and_no_letters(perturbation: str) -> None:
    texts = [None, "", " \n", "13 — 👩‍👩‍👧", None]
    assert each_changed(texts, perturbation) == texts
