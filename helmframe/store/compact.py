"""Fewer, larger parts; and answers removed for good.

Merged parts are written first, then those that are in them are removed. Whatever ends it in between leaves some answers
twice, which changes nothing: each answer carries its version, and the highest counts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from helmframe.store.answers import newest, prefixes_name
from helmframe.store.contents import KEPT, Shelf, count_rows, read_prefixes, shelves
from helmframe.store.files import Address, below, remove, write
from helmframe.store.parts import Part, encode, mark_of, part_path, read_parts, sealed

# Rows a part: a shard of a run reads those near it whole.
ROWS = 131_072
# Read and merged at once.
WINDOW_ROWS, WINDOW_BYTES = 8 * ROWS, 128 << 20


@dataclass(frozen=True)
class Merged:
    """What became of the answers of one model to one scenario: the number of files before and after."""

    model: str
    scenario: str
    before: int
    after: int


def compact(
    root: Address, model: str | None = None, scenario: str | None = None, *, rows: int = ROWS
) -> Iterator[Merged]:
    """Merge the parts of each model and scenario, in the order of row_index, into parts of at most `rows` rows.

    Of several answers to one request the newest is kept. Others may read and write meanwhile.

    Raises:
        UnknownNameError: there is no such model or scenario.
        StoreError: the store can't be read or written.
    """
    for shelf in shelves(root, model, scenario):
        before = len(shelf.files)
        after = sum(_merge(root, shelf, window, rows) for window in _windows(shelf.parts))
        yield Merged(shelf.model, shelf.scenario, before, after + _merge_prefixes(root, shelf))


def remove_answers(chosen: Sequence[Shelf]) -> None:
    """Remove all answers of these shelves, and the prefixes of their prompts."""
    for shelf in chosen:
        # answers first: a prefix that nothing needs does no harm
        remove([part.file.address for part in shelf.parts])
        remove([file.address for file in (*shelf.prefixes, *shelf.marks)])


def _windows(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts that are neighbours by row_index, as many as are merged at once."""
    window: list[Part] = []
    rows = size = 0
    for part in sorted(parts, key=lambda part: (part.low, part.high, part.age)):
        count = count_rows([part])
        if window and (rows + count > WINDOW_ROWS or size + part.file.size > WINDOW_BYTES):
            yield window
            window, rows, size = [], 0, 0
        window.append(part)
        rows, size = rows + count, size + part.file.size
    if window:
        yield window


def _merge(root: Address, shelf: Shelf, window: list[Part], rows: int) -> int:
    """Gives the number of parts that the window is now."""
    expected = -(-count_rows(window) // rows)
    if len(window) <= max(1, expected):
        return len(window)
    found = read_parts(root, window, KEPT)
    if not found.complete or found.rows.is_empty():
        return len(found.parts)  # another process is at it
    merged = newest(found.rows).sort("row_index", "version", maintain_order=True)
    written = 0
    for some in merged.iter_slices(rows):
        data = encode(some, _about(shelf))
        low, high, version, at = some.select(
            low=pl.col("row_index").min(), high=pl.col("row_index").max(),
            version=pl.col("version").max(), at=pl.col("written").max(),
        ).row(0)  # fmt: skip
        replaces = any(part.replaces for part in found.parts)
        path = part_path(shelf.path, low, high, version, at, some.height, data, replaces=replaces)
        write(data, below(root, "completions", *path.split("/")))
        if replaces:
            write(b"", below(root, "completions", *mark_of(path).split("/")))
        written += 1
    marks = {mark_of(part.file.name) for part in found.parts}
    # marks first: without its part, a mark tells readers that a version is lost
    remove([mark.address for mark in shelf.marks if mark.name in marks])
    remove([part.file.address for part in found.parts])
    return written


def _merge_prefixes(root: Address, shelf: Shelf) -> int:
    if len(shelf.prefixes) < 2:
        return len(shelf.prefixes)
    merged, files = read_prefixes(root, shelf)
    data = encode(merged, _about(shelf))
    path = sealed(f"{shelf.path}/{prefixes_name(merged)}", data)
    write(data, below(root, "completions", *path.split("/")))
    remove([file.address for file in files if file.name != path])
    return 1


def _about(shelf: Shelf) -> dict[str, str]:
    return {"fingerprint": shelf.fingerprint, "scenario": shelf.scenario, "model": shelf.model}
