"""Calls and values that are written as text are bounded, and their errors are typed."""

import time
from typing import Any

import pytest

from helmframe._core.specs import MOST_CELLS, Call, check_cells, frozen, frozen_value
from helmframe.errors import ArgumentError


def repr_start(text: str) -> str:
    return repr(text[:10])


@pytest.mark.parametrize(
    "text",
    [
        "a" * 10**6,
        "(" * 10**6,
        "f(a=" + "(" * 5_000,
        "f(a=" + "[" * 150 + "]" * 150 + ")",
        "f(a=" + "-" * 9_000 + "1)",
        "f(a=" + "1+" * 4_000 + "1)",
        "f(a=" + "9" * 5_000 + ")",
        "f(a=" + "9" * 100 + ")",
        "f(a={[]: 1})",
        "f(a=b'a')",
        "f(a=1j)",
        "f(*a)",
        "\0",
        "f(a='\ud800",
        "not " * 3_000 + "a",
    ],
    ids=repr_start,
)
def test_a_hostile_call_raises_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ArgumentError) as raised:
        Call.parse(text)
    assert time.process_time() - started < 2
    assert len(str(raised.value)) < 1_000


@pytest.mark.parametrize(
    "value", [2**64, -(2**63) - 1, 10**4_000, b"a", {"a"}, object()], ids=lambda value: type(value).__name__
)
def test_a_value_that_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(ArgumentError, match="must be"):
        frozen_value([value])


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ArgumentError, match="character 1 is half of a surrogate pair"):
        frozen({"instructions": "a\ud800"})


def test_a_value_has_a_limited_depth() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ArgumentError, match="nested more than 50 levels"):
        frozen_value(value)
    ring: dict[str, Any] = {}
    ring["a"] = ring
    with pytest.raises(ArgumentError, match="nested more than 50 levels"):
        frozen(ring)
    while value:
        value = value[0]  # its own destructor would recurse


def test_keys_of_several_types_are_sorted_as_texts() -> None:
    keys: Any = {2: "b", "1": "a", 1: 3}
    assert frozen(keys) == (("1", "a"), ("1", 3), ("2", "b"))


def test_a_grid_has_a_limited_number_of_cells() -> None:
    check_cells("adapt()", [100, 100])
    with pytest.raises(ArgumentError, match=rf"adapt\(\): the grid has 1,000,000 cells; at most {MOST_CELLS:,}"):
        check_cells("adapt()", [1_000, 1_000])
