"""Stripped text, best over references, keyed random numbers."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe._core.expressions import (
    correct_references,
    is_starved,
    key_of,
    keyed_draws,
    look_up_pairs,
    stripped,
)
from tests.frames import variants

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def one(expression: pl.Expr) -> object:
    return pl.select(expression).item()


def keys(salt: str, ids: Sequence[str | None]) -> list[int]:
    return (
        pl.DataFrame({"id": pl.Series(ids, dtype=pl.String)}).select(key_of(salt, pl.col("id"))).to_series().to_list()
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a b \n", "a b"),
        ("\u00a0\u2003x\u3000\x1c\x1f\x85", "x"),
        ("a\nb", "a\nb"),
        ("", ""),
        (" \n ", ""),
        ("\u200bx", "\u200bx"),  # no white space to Python
    ],
)
def test_stripped(text: str, expected: str) -> None:
    assert text.strip() == expected
    assert one(stripped(pl.lit(text))) == expected


@given(TEXTS)
def test_stripped_is_pythons_strip(text: str) -> None:
    assert one(stripped(pl.lit(text))) == text.strip()


def test_correct_references_leave_the_wrong_ones_out() -> None:
    frame = variants(["q", "q"], [[("x", True), ("y", False), ("z", True)], []])
    assert frame.select(correct_references()).to_series().to_list() == [["x", "z"], []]


def test_same_place() -> None:
    frame = pl.DataFrame(
        {
            "said": ["B", "E", None, "A", "A"],
            "letters": [["A", "B"], ["A", "B"], ["A"], None, ["A", "A"]],
            "texts": [["x", "y"], ["x", "y"], ["x"], None, ["first", "second"]],
        }
    )
    found = frame.select(look_up_pairs(pl.col("said"), pl.col("letters"), pl.col("texts"))).to_series()
    assert found.to_list() == ["y", None, None, None, "first"]


def test_keys_stay_the_same_for_good() -> None:
    # these numbers make the typos of everyone's runs: they may not change with any version of anything
    assert keys("0\x1ftypos\x1f", ["id0", "", "Ω"]) == [3890984798591878285, 17061781803626352138, 5511907780839147647]


def test_keys_differ_by_salt() -> None:
    assert keys("a", ["id0"]) != keys("b", ["id0"])


def test_ids_are_kept_apart() -> None:
    frame = pl.DataFrame({"a": ["x", "xy"], "b": ["yz", "z"]})
    assert frame.select(key_of("", pl.col("a"), pl.col("b")).n_unique()).item() == 2


def test_numbers_can_be_ids() -> None:
    frame = pl.DataFrame({"number": [1, 2]}).select(key_of("", pl.col("number"))).to_series().to_list()
    assert frame == keys("", ["1", "2"])


def test_a_missing_id_is_an_empty_one() -> None:
    assert keys("s", [None]) == keys("s", [""])


@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 3))
def test_keys_do_not_depend_on_the_other_rows(ids: list[str], first: int) -> None:
    alone = {each: keys("s", [each])[0] for each in "abcd"}
    assert keys("s", ids[first:]) == [alone[each] for each in ids[first:]]


def test_draws_stay_the_same_for_good() -> None:
    # splitmix64 with seed 0: the first outputs of Vigna's splitmix64.c
    draws = keyed_draws(np.zeros(3, dtype=np.uint64), np.arange(3, dtype=np.uint64))
    assert draws.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_draws_are_even() -> None:
    from scipy.stats import chisquare

    draws = keyed_draws(np.full(100_000, 7, dtype=np.uint64), np.arange(100_000, dtype=np.uint64))
    counts = np.bincount((draws >> np.uint64(58)).astype(np.intp), minlength=64)
    assert chisquare(counts).pvalue > 0.001


ROOM = '{"max_tokens": 1, "reasoning": "low"}'


@pytest.mark.parametrize(
    ("row", "starved"),
    [
        ({"completion": "", "finish_reason": "length"}, True),
        ({"completion": "", "finish_reason": "length", "output_tokens": 0}, False),
        ({"completion": "", "finish_reason": "length", "output_tokens": 3}, True),
        ({"completion": " \n", "finish_reason": "length"}, False),
        ({"completion": " \n", "finish_reason": "length", "reasoning": "hm"}, True),
        ({"completion": " \n", "finish_reason": "length", "reasoning_tokens": 3}, True),
        ({"completion": " \n", "finish_reason": "length", "reasoning_tokens": 0}, False),
        ({"completion": "B", "finish_reason": "length", "reasoning": "hm"}, False),
        ({"completion": "", "finish_reason": "stop"}, False),
        ({"completion": ""}, False),
        ({"completion": "", "reasoning": "hm"}, True),
        ({"completion": "", "finish_reason": "stop", "reasoning": "hm"}, True),
        ({"completion": "", "finish_reason": "stop", "reasoning": "hm", "decoding": '{"reasoning": false}'}, True),
        ({"completion": "", "finish_reason": "stop", "reasoning": "hm", "decoding": ROOM}, False),
        ({"completion": "", "finish_reason": "stop", "reasoning": "hm", "decoding": '{"head_room": 9}'}, False),
        ({"completion": "", "finish_reason": "content_filter", "reasoning": "hm"}, False),
        ({"completion": None, "finish_reason": "length"}, None),
    ],
)
def test_a_completion_is_starved_if_reasoning_used_its_tokens(row: dict[str, object], starved: bool | None) -> None:
    columns: dict[str, pl.DataType] = {
        "completion": pl.String(), "finish_reason": pl.String(), "reasoning": pl.String(), "decoding": pl.String(),
        "reasoning_tokens": pl.Int64(), "output_tokens": pl.Int64(),
    }  # fmt: skip
    whole = pl.DataFrame([row], schema=columns)
    assert whole.select(is_starved(whole.columns)).item() is starved
    narrow = pl.DataFrame([row], schema={name: columns[name] for name in row})
    assert narrow.select(is_starved(narrow.columns)).item() is starved
