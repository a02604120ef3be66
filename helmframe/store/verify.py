"""Every file of a store, read whole and held against its name."""

import io
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import polars as pl

from helmframe._schema import PREFIXES
from helmframe.errors import StoreError
from helmframe.store.contents import KEPT
from helmframe.store.files import Address, File, below, listing, read_all
from helmframe.store.parts import MARK, Part, damage, unmatched
from helmframe.store.run_cache import CACHE
from helmframe.store.runs import MANIFEST, MISSING, UNLISTED, PartsList, RunFolder

_PREFIXES = re.compile(r"prefixes-[0-9a-f]{32}-[0-9a-f]{8}\.parquet")


@dataclass(frozen=True)
class Found:
    """A file that was looked at; `why` says what is wrong with it, None where nothing is."""

    file: File
    why: str | None

    @property
    def missing(self) -> bool:
        """Whether the file is gone: the manifest of its run lists it, or its mark shows it."""
        return self.why == MISSING


def verify(root: Address) -> Iterator[Found]:
    """Each file of the answers and of the runs, one by one.

    Raises:
        StoreError: the store can't be reached.
    """
    completions = below(root, "completions")
    stored = listing(completions)
    set_aside = {file.name for file in listing(below(root, "damaged", "completions"))}
    for part in unmatched(stored):
        name = part.file.name
        if name in set_aside:
            continue
        yield Found(replace(part.file, address=below(completions, *name.split("/"))), MISSING)
    for file, data in _read([file for file in stored if not file.name.endswith(MARK)]):
        yield Found(file, _answers(file, data))
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
    columns = KEPT if part is not None else PREFIXES.schema
    return _readable(file.name, data) or _lacking(data, columns)


def _lacking(data: bytes, columns: Collection[str]) -> str | None:
    missing = set(columns) - set(pl.read_parquet_schema(io.BytesIO(data)))
    return f"it has no column {', '.join(sorted(missing))}" if missing else None


def _run(folder: RunFolder, files: Sequence[File]) -> Iterator[Found]:
    """Verify the files of a run, and that they are those that its manifest lists."""
    problem, listed = None, PartsList({}, complete=False)
    try:
        listed = folder.parts_list()
    except StoreError as error:
        problem = str(error)
    names = {file.name.partition("/")[2] for file in files}
    for name in sorted({MANIFEST, *listed.rows} - names):
        yield Found(File(below(folder.path, *name.split("/")), name, 0, 0.0), MISSING)
    for file, data in _read(files):
        name = file.name.partition("/")[2]
        if name == MANIFEST:
            yield Found(file, problem)
        elif name.startswith(f"{CACHE}/"):
            yield Found(file, _cached(file, data))
        elif not name.endswith(".parquet"):
            yield Found(file, None)
        elif listed.complete and name not in listed.rows:
            yield Found(file, UNLISTED)
        else:
            yield Found(file, _readable(name, data))


def _cached(file: File, data: bytes) -> str | None:
    """Return what is wrong with a file of a run's own completions, or of the requests of its unfinished shards."""
    _, _, kind, *names = file.name.split("/")
    name = "/".join(names)
    return _answers(replace(file, name=name), data) if kind == "completions" else _readable(name, data)


def _readable(name: str, data: bytes) -> str | None:
    """What keeps the file from being read as Parquet; a newer format is no damage, but can't be looked into."""
    try:
        why = damage(data, name)
        if why is None:
            pl.read_parquet(data)
    except StoreError as error:
        return str(error)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return "its pages can't be read"
    return why
