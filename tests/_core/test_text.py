"""Normalised text against its definition, on texts made to break it."""

import random
import re
import string

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import helmframe as hf
from helmframe._core.text import BLOCK, normalised


def by_definition(text: str, *, articles: bool) -> str:
    """HELM's `normalize_text`."""
    bare = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join((bare if articles else re.sub(r"\b(a|an|the)\b", " ", bare)).split())


def plain(*texts: str | None, articles: bool = False) -> list[str | None]:
    return (
        pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
        .select(normalised(pl.col("text"), articles=articles))["text"]
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
        ("An apple a day", "apple day"),
        ("than theme ant", "than theme ant"),
        ("U.S.A.", "usa"),
        ("it's", "its"),
        ("\u201cQuoted\u201d \u2013 dash", "\u201cquoted\u201d \u2013 dash"),
        ("a\u00a0b\u2003c\x1fd", "b c d"),
        ("a\u0301 a", "\u0301"),
        ("stra\u00dfe \u0130", "stra\u00dfe i\u0307"),
        ("\uff01the\uff01", "\uff01 \uff01"),
        ("\u200bthe\u200b", "\u200b \u200b"),
    ],
)
def test_normalised_text(text: str, expected: str) -> None:
    assert plain(text) == [expected] == [by_definition(text, articles=False)]


def test_articles_may_stay() -> None:
    assert plain("The Cat!", articles=True) == ["the cat"]


def test_null_stays_null() -> None:
    assert plain(None, "a b", None) == [None, "b", None]


def test_no_texts() -> None:
    assert plain() == []


PIECES = ["a", "an", "the", "A", "An", "THE", " ", "  ", "\n", "\t", "\x00", "\x1d", "'", "-", "_", "x", "9", "\u00e9",
          "\u00c9", "\u2019", "\u00a0", "\u0301", "\u03a3", "\U0001f600", "\u0130", "\x7f", "than"]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=8), st.booleans())
def test_it_is_helms_definition(texts: list[str], articles: bool) -> None:
    assert plain(*texts, articles=articles) == [by_definition(text, articles=articles) for text in texts]


@settings(deadline=None)
@given(st.lists(st.text(max_size=30), max_size=5))
def test_it_is_helms_definition_on_any_text(texts: list[str]) -> None:
    assert plain(*texts) == [by_definition(text, articles=False) for text in texts]


def test_rows_longer_than_a_block() -> None:
    text = "the cat, a hat. " * 40_000
    assert plain(text, "b", text) == ["cat hat " * 39_999 + "cat hat", "b", "cat hat " * 39_999 + "cat hat"]


def test_rows_of_several_blocks() -> None:
    texts = [" ".join(PIECES[place % size] for place in range(size)) for size in range(1, len(PIECES) + 1)] * 200
    assert sum(map(len, texts)) > BLOCK
    assert plain(*texts) == [by_definition(text, articles=False) for text in texts]


def test_the_metrics_and_consistency_normalise_alike() -> None:
    texts = adversarial(20_000, seed=1)
    expected = [by_definition(text, articles=False) for text in texts]
    assert plain(*texts) == expected
    rows = pl.DataFrame(
        {"input": [f"Question {n}" for n in range(len(texts))], "references": [[each] for each in expected]}
    )

    def model(prompts: list[str]) -> list[str]:
        numbers = [int(prompt.split()[1]) for prompt in prompts]
        return [
            expected[n] if prompt.startswith("question") else texts[n]
            for n, prompt in zip(numbers, prompts, strict=True)
        ]

    plan = hf.scenario(rows).adapt(shots=0, input_prefix="", input_suffix="", output_prefix="").perturb("lowercase")
    results = plan.metrics("quasi_exact_match").generate(hf.model(model), stop=[]).score()
    consistency = results.consistency().filter(pl.col("perturbation") == "lowercase")
    assert consistency.select("consistency", "n").row(0) == (1.0, len(texts))
    scores = results.scores.filter(perturbation="original").collect()
    assert sum(scores["score"]) == sum(text.strip() != "" for text in texts)


ODD = [
    *PIECES, "\u00e1", "a\u0301", "e\u0301", "\u0308", "\u0327", "\u20dd", "\u2000", "\u2028", "\u3000", "\x1c", "\x1f",
    "\x85", "\u200b", "\u200d", "\ufeff", "\u2060", "\uff01", "\uff0c", "\u3002", "\u2014", "\u00bf", "\u00df",
    "\u1e9e", "\U0001f468\u200d\U0001f469", "\U0001f44d\U0001f3fd", "\u0131", "\u0149", "\ufb03", "\u03c2", "\u24d0",
    "\u00b2", "\u00aa", "\u0661", "\u0e01\u0e34", "\u05d0", "\u202e", "thean", "Ana", "athe", ".", ",", "!", "\u00c0",
    "\u01c5",
]  # fmt: skip


def adversarial(n: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(ODD, k=generator.randrange(12))) for _ in range(n)]
