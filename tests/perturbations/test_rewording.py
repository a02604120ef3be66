"""Phrases replaced: with which probability, by which alternative, in which case."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe._core.expressions import key_of
from helmframe.perturbations.rewording import lexicon, lexicon_of, reworded


def changed(texts: Sequence[str | None], table: Mapping[str, Sequence[str]], prob: float = 1, **how: bool) -> list[str]:
    frame = pl.DataFrame({"id": range(len(texts)), "text": pl.Series(texts, dtype=pl.String)})
    words = lexicon(table)
    out = frame.select(reworded(pl.col("text"), key_of("", pl.col("id")), words, prob, **how))
    return out.to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("up", "down"),
        ("Up", "Down"),
        ("UP", "DOWN"),
        ("uP", "down"),
        ("up, UP: up", "down, DOWN: down"),
        ("cup", "cup"),
        ("", ""),
    ],
)
def test_case_is_that_of_the_word(text: str, expected: str) -> None:
    assert changed([text], {"up": ["down"]}) == [expected]


@pytest.mark.parametrize(("text", "expected"), [("i am", "I'm"), ("I am", "I'm"), ("I AM", "I'm")])
def test_with_a_space_in_it_no_phrase_is_all_lower_or_upper_case(text: str, expected: str) -> None:
    # HELM's match_case asks every character, and a space is neither
    assert changed([text], {"i am": ["I'm"]}) == [expected]


def test_longer_and_shorter_alternatives_leave_the_rest_as_it_was() -> None:
    table = {"a": ["alpha"], "bb": ["b"], "gone": [""]}
    assert changed(["a bb é gone 日a a", "gone", None, "", "a"], table) == [
        "alpha b é  日a alpha",
        "",
        None,
        "",
        "alpha",
    ]


def test_alternatives_of_other_scripts() -> None:
    assert changed(["up Up"], {"up": ["ñandú 日本"]}) == ["ñandú 日本 Ñandú 日本"]


def test_words_without_alternatives_stay() -> None:
    assert changed(["up down"], {"up": [], "down": ["under"]}) == ["up under"]


def test_alternatives_are_drawn_evenly() -> None:
    from scipy.stats import chisquare

    (out,) = changed(["w " * 30_000], {"w": ["x", "y", "z"]})
    counts = Counter(out.split())
    assert sorted(counts) == ["x", "y", "z"]
    assert chisquare(list(counts.values())).pvalue > 0.001


def test_as_many_as_the_probability_says() -> None:
    (out,) = changed(["w " * 30_000], {"w": ["x"]}, prob=0.1)
    # four standard errors
    assert abs(out.count("x") / 30_000 - 0.1) < 4 * (0.1 * 0.9 / 30_000) ** 0.5


def test_a_higher_probability_keeps_what_a_lower_one_changed() -> None:
    table = {"w": ["x", "y", "z"]}
    (few,), (many,) = changed(["w " * 500], table, prob=0.1), changed(["w " * 500], table, prob=0.4)
    pairs = list(zip(few.split(), many.split(), strict=True))
    assert [high for low, high in pairs if low != "w"] == [low for low, _ in pairs if low != "w"]


def test_nothing_at_probability_zero() -> None:
    assert changed(["up up"], {"up": ["down"]}, prob=0) == ["up up"]


def test_by_word_one_becomes_the_same_wherever_it_stands() -> None:
    out = changed(["w v W, w"] * 50, {"w": ["x", "y", "z"], "v": ["x", "y", "z"]}, by_word=True)
    assert all(first.upper() == third and first == fourth for first, _, third, fourth in map(words_of, out))
    assert len({first for first, *_ in map(words_of, out)}) == 3
    # and one word's draw says nothing of another's
    assert len({tuple(words_of(text)[:2]) for text in out}) == 9


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_other_entries_of_a_table_do_not_change_a_draw() -> None:
    table = {"w": ["x", "y", "z"]}
    one, other = (changed(["a w"] * 30, each, by_word=True) for each in (table, {"q": ["r"], **table}))
    assert one == other


def test_a_table_is_laid_out_once() -> None:
    table = {"up": ["down"]}
    assert lexicon_of(table) is lexicon_of(table)
    assert lexicon_of(table) is not lexicon_of(table, hyphens=True)


@given(st.lists(st.text("ab c.é", max_size=12), max_size=6), st.floats(0, 1))
def test_only_phrases_of_the_table_change(texts: list[str], prob: float) -> None:
    table = {"a": ["x"], "b": ["yy", ""], "ab c": ["z"]}
    pattern = r"\bab c\b|\ba\b|\bb\b"
    for new, old in zip(changed(texts, table, prob), texts, strict=True):
        kept = re.escape(re.sub(pattern, "\x00", old)).replace("\x00", "(ab c|a|b|x|yy||z)")
        assert re.fullmatch(kept, new)
