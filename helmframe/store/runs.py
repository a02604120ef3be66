"""The folder of a run: its instances, requests, completions and scores as Parquet parts by table, and its manifest.

A run writes RUN/TABLE/SCENARIO/SHARD-….parquet. Results that are exported are RUN/TABLE/SCENARIO@MODEL@SHARD-….parquet,
with the manifest in each footer: folders below a table would hide its files from Spark, and folders such as
`model=MODEL` would have columns of another type than the files. RUN/manifest.json is written last: without it there are
no results. It lists the parts, and has a checksum of its content. The name of a part has a
checksum of its path in the folder and its bytes. So a file that was changed, removed, added, copied, renamed or swapped
is an error when the folder is opened.
"""

import itertools
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b, md5
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import polars as pl
from polars.io.plugins import register_io_source

from helmframe._core.yaml import decode_json
from helmframe._schema import Table
from helmframe.errors import StoreError
from helmframe.store.completions import file_name
from helmframe.store.files import Address, File, below, listing, name_of, read_all, remove, stat, write
from helmframe.store.parts import FORMAT, damage, encode, sealed

MANIFEST = "manifest.json"
# Keys of manifest.json that the store adds.
_PARTS, _COMPLETE, _CHECKSUM = "parts", "parts_complete", "checksum"
MISSING = "it is missing"
UNLISTED = "the manifest of its run does not list it; if it is a copy, remove it"


class PartsList(NamedTuple):
    """The parts that a manifest lists.

    Args:
        rows: Path of a part below the run's folder → number of rows.
        complete: Whether these are all; False while the run writes, and after a process that was killed.
    """

    rows: Mapping[str, int]
    complete: bool


class RunFolder:
    """The tables of one run, as Parquet parts with a manifest; derived and deletable."""

    def __init__(self, path: Address, writer: str | None = None) -> None:
        """`writer`: 8 hex digits in the names of all parts, which distinguish them from other writers' parts."""
        self.path = path
        self._writer = writer
        self._written = itertools.count()
        self._schemas: dict[tuple[str, str], pl.Schema] = {}
        self._rows: dict[str, int] = {}  # of the parts that this object wrote or was passed
        self._listed: PartsList | None = None  # of the manifest read last, once that is complete
        self._final: list[File] | None = None  # the files in a bucket, once the manifest is complete
        self._lock = threading.Lock()

    @classmethod
    def new(cls, root: Address) -> "RunFolder":
        """Return an empty folder, named by the time."""
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:8]}"
        return cls(below(root, "runs", name))

    @classmethod
    def all(cls, root: Address) -> "list[RunFolder]":
        """Return the runs in a store, oldest first."""
        runs = below(root, "runs")
        if isinstance(runs, Path):
            return [cls(file.parent) for file in sorted(runs.glob(f"*/{MANIFEST}"))]
        paths = (file.name.split("/") for file in listing(runs))
        return [cls(below(runs, names[0])) for names in paths if names[1:] == [MANIFEST]]

    @property
    def id(self) -> str:
        """The name of the folder."""
        return name_of(self.path)

    def add(self, table: str, scenario: str, frame: pl.DataFrame, shard: int = 0) -> None:
        """Write one part of a table; the names of all parts of a shard start with its number.

        Raises:
            StoreError: The folder isn't writable.
        """
        self._write(frame, (table, file_name(scenario)), shard)

    def add_exported(self, table: Table, frame: pl.DataFrame, manifest: Mapping[str, Any], shard: int = 0) -> None:
        """Write a part for each scenario and model of the frame, for readers of Parquet other than helmframe.

        All parts of a table are in one folder. Their fields have the meaning and unit of the columns as metadata.

        Raises:
            StoreError: The folder isn't writable.
        """
        footer = {"manifest": json.loads(json.dumps(manifest, default=str))}
        meanings = {
            column.name: {"meaning": column.meaning, **({"unit": column.unit} if column.unit else {})}
            for column in table.columns
        }
        for values, part in frame.partition_by("scenario", "model", as_dict=True, maintain_order=True).items():
            names = "@".join(file_name(str(value)) for value in values)
            self._write(part, (table.name, f"{names}@"), shard, footer, meanings)

    @property
    def parts(self) -> dict[str, int]:
        """The parts that this object wrote or was passed: path below the folder → number of rows."""
        with self._lock:
            return dict(self._rows)

    def include(self, parts: Mapping[str, int]) -> None:
        """List parts in the manifest that another process wrote."""
        with self._lock:
            self._rows |= parts

    def include_table(self, table: str) -> None:
        """List all sound parts of a table in the manifest, whichever process wrote them.

        Raises:
            StoreError: The folder can't be read.
        """
        listed = self.parts
        files = [file for file in self._files(table) if file.name not in listed]
        for file, data in zip(files, read_all([file.address for file in files]), strict=True):
            if data is not None and damage(data, file.name) is None:
                self.include({file.name: int(pl.scan_parquet(data).select(pl.len()).collect().item())})

    def keep_only(self, tables: Sequence[str], writers: Collection[str]) -> None:
        """Remove the parts of all other writers from these tables: of workers that were lost."""
        files = [file for table in tables for file in self._files(table)]
        self._remove([file for file in files if name_of(file.address).split("-")[1] not in writers])

    def remove_shard(self, shard: int) -> None:
        """Remove all parts of a shard."""
        tables = {name.partition("/")[0] for name in self.parts}
        self._remove([file for table in sorted(tables) for file in self._files(table) if _shard(file) == shard])

    def write_manifest(self, manifest: Mapping[str, Any], *, complete: bool = True) -> None:
        """Write or replace the manifest.

        Args:
            manifest: The fields of the run. The list of parts and a checksum are added.
            complete: Whether all parts are written. If so, other parts in the folder are an error.
        """
        parts = {_PARTS: dict(sorted(self.parts.items())), _COMPLETE: complete}
        content = json.loads(json.dumps({**manifest, **parts}, ensure_ascii=False, default=str))
        text = json.dumps({**content, _CHECKSUM: _digest(content)}, indent=1, ensure_ascii=False)
        self._listed = self._final = None
        write_text(text, below(self.path, MANIFEST))

    def manifest(self) -> dict[str, Any]:
        """Return the manifest.

        Raises:
            StoreError: The manifest doesn't exist, is invalid or damaged, or was written by a newer helmframe.
        """
        content = self._content()
        if content is None:
            raise StoreError(
                f"{self.path} has no results: {MANIFEST} not found. Write the folder of a run (hf.runs() lists all) or "
                "of results.to_parquet(folder)."
            )
        return {name: value for name, value in content.items() if name not in (_PARTS, _COMPLETE, _CHECKSUM)}

    def parts_list(self) -> PartsList:
        """Return the parts that the manifest lists; none, and incomplete, if there is no manifest yet.

        Raises:
            StoreError: As `manifest`.
        """
        if self._listed is not None:
            return self._listed
        content = self._content()
        return PartsList({}, complete=False) if content is None else PartsList(content[_PARTS], content[_COMPLETE])

    def scan(self, table: str) -> pl.LazyFrame | None:
        """Return the rows of a table, scenario by scenario, missing columns as nulls; None if it has no parts.

        Parts are read when they are needed; in a bucket, the first part of each scenario is fetched now.

        Raises:
            StoreError: Now or then, a part can't be read, is damaged or missing, or the manifest does not list it.
        """
        frames = [self._read(table, scenario, parts) for scenario, parts in self._parts(table).items()]
        return pl.concat(frames, how="diagonal_relaxed") if frames else None

    def shards(self, tables: Sequence[str], whole: Collection[str]) -> list[dict[str, pl.LazyFrame]]:
        """Return the rows of some tables, shard by shard: table → rows, without tables that a shard has no part of.

        Args:
            tables: The tables.
            whole: Scenarios whose shards contain all rows of their instances; others are returned as one shard.

        Raises:
            StoreError: As `scan`.
        """
        folders = {file_name(scenario) for scenario in whole}
        shards: dict[tuple[str, int], dict[str, list[File]]] = {}
        for table in tables:
            for scenario, parts in self._parts(table).items():
                for part in parts:
                    number = _shard(part) if scenario in folders else 0
                    shards.setdefault((scenario, number), {}).setdefault(table, []).append(part)
        return [
            {table: self._read(table, scenario, parts) for table, parts in files.items()}
            for (scenario, _), files in sorted(shards.items())
        ]

    def _parts(self, table: str) -> dict[str, list[File]]:
        """Return the parts of a table by the file name of the scenario, once they are verified.

        Parts on disk are read for that; those in a bucket are verified when they are fetched.
        """
        expected = self.parts_list()
        files = {file.name: file for file in self._files(table, final=expected.complete)}
        for name in sorted(name for name in expected.rows if name.startswith(f"{table}/") and name not in files):
            raise _unsound(below(self.path, *name.split("/")), MISSING)
        for name, file in files.items():
            if expected.complete and name not in expected.rows:
                raise _unsound(file.address, UNLISTED)
        _verified.check(list(files.values()))
        folders: dict[str, list[File]] = {}
        for name, file in files.items():
            folders.setdefault(name.split("/")[1].partition("@")[0], []).append(file)
        return folders

    def _files(self, table: str, *, final: bool = False) -> list[File]:
        """Return the parts of a table that are in the folder; their names are paths below the run's folder.

        `final`: no part is added or removed any more, so a folder in a bucket is listed once, with all tables.
        """
        if final and isinstance(self.path, str):
            if self._final is None:
                self._final = listing(self.path)
            files = [file for file in self._final if file.name.startswith(f"{table}/")]
        else:
            files = [replace(file, name=f"{table}/{file.name}") for file in listing(below(self.path, table))]
        return [file for file in files if file.name.count("/") <= 2 and file.name.endswith(".parquet")]

    def _content(self) -> dict[str, Any] | None:
        """Return the content of manifest.json; None if the file doesn't exist."""
        address = below(self.path, MANIFEST)
        (data,) = read_all([address])
        if data is None:
            return None
        try:
            content = decode_json(data)
        except ValueError as error:
            raise StoreError(f"{self.path} has no results: {address} isn't valid JSON ({error}). {_ADVICE}") from None
        if not isinstance(content, dict):
            raise StoreError(f"{self.path} has no results: {address} isn't a JSON object. {_ADVICE}")
        if isinstance(content.get("format"), int) and content["format"] > FORMAT:
            raise StoreError(
                f"{self.path} was written by a newer helmframe (format {content['format']}; this one reads up to "
                f"{FORMAT}). Upgrade: pip install --upgrade helmframe."
            )
        expected = content.pop(_CHECKSUM, None)
        if expected != _digest(content):
            raise _unsound(address, "its content does not match its checksum")
        parts, complete = content.get(_PARTS), content.get(_COMPLETE)
        is_list = isinstance(parts, dict) and all(type(rows) is int for rows in parts.values())
        if parts is None or not is_list or not isinstance(complete, bool):
            raise _unsound(address, "its list of parts is invalid")
        self._listed = PartsList(parts, complete=True) if complete else None
        return content

    def _remove(self, files: Sequence[File]) -> None:
        with self._lock:
            for file in files:
                self._rows.pop(file.name, None)
        remove([file.address for file in files])

    def _write(
        self,
        frame: pl.DataFrame,
        folder: Sequence[str],
        shard: int,
        footer: Mapping[str, Any] | None = None,
        meanings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Write a part; the last name in `folder` is the start of the file's name if it ends in `@`."""
        if frame.height:
            data = encode(frame, footer, meanings)
            start = f"{shard:06d}{next(self._written):06d}-{self._writer or uuid4().hex[:8]}"
            name = sealed("/".join((*folder, start)).replace("@/", "@"), data)
            address = below(self.path, *name.split("/"))
            write(data, address)
            if isinstance(address, Path):
                _verified.add(stat(address, name))
            else:
                # a server names the content of a file by its MD5; under another name, the file is fetched
                _recent.keep(address, md5(data, usedforsecurity=False).hexdigest(), data)
            self.include({name: frame.height})

    def _read(self, table: str, scenario: str, parts: Sequence[File]) -> pl.LazyFrame:
        paths = [part.address for part in parts if isinstance(part.address, Path)]
        if paths:
            return pl.scan_parquet(paths, missing_columns="insert")
        if (table, scenario) not in self._schemas:
            # all parts of a scenario have the same schema
            self._schemas[table, scenario] = pl.scan_parquet(_fetched(parts[:1])).collect_schema()
        return _fetched_when_read(parts, self._schemas[table, scenario])


def write_parquet(frame: pl.DataFrame, path: Address) -> None:
    """Write a part whole or not at all.

    Raises:
        StoreError: The folder isn't writable.
    """
    write(encode(frame), path)


def write_text(text: str, path: Address) -> None:
    """Write a text whole or not at all.

    Raises:
        StoreError: The folder isn't writable.
    """
    write(text.encode(), path)


def _digest(content: Mapping[str, Any]) -> str:
    """Return the checksum of a manifest's content, independent of the layout of its JSON."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


_ADVICE = "Run the plan again: cached completions are reused, and a new folder is written."


def _unsound(address: Address, why: str) -> StoreError:
    return StoreError(f"{address} has changed since it was written: {why}.\n{_ADVICE}")


def _shard(part: File) -> int:
    """Return the number of a part's shard, from its name; 0 if the name has none."""
    match = re.match(r"(?:.*@)?(\d{6})\d{6}-", name_of(part.address))
    return int(match[1]) if match else 0


def _fetched_when_read(parts: Sequence[File], schema: pl.Schema) -> pl.LazyFrame:
    """Return the rows of parts in a bucket; only requested columns and rows are decoded."""

    def read_rows(
        columns: list[str] | None, predicate: pl.Expr | None, most: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        rows = pl.scan_parquet(_fetched(parts), schema=schema, missing_columns="insert", extra_columns="ignore")
        if predicate is not None:
            rows = rows.filter(predicate)
        if columns is not None:
            rows = rows.select(columns)
        yield (rows if most is None else rows.head(most)).collect()

    return register_io_source(read_rows, schema=schema)


def _fetched(parts: Sequence[File]) -> list[bytes]:
    """Return the contents of parts in a bucket.

    Raises:
        StoreError: Fetching a part fails, or the part is damaged.
    """
    contents = {part.address: data for part in parts if (data := _recent.get(part.address, part.tag)) is not None}
    missing = [part for part in parts if part.address not in contents]
    for part, data in zip(missing, read_all([part.address for part in missing]), strict=True):
        contents[part.address] = _sound(part, data)
        _recent.keep(part.address, part.tag, contents[part.address])
    return [contents[part.address] for part in parts]


class _Verified:
    """The parts on disk whose checksum this process has verified, until the file changes."""

    MOST = 200_000

    def __init__(self) -> None:
        self._stamps: dict[Address, tuple[int, float, int]] = {}

    def add(self, file: File) -> None:
        """Note that the file is sound as it is now."""
        if len(self._stamps) >= self.MOST:
            self._stamps.clear()
        self._stamps[file.address] = file.size, file.modified, file.inode

    def check(self, files: Sequence[File]) -> None:
        """Verify the files on disk that have changed since the last check.

        Raises:
            StoreError: One is damaged.
        """
        paths = [file for file in files if isinstance(file.address, Path)]
        new = [file for file in paths if self._stamps.get(file.address) != (file.size, file.modified, file.inode)]
        for file, data in zip(new, read_all([file.address for file in new]), strict=True):
            _sound(file, data)
            self.add(file)


def _sound(file: File, data: bytes | None) -> bytes:
    """Return the bytes of a part.

    Raises:
        StoreError: It is missing or damaged.
    """
    if data is None:
        raise _unsound(file.address, MISSING)
    why = damage(data, file.name)
    if why is not None:
        raise _unsound(file.address, why)
    return data


class _Recent:
    """A cache of the files in buckets that were fetched or written last, up to a size in bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._files: OrderedDict[tuple[Address, str], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, address: Address, tag: str) -> bytes | None:
        """Return the content of a file whose ETag is this one; None if it isn't cached."""
        with self._lock:
            if (address, tag) in self._files:
                self._files.move_to_end((address, tag))
            return self._files.get((address, tag))

    def keep(self, address: Address, tag: str, data: bytes) -> None:
        with self._lock:
            self._size += len(data) - len(self._files.pop((address, tag), b""))
            self._files[address, tag] = data
            while self._size > self._most:
                self._size -= len(self._files.popitem(last=False)[1])


_recent = _Recent(128 << 20)  # bytes
_verified = _Verified()
