"""Values over the wire: all of Python's plain ones come back equal, and nothing else gets in."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe.sandbox.child.wire import LONGEST, BrokenWireError, decode, encode, receive, send

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
    st.complex_numbers(allow_nan=False), st.fractions(), st.decimals(allow_nan=False),
)  # fmt: skip
hashable = st.recursive(scalars, lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner)), max_leaves=4)
values = st.recursive(
    hashable,
    lambda inner: st.one_of(st.lists(inner), st.tuples(inner), st.sets(hashable), st.dictionaries(hashable, inner)),
    max_leaves=8,
)


def there(value: Any) -> Any:
    pipe = io.BytesIO()
    send(pipe, {"value": encode(value, lambda _: 0)})
    pipe.seek(0)
    return decode(receive(pipe)["value"], lambda number: f"object {number}")


@given(values)
def test_every_plain_value_comes_back_equal_and_of_its_type(value: Any) -> None:
    back = there(value)
    assert back == value
    assert type(back) is type(value)


def test_a_subclass_comes_back_as_the_plain_type() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert type(there(Liar(4))) is int
    assert there(Liar(4)) != 5


def test_what_is_no_value_comes_back_as_what_stands_for_it() -> None:
    assert there([object()]) == ["object 0"]


@pytest.mark.parametrize(
    "said",
    [["eval", "1"], [], ["int", "x"], ["int"], ["dict", [1]], ["set", ["list"]], [["int"]], ["range", 1], ["bytes", 1]],
)
def test_an_invalid_value_raises(said: object) -> None:
    with pytest.raises(BrokenWireError):
        decode(said, lambda number: number)


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[1]\n", b"7\n", b"\xff\n", b"{\n", b"[" * 10**6 + b"\n", b"x" * (LONGEST + 2) + b"\n"]
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(BrokenWireError):
        receive(io.BytesIO(line))
