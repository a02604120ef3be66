"""The jobs of a mirror: the file to write for each file, or for the drawn rows, of a source."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from helmframe._core.specs import ScenarioSpec, placeholders
from helmframe.errors import SourceBrokenError, SourceMissingError
from helmframe.scenarios.draws import Draw, find_draw
from helmframe.scenarios.query import list_files
from helmframe.scenarios.raw import files_in, fill_layout, open_folder, reader
from helmframe.scenarios.remote import pin_revision
from helmframe.scenarios.sources import SourceFile, connect, read_guarded
from helmframe.scenarios.sql import identifier, text_literal

HUB = "hub"
# Columns that are added to the source's while the rows are read.
_POSITION = "helmframe_position"
_TAKEN = "helmframe_taken"


@dataclass(frozen=True)
class Job:
    """A file to write: `path` below the root, from `source`, which the DuckDB expression `read` reads.

    `size` is the size of the source in bytes, if known; `values` are the columns in its path; `select` is SQL from the
    columns of the source to those of the spec.
    """

    path: str
    source: str
    size: int | None
    read: str
    values: Mapping[str, str] = field(default_factory=dict)
    select: str | None = None


@dataclass(frozen=True)
class Work:
    """The files to write, in the order of row_index, a connection that reads them, and their source.

    `draw` is the name of the draw that chose the rows, if any.
    """

    jobs: Sequence[Job]
    connection: Any
    source: str
    revision: str | None
    draw: str = ""


@dataclass(frozen=True)
class Rows:
    """A file of the source: the SELECT that reads it as the spec's columns, and the columns in its path."""

    path: str
    select: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A file to write: the columns in its path, the numbers of its source files, and the SQL that reads its rows.

    `shard` is its number among the files with the same columns in the path: `00000-of-00001`.
    """

    values: Mapping[str, str]
    files: Sequence[int]
    read: str
    shard: str


@contextmanager
def open_work(spec: ScenarioSpec, source: str, layout: str | None, select: str | None = None) -> Iterator[Work]:
    """Yield the files to write, while the connection is open.

    Args:
        spec: The scenario.
        source: "hub", `s3://…`, or a folder, archive, file or URL.
        layout: The paths in the source; default the spec's layout.
        select: SQL from its columns to the spec's; default the spec's `select` for the hub.

    Raises:
        SourceMissingError: The source has no such file.
        SourceError: The source can't be read.
    """
    address_shown = re.sub(r"://[^/@\s]*@", "://", source)  # without a user's name and password
    select = select or dict(spec.hub).get("select")  # type: ignore[assignment]
    if source == HUB or source.startswith("s3://"):
        address, revision = _hub(spec) if source == HUB else ("", None)
        opened = connect(replace(spec, source=(("rows", address),)) if address else spec, source)
        try:
            files = list_files(spec, opened)
            if not files:
                raise opened.missing()
            sized = [(file, None) for file in files]
            yield _work(spec, sized, select, Work([], opened.connection, address or address_shown, revision))
        finally:
            opened.close()
        return
    with open_folder(source) as folder, tempfile.TemporaryDirectory(prefix="helmframe-rows-") as made:
        opened = connect(spec, str(folder))
        try:
            raw_files = _of_folder(spec, folder, layout or _layout(spec))
            if not raw_files:
                raise SourceMissingError(
                    f"scenario {spec.scenario!r}: no file in {address_shown} matches {layout or _layout(spec)}.\n"
                    "Write the pattern of their paths: --layout PATTERN."
                )
            raw_files = [(_of_rows(spec, file, Path(made)), size) for file, size in raw_files]
            work = _work(spec, raw_files, select, Work([], opened.connection, address_shown, None))
            yield replace(
                work, jobs=[replace(job, source=_below(job.source, folder, address_shown)) for job in work.jobs]
            )
        finally:
            opened.close()


def _of_rows(spec: ScenarioSpec, file: SourceFile, folder: Path) -> SourceFile:
    """Return a file of rows: of a file in its makers' format, the rows that the scenario's draw extracts."""
    extract = find_draw(spec.draw).extract if spec.draw else None
    return file if extract is None else replace(file, path=str(extract(Path(file.path), folder)))


def _work(spec: ScenarioSpec, files: Sequence[tuple[SourceFile, int | None]], select: str | None, bare: Work) -> Work:
    """Return the jobs: one for each file of the source, or those of the rows that the spec's draw chooses."""
    if spec.draw:
        draw = find_draw(spec.draw)
        sources = [Rows(file.path, _made(reader(file.path, select), select), file.values) for file, _ in files]
        if is_drawn(spec, draw, bare.connection, sources):
            names = placeholders(_layout(spec))
            order = {name: index for index, name in enumerate(spec.split_names)}
            made = sorted(
                drawn(spec, draw, bare.connection, sources, names),
                key=lambda planned: (
                    [planned.values.get(name, "") for name in spec.subsets],
                    order.get(planned.values.get("split", ""), 0),
                ),
            )
            return replace(bare, jobs=[_job(spec, files, planned, bare.source) for planned in made], draw=spec.draw)
    return replace(bare, jobs=_numbered(spec, files, select))


def _made(read: str, select: str | None) -> str:
    return (
        f"SELECT * FROM {read}" if select is None else f"WITH rows AS (SELECT * FROM {read}) SELECT * FROM ({select})"
    )


def _job(spec: ScenarioSpec, files: Sequence[tuple[SourceFile, int | None]], made: Drawn, source: str) -> Job:
    """Return the job of a file of drawn rows."""
    sizes = [files[number][1] for number in made.files]
    size = sum(size or 0 for size in sizes) if None not in sizes else None
    path = fill_layout(_layout(spec), made.values, made.shard)
    return Job(path, source, size, made.read, made.values)


def _below(file: str, folder: Path, shown: str) -> str:
    """Return the public address of a file in the folder; that of the folder for rows of several files."""
    return f"{shown}#{Path(file).relative_to(folder).as_posix()}" if file != shown else shown


def _layout(spec: ScenarioSpec) -> str:
    return str(dict(spec.source)["rows"]).removeprefix("{data}/")


def _hub(spec: ScenarioSpec) -> tuple[str, str | None]:
    # a draw may need more files than the scenario reads without it, and they may have other columns
    addresses = dict(spec.hub)
    hub = (
        addresses.get("rows")
        if "rows" in addresses and not spec.draw
        else addresses.get("whole", addresses.get("rows"))
    )
    if isinstance(hub, str):
        return pin_revision(hub)
    why = f" ({spec.status})" if spec.status else ""
    raise SourceMissingError(
        f"scenario {spec.scenario!r} isn't on the Hub{why}.\n"
        f"Write the source of its rows, with files like {_layout(spec)}: --from FOLDER|ARCHIVE|URL."
    )


def _of_folder(spec: ScenarioSpec, folder: Path, layout: str) -> list[tuple[SourceFile, int | None]]:
    order = {name: index for index, name in enumerate(spec.split_names)}
    files = []
    for path, path_values in files_in(folder, layout).items():
        values = (
            {**path_values, "split": _split(path_values["split"], order)} if "split" in path_values else path_values
        )
        if not order or values.get("split", next(iter(order))) in order:
            files.append((SourceFile(str(path), values), path.stat().st_size))
    return sorted(
        files,
        key=lambda entry: (
            [entry[0].values.get(name, "") for name in spec.subsets],
            order.get(entry[0].values.get("split", ""), 0),
            entry[0].path,
        ),
    )


def _split(raw_name: str, split_names: Mapping[str, int]) -> str:
    """Return the spec's name of a split: raw files have val or valid for validation."""
    alike = [name for name in split_names if name.startswith(raw_name) or raw_name.startswith(name)]
    return raw_name if raw_name in split_names or len(alike) != 1 else alike[0]


def _numbered(spec: ScenarioSpec, files: Sequence[tuple[SourceFile, int | None]], select: str | None) -> list[Job]:
    """Return the job of each file: its path follows the spec's layout, with a number among files of one path."""
    layout = _layout(spec)
    names = placeholders(layout)
    groups: dict[tuple[str, ...], list[str]] = {}
    for file, _ in files:
        missing = [name for name in names if name not in file.values]
        if missing:
            raise SourceBrokenError(
                f"{file.path}: the path has no {{{missing[0]}}}, which {layout} needs. Write --layout PATTERN."
            )
        groups.setdefault(tuple(file.values[name] for name in names), []).append(file.path)
    jobs = []
    for file, size in files:
        group = groups[tuple(file.values[name] for name in names)]
        path = fill_layout(layout, file.values, f"{group.index(file.path):05d}-of-{len(group):05d}")
        jobs.append(Job(path, file.path, size, reader(file.path, select), file.values, select))
    return jobs


def is_drawn(spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows]) -> bool:
    """Return whether to make the draw: not if the source has row_index, nor for sources with splits of their own."""
    if draw.unsplit and any("split" in source.values for source in sources):
        return False
    return "row_index" not in _types(spec, connection, sources[0])


def drawn(
    spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows], names: Sequence[str]
) -> list[Drawn]:
    """Choose rows by a draw over all rows, and return the files to write.

    Args:
        spec: The scenario.
        draw: The draw of the scenario.
        connection: A connection of DuckDB, in which a table of chosen rows is created for each file to write.
        sources: The files, in the order of the rows.
        names: The columns in the path of a file to write: columns of the source's paths, and `split`.

    Returns:
        The files to write; each is read in the order of row_index.

    Raises:
        SourceBrokenError: The source lacks a column that the draw needs.
    """
    for name in names:
        # the draw may choose the split
        if not draw.unsplit or name != "split":
            _check_path_columns(spec, name, sources)
    keys = _keys(spec, draw, connection, sources)
    firsts = keys.group_by("file").agg(first=pl.col("position").min()).sort("first")
    taken = (
        draw.take(keys).sort("position").join_asof(firsts, left_on="position", right_on="first", strategy="backward")
    )
    for name in names:
        if name not in taken.columns:
            path_values_ = pl.Series(name, [source.values[name] for source in sources])
            taken = taken.with_columns(path_values_.gather(taken["file"]))
    groups = taken.partition_by(names, as_dict=True) if names else {(): taken}
    files_to_be: list[Drawn] = []
    for values, rows in groups.items():
        path_values = dict(zip(names, map(str, values), strict=True))
        pieces = list(rows.sort("row_index").iter_slices(draw.rows)) if draw.rows else [rows]
        for number, piece in enumerate(pieces):
            table = f"{_TAKEN}_{len(files_to_be)}"
            placed = piece.with_columns((pl.col("position") - pl.col("first")).alias(_POSITION))
            placed = placed.drop("position", "first", *names).rename({"file": "from_file"})
            # texts as views: a text in many rows is in memory once
            connection.register(table, placed.to_arrow(compat_level=pl.CompatLevel.newest()))
            files = sorted(set(piece["file"].to_list()))
            selects = [
                _select(spec, draw, connection, sources[file], file, table, path_values.get("split")) for file in files
            ]
            read = f"({' UNION ALL BY NAME '.join(selects)} ORDER BY row_index)"
            files_to_be.append(Drawn(path_values, files, read, f"{number:05d}-of-{len(pieces):05d}"))
    return files_to_be


def _check_path_columns(spec: ScenarioSpec, name: str, sources: Sequence[Rows]) -> None:
    for source in sources:
        if name not in source.values:
            raise SourceBrokenError(
                f"scenario {spec.scenario!r}: {source.path}: the path has no {{{name}}}. Write --layout PATTERN."
            )


def _keys(spec: ScenarioSpec, draw: Draw, connection: Any, sources: Sequence[Rows]) -> pl.DataFrame:
    """Return the rows that `Draw.take` receives."""
    frames = []
    for number, source in enumerate(sources):
        columns = ", ".join(f"({sql}) AS {identifier(name)}" for name, sql in (draw.keys or {"row": "NULL"}).items())
        columns = "count(*) AS rows" if draw.by_file else columns
        paths = "".join(f", {text_literal(value)} AS {identifier(name)}" for name, value in source.values.items())
        types = _types(spec, connection, source)
        nulls = _nulls(_absent(spec, types, source))
        both = [name for name in source.values if name in types]
        star = f"* EXCLUDE ({', '.join(map(identifier, both))})" if both else "*"
        sql = f"SELECT {columns} FROM (SELECT {star}{paths}{nulls} FROM ({source.select}))"
        table = read_guarded(spec.scenario, source.path, partial(_table, connection, sql))
        path = {name: pl.lit(value) for name, value in source.values.items()}
        frames.append(pl.DataFrame(pl.from_arrow(table)).with_columns(**path, file=number))
    keys = pl.concat(frames, how="diagonal_relaxed")
    if "split" not in keys.columns:
        keys = keys.with_columns(split=pl.lit(None, dtype=pl.String))
    if draw.by_file:
        return keys.with_columns(position=pl.col("rows").cum_sum() - pl.col("rows"))
    return keys.with_columns(position=pl.int_range(pl.len()))


def _table(connection: Any, sql: str) -> Any:
    return connection.sql(sql).to_arrow_table()


def _select(
    spec: ScenarioSpec, draw: Draw, connection: Any, source: Rows, file: int, table: str, split: str | None
) -> str:
    """Return the SQL for the rows of one source file that belong to one file to write."""
    types = _types(spec, connection, source)
    absent = _absent(spec, types, source) if draw.made else {}
    star = "* EXCLUDE (split)" if split is not None and "split" in types else "*"
    named = f", {text_literal(split)} AS split" if split is not None else ""
    replaced = [name for name in draw.made if name in types]
    excluded = [_POSITION, *absent, *replaced, *(["split"] if split is not None else [])]
    made = "".join(f", {sql} AS {identifier(name)}" for name, sql in draw.made.items())
    added = "".join(f", taken.{identifier(name)}" for name in (*draw.columns, "row_index"))
    position = f", row_number() OVER () - 1 AS {_POSITION}"
    return (
        f"SELECT source.* EXCLUDE ({', '.join(map(identifier, excluded))}){made}{added} "
        f"FROM (SELECT {star}{named}{_nulls(absent)}{position} FROM ({source.select})) AS source "
        f"JOIN {table} AS taken ON taken.from_file = {file} AND taken.{_POSITION} = source.{_POSITION}"
    )


def _absent(spec: ScenarioSpec, types: Mapping[str, str], source: Rows) -> dict[str, str]:
    """Return the optional columns of the spec that a file lacks, with their types."""
    return {name: str(dtype) for name, dtype in spec.columns if spec.union and name not in {*types, *source.values}}


def _nulls(columns: Mapping[str, str]) -> str:
    return "".join(f", NULL::{dtype} AS {identifier(name)}" for name, dtype in columns.items())


def _types(spec: ScenarioSpec, connection: Any, source: Rows) -> dict[str, str]:
    described = f"SELECT column_name, column_type FROM (DESCRIBE {source.select})"
    return dict(read_guarded(spec.scenario, source.path, lambda: connection.execute(described).fetchall()))
