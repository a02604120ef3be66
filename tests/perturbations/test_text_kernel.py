"""Kernels see the bytes of a batch, however the batch lies in memory."""

from typing import Any

import polars as pl
import pytest

from helmframe.expressions import key_of
from helmframe.perturbations.text_kernel import changed_bytes, respaced

TEXTS = ["abc", None, "", "ünï", "a b  c", "x" * 100]


def places(data: Any, keys: Any, places: Any) -> Any:
    """Each ASCII letter becomes the digit of its place."""
    import numpy as np

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
