"""The folder of a run: what it read, asked and scored, as Parquet parts by table, and its manifest.

A run writes RUN/TABLE/SCENARIO/SHARD-….parquet; results that are exported are
RUN/TABLE/scenario=SCENARIO/model=MODEL/SHARD-….parquet, with the manifest in each footer. RUN/manifest.json is written
last: without it there are no results.
"""

import itertools
import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import polars as pl
from polars.io.plugins import register_io_source

from helmframe.errors import StoreError
from helmframe.store.answers import file_name
from helmframe.store.files import Address, below, listing, name_of, read, read_all, remove, write
from helmframe.store.parts import FORMAT, checksum, damage, encode

_LONGEST_NAME = 200  # bytes; file systems take 255


class RunFolder:
    """What one run read and scored, as Parquet parts by table, with a manifest; derived and deletable."""

    def __init__(self, path: Address, writer: str | None = None) -> None:
        """`writer`: 8 hex digits that stand in the names of all parts, so that they can be told from others'."""
        self.path = path
        self._writer = writer
        self._written = itertools.count()
        self._schemas: dict[tuple[str, str], pl.Schema] = {}

    @classmethod
    def new(cls, root: Address) -> "RunFolder":
        """An empty folder, named by the time."""
        name = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:8]}"
        return cls(below(root, "runs", name))

    @classmethod
    def all(cls, root: Address) -> "list[RunFolder]":
        """The runs that the store holds, oldest first."""
        runs = below(root, "runs")
        if isinstance(runs, Path):
            return [cls(file.parent) for file in sorted(runs.glob("*/manifest.json"))]
        found = (file.name.split("/") for file in listing(runs))
        return [cls(below(runs, names[0])) for names in found if names[1:] == ["manifest.json"]]

    @property
    def id(self) -> str:
        """The name of the folder."""
        return name_of(self.path)

    def add(self, table: str, scenario: str, frame: pl.DataFrame, shard: int = 0) -> None:
        """Write one part of a table; all parts of a shard have its number in front.

        Raises:
            StoreError: the folder can't be written.
        """
        self._write(frame, (table, file_name(scenario)), shard)

    def add_partitioned(self, table: str, frame: pl.DataFrame, manifest: Mapping[str, Any], shard: int = 0) -> None:
        """Write a part for each scenario and model of the frame, in folders named as Hive names them.

        The columns stay in the parts too. A name is percent-encoded; one too long for a folder ends in a hash.

        Raises:
            StoreError: the folder can't be written.
        """
        keys = ("scenario", "model")
        about = {"manifest": json.loads(json.dumps(manifest, default=str))}
        for values, part in frame.partition_by(*keys, as_dict=True, maintain_order=True).items():
            folders = [f"{key}={_hive_name(str(value))}" for key, value in zip(keys, values, strict=True)]
            self._write(part, (table, *folders), shard, about)

    def keep_only(self, tables: Sequence[str], writers: Collection[str]) -> None:
        """Remove from these tables the parts of all other writers: of those that were lost half way."""
        files = [file for table in tables for parts in self._parts(table).values() for file in parts]
        remove([file for file in files if name_of(file).split("-")[1] not in writers])

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write or replace the manifest."""
        write_text(json.dumps(manifest, indent=1, ensure_ascii=False, default=str), below(self.path, "manifest.json"))

    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises:
            StoreError: there is none, it is no manifest, or a newer helmframe wrote it.
        """
        try:
            said = json.loads(read(below(self.path, "manifest.json")))
        except (OSError, ValueError) as error:
            said, problem = None, str(error)
        else:
            problem = "manifest.json is no JSON object."
        if isinstance(said, dict):
            if isinstance(said.get("format"), int) and said["format"] > FORMAT:
                raise StoreError(
                    f"{self.path} was written by a newer helmframe (format {said['format']}; this one reads up to "
                    f"{FORMAT}). Upgrade: pip install --upgrade helmframe."
                )
            return said
        raise StoreError(f"{self.path} holds no results: {problem}")

    def scan(self, table: str) -> pl.LazyFrame | None:
        """The parts of a table, scenario by scenario, columns filled up with nulls; None where there is no part.

        They are read when they are needed; of a bucket's the first of each scenario is fetched now.

        Raises:
            StoreError: now or then, a part in a bucket can't be fetched, or is damaged.
        """
        frames = [self._read(table, scenario, parts) for scenario, parts in self._parts(table).items()]
        return pl.concat(frames, how="diagonal_relaxed") if frames else None

    def shards(self, tables: Sequence[str], whole: Collection[str]) -> list[dict[str, pl.LazyFrame]]:
        """The parts of some tables, shard by shard: table → rows, without the tables that a shard has no part of.

        Args:
            tables: which.
            whole: scenarios whose shards hold their instances whole; all parts of another are together, as one.
        """
        folders = {name for scenario in whole for name in (file_name(scenario), f"scenario={_hive_name(scenario)}")}
        shards: dict[tuple[str, int], dict[str, list[Address]]] = {}
        for table in tables:
            for scenario, parts in self._parts(table).items():
                for part in parts:
                    number = _shard(part) if scenario in folders else 0
                    shards.setdefault((scenario, number), {}).setdefault(table, []).append(part)
        return [
            {table: self._read(table, scenario, parts) for table, parts in found.items()}
            for (scenario, _), found in sorted(shards.items())
        ]

    def _parts(self, table: str) -> dict[str, list[Address]]:
        """By scenario, as files call it."""
        folders: dict[str, list[Address]] = {}
        for file in listing(below(self.path, table)):
            if file.name.count("/") in (1, 2) and file.name.endswith(".parquet"):
                folders.setdefault(file.name.partition("/")[0], []).append(file.address)
        return folders

    def _write(
        self, frame: pl.DataFrame, folders: Sequence[str], shard: int, about: Mapping[str, Any] | None = None
    ) -> None:
        if frame.height:
            data = encode(frame, about)
            name = f"{shard:06d}{next(self._written):06d}-{self._writer or uuid4().hex[:8]}-{checksum(data)}.parquet"
            write(data, below(self.path, *folders, name))

    def _read(self, table: str, scenario: str, parts: Sequence[Address]) -> pl.LazyFrame:
        paths = [part for part in parts if isinstance(part, Path)]
        if paths:
            return pl.scan_parquet(paths, missing_columns="insert")
        if (table, scenario) not in self._schemas:
            # all parts of a scenario have one
            self._schemas[table, scenario] = pl.scan_parquet(_fetched(parts[:1])).collect_schema()
        return _fetched_when_read(parts, self._schemas[table, scenario])


def write_parquet(frame: pl.DataFrame, path: Address) -> None:
    """Write a part whole or not at all.

    Raises:
        StoreError: the folder can't be written.
    """
    write(encode(frame), path)


def write_text(text: str, path: Address) -> None:
    """As `write_parquet`, for text."""
    write(text.encode(), path)


def _hive_name(value: str) -> str:
    """A value in the name of a folder."""
    quoted = quote(value, safe="")
    return quoted if len(quoted) <= _LONGEST_NAME else f"{quoted[:150]}-{sha256(value.encode()).hexdigest()[:16]}"


def _shard(part: Address) -> int:
    """Which shard a part is of, by its name; 0 where that does not say."""
    found = re.match(r"(\d{6})\d{6}-", name_of(part))
    return int(found[1]) if found else 0


def _fetched_when_read(parts: Sequence[Address], schema: pl.Schema) -> pl.LazyFrame:
    """The rows of parts in a bucket, of which no more is decoded than is asked for."""

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


def _fetched(parts: Sequence[Address]) -> list[bytes]:
    """The bytes of parts in a bucket.

    Raises:
        StoreError: one can't be fetched, or is damaged.
    """
    found = {part: data for part in parts if (data := _recent.get(part)) is not None}
    missing = [part for part in parts if part not in found]
    for part, data in zip(missing, read_all(missing), strict=True):
        why = "it is gone" if data is None else damage(data, str(part))
        if data is None or why:
            raise StoreError(f"{part} can't be read: {why}. Run again, and it is written anew.")
        found[part] = data
        _recent.keep(part, data)
    return [found[part] for part in parts]


class _Recent:
    """The files fetched last, as many as fit: what is small is fetched once, whatever is asked of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._files: OrderedDict[Address, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, address: Address) -> bytes | None:
        with self._lock:
            if address in self._files:
                self._files.move_to_end(address)
            return self._files.get(address)

    def keep(self, address: Address, data: bytes) -> None:
        with self._lock:
            self._size += len(data) - len(self._files.pop(address, b""))
            self._files[address] = data
            while self._size > self._most:
                self._size -= len(self._files.popitem(last=False)[1])


_recent = _Recent(128 << 20)  # bytes
