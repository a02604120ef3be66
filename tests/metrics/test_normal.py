"""Normalised text against its definition, on texts made to break it."""

import re
import string

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helmframe.metrics.normal import BLOCK, normal


def by_definition(text: str, *, articles: bool) -> str:
    """HELM's `normalize_text`."""
    bare = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join((bare if articles else re.sub(r"\b(a|an|the)\b", " ", bare)).split())


def normalised(*texts: str | None, articles: bool = False) -> list[str | None]:
    return (
        pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
        .select(normal(pl.col("text"), articles=articles))["text"]
        .to_list()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Cat, a hat!", "cat hat"),
        ("a an the", ""),
        ("an-the", "anthe"),
        ("the\u2019a\u201d x", "\u2019 \u201d x"),
        ("\u00e9 a \u00e9", "\u00e9 \u00e9"),
        ("\u00e9a \u00c9", "\u00e9a \u00e9"),
        ("x\u2028the\u00a0b\u3000", "x b"),
        ("\u03a3\u0391\u03a3 ", "\u03c3\u03b1\u03c2"),
        ("\x01a\x02the\x03", "\x01 \x02 \x03"),
        ("the\x00a\x00", "\x00 \x00"),
        ("a\x1cb", "b"),
        ("_a_", ""),
        ("\U0001f600a\U0001f600", "\U0001f600 \U0001f600"),
        ("", ""),
    ],
)
def test_normalised_text(text: str, expected: str) -> None:
    assert normalised(text) == [expected] == [by_definition(text, articles=False)]


def test_articles_may_stay() -> None:
    assert normalised("The Cat!", articles=True) == ["the cat"]


def test_null_stays_null() -> None:
    assert normalised(None, "a b", None) == [None, "b", None]


def test_no_texts() -> None:
    assert normalised() == []


PIECES = ["a", "an", "the", "A", "An", "THE", " ", "  ", "\n", "\t", "\x00", "\x1d", "'", "-", "_", "x", "9", "\u00e9",
          "\u00c9", "\u2019", "\u00a0", "\u0301", "\u03a3", "\U0001f600", "\u0130", "\x7f", "than"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=8), st.booleans())
def test_it_is_helms_definition(texts: list[str], articles: bool) -> None:
    assert normalised(*texts, articles=articles) == [by_definition(text, articles=articles) for text in texts]


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_it_is_helms_definition_on_any_text(texts: list[str]) -> None:
    assert normalised(*texts) == [by_definition(text, articles=False) for text in texts]


def test_rows_longer_than_a_block() -> None:
    text = "the cat, a hat. " * 40_000
    assert normalised(text, "b", text) == ["cat hat " * 39_999 + "cat hat", "b", "cat hat " * 39_999 + "cat hat"]


def test_rows_of_several_blocks() -> None:
    texts = [" ".join(PIECES[place % size] for place in range(size)) for size in range(1, len(PIECES) + 1)] * 200
    assert sum(map(len, texts)) > BLOCK
    assert normalised(*texts) == [by_definition(text, articles=False) for text in texts]
