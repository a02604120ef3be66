"""NumPy over the Arrow buffer of a text column, for perturbations that change characters.

A text column is one array of bytes and the offsets at which its rows end. Polars' own expressions process 50,000 texts
per second here; one pass over the bytes processes more than a million.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from helmframe._core.expressions import keyed_draws
from helmframe.errors import ArgumentError

# The arrays that kernels pass to each other.
Bytes: TypeAlias = NDArray[np.uint8]
Points: TypeAlias = NDArray[np.uint32]  # code points
Numbers: TypeAlias = NDArray[np.int64]
Draws: TypeAlias = NDArray[np.uint64]  # keys, and the random numbers computed from them
Flags: TypeAlias = NDArray[np.bool_]

# The approximate number of bytes per call of a kernel: its arrays of 8 bytes per byte then fit in the cache.
BLOCK = 1 << 16

# The same for a kernel over words or characters: its arrays, one element per word, then stay small.
ROWS_BLOCK = 1 << 18

Kernel: TypeAlias = Callable[[Bytes, Draws, Numbers], Bytes]
Run: TypeAlias = Callable[[Bytes, Numbers, Draws], tuple[Bytes, Numbers]]


def changed_bytes(text: pl.Expr, key: pl.Expr, kernel: Kernel) -> pl.Expr:
    """Return the text after `kernel(bytes, keys, lengths) -> bytes` of the same length.

    Args:
        text: The text column.
        key: An UInt64 column, one key per row.
        kernel: A function of the bytes of some rows, and each row's key and number of bytes. It may change ASCII bytes
            to ASCII bytes only, so that the text is still UTF-8.
    """

    def run(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
        changed = np.empty_like(data)
        for first, last in blocks(offsets, BLOCK):
            start, end = offsets[first], offsets[last]
            changed[start:end] = kernel(data[start:end], keys[first:last], np.diff(offsets[first : last + 1]))
        return changed, offsets

    return over_buffer(text, key, run)


def respaced(text: pl.Expr, key: pl.Expr, max_spaces: int) -> pl.Expr:
    """Return the text with each run of spaces replaced by 1 to `max_spaces` spaces."""
    return over_buffer(text, key, lambda data, offsets, keys: with_spaces(data, offsets, keys, max_spaces))


def with_spaces(data: Bytes, offsets: Numbers, keys: Draws, max_spaces: int) -> tuple[Bytes, Numbers]:
    """Return a batch's bytes and offsets after `respaced`."""
    spaces = np.flatnonzero(data == ord(" "))
    rows = row_of(spaces, offsets)
    opens = np.ones(len(spaces), dtype=bool)
    # a run ends at the edge of a row
    opens[1:] = (spaces[1:] != spaces[:-1] + 1) | (rows[1:] != rows[:-1])
    opens = np.flatnonzero(opens)
    runs = np.zeros(len(spaces), dtype=np.int64)
    runs[opens] = 1 + scaled(keyed_draws(keys[rows[opens]], numbers(rows[opens])), max_spaces)
    copies = np.ones(len(data), dtype=np.int64)
    copies[spaces] = runs
    grown = np.concatenate([[0], np.cumsum(runs - 1)])
    return np.repeat(data, copies), offsets + grown[np.searchsorted(spaces, offsets)]


@dataclass(frozen=True)
class Change:
    """Replacements in a buffer, in order: arrays with one element per replacement.

    `starts` and `ends` are the replaced bytes, `rows` their rows; `pieces` and `lengths` are the start and length of
    each replacement in a separate buffer.
    """

    starts: Numbers
    ends: Numbers
    rows: Numbers
    pieces: Numbers
    lengths: Numbers


def spliced(data: Bytes, offsets: Numbers, change: Change, pieces: Bytes) -> tuple[Bytes, Numbers]:
    """Return the bytes after the change, and the offsets of their rows."""
    removed = change.ends - change.starts
    grown = np.cumsum(change.lengths - removed)
    is_sparse = len(grown) * _SPARSE < len(data)
    out = _joined(data, change, pieces) if is_sparse else _repeated(data, change, removed, grown, pieces)
    before = np.searchsorted(change.rows, np.arange(len(offsets)))
    return out, offsets + np.concatenate([[0], grown])[before]


# The number of bytes per change above which it is faster to join the parts between changes.
_SPARSE = 256


def _joined(data: Bytes, change: Change, pieces: Bytes) -> Bytes:
    parts, done = [], 0
    columns = (change.starts, change.ends, change.pieces, change.pieces + change.lengths)
    for start, end, first, last in zip(*(column.tolist() for column in columns), strict=True):
        parts += [data[done:start], pieces[first:last]]
        done = end
    return np.concatenate([*parts, data[done:]])


def _repeated(data: Bytes, change: Change, removed: Numbers, grown: Numbers, pieces: Bytes) -> Bytes:
    # a replacement starts as copies of one byte: of the first replaced byte, or of the byte after it
    copies = np.ones(len(data) + 1, dtype=np.int64)
    copies[ranges(change.starts, removed)] = 0
    np.add.at(copies, change.starts, change.lengths)
    out = np.repeat(np.append(data, np.uint8(0)), copies)[:-1]
    out[ranges(change.ends + grown - change.lengths, change.lengths)] = pieces[ranges(change.pieces, change.lengths)]
    return out


def ranges(starts: Numbers, lengths: Numbers) -> Numbers:
    """Return the ranges of integers with these starts and lengths, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def row_of(positions: Numbers, offsets: Numbers) -> Numbers:
    """Return the row of each position in the buffer; positions are in order."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(np.searchsorted(positions, offsets)))


def numbers(rows: Numbers) -> Draws:
    """Return the index of each element among those of its row; elements of a row are next to each other."""
    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    return (np.arange(len(rows)) - np.repeat(firsts, np.diff(firsts, append=len(rows)))).astype(np.uint64)


def probability(perturbation: str, argument: str, value: object) -> float:
    """Return the value as a probability.

    Raises:
        ArgumentError: The value isn't a number between 0 and 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ArgumentError(f"{perturbation}({argument}={value!r}): {argument} must be a number between 0 and 1.")
    return float(value)


def below(draws: Draws, prob: float) -> Flags:
    """Return whether each random number is a hit, with probability `prob`.

    It compares 53 bits, as in a float; with probability 1, every number is a hit.
    """
    return draws >> np.uint64(11) < np.uint64(round(prob * 2.0**53))


def scaled(draws: Draws, count: Numbers | Bytes | int) -> Numbers:
    """Return each random number as an integer from 0 to count - 1.

    It scales the high half of the number, with negligible modulo bias.
    """
    return (((draws >> np.uint64(32)) * np.asarray(count, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)


def over_buffer(text: pl.Expr, key: pl.Expr, run: Run) -> pl.Expr:
    """Return the text after `run(bytes, offsets, keys) -> (bytes, offsets)` over some rows at a time; nulls stay null.

    `offsets` start at 0 and have one element more than there are rows. The returned bytes must be UTF-8 row by row.
    """

    def change_batch(columns: list[pl.Series] | Any) -> pl.Series:
        import pyarrow as pa

        texts, keys = columns
        if len(texts) == 0:
            return texts
        array = texts.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        buffer = array.buffers()[2]
        data = np.zeros(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)
        row_keys = np.broadcast_to(keys.to_numpy(), len(texts))  # a literal id is one key for all rows
        tasks = [
            (run, data, offsets[first : last + 1], row_keys[first:last]) for first, last in blocks(offsets, ROWS_BLOCK)
        ]
        with ThreadPoolExecutor(min(len(tasks), pl.thread_pool_size())) as threads:
            # NumPy releases Python's lock while it works
            out = pa.chunked_array(list(threads.map(_run, *zip(*tasks, strict=True))))
        changed = pl.Series(texts.name, pl.from_arrow(out))
        return changed.set(texts.is_null(), None) if texts.null_count() else changed

    return pl.map_batches([text, key], change_batch, return_dtype=pl.String, is_elementwise=True)


def blocks(offsets: Numbers, size: int) -> Iterator[tuple[int, int]]:
    """Yield first and last row (excluded) of blocks of about `size` bytes; a longer row is a block of its own."""
    rows = len(offsets) - 1
    cuts = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1] + size, size)).clip(max=rows)
    return itertools.pairwise(np.unique([0, *cuts, rows]).tolist())


def _run(run: Run, data: Bytes, offsets: Numbers, keys: Draws) -> Any:
    import pyarrow as pa

    changed, ends = run(data[offsets[0] : offsets[-1]], offsets - offsets[0], keys)
    ends, changed = np.ascontiguousarray(ends, np.int64), np.ascontiguousarray(changed)
    return pa.LargeStringArray.from_buffers(len(keys), pa.py_buffer(ends), pa.py_buffer(changed))
