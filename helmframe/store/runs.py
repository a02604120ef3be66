"""The folder of a run: what it read, asked and scored, as Parquet parts by table, and its manifest."""

import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from helmframe.errors import StoreError
from helmframe.store.answers import file_name
from helmframe.store.files import Address, below, listing, name_of, read, read_all, write
from helmframe.store.parts import FORMAT, checksum, damage, encode


class RunFolder:
    """What one run read and scored, as Parquet parts by table, with a manifest; derived and deletable."""

    def __init__(self, path: Address) -> None:
        self.path = path
        self._written = itertools.count()

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
        if frame.height:
            data = encode(frame)
            name = f"{shard:06d}{next(self._written):06d}-{uuid4().hex[:8]}-{checksum(data)}.parquet"
            write(data, below(self.path, table, file_name(scenario), name))

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

        From a folder they are read when they are needed; from a bucket they are fetched now, and kept as they are.

        Raises:
            StoreError: a part in a bucket can't be fetched, or is damaged.
        """
        folders: dict[str, list[Address]] = {}
        for file in listing(below(self.path, table)):
            if file.name.count("/") == 1 and file.name.endswith(".parquet"):
                folders.setdefault(file.name.partition("/")[0], []).append(file.address)
        frames = [pl.scan_parquet(_sources(parts), missing_columns="insert") for parts in folders.values()]
        return pl.concat(frames, how="diagonal_relaxed") if frames else None


def write_parquet(frame: pl.DataFrame, path: Address) -> None:
    """Write a part whole or not at all.

    Raises:
        StoreError: the folder can't be written.
    """
    write(encode(frame), path)


def write_text(text: str, path: Address) -> None:
    """As `write_parquet`, for text."""
    write(text.encode(), path)


def _sources(parts: list[Address]) -> Any:
    if isinstance(parts[0], Path):
        return parts
    sources = []
    for address, data in zip(parts, read_all(parts), strict=True):
        why = "it is gone" if data is None else damage(data, str(address))
        if data is None or why:
            raise StoreError(f"{address} can't be read: {why}. Run again, and it is written anew.")
        sources.append(data)
    return sources
