"""Maintenance of a store: merge parts, remove completions, and verify every file.

Merged parts are written first, then the parts that they replace are removed. If the process ends in between, some
completions are stored twice. That changes nothing: each completion has its version, and the highest counts.
"""

import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import polars as pl

from helmframe._schema import COMPLETIONS, PREFIXES
from helmframe.errors import StoreError
from helmframe.store.completions import newest, prefixes_name
from helmframe.store.contents import PART_SCHEMA, StoreEntry, count_rows, list_entries, read_prefixes
from helmframe.store.files import Address, File, below, listing, read_all, remove, write
from helmframe.store.parts import MARK, Part, damage, encode, mark_of, part_path, read_parts, sealed, unmatched
from helmframe.store.run_cache import CACHE
from helmframe.store.runs import MANIFEST, MISSING, UNLISTED, PartsList, RunFolder

# Rows of a part: a shard of a run reads the parts near it whole.
ROWS = 131_072
# Read and merged at once.
WINDOW_ROWS, WINDOW_BYTES = 8 * ROWS, 128 << 20


@dataclass(frozen=True)
class Merged:
    """The result of merging the parts of one model and scenario: the number of files before and after."""

    model: str
    scenario: str
    before: int
    after: int


def compact(
    root: Address, model: str | None = None, scenario: str | None = None, *, rows: int = ROWS
) -> Iterator[Merged]:
    """Merge the parts of each model and scenario, in the order of row_index, into parts of at most `rows` rows.

    Of several completions of one request, the newest stays. Other processes can read and write meanwhile.

    Raises:
        UnknownNameError: There is no such model or scenario.
        StoreError: The store can't be read or written.
    """
    for entry in list_entries(root, model, scenario):
        before = len(entry.files)
        after = sum(_merge(root, entry, window, rows) for window in _windows(entry.parts))
        yield Merged(entry.model, entry.scenario, before, after + _merge_prefixes(root, entry))


def remove_completions(chosen: Sequence[StoreEntry]) -> None:
    """Remove all completions of these entries, and the prefixes of their prompts."""
    for entry in chosen:
        # completions first: an unused prefix does no harm
        remove([part.file.address for part in entry.parts])
        remove([file.address for file in (*entry.prefixes, *entry.marks)])


def _windows(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield groups of parts that are neighbours by row_index, to be merged together."""
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


def _merge(root: Address, entry: StoreEntry, window: list[Part], rows: int) -> int:
    """Merge the parts of a window; return the number of new parts."""
    expected = -(-count_rows(window) // rows)
    if len(window) <= max(1, expected):
        return len(window)
    result = read_parts(root, window, PART_SCHEMA)
    if not result.complete or result.rows.is_empty():
        return len(result.parts)  # another process merges them
    merged = newest(result.rows).sort("row_index", "version", maintain_order=True)
    written = 0
    for part_rows in merged.iter_slices(rows):
        data = encode(part_rows, _footer(entry))
        low, high, version, at = part_rows.select(
            low=pl.col("row_index").min(), high=pl.col("row_index").max(),
            version=pl.col("version").max(), at=pl.col("written").max(),
        ).row(0)  # fmt: skip
        replaces = any(part.replaces for part in result.parts)
        path = part_path(entry.path, low, high, version, at, part_rows.height, data, replaces=replaces)
        write(data, below(root, "completions", *path.split("/")))
        if replaces:
            write(b"", below(root, "completions", *mark_of(path).split("/")))
        written += 1
    marks = {mark_of(part.file.name) for part in result.parts}
    # marks first: without its part, a mark tells readers that a version is lost
    remove([mark.address for mark in entry.marks if mark.name in marks])
    remove([part.file.address for part in result.parts])
    return written


def _merge_prefixes(root: Address, entry: StoreEntry) -> int:
    if len(entry.prefixes) < 2:
        return len(entry.prefixes)
    merged, files = read_prefixes(root, entry)
    data = encode(merged, _footer(entry))
    path = sealed(f"{entry.path}/{prefixes_name(merged)}", data)
    write(data, below(root, "completions", *path.split("/")))
    remove([file.address for file in files if file.name != path])
    return 1


def _footer(entry: StoreEntry) -> dict[str, str]:
    return {"fingerprint": entry.fingerprint, "scenario": entry.scenario, "model": entry.model}


_PREFIXES = re.compile(r"prefixes-[0-9a-f]{32}-[0-9a-f]{8}\.parquet")


@dataclass(frozen=True)
class VerifiedFile:
    """A verified file; `why` is the damage, None for a sound file."""

    file: File
    why: str | None

    @property
    def missing(self) -> bool:
        """True if the file is missing: the manifest of its run lists it, or its mark shows that it existed."""
        return self.why == MISSING


def verify(root: Address) -> Iterator[VerifiedFile]:
    """Yield each file of the completions and runs, verified.

    Raises:
        StoreError: The store is unreachable.
    """
    completions = below(root, "completions")
    stored = listing(completions)
    set_aside = {file.name for file in listing(below(root, "damaged", "completions"))}
    for part in unmatched(stored):
        name = part.file.name
        if name in set_aside:
            continue
        yield VerifiedFile(replace(part.file, address=below(completions, *name.split("/"))), MISSING)
    for file, data in _read([file for file in stored if not file.name.endswith(MARK)]):
        yield VerifiedFile(file, _answers(file, data))
    runs = below(root, "runs")
    for run, files in groupby(listing(runs), lambda file: file.name.partition("/")[0]):
        yield from _run(RunFolder(below(runs, run)), list(files))


def _read(files: Sequence[File]) -> Iterator[tuple[File, bytes]]:
    for file, data in zip(files, read_all([file.address for file in files]), strict=True):
        if data is not None:
            yield file, data


def _answers(file: File, data: bytes) -> str | None:
    names = file.name.split("/")
    part = Part.named(file)
    if len(names) != 3 or (part is None and not _PREFIXES.fullmatch(names[2])):
        return "its name is not one that helmframe gives"
    columns = PART_SCHEMA if part is not None else PREFIXES.schema
    return _readable(file.name, data) or _lacking(data, columns)


def _lacking(data: bytes, columns: Collection[str]) -> str | None:
    optional = {column.name for column in COMPLETIONS.columns if not column.required}
    missing = set(columns) - optional - set(pl.read_parquet_schema(io.BytesIO(data)))
    return f"it has no column {', '.join(sorted(missing))}" if missing else None


def _run(folder: RunFolder, files: Sequence[File]) -> Iterator[VerifiedFile]:
    """Verify the files of a run against its manifest."""
    problem, listed = None, PartsList({}, complete=False)
    try:
        listed = folder.parts_list()
    except StoreError as error:
        problem = str(error)
    names = {file.name.partition("/")[2] for file in files}
    for name in sorted({MANIFEST, *listed.rows} - names):
        yield VerifiedFile(File(below(folder.path, *name.split("/")), name, 0, 0.0), MISSING)
    for file, data in _read([file for file in files if not file.name.endswith(MARK)]):
        name = file.name.partition("/")[2]
        if name == MANIFEST:
            yield VerifiedFile(file, problem)
        elif name.startswith(f"{CACHE}/"):
            yield VerifiedFile(file, _cached(file, data))
        elif not name.endswith(".parquet"):
            yield VerifiedFile(file, None)
        elif listed.complete and name not in listed.rows:
            yield VerifiedFile(file, UNLISTED)
        else:
            yield VerifiedFile(file, _readable(name, data))


def _cached(file: File, data: bytes) -> str | None:
    """Return the damage of a file of a run's own completions or of its unfinished shards; None if it is sound."""
    _, _, kind, *names = file.name.split("/")
    name = "/".join(names)
    return _answers(replace(file, name=name), data) if kind == "completions" else _readable(name, data)


def _readable(name: str, data: bytes) -> str | None:
    """Return why reading a file as Parquet fails; None if it succeeds. A newer format is a failure, not damage."""
    try:
        why = damage(data, name)
        if why is None:
            pl.read_parquet(data)
    except StoreError as error:
        return str(error)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return "its pages can't be read"
    return why
