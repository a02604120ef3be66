"""Checks of integers, and of lists in a known order."""

from collections import Counter, UserList, UserString, deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np
import polars as pl
import pytest

from helmframe._core.checks import as_list, is_integer, type_of


class Series:
    """As far as it matters here, a pandas Series."""

    ndim = 1

    def __init__(self, values: list[str], labels: list[int]) -> None:
        self.values, self.index = values, np.array(labels)

    def __len__(self) -> int:
        return len(self.values)

    def tolist(self) -> list[str]:
        return self.values


def later(texts: str) -> Iterator[str]:
    with ThreadPoolExecutor() as pool:
        yield from (each.result() for each in as_completed([pool.submit(str, text) for text in texts]))


@pytest.mark.parametrize(
    "values",
    [
        ["b", "a"],
        ("b", "a"),
        deque("ba"),
        UserList("ba"),
        np.array(["b", "a"]),
        np.array(["b", "a"], dtype=object),
        pl.Series(["b", "a"]),
        Series(["b", "a"], [0, 1]),
    ],
)
def test_types_that_keep_an_order_are_lists(values: object) -> None:
    assert as_list(values) == ["b", "a"]


@pytest.mark.parametrize(
    "values",
    [
        {"b", "a"},
        frozenset("ba"),
        {"b": "x", "a": "y"},
        {"b": "x"}.keys(),
        {"b": "x"}.values(),
        {"b": "x"}.items(),
        Counter("ba"),
        iter("ba"),
        (text for text in "ba"),
        map(str, "ba"),
        later("ba"),
        "ba",
        UserString("ba"),
        b"ba",
        bytearray(b"ba"),
        memoryview(b"ba"),
        np.array("b"),
        np.array([["b"], ["a"]]),
        pl.DataFrame({"b": ["x"], "a": ["y"]}),
        Series(["b", "a"], [1, 0]),
        None,
        3,
    ],
)
def test_types_that_keep_none_are_refused(values: Any) -> None:
    assert as_list(values) is None


def test_a_type_is_named_with_what_is_wrong_about_it() -> None:
    assert [type_of({"a"}), type_of({}.values()), type_of(Series(["b"], [3]))] == [
        "set",
        "dict_values",
        "Series with an index other than 0, 1, 2, …",
    ]


@pytest.mark.parametrize("value", [0, -3, 10**30])
def test_integers_are_integers(value: object) -> None:
    assert is_integer(value)


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, np.float64(1)])
def test_bools_and_other_values_are_not_integers(value: object) -> None:
    assert not is_integer(value)
