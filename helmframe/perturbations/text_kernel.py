"""NumPy over the Arrow buffer of a text column: for perturbations whose unit is the character.

A text column is one array of bytes and the offsets where its rows end. Polars' own expressions reach 50,000 texts a
second here, one pass over the bytes a million and more.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from helmframe._core.expressions import keyed_draws
from helmframe.errors import ArgumentError
from helmframe.perturbations.arrays import Bytes, Draws, Flags, Numbers

# Bytes per call of a kernel, about: its arrays of 8 bytes per byte then stay in the processor's cache.
BLOCK = 1 << 16

# Bytes per call of a kernel over words or characters: its arrays, one element per word, then stay small.
ROWS_BLOCK = 1 << 18

Kernel: TypeAlias = Callable[[Bytes, Draws, Numbers], Bytes]
Run: TypeAlias = Callable[[Bytes, Numbers, Draws], tuple[Bytes, Numbers]]


def changed_bytes(text: pl.Expr, key: pl.Expr, kernel: Kernel) -> pl.Expr:
    """The text after `kernel(bytes, keys, lengths) -> bytes` of the same length.

    Args:
        text: the text column.
        key: an UInt64 column, one key per row.
        kernel: sees the bytes of some rows, and of each row its key and how many bytes it has. It may change ASCII
            bytes into ASCII bytes only, so that the text stays UTF-8.
    """

    def run(data: Bytes, offsets: Numbers, keys: Draws) -> tuple[Bytes, Numbers]:
        import numpy as np

        changed = np.empty_like(data)
        for first, last in blocks(offsets, BLOCK):
            start, end = offsets[first], offsets[last]
            changed[start:end] = kernel(data[start:end], keys[first:last], np.diff(offsets[first : last + 1]))
        return changed, offsets

    return over_buffer(text, key, run)


def respaced(text: pl.Expr, key: pl.Expr, max_spaces: int) -> pl.Expr:
    """The text with each run of spaces replaced by 1 to `max_spaces` spaces."""
    return over_buffer(text, key, lambda data, offsets, keys: with_spaces(data, offsets, keys, max_spaces))


def with_spaces(data: Bytes, offsets: Numbers, keys: Draws, max_spaces: int) -> tuple[Bytes, Numbers]:
    """What `respaced` does, on a batch's bytes."""
    import numpy as np

    spaces = np.flatnonzero(data == ord(" "))
    rows = row_of(spaces, offsets)
    opens = np.ones(len(spaces), dtype=bool)
    # a run does not reach over the edge of a row
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
    """What takes the place of which bytes, in order, an array each.

    `starts`, `ends`: the bytes that go; `rows`: the row that they are in; `pieces`, `lengths`: where the bytes that
    come start in a buffer of their own, and how many they are.
    """

    starts: Numbers
    ends: Numbers
    rows: Numbers
    pieces: Numbers
    lengths: Numbers


def spliced(data: Bytes, offsets: Numbers, change: Change, pieces: Bytes) -> tuple[Bytes, Numbers]:
    """The bytes after the change, and the offsets of their rows."""
    import numpy as np

    gone = change.ends - change.starts
    grown = np.cumsum(change.lengths - gone)
    few = len(grown) * _FEW < len(data)
    out = _joined(data, change, pieces) if few else _repeated(data, change, gone, grown, pieces)
    before = np.searchsorted(change.rows, np.arange(len(offsets)))
    return out, offsets + np.concatenate([[0], grown])[before]


# Bytes per change from which on it is faster to join what lies between them.
_FEW = 256


def _joined(data: Bytes, change: Change, pieces: Bytes) -> Bytes:
    import numpy as np

    parts, done = [], 0
    columns = (change.starts, change.ends, change.pieces, change.pieces + change.lengths)
    for start, end, first, last in zip(*(column.tolist() for column in columns), strict=True):
        parts += [data[done:start], pieces[first:last]]
        done = end
    return np.concatenate([*parts, data[done:]])


def _repeated(data: Bytes, change: Change, gone: Numbers, grown: Numbers, pieces: Bytes) -> Bytes:
    import numpy as np

    # what comes is first as many copies of a byte: of the first that goes, or of that before which it stands
    copies = np.ones(len(data) + 1, dtype=np.int64)
    copies[ranges(change.starts, gone)] = 0
    np.add.at(copies, change.starts, change.lengths)
    out = np.repeat(np.append(data, np.uint8(0)), copies)[:-1]
    out[ranges(change.ends + grown - change.lengths, change.lengths)] = pieces[ranges(change.pieces, change.lengths)]
    return out


def ranges(starts: Numbers, lengths: Numbers) -> Numbers:
    """The numbers from each start on, as many as its length says, one range after the other."""
    import numpy as np

    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def row_of(places: Numbers, offsets: Numbers) -> Numbers:
    """The row that each place in the buffer belongs to; places are in order."""
    import numpy as np

    return np.repeat(np.arange(len(offsets) - 1), np.diff(np.searchsorted(places, offsets)))


def numbers(rows: Numbers) -> Draws:
    """The number of each element among those of its row, which stand together."""
    import numpy as np

    firsts = np.flatnonzero(np.diff(rows, prepend=-1))
    return (np.arange(len(rows)) - np.repeat(firsts, np.diff(firsts, append=len(rows)))).astype(np.uint64)


def probability(perturbation: str, argument: str, said: object) -> float:
    """What was said as a probability.

    Raises:
        ArgumentError: it is no number between 0 and 1.
    """
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 1:
        raise ArgumentError(f"{perturbation}({argument}={said!r}): a probability lies between 0 and 1.")
    return float(said)


def below(draws: Draws, prob: float) -> Flags:
    """Whether each draw falls, with probability `prob`; by 53 bits, as many as a float tells apart: 1 is always."""
    import numpy as np

    return draws >> np.uint64(11) < np.uint64(round(prob * 2.0**53))


def scaled(draws: Draws, count: "Numbers | Bytes | int") -> Numbers:
    """Each draw as a whole number from 0 to count - 1: its high half, scaled, so without modulo bias to speak of."""
    import numpy as np

    return (((draws >> np.uint64(32)) * np.asarray(count, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)


def over_buffer(text: pl.Expr, key: pl.Expr, run: Run) -> pl.Expr:
    """The text after `run(bytes, offsets, keys) -> (bytes, offsets)` over some rows at a time; nulls stay null.

    `offsets` start at 0 and have one element more than there are rows; the bytes given back must be UTF-8 row by row.
    """

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
        data = np.zeros(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)
        each = np.broadcast_to(keys.to_numpy(), len(texts))  # a literal id is one key for all rows
        tasks = [
            (run, data, offsets[first : last + 1], each[first:last]) for first, last in blocks(offsets, ROWS_BLOCK)
        ]
        with ThreadPoolExecutor(min(len(tasks), pl.thread_pool_size())) as threads:
            # NumPy lets go of Python's lock while it works
            out = pa.chunked_array(list(threads.map(_run, *zip(*tasks, strict=True))))
        changed = pl.Series(texts.name, pl.from_arrow(out))
        return changed.set(texts.is_null(), None) if texts.null_count() else changed

    return pl.map_batches([text, key], over_batch, return_dtype=pl.String, is_elementwise=True)


def blocks(offsets: Numbers, size: int) -> Iterator[tuple[int, int]]:
    """First row and the one after the last of blocks of about so many bytes; a longer row is one of its own."""
    import numpy as np

    rows = len(offsets) - 1
    cuts = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1] + size, size)).clip(max=rows)
    return itertools.pairwise(np.unique([0, *cuts, rows]).tolist())


def _run(run: Run, data: Bytes, offsets: Numbers, keys: Draws) -> Any:
    import numpy as np
    import pyarrow as pa

    changed, ends = run(data[offsets[0] : offsets[-1]], offsets - offsets[0], keys)
    ends, changed = np.ascontiguousarray(ends, np.int64), np.ascontiguousarray(changed)
    return pa.LargeStringArray.from_buffers(len(keys), pa.py_buffer(ends), pa.py_buffer(changed))
