"""The stemmer against NLTK's, of which it is a faster copy."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from helmframe.metrics.stem import stem

NLTK = PorterStemmer()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("ties", "tie"),
        ("cats", "cat"),
        ("agreed", "agre"),
        ("feed", "feed"),
        ("plastered", "plaster"),
        ("motoring", "motor"),
        ("sing", "sing"),
        ("conflated", "conflat"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("enjoy", "enjoy"),
        ("relational", "relat"),
        ("radically", "radic"),
        ("archaeology", "archaeolog"),
        ("hopefulness", "hope"),
        ("adoption", "adopt"),
        ("controlling", "control"),
        ("skies", "sky"),
        ("news", "news"),
        ("yyyy", "yyyi"),
        ("b2b", "b2b"),
    ],
)
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected == NLTK.stem(word)


ENDINGS = [
    "",
    "s",
    "sses",
    "ies",
    "ied",
    "eed",
    "ed",
    "ing",
    "y",
    "ational",
    "alli",
    "fulli",
    "logi",
    "ization",
    "iviti",
    "icate",
    "ative",
    "ical",
    "ness",
    "ement",
    "ment",
    "ent",
    "ion",
    "sion",
    "ous",
    "ou",
    "e",
    "ll",
    "at",
    "bl",
    "iz",
]


@settings(deadline=None)
@given(st.text("aeiouyybcdlst3", max_size=7), st.sampled_from(ENDINGS), st.sampled_from(ENDINGS))
def test_any_word_has_nltks_stem(start: str, first: str, second: str) -> None:
    word = start + first + second
    assert stem(word) == NLTK.stem(word)
