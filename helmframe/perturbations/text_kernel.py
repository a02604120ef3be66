"""NumPy over the Arrow buffer of a text column: for perturbations whose unit is the character.

A text column is one array of bytes and the offsets where its rows end. Polars' own expressions reach 50,000 texts a
second here, one pass over the bytes a million and more.
"""

import itertools
from collections.abc import Callable
from typing import Any

import polars as pl

from helmframe.expressions import keyed_draws

# Bytes per call of a kernel, about: its arrays of 8 bytes per byte then stay in the processor's cache.
BLOCK = 1 << 15

Kernel = Callable[[Any, Any, Any], Any]


def changed_bytes(text: pl.Expr, key: pl.Expr, kernel: Kernel) -> pl.Expr:
    """The text after `kernel(bytes, keys, places) -> bytes` of the same length.

    Args:
        text: the text column.
        key: an UInt64 column, one key per row.
        kernel: sees the bytes of some rows, for each the key of its row and its place within the row. It may change
            ASCII bytes into ASCII bytes only, so that the text stays UTF-8.
    """

    def run(data: Any, offsets: Any, keys: Any) -> tuple[Any, Any]:
        import numpy as np

        changed = np.empty_like(data)
        rows = np.searchsorted(offsets, np.arange(0, len(data) + BLOCK, BLOCK)).clip(max=len(keys))
        for first, last in itertools.pairwise(np.unique([0, *rows, len(keys)])):
            start, end = offsets[first], offsets[last]
            lengths = np.diff(offsets[first : last + 1])
            places = np.arange(start, end) - np.repeat(offsets[first:last], lengths)
            block = kernel(data[start:end], np.repeat(keys[first:last], lengths), places.astype(np.uint64))
            changed[start:end] = block
        return changed, offsets

    return _over_buffer(text, key, run)


def respaced(text: pl.Expr, key: pl.Expr, max_spaces: int) -> pl.Expr:
    """The text with each run of spaces replaced by 1 to `max_spaces` spaces."""

    def run(data: Any, offsets: Any, keys: Any) -> tuple[Any, Any]:
        import numpy as np

        is_space = data == ord(" ")
        opens = is_space.copy()
        opens[1:] &= ~is_space[:-1]
        starts = offsets[:-1][np.diff(offsets) > 0]
        opens[starts] = is_space[starts]  # a run does not reach over the edge of a row
        rows = np.repeat(np.arange(len(keys)), np.diff(offsets))[opens]
        number = np.cumsum(opens)[opens] - 1
        first = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(keys)))])[rows]
        draws = keyed_draws(keys[rows], (number - first).astype(np.uint64))
        copies = (~is_space).astype(np.int64)
        copies[opens] = 1 + (((draws >> np.uint64(32)) * np.uint64(max_spaces)) >> np.uint64(32)).astype(np.int64)
        ends = np.concatenate([[0], np.cumsum(copies)])
        return np.repeat(data, copies), ends[offsets]

    return _over_buffer(text, key, run)


def _over_buffer(text: pl.Expr, key: pl.Expr, run: Callable[[Any, Any, Any], tuple[Any, Any]]) -> pl.Expr:
    def over_batch(columns: list[pl.Series] | Any) -> pl.Series:
        import numpy as np
        import pyarrow as pa

        texts, keys = columns
        if len(texts) == 0:
            return texts
        array = texts.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        buffer = array.buffers()[2]
        data = (
            np.frombuffer(buffer, np.uint8)[offsets[0] : offsets[-1]] if buffer is not None else np.zeros(0, np.uint8)
        )
        each = np.broadcast_to(keys.to_numpy(), len(texts))  # a literal id is one key for all rows
        data, offsets = run(data, offsets - offsets[0], each)
        out = pa.LargeStringArray.from_buffers(
            len(texts), pa.py_buffer(np.ascontiguousarray(offsets, np.int64)), pa.py_buffer(np.ascontiguousarray(data))
        )
        changed = pl.Series(texts.name, pl.from_arrow(out))
        return changed.set(texts.is_null(), None) if texts.null_count() else changed

    return pl.map_batches([text, key], over_batch, return_dtype=pl.String, is_elementwise=True)
