"""Kernels see the bytes of a batch, however the batch lies in memory."""

import itertools
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helmframe._core.expressions import key_of
from helmframe.perturbations import text_kernel
from helmframe.perturbations.text_kernel import Change, changed_bytes, over_buffer, respaced, spliced

TEXTS = ["abc", None, "", "ünï", "a b  c", "x" * 100]


def places(data: Any, keys: Any, lengths: Any) -> Any:
    """Each ASCII letter becomes the digit of its place."""
    import numpy as np

    places = np.concatenate([np.arange(length) for length in lengths])
    letter = (data >= ord("a")) & (data <= ord("z"))
    return np.where(letter, ord("0") + places % 10, data).astype(np.uint8)


def run(text: pl.Series) -> list[str | None]:
    frame = pl.DataFrame({"text": text})
    expression = changed_bytes(pl.col("text"), key_of("", pl.col("text")), places)
    return frame.select(expression).to_series().to_list()


def test_a_kernel_sees_each_byte_with_its_place() -> None:
    expected = ["012", None, "", "ü2ï", "0 2  5", "0123456789" * 10]
    assert run(pl.Series(TEXTS)) == expected


@pytest.mark.parametrize("start", range(6))
def test_a_slice_is_seen_as_a_slice(start: int) -> None:
    assert run(pl.Series(TEXTS).slice(start)) == run(pl.Series(TEXTS))[start:]


def test_chunks_are_one_batch() -> None:
    series = pl.concat([pl.Series(TEXTS), pl.Series(TEXTS)], rechunk=False)
    assert series.n_chunks() == 2
    assert run(series) == run(pl.Series(TEXTS)) * 2


def test_all_null() -> None:
    assert run(pl.Series([None, None], dtype=pl.String)) == [None, None]


def test_no_rows() -> None:
    assert run(pl.Series([], dtype=pl.String)) == []


def test_one_id_for_all_rows() -> None:
    frame = pl.DataFrame({"text": ["a b", "a b"]})
    out = frame.select(respaced(pl.col("text"), key_of("", pl.lit("one")), 9)).to_series()
    assert out.n_unique() == 1


@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_blocks_do_not_matter(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b", "", None, "c " * 30, "d", "é  é"] * 7
    frame = pl.DataFrame({"id": range(len(texts)), "text": texts})
    expression = respaced(pl.col("text"), key_of("", pl.col("id")), 3)
    whole = frame.select(expression)
    monkeypatch.setattr(text_kernel, "ROWS_BLOCK", size)
    assert frame.select(expression).equals(whole)


def test_what_fails_in_a_block_fails_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: Any, offsets: Any, keys: Any) -> tuple[Any, Any]:
        raise ZeroDivisionError("broken")

    expression = over_buffer(pl.col("text"), key_of("", pl.col("text")), broken)
    with pytest.raises(ZeroDivisionError, match="broken"):
        pl.DataFrame({"text": ["a"]}).select(expression)


@given(st.lists(st.tuples(st.text("abcé", max_size=8), st.lists(st.integers(0, 8), max_size=4)), max_size=6))
def test_bytes_are_replaced_and_inserted_row_by_row(rows: list[tuple[str, list[int]]]) -> None:
    """The spans between the places of a row, two by two, become "<>"; an odd last one gets "!"."""
    starts, ends, of_row, pieces, lengths, expected = [], [], [], [], [], []
    begin = 0
    for number, (text, spots) in enumerate(rows):
        data = text.encode("latin-1")
        places = sorted({min(place, len(data)) for place in spots})
        out, done = b"", 0
        for start, end in zip(places[::2], [*places[1::2], None], strict=False):
            starts.append(begin + start)
            ends.append(begin + (start if end is None else end))
            of_row.append(number)
            pieces.append(2 if end is None else 0)
            lengths.append(1 if end is None else 2)
            out += data[done:start] + (b"!" if end is None else b"<>")
            done = start if end is None else end
        expected.append(out + data[done:])
        begin += len(data)
    data = b"".join(text.encode("latin-1") for text, _ in rows)
    offsets = np.concatenate([[0], np.cumsum([len(text) for text, _ in rows])]).astype(np.int64)
    change = Change(*(np.array(each, dtype=np.int64) for each in (starts, ends, of_row, pieces, lengths)))
    for threshold in (0, 1 << 40):
        text_kernel._SPARSE, before = threshold, text_kernel._SPARSE
        try:
            new, bounds = spliced(np.frombuffer(data, np.uint8), offsets, change, np.frombuffer(b"<>!", np.uint8))
        finally:
            text_kernel._SPARSE = before
        got = [new[first:last].tobytes() for first, last in itertools.pairwise(bounds)]
        assert got == expected
