"""The tokenizer against NLTK's, whole and chunk by chunk."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer

from helmframe.metrics.tokens import IDS, treebank
from helmframe.metrics.treebank import tokenized

NLTK = NLTKWordTokenizer()
PIECES = [
    "cat",
    "can't",
    "don't",
    "'tis",
    "'",
    '"',
    "''",
    "``",
    ".",
    "..",
    "...",
    "e.g.",
    "U.S.",
    ",",
    ";",
    ":",
    "?",
    "!",
    "(",
    ")",
    "[",
    "<",
    "--",
    "-",
    "\u2014",
    "\u201c",
    "\u201d",
    "\u2019",
    "\u00ab",
    "$5.00",
    "3,000",
    "10:30",
    "cannot",
    "Cannot,",
    "gonna",
    "wanna",
    "more'n",
    "d'ye",
    "*",
    "#1",
    "%",
    "it's",
    "it's.",
    "they'll",
    "end.)",
    'end."',
    "O'Neil",
    "'Hello",
    'Hello"',
    "\u00e9",
    "N'T",
    "a,b",
    "1:",
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\t",
    "\u00a0",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=10).map("".join)


def ids(*texts: str | None) -> list[list[int] | None]:
    frame = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
    return frame.select(treebank(pl.col("text"))).to_series().to_list()


def hashes(words: list[str]) -> list[int]:
    return pl.Series(words, dtype=pl.String).hash().to_list()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Good muffins cost $3.88.", ["Good", "muffins", "cost", "$", "3.88", "."]),
        ('"No," he said. Why?', ["``", "No", ",", "''", "he", "said.", "Why", "?"]),
        ("You cannot: 'tis hers", ["You", "can", "not", ":", "'", "tis", "hers"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert tokenized(text) == words == NLTK.tokenize(text)
    assert ids(text) == [hashes(words)]


@settings(deadline=None)
@given(TEXTS)
def test_a_text_has_nltks_words(text: str) -> None:
    assert tokenized(text) == NLTK.tokenize(text)


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=5))
def test_a_column_has_nltks_words(texts: list[str]) -> None:
    assert ids(*texts) == [hashes(NLTK.tokenize(text)) for text in texts]


def test_a_byte_zero_is_a_letter_as_for_nltk() -> None:
    assert ids("a\x00b c") == [hashes(["a\x01b", "c"])]


def test_null_stays_null() -> None:
    assert ids(None, "a", "") == [None, hashes(["a"]), []]


def test_no_texts() -> None:
    assert pl.Series([], dtype=pl.String).to_frame("text").select(treebank(pl.col("text"))).schema["text"] == IDS
