"""Texts taken apart and put together again; characters as another implementation of Unicode's rules has them."""

from itertools import accumulate, pairwise

import numpy as np
import polars as pl
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe._core.expressions import key_of
from helmframe.perturbations.characters import (
    CONTROL,
    DIGIT,
    EXTENDS,
    JOINS,
    LETTER,
    PUNCTUATION,
    SPACE,
    UPPER,
    Text,
    Units,
    begins,
    changed_characters,
    kinds,
    other_case,
    words,
)

TEXTS = ["abc", None, "", "ünï", "a b  c", "e\u0301!", "👩‍👩‍👧x", "x" * 100]
REVERSED = ["cba", None, "", "ïnü", "c  b a", "!e\u0301", "x👩‍👩‍👧", "x" * 100]


def backwards(characters: Units) -> Text:
    order = np.lexsort((-characters.places.astype(np.int64), characters.rows))
    return characters.rebuilt(order)


def run(text: pl.Series) -> list[str | None]:
    expression = changed_characters(pl.col("text"), key_of("", pl.col("text")), backwards)
    return pl.DataFrame({"text": text}).select(expression).to_series().to_list()


def pieces(text: str) -> list[str]:
    seen: list[str] = []

    def look(characters: Units) -> Text:
        parts, is_word, _ = words(characters)
        for start, length, word in zip(parts.starts, parts.lengths, is_word, strict=True):
            piece = "".join(map(chr, parts.points[start : start + length]))
            seen.append(f"[{piece}]" if word else piece)
        return parts.rebuilt(np.arange(len(parts)))

    expression = changed_characters(pl.lit(text), pl.lit(1, dtype=pl.UInt64), look)
    assert pl.select(expression).item() == text
    return seen


def test_characters_are_moved_whole() -> None:
    assert run(pl.Series(TEXTS)) == REVERSED


@pytest.mark.parametrize("start", range(8))
def test_a_slice_is_seen_as_a_slice(start: int) -> None:
    assert run(pl.Series(TEXTS).slice(start)) == REVERSED[start:]


def test_chunks_are_one_batch() -> None:
    assert run(pl.concat([pl.Series(TEXTS), pl.Series(TEXTS)], rechunk=False)) == REVERSED * 2


def test_all_null_and_no_rows() -> None:
    assert run(pl.Series([None, None], dtype=pl.String)) == [None, None]
    assert run(pl.Series([], dtype=pl.String)) == []


def test_more_texts_than_a_block() -> None:
    texts = [f"text {place}" for place in range(20_000)]
    assert run(pl.Series(texts)) == [each[::-1] for each in texts]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8))
def test_backwards_twice_is_the_text(texts: list[str]) -> None:
    def same(characters: Units) -> Text:
        return characters.rebuilt(np.arange(len(characters)))

    frame = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
    out = frame.select(changed_characters(pl.col("text"), pl.lit(1, dtype=pl.UInt64), same)).to_series()
    assert out.to_list() == texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Who wrote it?", ["[Who]", " ", "[wrote]", " ", "[it]", "?"]),
        ("don't, (well-known) 3.14", ["[don't]", ",", " ", "(", "[well-known]", ")", " ", "[3.14]"]),
        ("1,200 a,b a--b -a", ["[1,200]", " ", "[a]", ",", "[b]", " ", "[a]", "--", "[b]", " ", "-", "[a]"]),
        ("snake_case\t\nx", ["[snake_case]", "\t\n", "[x]"]),
        ("中文,字", ["[中文]", ",", "[字]"]),
        ("cafe\u0301 👩‍👧", ["[cafe\u0301]", " ", "👩‍👧"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


# Letters, accents, joiners, flags, skin tones, keycaps, tags, Hangul, Devanagari, Thai, line ends.
TRICKY = [
    "a", "e", "\u0301", "\u200d", "👩", "👧", "🏽", "🇩", "🇪", "한", "\u1100", "\u1161", "\u11a8", "가", "\r", "\n",
    " ", "क", "\u094d", "ष", "ि", "\ufe0f", "\u20e3", "1", "ำ", "\U000e0067", "\U000e0100", "中", "\U00020001",
    "\u0600", "\u200b", ".",
]  # fmt: skip


def points(text: str) -> np.ndarray:
    return np.array([ord(each) for each in text], np.uint32)


def characters(text: str) -> list[str]:
    starts = np.flatnonzero(begins(points(text), np.zeros(len(text), int)))
    return [text[start:end] for start, end in pairwise([*starts, len(text)])]


@settings()
@given(st.text(st.sampled_from(TRICKY), max_size=12))
def test_no_character_is_ever_cut(text: str) -> None:
    ours = set(accumulate(map(len, characters(text))))
    assert ours <= set(accumulate(map(len, regex.findall(r"\X", text))))


@given(st.text(st.sampled_from([each for each in TRICKY if each not in ("\u200d", "\u094d", "\u0600")]), max_size=12))
def test_without_joiners_characters_are_unicodes(text: str) -> None:
    assert characters(text) == regex.findall(r"\X", text)


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=30))
def test_no_character_of_any_text_is_cut(text: str) -> None:
    ours = set(accumulate(map(len, characters(text))))
    assert ours <= set(accumulate(map(len, regex.findall(r"\X", text))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("abc", ["a", "b", "c"]),
        ("e\u0301!", ["e\u0301", "!"]),
        ("👩‍👩‍👧🇩🇪🇫🇷", ["👩‍👩‍👧", "🇩🇪", "🇫🇷"]),
        ("👍🏽1️⃣", ["👍🏽", "1️⃣"]),
        ("a\r\nb", ["a", "\r\n", "b"]),
        ("क्षि", ["क्षि"]),
        ("각\u1100\u1161\u11a8", ["각", "\u1100\u1161\u11a8"]),
    ],
)
def test_characters_stay_whole(text: str, expected: list[str]) -> None:
    assert characters(text) == expected


def test_a_character_does_not_reach_over_texts() -> None:
    assert begins(points("e\u0301\u0301"), np.array([0, 0, 1])).tolist() == [True, False, True]
    assert begins(points("🇩🇪🇫🇷"), np.array([0, 1, 1, 1])).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        ("a", LETTER), ("Ä", LETTER | UPPER), ("ǅ", LETTER | UPPER), ("中", LETTER), ("\U00020001", LETTER),
        ("7", DIGIT), ("٣", DIGIT), (" ", SPACE), ("\n", SPACE | CONTROL), ("\xa0", SPACE), (".", PUNCTUATION),
        ("—", PUNCTUATION), ("_", PUNCTUATION), ("$", 0), ("\u0301", EXTENDS), ("\u200d", EXTENDS | JOINS),
        ("\U000e0067", EXTENDS), ("👩", 0), ("½", 0),
    ],
)  # fmt: skip
def test_kinds(point: str, kind: int) -> None:
    assert kinds(points(point)).tolist() == [kind]


@given(st.characters(exclude_categories=["Cs"]))
def test_the_other_case_leads_back(letter: str) -> None:
    (other,) = other_case(points(letter)).tolist()
    assert other_case(points(chr(other))).tolist() == [ord(letter)]
    assert chr(other) in (letter, letter.swapcase())


@pytest.mark.parametrize(
    ("letter", "other"), [("a", "A"), ("Ω", "ω"), ("ß", "ß"), ("ς", "ς"), ("7", "7"), ("中", "中")]
)
def test_other_case(letter: str, other: str) -> None:
    assert other_case(points(letter)).tolist() == [ord(other)]
