"""The documents of a task, read as Parquet, CSV or JSON from files, a data root or the Hub."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import MainScore, ScenarioSpec
from helmframe.config import from_home
from helmframe.errors import SourceMissingError, SpecError
from helmframe.interop.lm_eval.config import TaskConfig
from helmframe.scenarios.query import list_files
from helmframe.scenarios.raw import open_folder, reader
from helmframe.scenarios.sources import connect, read_guarded
from helmframe.scenarios.sql import text_list

_BUILDERS = ("json", "csv", "parquet", "text")
_NAME = re.compile(r"[\w.\-]+(?:/[\w.\-]+)*")


def read_split(config: TaskConfig, split: str, data: str | None) -> pl.DataFrame:
    """Return the documents of a split, in the order of the source.

    Files that the task names (`data_files`) are read where they are. Other data sets are read below the data root,
    `{data}/OWNER/NAME/CONFIG/SPLIT-*.parquet`, else from the Hub's Parquet.

    Raises:
        SpecError: The task names no data set, or its name isn't one.
        SourceError: The documents can't be read.
    """
    if config.dataset_path is None:
        raise SpecError.at(config.task, "dataset_path", "is missing.")
    files = _files(config, split)
    if files is not None:
        return _from_files(config, files)
    name, subset = config.dataset_path, config.dataset_name or "default"
    for key, value in (("dataset_path", name), ("dataset_name", subset), ("split", split)):
        if not _NAME.fullmatch(value) or ".." in value:
            raise SpecError.at(config.task, key, f"{value!r} isn't a name on the Hub.")
    folder = f"{name}/{subset}" if config.dataset_name else name
    spec = ScenarioSpec(
        scenario=config.task,
        version="",
        instances="",
        main=MainScore(""),
        metrics=(),
        source=(("rows", f"{{data}}/{folder}/{split}-*.parquet"),),
        hub=(("rows", f"hf://datasets/{name}@~parquet/{subset}/{split}/*.parquet"),),
    )
    source = connect(spec, data)
    try:
        paths = [file.path for file in list_files(spec, source)]
        if not paths:
            raise source.missing()
        sql = f"SELECT * FROM read_parquet({text_list(paths)})"
        return source.guarded(lambda: pl.DataFrame(source.connection.sql(sql).to_arrow_table()))
    finally:
        source.close()


def _files(config: TaskConfig, split: str) -> list[str] | None:
    """Return the files of a split that the task names; None if its documents are a data set."""
    named = (config.dataset_kwargs or {}).get("data_files")
    path = str(config.dataset_path)
    if isinstance(named, Mapping):
        if split not in named:
            raise SourceMissingError(
                f"Task {config.task!r}: data_files has no split {split!r}. It has {', '.join(map(str, named))}."
            )
        named = named[split]
    if named is not None and path in _BUILDERS:
        listed = [named] if isinstance(named, str) else named
        if not isinstance(listed, Sequence):
            raise SpecError.at(config.task, "dataset_kwargs.data_files", f"must be paths, not {named!r}.")
        return [_local(config, str(file)) for file in listed]
    folder = Path(_local(config, path))
    if folder.is_dir():
        found = sorted(file for file in folder.rglob("*") if re.match(rf"{re.escape(split)}(\W|$)", file.name))
        if not found:
            raise SourceMissingError(f"Task {config.task!r}: no file of split {split!r} found in {folder}.")
        return list(map(str, found))
    return None


def _local(config: TaskConfig, file: str) -> str:
    if "://" in file:
        return file
    path = from_home(file)
    near = config.path.parent / file if config.path is not None else path
    return str(path if path.exists() or not near.exists() else near)


def _from_files(config: TaskConfig, files: Sequence[str]) -> pl.DataFrame:
    import duckdb

    frames: list[pl.DataFrame] = []
    for address in files:
        with open_folder(address) as folder:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                query = f"SELECT * FROM {reader(str(file))}"
                table: Any = read_guarded(config.task, address, partial(_table, duckdb.connect(), query))
                frames.append(pl.DataFrame(table))
    return pl.concat(frames, how="diagonal_relaxed")


def _table(connection: Any, query: str) -> Any:
    return connection.sql(query).to_arrow_table()
