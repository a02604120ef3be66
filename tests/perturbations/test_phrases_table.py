"""A table of byte strings finds what a set would."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helmframe.perturbations.phrases import eights, find, table

STRINGS = st.binary(min_size=1, max_size=30) | st.text("ab", min_size=1, max_size=20).map(str.encode)


def found(strings: list[bytes], spans: list[bytes]) -> dict[int, int]:
    lengths = np.array([len(span) for span in spans], dtype=np.int64)
    view = eights(np.frombuffer(b"".join(spans), dtype=np.uint8))
    where, which = find(table(strings), view, np.cumsum(lengths) - lengths, lengths)
    return dict(zip(where.tolist(), which.tolist(), strict=True))


@given(st.lists(STRINGS, max_size=20, unique=True), st.data())
def test_spans_of_the_table_are_found(strings: list[bytes], data: st.DataObject) -> None:
    spans = data.draw(st.lists(st.sampled_from(strings) | STRINGS if strings else STRINGS, max_size=10))
    expected = {place: strings.index(span) for place, span in enumerate(spans) if span in strings}
    assert found(strings, spans) == expected


def test_many_strings_that_begin_alike() -> None:
    strings = [f"beginning-{number}".encode() for number in range(5000)]
    spans = [strings[4999], b"beginning-5000", strings[0], b"beginning-", strings[77] + b" "]
    assert found(strings, spans) == {0: 4999, 2: 0}


def test_zeros_at_the_end_tell_strings_apart() -> None:
    assert found([b"a", b"a\x00\x00"], [b"a\x00", b"a\x00\x00", b"a"]) == {1: 1, 2: 0}


def test_an_empty_table_holds_nothing() -> None:
    assert found([], [b"a"]) == found([b"a"], []) == {}
