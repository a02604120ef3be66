"""Texts taken apart and put together again, however they lie in memory."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe._core.expressions import key_of
from helmframe.perturbations.characters import Text, Units, changed_characters, words

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
            said = "".join(map(chr, parts.points[start : start + length]))
            seen.append(f"[{said}]" if word else said)
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
